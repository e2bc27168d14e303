"""Do two models answer alike, image by image? Equal accuracy does not say so.

A small model may err as often as the large one, but on other images. Flips count the images whose
answer turns right or wrong, divergences compare all probabilities, and paired tests ask whether the
answers shifted more than chance would have it.

Every function takes logits. Of a model that gives probabilities, take `log_probs` of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from duokit.checks import Array, check_labelled, check_members, row_blocks
from duokit.conversion import as_array, kind_of
from duokit.metrics.arrays import ArrayLike, Floats, Whole
from duokit.metrics.chance import paired_interval, share_interval
from duokit.metrics.ends import LEAST, interval_ends
from duokit.metrics.intervals import resample_counts
from duokit.metrics.scores import confidences
from duokit.trust.changes import change_tests

PER_IMAGE = (
    *("label_agreement", "right_to_wrong", "wrong_to_right"),
    *("kl", "jensen_shannon", "probability_loyalty"),
)
FLIPS = ["right_to_wrong", "wrong_to_right"]
SHARES = ["label_agreement", "right_to_wrong", "wrong_to_right", "changes", "flips"]  # of images
DERIVED = ("changes", "flips", "direction", "accuracy_change")
MOST_BYTES = 2**27  # of resampled counts held at a time


@dataclass(frozen=True)
class Agreement:
    """How alike a large and a small model answer the same images.

    Attributes:
        images: n.
        accuracy_large: Share that the large model answers right.
        accuracy_small: Share that the small model answers right.
        measures: Index measure, columns value, low, high; see `agreement`.
        tests: Index test, columns statistic, dof, p_value; see `change_tests`.
    """

    images: int
    accuracy_large: float
    accuracy_small: float
    measures: pd.DataFrame
    tests: pd.DataFrame

    def row(self) -> pd.Series:
        """Return everything but the intervals in one row; p-values as "p (test)"."""
        names = ("images", "accuracy_large", "accuracy_small")
        plain = {name: getattr(self, name) for name in names}
        p = self.tests["p_value"].rename(lambda test: f"p ({test})")
        return pd.concat([pd.Series(plain), self.measures["value"], p]).astype(float)


def agreement(
    large: Array,
    small: Array,
    labels: Array,
    *,
    baseline: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Return how alike two models answer, with intervals over images.

    | measure | meaning, per image and then averaged |
    |---|---|
    | label_agreement | same answer; also called label loyalty |
    | right_to_wrong, wrong_to_right | large right and small wrong, and the other way round |
    | kl | sum over classes of p_large log(p_large / p_small), nats |
    | jensen_shannon | mean divergence of both to their mean, bits, in [0, 1] |
    | probability_loyalty | 1 - sqrt(jensen_shannon of that image), in [0, 1], 1 for equals |
    | changes | another answer, wrong to other wrong ones too: 1 - label_agreement |
    | flips | right to wrong or wrong to right: the volume V of what changed |
    | direction | share f of the flips that improve; nan without flips |
    | accuracy_change | accuracy of small less that of large, V (2 f - 1) |

    Shares of images have Clopper-Pearson intervals, differences of shares or accuracies those of
    `paired_interval`, all other numbers percentile bootstrap ones; a difference of directions has
    none where either model has fewer than ten flips of one kind: `duokit.metrics.ends` says why.

    KL is read from logits and stays finite; log-probabilities of 0 would make it infinite, which is
    why the Jensen-Shannon divergence is given too.

    Args:
        large: (n, k) logits of the model whose trust is to be passed on.
        small: (n, k) logits of the other one: sidekick, duo or compressed model, same images.
        labels: (n,) integers 0 ... k - 1.
        baseline: (n, k) logits of a third model, to ask which of the two is more like large.
            measures then has the columns baseline, difference (small's value less baseline's),
            difference_low and difference_high too, on the same resamples.
        resamples: Of the bootstrap; 0 for none, and nan as ends.
        seed: Of the bootstrap and of the swaps in the tests.
        level: Of the intervals, in (0, 1).

    Raises:
        TypeError: Logits that are not floats, or labels that are not integers.
        ValueError: Shapes that differ, values that are not finite, a label that is no class, or
            options out of range.

    Source: flips, KL, Dutta et al., arXiv 2407.09141; volume and direction, arXiv 2606.19558;
    loyalty, Xu et al., arXiv 2109.03228, who average 1 - sqrt(JSD) too.
    """
    if int(resamples) != resamples or resamples < 0:
        raise ValueError(f"resamples must be a whole number, 0 or more, not {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), not {level}: 95 % is 0.95")
    tables = [per_image(large, other, labels) for other in (small, baseline) if other is not None]
    values = [measures_of(table.mean().to_numpy()) for table in tables]
    drawn = [
        measures_of(resampled_means(table.to_numpy(), resamples=resamples, seed=seed))
        for table in tables
    ]
    found = pd.DataFrame({"value": values[0]}, index=[*PER_IMAGE, *DERIVED]).rename_axis("measure")
    found["low"], found["high"] = interval_ends(drawn[0], level)
    flags = [_flags(table) for table in tables]
    if resamples:
        ends = share_interval(flags[0].sum(), len(flags[0]), level=level)
        found.loc[SHARES, ["low", "high"]] = np.transpose(ends)
        lost, gained = flags[0][FLIPS].sum()
        ends = paired_interval(gained, lost, len(flags[0]), level=level)
        found.loc["accuracy_change", ["low", "high"]] = np.transpose(ends)
        if gained + lost:
            ends = share_interval(gained, gained + lost, level=level)
            found.loc["direction", ["low", "high"]] = np.transpose(ends)
    if baseline is not None:
        found["baseline"] = values[1]
        found["difference"] = values[0] - values[1]
        columns = ["difference_low", "difference_high"]
        found[columns] = np.transpose(interval_ends(drawn[0] - drawn[1], level))
        if resamples:
            more, fewer = ((a & ~b).sum() for a, b in (flags, flags[::-1]))
            ends = paired_interval(more, fewer, len(flags[0]), level=level)
            found.loc[SHARES, columns] = np.transpose(ends)
            ours, theirs = (f["wrong_to_right"].astype(int) - f["right_to_wrong"] for f in flags)
            up, down = int((ours > theirs).sum()), int((ours < theirs).sum())
            ends = paired_interval(up, down, len(flags[0]), level=level)
            found.loc["accuracy_change", columns] = np.transpose(ends)
            if min(f[name].sum() for f in flags for name in FLIPS) < LEAST:
                found.loc["direction", columns] = np.nan
    answers, right = _answers([large, small], labels)
    return Agreement(
        images=len(right[0]),
        accuracy_large=float(right[0].mean()),
        accuracy_small=float(right[1].mean()),
        measures=found,
        tests=change_tests(answers[0], answers[1], labels, seed=seed),
    )


