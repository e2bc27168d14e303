"""One pass over the logits: everything the metrics need to know about each image.

softmax(z) near 1 is 1 - (something tiny), and float32 has no number between 1 - 6e-8 and 1:
thousands of sure images would tie at confidence 1, and their order, which is what selective
classification measures, would be lost. So nothing here subtracts from 1. With e = exp(z - max z)
and s the sum of e over the other classes, uncertainty is s / (1 + s) and the NLL log(1 + s) + max z
- z_label, both accurate to the last digits however small they are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..checks import Array, check_labels, check_logits, row_blocks
from ..threads import in_threads
from .arrays import Flags, Floats, Whole

CLASS_BINS = 15
CPU_ENTRIES = 2**17  # of a block: few enough to stay in the cache
GPU_ENTRIES = 2**24  # on a GPU it is the number of launches that costs


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
        rows: (m,) the image of each probability above 1 / bins.
        classes: (m,) its class.
        probs: (m,) its value.
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
        logits: (n, k) the tensor that was scored itself, a copy only where its rows did not stand
            one after another in memory; only the intervals of the class-wise error read it again.
            Do not change it in place.
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
    and below 1e-45 become 0; so do Brier scores.

    With predictions given (the duo's UQ-only mode: the large model's class, the duo's
    probabilities) accuracy, F1 and ranking are of those predictions, while NLL, Brier and all
    calibration errors remain those of the probabilities. The released duo code does the same.

    Args:
        logits: (n, k) finite; NumPy, torch, pandas, lists.
        labels: (n,) integers 0 ... k - 1 of any type. Images without a class: `confidences`.
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
    answered = checked_classes(predictions, z, "predictions")
    chosen = checked_classes(confidence_class, z, "confidence_class")
    index, numbers, totals, rows, columns, probs = _over_blocks(
        lambda block: (block.index, block.numbers(), *block.entries(class_bins)), z, y, chosen
    )
    found = _join(index)
    confidence, uncertainty, nll, brier = _join(numbers).T
    answer = found if answered is None else _join([answered])
    confident = found if chosen is None else _join([chosen])
    true = _join([y])
    entries = ClassEntries(
        bins=class_bins,
        totals=torch.stack(list(totals)).sum(0).cpu().numpy(),
        rows=_join(rows),
        classes=_join(columns),
        probs=_join(probs),
    )
    return Scores(
        labels=true,
        predictions=answer,
        correct=answer == true,
        hit=confident == true,
        confidence=confidence,
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
    chosen = checked_classes(confidence_class, z, "confidence_class")
    index, sure = _over_blocks(lambda block: (block.index, block.sure()), z, None, chosen)
    return Confidences(_join(index), *_join(sure).T)


def checked_classes(given: Array | None, z: torch.Tensor, name: str) -> torch.Tensor | None:
    """Return (n,) class numbers, checked against the logits and on their device, or None."""
    if given is None:
        return None
    return check_labels(given, z.shape[0], z.shape[1], name=name).to(z.device)


def _over_blocks(
    work: Callable[["_Block"], tuple[torch.Tensor, ...]],
    z: torch.Tensor,
    labels: torch.Tensor | None,
    chosen: torch.Tensor | None,
) -> Iterable[Sequence[torch.Tensor]]:
    """Return the results of work on every block of rows: all first ones, all second ones, ..."""
    gpu = z.device.type == "cuda"
    blocks = row_blocks(*z.shape, entries=GPU_ENTRIES if gpu else CPU_ENTRIES)
    if not gpu:  # other accelerators have no float64
        labels, chosen = (None if t is None else t.cpu() for t in (labels, chosen))

    def one(i: int) -> tuple[torch.Tensor, ...]:
        rows = blocks[i]
        y, c = (None if t is None else t[rows] for t in (labels, chosen))
        return work(_Block(z[rows] if gpu else z[rows].cpu(), y, c, rows.start))

    parts = [one(i) for i in range(len(blocks))] if gpu else in_threads(one, len(blocks))
    return zip(*parts, strict=True)


def _join(parts: Sequence[torch.Tensor]) -> npt.NDArray[Any]:
    return torch.cat(list(parts)).cpu().numpy()


class _Block:
    """Some rows of the logits, exponentiated once.

    The class of the largest logit is left out of what is summed, so that "all the others" is a sum
    of positive terms. For any other class, whose e is at most 1, the others include that largest
    one, and taking e from the total costs no digits. The label must not enter the uncertainty even
    by rounding: equal rows have to tie.
    """

    def __init__(
        self, z: torch.Tensor, y: torch.Tensor | None, c: torch.Tensor | None, first: int
    ) -> None:
        z = z if z.dtype == torch.float64 else z.float()
        self.first, self.index = first, _argmax(z)
        self.y, self.c = (self.index if t is None else t for t in (y, c))
        top = self._at(z, self.index)
        self.lead = top.double() - self._at(z, self.y).double()
        self.e = torch.sub(z, top[:, None]).exp_()
        self.e.scatter_(1, self.index[:, None], 0.0)
        self.rest = self.e.sum(1).double()
        self.squares = torch.linalg.vector_norm(self.e, dim=1).double().square()
        self.e.scatter_(1, self.index[:, None], 1.0)
        self.total = 1 + self.rest

    def others(self, target: torch.Tensor) -> torch.Tensor:
        """Return (b,) the sum of e over all classes but the target."""
        without = self.total - self._at(self.e, target).double()
        return torch.where(target == self.index, self.rest, without)

    def sure(self) -> torch.Tensor:
        """Return (b, 2) confidence and uncertainty; the smaller is computed, the other 1 - it."""
        confidence = self._at(self.e, self.c).double() / self.total
        uncertainty = self.others(self.c) / self.total
        low = confidence <= 0.5
        confidence = torch.where(low, confidence, 1 - uncertainty)
        return torch.stack([confidence, torch.where(low, 1 - confidence, uncertainty)], 1)

    def numbers(self) -> torch.Tensor:
        """Return (b, 4) confidence, uncertainty, nll and brier."""
        nll = torch.log1p(self.rest) + self.lead
        label = self._at(self.e, self.y).double()
        squares = self.squares + torch.where(self.y == self.index, 0.0, 1 - label.square())
        brier = (self.others(self.y) / self.total).square() + squares / self.total.square()
        return torch.cat([self.sure(), torch.stack([nll, brier], 1)], 1)

    @staticmethod
    def _at(values: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        return values.gather(1, classes[:, None])[:, 0]

    def entries(self, bins: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return summed probabilities (k,), and row, class and value of those above 1 / bins.

        The last use of this block: its exponentials become probabilities in place.
        """
        probs = self.e.mul_((1 / self.total).to(self.e.dtype)[:, None])
        totals = probs.new_ones(len(probs)) @ probs
        places = _where_above(probs, 1 / bins)
        rows = places // probs.shape[1]
        values = probs.flatten()[places].double()
        return totals.double(), rows + self.first, places - rows * probs.shape[1], values


def _argmax(z: torch.Tensor) -> torch.Tensor:
    """Return (b,) the first largest class of each row; on a CPU NumPy is eight times as fast."""
    return torch.from_numpy(z.numpy().argmax(1)) if z.device.type == "cpu" else z.argmax(1)


def _where_above(values: torch.Tensor, floor: float) -> torch.Tensor:
    """Return the flat places of the values above the floor; on a CPU NumPy is ten times as fast."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(values.numpy() > floor))
    return (values.flatten() > floor).nonzero()[:, 0]
