"""Where to defer: a threshold chosen on val for a target, and checked on test.

Chosen without a guarantee, a threshold meets its target on val; on other images it may miss by
chance. With `certainty=.95` it is chosen so that, with this probability over the draw of val, the
target holds for the population that val was drawn from: not for every test set, and not under
shift.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from scipy.stats import beta

from duokit.cascade.deferral import (
    DeferralCurve,
    check_cost,
    check_flops,
    check_ratio,
    checked_answers,
    expected_flops,
)
from duokit.metrics.arrays import ArrayLike, Flags, Floats, Whole, check_scores, check_share
from duokit.metrics.chance import lower_limit, share_interval
from duokit.metrics.ranked import exact

Target = Literal["accuracy", "ratio", "flops", "cost"]
# Fixed before any image is seen, as the guarantee demands: 20 a decade up to .1, since sure answers
# crowd near uncertainty 0, then steps of .01.
GRID: tuple[float, ...] = (
    *np.logspace(-6, -1, 101)[:-1].tolist(),
    *(i / 100 for i in range(10, 101)),
)


@dataclass(frozen=True)
class Threshold:
    """A threshold chosen on val.

    Attributes:
        value: Defer an image when its uncertainty is above this; minus infinity defers all,
            infinity none.
        target: What was asked for: "accuracy", "ratio", "flops" or "cost".
        asked: The number asked for: a joint accuracy, a deferral ratio, FLOPs an image, or the
            cost of one deferral in mistakes.
        met: False where no threshold meets the target (on val, or with the certainty asked for).
        images: Size of val.
        ratio: Share deferred on val.
        certainty: Probability that the target holds for the population; None without a guarantee.
        flops: FLOPs an image of the small and the large model, where the target is "flops".
    """

    value: float
    target: Target
    asked: float
    met: bool
    images: int
    ratio: float
    certainty: float | None = None
    flops: tuple[float, float] | None = None


@dataclass(frozen=True)
class Check:
    """What a threshold does on other images.

    Attributes:
        ratio: Share deferred.
        ratio_low: Lower end of its Clopper-Pearson interval.
        ratio_high: Upper end.
        accuracy: Joint accuracy.
        accuracy_low: Lower end of its Clopper-Pearson interval.
        accuracy_high: Upper end.
        flops: Mean FLOPs an image; nan unless the target is "flops".
        met: The target holds on these images; for a cost: deferring this many was not worse than
            deferring none or all.
    """

    ratio: float
    ratio_low: float
    ratio_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    flops: float
    met: bool


def threshold_for_accuracy(
    uncertainty: ArrayLike,
    small_correct: ArrayLike,
    deferred_correct: ArrayLike,
    accuracy: float,
    *,
    certainty: float | None = None,
    grid: Sequence[float] | None = None,
) -> Threshold:
    """Return the threshold that defers least among those with this joint accuracy on val.

    Convention without certainty: of all thresholds, the smallest ratio counts although a larger one
    may fail; whole numbers are compared. If none is accurate enough, the most accurate one, the
    cheapest of equals, with met=False.

    With certainty: fixed-sequence testing. Start where all is deferred and go up the grid; at each
    threshold test the hypothesis that the joint accuracy is below the target, by the one-sided
    Clopper-Pearson limit; stop at the first that cannot be rejected and take the one before. The
    grid must not be made from val. If already the first fails, all is deferred, with met=False: the
    deferred answer is not accurate enough, or val too small to tell.

    Args:
        uncertainty: (n,) of the small model on val, higher = less sure.
        small_correct: (n,) bool.
        deferred_correct: (n,) bool, of the large model or the duo. A duo whose weights were fitted
            on these same images looks a little better here than it is, and weakens the guarantee.
        accuracy: Joint accuracy asked for, in (0, 1]; read as the decimal that was typed.
        certainty: Probability in (0, 1), such as .95; None for no guarantee.
        grid: Rising thresholds for the test; default: `GRID`, for uncertainties in [0, 1].

    Raises:
        ValueError: Shapes, NaN, shares outside; uncertainties outside [0, 1] without a grid; a grid
            that does not rise.

    Source: Clopper and Pearson 1934; fixed-sequence testing as in Angelopoulos et al.,
    arXiv 2110.01052.
    """
    scores, small, deferred = checked_answers(uncertainty, small_correct, deferred_correct)
    n, needed = len(scores), exact(check_share(accuracy, "accuracy"))
    candidates = np.concatenate([[-np.inf], _grid(grid, scores, certainty)])
    right = _joint(scores, small, deferred, candidates)
    if certainty is None:
        enough = np.array([int(count) >= needed * n for count in right])
        last = int(np.flatnonzero(enough if enough.any() else right == right.max())[-1])
        met = bool(enough.any())
    else:
        limit = lower_limit(right, n, _certainty(certainty))
        failed = np.flatnonzero(limit < accuracy)
        first = int(failed[0]) if len(failed) else len(candidates)
        last, met = max(0, first - 1), first > 0
    value = float(candidates[last])
    share = float((scores > value).mean())
    return Threshold(value, "accuracy", float(accuracy), met, n, share, certainty)


def threshold_for_ratio(
    uncertainty: ArrayLike, ratio: float, *, certainty: float | None = None
) -> Threshold:
    """Return the threshold that defers as much as possible, but no more than this share.

    No labels are needed. Convention: images of equal uncertainty are deferred together or not at
    all, so that a share of ties is not deferred rather than the budget overrun.

    With certainty: the threshold has m images of val above it, m the largest number whose one-sided
    Clopper-Pearson limit, the `certainty` quantile of Beta(m + 1, n - m), is at most the ratio. The
    share of the population above an order statistic has just that distribution (ties only lower
    it), so choosing the threshold from the same images costs nothing. If even m = 0 is too many,
    nothing is deferred.

    Args:
        uncertainty: (n,) of the small model on val, higher = less sure.
        ratio: Largest share, in [0, 1]; read as the decimal that was typed.
        certainty: Probability in (0, 1), such as .95; None for no guarantee.

    Raises:
        ValueError: Another shape, NaN, or a share outside.
    """
    scores = check_scores(uncertainty, "uncertainty")
    return _by_share(scores, exact(check_ratio(ratio)), certainty)


def threshold_for_flops(
    uncertainty: ArrayLike,
    budget: float,
    *,
    small: float,
    large: float,
    certainty: float | None = None,
) -> Threshold:
    """Return the threshold that defers as much as a budget of FLOPs an image allows.

    The ratio (budget - small) / large, at most 1, goes to `threshold_for_ratio`.

    Args:
        uncertainty: (n,) of the small model on val, higher = less sure.
        budget: Mean FLOPs an image, at least those of the small model.
        small: FLOPs of the small model an image, > 0.
        large: The same of the large model.
        certainty: Probability in (0, 1) that the mean stays within; None for no guarantee.

    Raises:
        ValueError: FLOPs that are not above 0, a budget below the small model's, and as
            `threshold_for_ratio`.
    """
    check_flops(small, large)
    if not budget >= small:
        raise ValueError(
            f"budget is {budget} FLOPs an image, the small model alone takes {small}: "
            "raise the budget or take a smaller model"
        )
    share = min(Fraction(1), (exact(budget) - exact(small)) / exact(large))
    found = _by_share(check_scores(uncertainty, "uncertainty"), share, certainty)
    sizes = (float(small), float(large))
    return replace(found, target="flops", asked=float(budget), flops=sizes)


def threshold_for_cost(curve: DeferralCurve, cost: float) -> Threshold:
    """Return the threshold with the least error rate + cost * deferral ratio on val.

    Convention: the smallest ratio of equally good ones. Cost 0 looks for the most accurate cascade.

    Args:
        curve: From `deferral_curve` on val.
        cost: Of deferring one image, in units of one mistake, 0 or more.

    Raises:
        ValueError: A cost below 0.

    Source: the objective of arXiv 2307.02764; `defer_by_gain` is its rule for known probabilities.
    """
    # In mistakes, whole numbers where the cost is 0: no rounding decides between equals.
    n = curve.images
    spent = n - np.rint(curve.accuracy * n) + check_cost(cost) * np.rint(curve.ratio * n)
    best = int(np.flatnonzero(spent <= spent.min() + 1e-9)[0])
    return Threshold(
        float(curve.threshold[best]), "cost", float(cost), True, n, float(curve.ratio[best])
    )


def check_threshold(
    threshold: Threshold,
    uncertainty: ArrayLike,
    small_correct: ArrayLike,
    deferred_correct: ArrayLike,
    *,
    level: float = 0.95,
) -> Check:
    """Return what a threshold does on other images than those it was chosen on.

    Args:
        threshold: From one of the functions of this module, on val.
        uncertainty: (n,) of the small model on test, higher = less sure.
        small_correct: (n,) bool.
        deferred_correct: (n,) bool, of the large model or the duo.
        level: Of the two-sided intervals, in (0, 1).

    Raises:
        ValueError: Shapes, NaN, flags that are neither 0 nor 1, or a level outside.
    """
    scores, small, deferred = checked_answers(uncertainty, small_correct, deferred_correct)
    n = len(scores)
    counts = np.array([(scores > threshold.value).sum(), 0])
    counts[1] = _joint(scores, small, deferred, np.array([threshold.value]))[0]
    low, high = share_interval(counts, n, level=_certainty(level))
    ratio, accuracy = counts / n
    sizes = threshold.flops
    flops = expected_flops(ratio, small=sizes[0], large=sizes[1]) if sizes else float("nan")
    met = _met(threshold, counts, n, int(small.sum()), int(deferred.sum()))
    return Check(
        float(ratio), float(low[0]), float(high[0]),
        float(accuracy), float(low[1]), float(high[1]), flops, met,
    )  # fmt: skip


def _by_share(scores: Floats, share: Fraction, certainty: float | None) -> Threshold:
    n, rising = len(scores), np.sort(scores)
    if share == 1:
        most = n
    elif certainty is None:
        most = int(share * n)
    else:
        above = np.arange(n)
        limits = beta.ppf(_certainty(certainty), above + 1, n - above)  # rising
        most = int(np.searchsorted(limits, float(share), side="right")) - 1
    value = np.inf if most < 0 else -np.inf if most == n else rising[n - 1 - most]
    found = float((scores > value).mean())
    return Threshold(float(value), "ratio", float(share), True, n, found, certainty)


def _joint(scores: Floats, small: Flags, deferred: Flags, thresholds: Floats) -> Whole:
    """Return (t,) how many answers are right at each of some rising thresholds."""
    order = np.argsort(scores, kind="stable")
    kept = np.concatenate([[0], np.cumsum(small[order], dtype=np.int64)])
    passed = np.concatenate([[0], np.cumsum(deferred[order], dtype=np.int64)])
    at = np.searchsorted(scores[order], thresholds, side="right")  # how many are kept
    return np.asarray(kept[at] + passed[-1] - passed[at])


def _met(threshold: Threshold, counts: Whole, images: int, small: int, deferred: int) -> bool:
    """Return whether the target holds, from (2,) images deferred and answers right."""
    passed, right = (int(count) for count in counts)
    asked = exact(threshold.asked)
    if threshold.target == "accuracy":
        return right >= asked * images
    if threshold.target == "ratio":
        return passed <= asked * images
    if threshold.flops is not None:
        one, other = (exact(size) for size in threshold.flops)
        return one * images + other * passed <= asked * images
    return right - asked * passed >= max(Fraction(small), deferred - asked * images)


def _grid(grid: Sequence[float] | None, scores: Floats, certainty: float | None) -> Floats:
    """Return the rising thresholds to choose from, besides minus infinity."""
    if certainty is None:
        if grid is not None:
            raise ValueError("grid is for a threshold with certainty; without, val gives its own")
        return np.unique(scores)
    if grid is None:
        if scores.min() < 0 or scores.max() > 1:
            raise ValueError(
                f"uncertainties run from {scores.min():g} to {scores.max():g}, the default grid "
                "from 0 to 1: give grid=, rising thresholds that are not made from these images"
            )
        return np.array(GRID)
    given = check_scores(list(grid), "grid")
    if (np.diff(given) <= 0).any():
        raise ValueError("grid must rise from one threshold to the next")
    return given


def _certainty(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"certainty and level must lie in (0, 1), not {value}: 95 % is 0.95")
    return float(value)
