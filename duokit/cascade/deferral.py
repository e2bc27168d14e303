"""Deferral: the small model answers where it is sure, the large one (or the duo) answers the rest.

An image is deferred when the small model's uncertainty is above a threshold. Any real score will
do, higher = less sure: `Scores.uncertainty`, 1 - the largest probability, is the published rule for
classification; minus `sequence_score` the one for sequences. The deferral ratio is the share that
is deferred, the joint accuracy that of all answers together.

Every function takes for each image whether the small model is right and whether the deferred answer
is: the large model's, or that of the duo, which costs the same since both logits exist by then.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from duokit.checks import row_blocks
from duokit.conversion import as_array
from duokit.metrics.arrays import (
    ArrayLike,
    Flags,
    Floats,
    Whole,
    check_confidence,
    check_correct,
    check_scores,
)
from duokit.metrics.ranked import group_ends

Ideal = Literal["published", "oracle"]


class Line(NamedTuple):
    """Corners of a broken line.

    Attributes:
        ratio: (p,) deferral ratios, rising from 0 to 1.
        accuracy: (p,) joint accuracy at each.
    """

    ratio: Floats
    accuracy: Floats

    @property
    def area(self) -> float:
        """The area under the line, in [0, 1], exact, since the line is straight between corners."""
        return float(_area(self.accuracy, self.ratio))

    def at(self, ratio: float) -> float:
        """Return the joint accuracy at a deferral ratio in [0, 1].

        Raises:
            ValueError: A ratio outside.
        """
        return float(np.interp(check_ratio(ratio), self.ratio, self.accuracy))


@dataclass(frozen=True)
class DeferralCurve:
    """Joint accuracy at every deferral ratio, and the lines to compare it with.

    Attributes:
        ratio: (g + 1,) share deferred, rising from 0 to 1: one point for each of the g distinct
            uncertainties, and one where everything is deferred.
        accuracy: (g + 1,) joint accuracy there, in [0, 1].
        threshold: (g + 1,) falling; defer an image when its uncertainty is above it. The last is
            minus infinity.
        images: n.
        small: Accuracy of the small model on all images.
        deferred: Accuracy of the deferred answer on all images.
        gained: Share of images that deferring mends: small model wrong, deferred answer right.
        lost: Share that it spoils: small model right, deferred answer wrong.
    """

    ratio: Floats
    accuracy: Floats
    threshold: Floats
    images: int
    small: float
    deferred: float
    gained: float
    lost: float

    @property
    def line(self) -> Line:
        """The curve itself, straight within a group of equal uncertainty."""
        return Line(self.ratio, self.accuracy)

    @property
    def random(self) -> Line:
        """Deferring images drawn by lot, straight from `small` to `deferred`."""
        return _line([0, 1], [self.small, self.deferred])

    @property
    def ideal(self) -> Line:
        """The published ideal, straight up to `deferred` over the small model's errors, then flat.

        It has the small model's mistakes deferred first, and the large model right on them only as
        often as on any image. Where the two err on different images this is no upper bound.
        """
        errors = 1 - self.small
        return _line([0, errors, 1], [self.small, self.deferred, self.deferred])

    @property
    def oracle(self) -> Line:
        """The upper bound, which defers first what that mends and last what it spoils.

        Up with slope 1 for a share `gained`, then flat, then down with slope 1 for a share `lost`.
        No order of these images has a higher accuracy at any ratio.
        """
        top = self.small + self.gained
        corners = [0, self.gained, 1 - self.lost, 1]
        return _line(corners, [self.small, top, top, self.deferred])


def deferral_curve(
    uncertainty: ArrayLike, small_correct: ArrayLike, deferred_correct: ArrayLike
) -> DeferralCurve:
    """Return the joint accuracy at every deferral ratio that a threshold can reach.

    Joint accuracy = (small model right among the kept + deferred answer right among the deferred) /
    n. The most uncertain images are deferred first.

    Convention: images of equal uncertainty are deferred together; the straight line across them is
    the mean over all their orders, so areas and interpolated accuracies do not depend on the order
    of the file.

    Args:
        uncertainty: (n,) of the small model, real numbers, higher = less sure, infinity allowed.
        small_correct: (n,) bool, True where the small model is right.
        deferred_correct: (n,) bool, True where the answer to a deferred image is right.

    Raises:
        ValueError: Other shapes, no image, NaN, or flags that are neither 0 nor 1.

    Source: Rabanser et al., arXiv 2502.19335 (curve, random and ideal lines).
    """
    scores, small, deferred = checked_answers(uncertainty, small_correct, deferred_correct)
    n = len(scores)
    order = np.argsort(-scores, kind="stable")  # most uncertain first
    change = deferred[order].astype(np.int64) - small[order]
    falling = scores[order]
    ends = group_ends(falling)
    count = np.concatenate([[0], ends + 1])
    right = small.sum() + np.concatenate([[0], np.cumsum(change)[ends]])
    return DeferralCurve(
        ratio=count / n,
        accuracy=right / n,
        threshold=np.concatenate([falling[ends], [-np.inf]]),
        images=n,
        small=float(small.mean()),
        deferred=float(deferred.mean()),
        gained=float((deferred & ~small).mean()),
        lost=float((small & ~deferred).mean()),
    )


def deferral_performance(curve: DeferralCurve, *, ideal: Ideal = "published") -> float:
    """Return s_d, how much of the possible gain over deferring by lot the order of deferral makes.

    (area under the curve - area under random) / (area under ideal - area under random).

    Convention: "published" divides by the paper's ideal, a triangle of area
    (deferred - small) * small / 2. That ideal is no upper bound: where the members complement each
    other the number can be above 1, and is not clipped here (a public reproduction clips it to
    [0, 1]). "oracle" divides by the true upper bound, of area
    (gained (1 - gained) + lost (1 - lost)) / 2, and is at most 1.

    Args:
        curve: From `deferral_curve`.
        ideal: "published" or "oracle".

    Returns:
        1 = as good as the ideal, 0 = by lot, below 0 = worse than by lot. nan where there is
        nothing to divide by: for "published" when the deferred answer is not more accurate than the
        small model's (the formula would then turn its sign round) or the small model is never
        right; for "oracle" when every order has the same curve.

    Raises:
        ValueError: An unknown ideal.

    Source: Rabanser et al., arXiv 2502.19335.
    """
    if ideal not in ("published", "oracle"):
        raise ValueError(f'ideal must be "published" or "oracle", not {ideal!r}')
    if ideal == "published":
        possible = max(0.0, curve.deferred - curve.small) * curve.small / 2
    else:
        possible = (curve.gained * (1 - curve.gained) + curve.lost * (1 - curve.lost)) / 2
    return (curve.line.area - curve.random.area) / possible if possible > 0 else float("nan")


def confidence_overlap(
    confidence: ArrayLike, correct: ArrayLike, *, bandwidth: float = 0.05, points: int = 1000
) -> float:
    """Return s_o, how much the confidences of right and wrong answers overlap.

    The integral over [0, 1] of the smaller of two densities, each a Gaussian kernel estimate.

    Convention: each density is scaled to area 1 on [0, 1], since kernels reach beyond; areas by
    the trapezoid on equally spaced points. The paper's bandwidth is not known to us, and the number
    depends on it; the defaults are those of a public reproduction. AUROC asks the same question
    without a bandwidth.

    Args:
        confidence: (n,) of the small model, in [0, 1].
        correct: (n,) bool, True where it is right.
        bandwidth: Standard deviation of the kernel, > 0. Several points must fit into one.
        points: Of the grid, 2 or more.

    Returns:
        A number in [0, 1], 0 = apart, 1 = alike, lower is better; nan when all are right or all
        are wrong.

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are neither 0
            nor 1, or a bandwidth that is not above 0 or is narrower than the grid.

    Source: Rabanser et al., arXiv 2502.19335.
    """
    values = check_confidence(confidence)
    flags = check_correct(correct, len(values))
    once = np.ones((1, len(values)))
    return float(weighted_overlap(values, flags, once, bandwidth=bandwidth, points=points)[0])


def weighted_overlap(
    confidence: Floats,
    correct: Flags,
    counts: npt.NDArray[Any],
    *,
    bandwidth: float,
    points: int,
) -> Floats:
    """Return (r,) s_o of samples in which image i appears counts[i] times.

    A density is a sum over images, so that each kernel is computed once for all samples.

    Args:
        confidence: (n,) of the small model, in [0, 1].
        correct: (n,) bool, True where it is right.
        counts: (r, n) numbers, 0 or more.
        bandwidth: As for `confidence_overlap`.
        points: As for `confidence_overlap`.

    Returns:
        Numbers in [0, 1]; nan for a sample in which all are right or all are wrong.

    Raises:
        ValueError: A bandwidth that is not above 0 or is narrower than the grid.
    """
    if int(points) != points or points < 2:
        raise ValueError(f"points must be a whole number, 2 or more, not {points}")
    if not bandwidth >= 2 / (points - 1):
        raise ValueError(
            f"bandwidth is {bandwidth}; with {points} points it must be at least two steps, "
            f"{2 / (points - 1):.3g}: take a wider one or more points"
        )
    grid = np.linspace(0, 1, points)
    right, wrong = (
        _densities(confidence, counts, np.flatnonzero(chosen), grid, bandwidth)
        for chosen in (correct, ~correct)
    )
    return _area(np.minimum(right, wrong), grid)


def expected_flops(ratio: float, *, small: float, large: float) -> float:
    """Return the mean FLOPs an image: small + ratio * large.

    The same when the duo answers the deferred images: adding two rows of logits costs nothing
    beside a network. A duo on every image is ratio = 1.

    Args:
        ratio: Share deferred, in [0, 1].
        small: FLOPs of the small model an image, > 0, at the resolution it runs at.
        large: The same of the large model.

    Raises:
        ValueError: A ratio outside, or FLOPs that are not above 0.
    """
    check_flops(small, large)
    return small + check_ratio(ratio) * large


def defer_by_gain(
    small_confidence: ArrayLike, deferred_confidence: ArrayLike, *, cost: float
) -> Flags:
    """Return (n,) True where deferring is expected to gain more than it costs.

    Defer where P(deferred answer right) - P(small model right) > cost: the rule with the smallest
    P(wrong) + cost * P(deferred) when both probabilities are the true ones. The second must be
    known without running the large model: a constant (its accuracy on val; then this is a threshold
    on the small model's confidence, Chow's rule) or an estimate from what the small model saw.

    Convention: an image where gain and cost are equal is kept.

    Args:
        small_confidence: (n,) calibrated, in [0, 1].
        deferred_confidence: (n,) or one number, in [0, 1].
        cost: Of deferring one image, in units of one mistake, 0 or more.

    Raises:
        ValueError: Another shape, a confidence outside 0 ... 1, or a cost below 0.

    Source: Jitkrittum et al., arXiv 2307.02764; Chow 1970.
    """
    own = check_confidence(small_confidence, "small_confidence")
    given = as_array(deferred_confidence, "deferred_confidence")
    if given.ndim == 0:
        given = np.full(len(own), given)
    other = check_confidence(given, "deferred_confidence")
    if len(other) != len(own):
        raise ValueError(
            f"deferred_confidence has {len(other)} images, small_confidence {len(own)}"
        )
    return np.asarray(other - own > check_cost(cost))


def check_cost(cost: float) -> float:
    """Return the cost of deferring one image, in mistakes, or raise ValueError below 0."""
    if not 0 <= cost < np.inf:
        raise ValueError(
            f"cost is {cost}; it must be 0 or more, in units of one mistake: .01 means that "
            "deferring 100 images may cost as much as one wrong answer"
        )
    return float(cost)


def check_ratio(ratio: float) -> float:
    """Return a deferral ratio, or raise ValueError outside [0, 1]."""
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be a fraction in [0, 1], not {ratio}: 20 % is 0.2")
    return float(ratio)


def checked_answers(
    uncertainty: ArrayLike, small_correct: ArrayLike, deferred_correct: ArrayLike
) -> tuple[Floats, Flags, Flags]:
    """Return the three arrays of a cascade, checked, all of one length."""
    scores = check_scores(uncertainty, "uncertainty")
    small = check_correct(small_correct, len(scores), "small_correct")
    return scores, small, check_correct(deferred_correct, len(scores), "deferred_correct")


def check_flops(small: float, large: float) -> None:
    """Raise ValueError unless both are finite and above 0."""
    for name, value in (("small", small), ("large", large)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} is {value} FLOPs; it must be finite and above 0")


def _line(ratio: list[float], accuracy: list[float]) -> Line:
    # gained + lost may exceed 1 by a rounding: the corners must not fall
    return Line(np.maximum.accumulate(np.array(ratio, float)), np.array(accuracy, float))


def _area(heights: Floats, at: Floats) -> Floats:
    """Return (...) the trapezoid areas; np.trapezoid is not in NumPy 1."""
    return np.asarray((np.diff(at) * (heights[..., 1:] + heights[..., :-1])).sum(-1) / 2)


def _densities(
    values: Floats, counts: npt.NDArray[Any], chosen: Whole, grid: Floats, bandwidth: float
) -> Floats:
    """Return (r, points) the densities of the chosen values, nan where none of them appears."""
    total = torch.zeros(len(counts), len(grid), dtype=torch.float64)
    for rows in row_blocks(len(chosen), len(grid)):
        away = (values[chosen[rows], None] - grid) / bandwidth
        kernels = torch.from_numpy(np.exp(-0.5 * away**2))
        total += torch.from_numpy(counts[:, chosen[rows]].astype(np.float64)) @ kernels
    found = total.numpy()
    area = _area(found, grid)[:, None]
    return np.asarray(found / np.where(area > 0, area, np.nan))
