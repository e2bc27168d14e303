"""One pass over the logits: everything the metrics need to know about each image.

softmax(z) near 1 is 1 - (something tiny), and float32 has no number between 1 - 6e-8 and 1:
thousands of sure images would tie at confidence 1, and their order, which is what selective
classification measures, would be lost. So nothing here subtracts from 1. With e = exp(z - max z)
and s the sum of e over the other classes, uncertainty is s / (1 + s) and the NLL log(1 + s) + max z
- z_label, both accurate to the last digits however small they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from ..checks import Array, check_labels, check_logits, row_blocks
from .arrays import Flags, Floats, Whole

CLASS_BINS = 15
GPU_ENTRIES = 2**24  # of a block: on a GPU it is the number of launches that costs


@dataclass(frozen=True)
class Confidences:
    """What logits alone say of each image: no labels needed, so also of out-of-distribution images.

    Attributes:
        predictions: (n,) int64, the class of the largest logit (the first of equal ones).
        confidence: (n,) float64 in [0, 1], the probability of that class, or of the class asked
            for.
        uncertainty: (n,) float64 in [0, 1], 1 - confidence without rounding near 0.
    """

    predictions: Whole
    confidence: Floats
    uncertainty: Floats


@dataclass(frozen=True)
class ClassEntries:
    """What the class-wise calibration error needs: all probabilities, the small ones summed.

    Attributes:
        bins: How many bins of equal width; the first is [0, 1 / bins].
        totals: (k,) sum of each class's probability over the images.
        rows, classes, probs: (m,) image, class and value of each probability above 1 / bins.
    """

    bins: int
    totals: Floats
    rows: Whole
    classes: Whole
    probs: Floats


@dataclass(frozen=True)
class Scores:
    """What labelled logits say of each image; every metric is computed from this.

    Attributes:
        labels: (n,) int64.
        predictions: (n,) int64, the classes the predictor answers with.
        correct: (n,) bool, predictions == labels. Accuracy, F1 and all ranking metrics use it.
        hit: (n,) bool, the label is the class that the confidence belongs to. Calibration uses it.
            The same as correct, unless predictions were given.
        confidence: (n,) float64 in [0, 1].
        uncertainty: (n,) float64 in [0, 1], 1 - confidence without rounding near 0.
        nll: (n,) float64 >= 0, nats.
        brier: (n,) float64 in [0, 2], squared distance of the probabilities to the one-hot label.
        classes: k.
        entries: The probabilities, as the class-wise calibration error needs them.
        logits: (n, k) the tensor that was scored itself, not a copy; only the intervals of the
            class-wise error read it again. Do not change it in place.
    """

    labels: Whole
    predictions: Whole
    correct: Flags
    hit: Flags
    confidence: Floats
    uncertainty: Floats
    nll: Floats
    brier: Floats
    classes: int
    entries: ClassEntries = field(repr=False)
    logits: torch.Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)


def score(
    logits: Array,
    labels: Array,
    *,
    predictions: Array | None = None,
    confidence_class: Array | None = None,
    class_bins: int = CLASS_BINS,
) -> Scores:
    """Return the scores of every image, in one pass over the logits.

    Works in blocks of rows, so the extra memory does not grow with the logits; in float32 for
    float16, bfloat16 and float32 logits and in float64 for float64; sums over images in float64; on
    the device of the logits. In float32 uncertainties below 1e-38 (a lead of 87 nats) lose digits
    and below 1e-45 become 0.

    With predictions given (the duo's UQ-only mode: the large model's class, the duo's
    probabilities) accuracy, F1 and ranking are of those predictions, while NLL, Brier and all
    calibration errors remain those of the probabilities. The released duo code does the same.

    Args:
        logits: (n, k) NumPy or torch, finite.
        labels: (n,) integers 0 ... k - 1. For images without a class use `confidences`.
        predictions: (n,) the classes answered with; default: the largest logit.
        confidence_class: (n,) the class whose probability is the confidence; default: the largest
            logit. The released code takes the large model's class for the duo as well.
        class_bins: Bins of the class-wise calibration error, 2 or more.

    Raises:
        TypeError: Logits that are not floats, or labels that are not integers.
        ValueError: Wrong shapes, no image, NaN or infinity, a label that is no class.
    """
    z = check_logits(logits)
    if class_bins < 2:
        raise ValueError(f"class_bins must be 2 or more, not {class_bins}")
    y = check_labels(labels, *z.shape).to(z.device)
    chosen = None if confidence_class is None else _classes(confidence_class, z, "confidence_class")
    parts = [
        (torch.stack(block.numbers(labelled=True)), block.index, *block.entries(class_bins))
        for block in _blocks(z, y, chosen)
    ]
    numbers, index, totals, rows, columns, probs = zip(*parts, strict=True)
    uncertainty, nll, brier = torch.cat(numbers, dim=1).cpu().numpy()
    found = torch.cat(index).cpu().numpy()
    answer = found if predictions is None else _classes(predictions, z, "predictions").cpu().numpy()
    confident = found if chosen is None else chosen.cpu().numpy()
    true = y.cpu().numpy()
    entries = ClassEntries(
        bins=class_bins,
        totals=torch.stack(totals).sum(0).cpu().numpy(),
        rows=torch.cat(rows).cpu().numpy(),
        classes=torch.cat(columns).cpu().numpy(),
        probs=torch.cat(probs).cpu().numpy(),
    )
    return Scores(
        labels=true,
        predictions=answer,
        correct=answer == true,
        hit=confident == true,
        confidence=1 - uncertainty,
        uncertainty=uncertainty,
        nll=nll,
        brier=brier,
        classes=z.shape[1],
        entries=entries,
        logits=z,
    )


def confidences(logits: Array, *, confidence_class: Array | None = None) -> Confidences:
    """Return predictions, confidence and uncertainty of every image; no labels needed.

    Args:
        logits: (n, k) NumPy or torch, finite.
        confidence_class: (n,) the class whose probability is the confidence; default: the largest.

    Raises:
        TypeError: Logits that are not floats.
        ValueError: Wrong shapes, no image, NaN or infinity.
    """
    z = check_logits(logits)
    chosen = None if confidence_class is None else _classes(confidence_class, z, "confidence_class")
    parts = [(b.index, b.numbers(labelled=False)[0]) for b in _blocks(z, None, chosen)]
    index, uncertainty = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Confidences(index, 1 - uncertainty, uncertainty)


def _classes(given: Array, z: torch.Tensor, name: str) -> torch.Tensor:
    return check_labels(given, z.shape[0], z.shape[1], name=name).to(z.device)


def _blocks(
    z: torch.Tensor, labels: torch.Tensor | None, chosen: torch.Tensor | None
) -> Iterator["_Block"]:
    size = {"entries": GPU_ENTRIES} if z.is_cuda else {}
    for rows in row_blocks(*z.shape, **size):
        y = None if labels is None else labels[rows]
        c = None if chosen is None else chosen[rows]
        yield _Block(z[rows], y, c, rows.start)


class _Block:
    """Some rows of the logits, exponentiated once.

    Up to three classes a row are special: m of the largest logit, y the label, c the one whose
    probability is the confidence. They are taken out of the row before anything is summed, so that
    "all but this class" is a sum of positive terms for each of them, never a difference.
    """

    def __init__(
        self, z: torch.Tensor, y: torch.Tensor | None, c: torch.Tensor | None, first: int
    ) -> None:
        z = z if z.dtype == torch.float64 else z.float()
        top, m = z.max(1)
        self.first, self.index = first, m
        self.y, self.c = m if y is None else y, m if c is None else c
        special = torch.stack([m, self.y, self.c], 1)  # (b, 3), may repeat
        self.lead = (top.double()[:, None] - z.gather(1, special).double())[:, 1]
        self.e = torch.sub(z, top[:, None]).exp_()
        value = self.e.gather(1, special)
        self.e.scatter_(1, special, 0.0)
        self.rest = self.e.sum(1).double()
        self.rest_squares = torch.linalg.vecdot(self.e, self.e).double()
        self.e.scatter_(1, special, value)
        value = value.double()
        value[:, 1] *= self.y != m  # a class counts once
        value[:, 2] *= (self.c != m) & (self.c != self.y)
        self.special, self.value = special, value
        self.total = 1 + self.others(m)

    def others(self, target: torch.Tensor) -> torch.Tensor:
        """Return (b,) the sum of e over all classes but the target, one of the special ones."""
        return self.rest + (self.value * (self.special != target[:, None])).sum(1)

    def numbers(self, *, labelled: bool) -> list[torch.Tensor]:
        """Return uncertainty, and with labels also nll and brier, each (b,)."""
        uncertainty = self.others(self.c) / self.total
        if not labelled:
            return [uncertainty]
        nll = torch.log1p(self.total - 1) + self.lead
        apart = self.special != self.y[:, None]
        squares = self.rest_squares + (self.value.square() * apart).sum(1)
        brier = (self.others(self.y) / self.total).square() + squares / self.total.square()
        return [uncertainty, nll, brier]

    def entries(self, bins: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return summed probabilities (k,), and row, class and value of those above 1 / bins."""
        scale = self.total.to(self.e.dtype)
        totals = ((1 / scale) @ self.e).double()
        nearly = (1 - 1e-5) / bins  # float32 finds the candidates, float64 decides
        rows, classes = (self.e > scale[:, None] * nearly).nonzero(as_tuple=True)
        probs = self.e[rows, classes].double() / self.total[rows]
        keep = probs > 1 / bins
        return totals, rows[keep] + self.first, classes[keep], probs[keep]