def per_image(large: Array, small: Array, labels: Array) -> pd.DataFrame:
    """Return PER_IMAGE of each image: what `agreement` averages, and groups can be made of.

    Args:
        large: (n, k) logits.
        small: (n, k) logits of the same images.
        labels: (n,) integers 0 ... k - 1.

    Returns:
        n rows, columns PER_IMAGE, float64; flags as 0 and 1.

    Raises:
        TypeError, ValueError: As `agreement`.
    """
    answers, right = _answers([large, small], labels)
    kl, js = divergences(large, small)
    columns = [
        answers[0] == answers[1],
        right[0] & ~right[1],
        ~right[0] & right[1],
        *(kl, js, 1 - np.sqrt(js)),
    ]
    return pd.DataFrame(np.column_stack(columns).astype(np.float64), columns=list(PER_IMAGE))


def _flags(table: pd.DataFrame) -> pd.DataFrame:
    """Return (n, SHARES) bool, which of them each image is."""
    same, lost, gained = (table[name] == 1 for name in PER_IMAGE[:3])
    columns = [same, lost, gained, ~same, lost | gained]
    return pd.concat(columns, axis=1).set_axis(SHARES, axis=1)


def divergences(large: Array, small: Array) -> tuple[Floats, Floats]:
    """Return (n,) KL divergences of small from large in nats, and Jensen-Shannon ones in bits.

    Args:
        large: (n, k) logits, whose probabilities weigh the KL divergence.
        small: (n, k) logits.

    Raises:
        TypeError, ValueError: As `agreement`.
    """
    parts = []
    members = check_members([large, small])
    for rows in row_blocks(*members[0].shape):
        p, q = (torch.log_softmax(z[rows].double(), 1) for z in members)
        gap, zero = p - q, torch.zeros((), dtype=p.dtype, device=p.device)
        kl = (p.exp() * gap).sum(1)
        # log(p / middle) = log 2 - log(1 + q / p), which is 0 for equals without any rounding
        above, below = (np.log(2) - torch.logaddexp(zero, other) for other in (-gap, gap))
        js = (p.exp() * above + q.exp() * below).sum(1) / (2 * np.log(2))
        parts.append(torch.stack([kl, js]).cpu())
    found = torch.cat(parts, 1).clamp(min=0).numpy()
    return found[0], np.minimum(found[1], 1)


