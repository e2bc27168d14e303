"""Calibration: among images told 80 %, are 80 % right?

Every function takes the confidence of each image and whether the class it belongs to is the label.
For a duo in UQ-only mode that class may differ from the answer; `Scores.hit` is the flag meant.
A gap is confidence - right or wrong, summed over a bin. Bins of equal width are (lo, hi], the first
with 0 in it; torchmetrics takes [lo, hi) and puts confidence 1 in a bin of its own.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch

from .arrays import ArrayLike, Flags, Floats, Whole, check_confidence, check_correct, check_share
from .ranked import between, group_ends, places

BINS = 15


@dataclass(frozen=True)
class ReliabilityCurve:
    """What each confidence bin promised and kept.

    Attributes:
        lower: (b,) lower edges of the bins.
        upper: (b,) upper edges.
        count: (b,) images in the bin.
        confidence: (b,) their mean confidence, nan for an empty bin.
        accuracy: (b,) the share that is right, nan for an empty bin.
        low: (b,) lower end of the Wilson interval of that share, nan for an empty bin.
        high: (b,) its upper end.
        level: Coverage of the interval.
    """

    lower: Floats
    upper: Floats
    count: Whole
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    level: float


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """Return the expected calibration error: the mean |confidence - accuracy| of a bin.

    Convention: bins of equal width, (lo, hi], the first with 0, as the paper and its code. Others
    take [lo, hi): torchmetrics and torch-uncertainty with 1.0 in an extra bin, netcal 1.4.0 with
    1.0 in the last. All are the same unless a confidence lies on an edge. Calibrated models score
    above 0, by about sqrt(bins / n) or less.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.
        bins: How many, 1 or more; the literature takes 15 or 10.

    Returns:
        A number in [0, 1], lower is better.

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are not 0 or 1.

    Source: Guo et al., arXiv 1706.04599.
    """
    return float(ece_of(*_binned(confidence, correct, bins)[:2]))


def mce(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """Return the maximum calibration error: the largest |confidence - accuracy| of a bin.

    Convention: bins as in `ece`, empty ones left out, however few images the others hold: one lone
    image can decide it.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.
        bins: How many, 1 or more.

    Returns:
        A number in [0, 1], lower is better.

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are not 0 or 1.

    Source: Guo et al., arXiv 1706.04599.
    """
    return float(mce_of(*_binned(confidence, correct, bins)[:2]))


def ece_mass(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """Return the calibration error over bins that hold equally many images each.

    Convention: every bin holds exactly n / bins images; an image on an edge is shared, and images
    of equal confidence share their group's accuracy, so the order of the file never matters.
    Others: torch-uncertainty splits the sorted list into whole images, ties where they fall; Kumar
    et al. keep ties together and let the bins differ in size. The same where n / bins is whole and
    no confidence repeats.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.
        bins: How many, 1 or more.

    Returns:
        A number in [0, 1], lower is better.

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are not 0 or 1.

    Source: Nguyen and O'Connor, arXiv 1508.05154; Nixon et al., arXiv 1904.01685.
    """
    values, flags = _checked(confidence, correct, bins)
    _, gaps, _ = mass_bins(*_running(values, flags), bins)
    return float(np.abs(gaps).sum() / len(values))


def ece_debiased(confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> float:
    """Return the debiased root mean squared calibration error.

    The square of a bin's gap is too large on average by its accuracy's variance,
    a (1 - a) / (n_b - 1). Subtract that in each bin, average over images, stop at 0, take the root.

    Convention: the L2 error of Kumar et al. with bins of equal mass, as in `ece_mass`; they also
    have an L1 form, debiased by resampling. At most n / 2 bins, so that each holds two images or
    more (they count smaller bins as 0). Before debiasing, an L2 error is never below the L1 error.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.
        bins: How many at most, 1 or more.

    Returns:
        A number in [0, 1], lower is better; nan for one image, whose variance is unknown.

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are not 0 or 1.

    Source: Kumar, Liang and Ma, arXiv 1909.10155.
    """
    values, flags = _checked(confidence, correct, bins)
    bins = debiased_bins(len(values), bins)
    return float(debiased_of(*mass_bins(*_running(values, flags), bins))) if bins else float("nan")


def reliability_curve(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, level: float = 0.95
) -> ReliabilityCurve:
    """Return count, mean confidence, accuracy and its Wilson interval in each bin of equal width.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.
        bins: How many, 1 or more.
        level: Coverage of the interval, in (0, 1).

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are not 0 or 1.

    Source: DeGroot and Fienberg 1983; Wilson 1927.
    """
    if check_share(level, "level") == 1:
        raise ValueError("level must be below 1: no interval but [0, 1] is certain")
    count, gap, right = _binned(confidence, correct, bins)
    edges = np.arange(bins + 1) / bins
    n = np.where(count > 0, count, np.nan)
    accuracy = right / n
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    return ReliabilityCurve(
        lower=edges[:-1],
        upper=edges[1:],
        count=count.astype(np.int64),
        confidence=(gap + right) / n,
        accuracy=accuracy,
        low=np.maximum(middle - half, 0),
        high=np.minimum(middle + half, 1),
        level=level,
    )


def width_bins(confidence: Floats, bins: int, *, digits: str = "float64") -> Whole:
    """Return the bin of each confidence, 0 ... bins - 1, an edge belonging to the bin below it.

    The float32 that is meant to be .6 is a little more than .6. So the number nearest to an edge,
    in the type that the confidences were computed in, is on that edge too.

    Args:
        confidence: (n,) in [0, 1].
        bins: How many.
        digits: That type: "float64", "float32", "float16" or "bfloat16".
    """
    edges = np.arange(1, bins) / bins
    found = np.searchsorted(edges, confidence, side="left").astype(np.int64)
    nearest = torch.from_numpy(edges).to(getattr(torch, digits)).double().numpy()
    return found - (np.append(np.inf, nearest)[found] == confidence)


def ece_of(count: Floats, gap: Floats) -> Floats:
    """Return (...) the error from images and summed gap (..., b) of each bin."""
    return np.asarray(np.abs(gap).sum(-1) / count.sum(-1))


def mce_of(count: Floats, gap: Floats) -> Floats:
    """Return (...) the largest mean gap of a bin that holds images."""
    return np.asarray((np.abs(gap) / np.where(count > 0, count, np.inf)).max(-1))


def debiased_bins(n: int, bins: int) -> int:
    """Return how many bins leave two images or more to each; 0 for one image."""
    return min(bins, n // 2)


def debiased_of(count: Floats, gap: Floats, right: Floats) -> Floats:
    """Return (...) the debiased error from images (> 1), summed gap and rights of each bin."""
    accuracy = right / count
    square = (gap / count) ** 2 - accuracy * (1 - accuracy) / (count - 1)
    return np.sqrt(np.maximum(0.0, (count * square).sum(-1) / count.sum(-1)))


def mass_bins(
    images: Floats,
    gaps: Floats,
    rights: Floats,
    bins: int,
    *,
    group_of: tuple[Whole, Whole] | None = None,
) -> tuple[Floats, Floats, Floats]:
    """Return (..., bins) images, summed gap and right images of each of some bins of equal mass.

    Args:
        images: (..., g) running number of images at the end of each group of equal confidence.
        gaps: (..., g) running sum of the gaps there.
        rights: (..., g) running number of right images there.
        bins: How many.
        group_of: Where the totals are those of single images: the first and the last image of the
            group of equal confidence that each image belongs to.
    """
    n = images[..., -1:]
    edges = np.arange(bins + 1.0) * n / bins
    last = places(images, edges)
    previous = last - 1
    if group_of is not None:
        last, previous = group_of[1][last], group_of[0][last] - 1
    parts = [np.diff(between(edges, images, totals, last, previous)) for totals in (gaps, rights)]
    return np.diff(edges), parts[0], parts[1]


def _running(values: Floats, flags: Flags) -> tuple[Floats, Floats, Floats]:
    order = np.argsort(values, kind="stable")
    values, right = values[order], flags[order]
    ends = group_ends(values)
    images = (ends + 1).astype(np.float64)
    return images, np.cumsum(values - right)[ends], np.cumsum(right, dtype=np.float64)[ends]


def _binned(confidence: ArrayLike, correct: ArrayLike, bins: int) -> tuple[Floats, Floats, Floats]:
    values, flags = _checked(confidence, correct, bins)
    at = width_bins(values, bins, digits=_digits(confidence))
    weights = (None, values - flags, flags)
    count, gap, right = (np.bincount(at, w, minlength=bins).astype(np.float64) for w in weights)
    return count, gap, right


def _digits(confidence: ArrayLike) -> str:
    """Return the type whose numbers stand for the edges; float64 may hold what float32 computed."""
    kind = str(getattr(confidence, "dtype", "")).removeprefix("torch.")
    return kind if kind in ("float16", "bfloat16") else "float32"


def _checked(confidence: ArrayLike, correct: ArrayLike, bins: int) -> tuple[Floats, Flags]:
    if int(bins) != bins or bins < 1:
        raise ValueError(f"bins must be a whole number, 1 or more, not {bins}")
    values = check_confidence(confidence)
    return values, check_correct(correct, len(values))
