"""May the confidence of a model be relied on? Whether it orders the errors, and from where on.

Both come from one paper on segmentation; here correctness is right or wrong.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from duokit.metrics.arrays import (
    ArrayLike,
    check_confidence,
    check_correct,
    check_scores,
    check_share,
)
from duokit.metrics.chance import lower_limit

# Thresholds of confidence that `usable_region` tests, fixed before any image is seen.
GRID: tuple[float, ...] = (
    *(i / 10 for i in range(9)),
    *(0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999),
)


@dataclass(frozen=True)
class UsableRegion:
    """Where a model's confidence may be relied on.

    Attributes:
        threshold: Least confidence that is enough; infinite if none is.
        kept: Share of the images at or above it.
        accuracy: Of these images; nan if there are none.
        low: Lower limit of their accuracy in the population, for all thresholds tested together.
        target: Accuracy asked for.
        certainty: Probability that the limits hold.
    """

    threshold: float
    kept: float
    accuracy: float
    low: float
    target: float
    certainty: float


def ccrc(uncertainty: ArrayLike, correct: ArrayLike) -> float:
    """Return the rank correlation (Spearman) of confidence and correctness.

    It is AUROC seen through the accuracy a. With shares s_g of images that are equally sure,
    ccrc = sqrt(12 a (1 - a) / (1 - sum of s_g^3)) * (AUROC - 1/2), exactly; without ties the sum is
    1 / n^2. So of two models that order their errors equally well, the more accurate one (above
    1/2) scores lower: to compare models, take AUROC.

    Args:
        uncertainty: (n,) higher = less sure.
        correct: (n,) bool.

    Returns:
        A number in [-1, 1], higher is better; nan if all images are right, all wrong or all equally
        sure.

    Raises:
        ValueError: As `duokit.metrics.selective.auroc`.

    Source: Zhang et al., arXiv 2207.00156, for segmentation, with Dice as correctness; that their
    rank correlation is Spearman's is our reading.
    """
    values = check_scores(uncertainty, "uncertainty")
    flags = check_correct(correct, len(values))
    if np.ptp(values) == 0 or flags.all() or not flags.any():
        return float("nan")
    return float(-spearmanr(values, flags).statistic)


def usable_region(
    confidence: ArrayLike,
    correct: ArrayLike,
    target: float,
    *,
    certainty: float = 0.95,
    grid: tuple[float, ...] = GRID,
) -> UsableRegion:
    """Return the least confidence from which on the accuracy reaches a target, with certainty.

    For each threshold t of the grid, the one-sided Clopper-Pearson limit of the accuracy on the
    images with confidence >= t, at 1 - (1 - certainty) / (number of thresholds): Bonferroni, so
    that with this certainty all limits hold together and the least t among those that reach the
    target may be chosen by looking. The grid must not be made from these images.

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,) bool.
        target: Accuracy asked for, in (0, 1].
        certainty: In (0, 1).
        grid: Thresholds to choose from.

    Raises:
        ValueError: As `duokit.metrics.calibration.ece`; target or certainty outside, or no
            threshold.

    Source: usable region, Zhang et al., arXiv 2207.00156, without a bound; the bound is ours.
    """
    values = check_confidence(confidence)
    flags = check_correct(correct, len(values))
    check_share(target, "target")
    if not 0 < certainty < 1:
        raise ValueError(f"certainty must lie in (0, 1), not {certainty}: 95 % is 0.95")
    if not len(grid):
        raise ValueError("grid is empty: give at least one threshold of confidence")
    for threshold in sorted(grid):
        kept = values >= threshold
        right, images = int((kept & flags).sum()), int(kept.sum())
        if not images:
            break
        low = float(lower_limit(right, images, 1 - (1 - certainty) / len(grid)))
        if low >= target:
            share = images / len(values)
            return UsableRegion(threshold, share, right / images, low, target, certainty)
    return UsableRegion(np.inf, 0.0, np.nan, np.nan, target, certainty)