def log_probs(probs: ArrayLike) -> Floats:
    """Return logits whose softmax is these probabilities: natural logarithms, 0 as the least float.

    Args:
        probs: (n, k) in [0, 1]; each row sums to 1 within .001.

    Raises:
        TypeError: Not numbers.
        ValueError: Another shape, a value outside, or a row that does not sum to 1.
    """
    array = as_array(probs, "probs")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"probs must be numbers in [0, 1], not {kind_of(probs, array)}")
    array = array.astype(np.float64)
    if array.ndim != 2:
        raise ValueError(f"probs must have shape (images, classes), not {array.shape}")
    wrong = ~((array >= 0).all(1) & (np.abs(array.sum(1) - 1) < 1e-3))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"probs[{row}] is {array[row][:4]}... with sum {array[row].sum():g}: expected numbers "
            "in [0, 1] that sum to 1. Logits need no logarithm; give them as they are"
        )
    return np.log(np.maximum(array, np.finfo(np.float64).tiny))


def measures_of(means: Floats) -> Floats:
    """Return (..., 10) PER_IMAGE and DERIVED from the (..., 6) means of PER_IMAGE."""
    lost, gained = means[..., 1], means[..., 2]
    flips = lost + gained
    direction = np.divide(gained, flips, out=np.full_like(flips, np.nan), where=flips > 0)
    derived = [1 - means[..., 0], flips, direction, gained - lost]
    return np.concatenate([means, np.stack(derived, -1)], -1)


def resampled_means(values: Floats, *, resamples: int, seed: int) -> Floats:
    """Return (resamples, m) the means of (n, m) values over each bootstrap resample of the rows."""
    n = len(values)
    chunk = max(1, MOST_BYTES // (8 * n))
    parts = [np.empty((0, values.shape[1]))]
    for first in range(0, resamples, chunk):
        counts = resample_counts(n, min(chunk, resamples - first), seed=seed, first=first)
        parts.append(counts.astype(np.float64) @ values / n)
    return np.concatenate(parts)


def _answers(
    members: Sequence[Array], labels: Array
) -> tuple[list[Whole], list[npt.NDArray[np.bool_]]]:
    """Return each member's answers, the first of equally large logits, and where they are right."""
    checked, known = check_labelled(members, labels)
    true = known.cpu().numpy()
    answers = [confidences(z).predictions for z in checked]
    return answers, [answer == true for answer in answers]
