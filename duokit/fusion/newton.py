"""Newton's method for the convex NLL of a few weights within bounds, with a proof of its end."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from duokit.fusion.moments import Moments

LARGEST = 1e6  # bound of a weight in units of 1 / spread: far above any that makes sense
# Share of a direction's curvature that is left once members are mixed to cancel each other:
COPY = 1e-9  # below it, float64 cannot tell the mixture from nothing,
CLOSE = 1e-4  # below it, the members agree as a model and its own bfloat16 logits do
ROUNDED = 1e-5  # in float32 the curvature itself is known to no more than about this share


class Descent(NamedTuple):
    """Where Newton's method ended.

    Attributes:
        path: The weights after each step, the start first, the end last.
        at: The moments at the end.
        gap: The NLL lies at most this far above its minimum (see `_bounds`).
        looks: How often the moments were computed.
        status: "optimal", "separable", "unidentified" or "unfinished".
    """

    path: list[np.ndarray]
    at: Moments
    gap: float
    looks: int
    status: str


def minimise(
    look: Callable[[np.ndarray], Moments],
    start: np.ndarray,
    lower: float,
    *,
    width: float,
    tolerance: float,
    separable: float,
    max_looks: int,
    rough: float = 0.0,
) -> Descent:
    """Return the descent from `start` to weights whose NLL is proven to be minimal.

    Args:
        look: Computes the moments at some weights.
        start: (m,) weights to begin with.
        lower: Bound of every weight, 0 or -LARGEST.
        width: No image's logits change relative to one another by more than this, over a step of
            length 1; the proof needs it.
        tolerance: The end is reached when the gap is at most this, in nats.
        separable: The NLL under which the data are known to be separable.
        max_looks: Give up after computing the moments so often.
        rough: Above 0: the moments are in float32, an NLL may rise by so much from rounding alone,
            and a good guess of the gap will do for the end.
    """
    copy, noise = (ROUNDED, rough) if rough else (COPY, 1e-14)
    path, at, looks = [start], look(start), 1
    while True:
        gap, guess = _bounds(path[-1], at, lower, width, copy)
        if at.nll < separable:
            return Descent(path, at, gap, looks, "separable")
        if (guess if rough else gap) <= tolerance:
            return Descent(path, at, gap, looks, "optimal")
        if guess <= tolerance and not identified(at.hessian):
            return Descent(path, at, gap, looks, "unidentified")
        # Aiming at a gradient slightly above 0 makes the end feasible for the dual (see _bounds).
        aim = tolerance / (2 + 2 * np.abs(path[-1]).sum())
        step = _step(path[-1], at.gradient - aim, at.hessian, lower, copy)
        while True:
            if looks >= max_looks:
                return Descent(path, at, gap, looks, "unfinished")
            there = look(path[-1] + step)
            looks += 1
            if there.nll <= at.nll + 1e-4 * float(at.gradient @ step) + noise:
                break
            step = step / 4
        path.append(path[-1] + step)
        at = there


def onward(end: Descent, lower: float) -> np.ndarray:
    """Return the weights one step further, where nobody has looked yet.

    Args:
        end: A rough descent.
        lower: Bound of every weight.
    """
    weights = end.path[-1]
    return weights + _step(weights, end.at.gradient, end.at.hessian, lower, ROUNDED)


def prefer_smallest(
    look: Callable[[np.ndarray], Moments], end: Descent, lower: float, *, width: float, images: int
) -> Descent:
    """Return the end with the smallest weights, if the images cannot tell that these are worse.

    Twice the number of images times the rise in mean NLL follows a chi-squared law where a weight
    more brings nothing; 25 (five standard errors) is beyond its luck.

    Args:
        look: As for `minimise`.
        end: A descent to weights of which others may be as good.
        lower: Bound of every weight.
        width: As for `minimise`.
        images: How many there are.
    """
    weights = smallest(end.path[-1], end.at.hessian, lower)
    at = look(weights)
    rise = max(0.0, at.nll - end.at.nll)
    saturated = (np.diag(end.at.hessian) < 1e-8) & (np.diag(end.at.outer) > 0)
    if rise > (1e-8 if saturated.any() else 12.5 / images):
        # A weight that can grow for ever; or members close to one another that differ in substance.
        status = "optimal" if identified(end.at.hessian) else "unidentified"
        return end._replace(looks=end.looks + 1, status=status)
    gap, looks = end.gap + rise, end.looks + 1
    if lower == 0 and gap > 1e-11:  # a little further on, where the gradient is above 0, is a proof
        aim = -2 * min(0.0, float(at.gradient.min()))
        beyond = weights + _step(weights, at.gradient - aim, at.hessian, lower, COPY)
        there, looks = look(beyond), looks + 1
        gap = min(gap, _bounds(beyond, there, lower, width)[0] + max(0.0, at.nll - there.nll))
    return Descent([*end.path, weights], at, gap, looks, "unidentified")


def identified(hessian: np.ndarray, share: float = COPY) -> bool:
    """Return whether the NLL curves in every direction.

    Args:
        hessian: (m, m).
        share: Least share of the curvature that must be left in a direction in which members
            cancel each other.
    """
    if (np.diag(hessian) < 1e-8).any():
        return False
    return bool(_directions(hessian)[0][0] > share)


def smallest(weights: np.ndarray, hessian: np.ndarray, lower: float) -> np.ndarray:
    """Return the smallest weights (2-norm, within the bounds) that fuse to nearly the same logits.

    Args:
        weights: (m,) at the minimum.
        hessian: (m, m) there; what moves in directions with less than the share CLOSE of their
            curvature counts as nothing.
        lower: Bound of every weight.
    """
    values, across = _directions(hessian)
    held = 1e6 * across[:, values > CLOSE].T  # directions in which the NLL curves
    rows = np.vstack([held, np.eye(len(weights))])
    goal = np.concatenate([held @ weights, np.zeros(len(weights))])
    found = lsq_linear(rows, goal, bounds=(lower, LARGEST), method="bvls", tol=1e-15).x
    return np.where(np.abs(found) < 1e-9 * np.abs(found).max(), 0.0, found)


def _directions(hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (m,) shares of curvature, rising, and (m, m) directions, so that H = A diag(v) A^T.

    Shares are eigenvalues once every member is measured in units of its own curvature: with
    members of their own each is of the order of 1, with copies, multiples and mixtures one is 0.
    """
    size = np.sqrt(np.maximum(np.diag(hessian), 0.0))
    size[size == 0] = 1.0  # constant rows: a direction of their own, without curvature
    values, vectors = np.linalg.eigh(hessian / np.outer(size, size))
    return values, vectors * size[:, None]


def _step(
    weights: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, lower: float, copy: float
) -> np.ndarray:
    """Return the step to the minimum of the quadratic model within the bounds (exact).

    Directions with less than the share `copy` of their curvature have no slope but rounding. So
    they are moved in only as far as the bounds ask for it.
    """
    values, across = _directions(hessian)
    flat = values <= copy
    root = np.sqrt(np.where(flat, 1e-12, values))[:, None] * across.T
    slope = np.where(flat, 0.0, np.linalg.solve(root.T, gradient))
    goal = root @ weights - slope
    found = lsq_linear(root, goal, bounds=(lower, LARGEST), method="bvls", tol=1e-15)
    return np.asarray(found.x - weights)


def _bounds(
    weights: np.ndarray, at: Moments, lower: float, width: float, copy: float = COPY
) -> tuple[float, float]:
    """Return how far the NLL can lie above its minimum, proven, and a guess to steer by.

    The proven number is the smallest of these, as far as they hold:

    Nothing: no NLL is below 0, so its own value bounds the distance.

    Convexity: the NLL lies above its tangent, and a weight is at most LARGEST. Where the gradient
    g and the weights are at least 0, this is w.g. (That is duality: the dual is the largest mean
    entropy of predictions whose expected logits are nowhere below the labels'; the softmax has the
    mean entropy NLL - w.g.)

    Curvature: on the way from these weights to the best, d long in the norm of the Hessian H, the
    curvature cannot fall faster than exp(-k d), k = width / sqrt(smallest eigenvalue of H). So it
    stops the slope n = sqrt(g H^-1 g) within d <= -ln(1 - k n) / k, if k n < 1, and the NLL falls
    by n d at most: about n^2, where k n is small (Bach, arXiv 0910.4627, section 2).

    The guess is the smaller of the last two; where neither holds, n^2 or the slope, in directions
    that have more than the share `copy` of their curvature.
    """
    g = at.gradient
    slope = np.where((weights > lower) | (g < 0), g, 0.0)
    values, across = _directions(at.hessian)
    curved = values > copy
    along = np.where(curved, np.linalg.solve(across, slope), 0.0)
    decrement = float((along[curved] ** 2 / values[curved]).sum())
    tangent = float(np.where(g >= 0, (weights - lower) * g, (weights - LARGEST) * g).sum())
    proofs = []
    least = float(np.linalg.eigvalsh(at.hessian)[0])
    if curved.all() and least > 1e-12 * np.trace(at.hessian):
        reach = max(width / np.sqrt(least), 1e-9) * np.sqrt(decrement)  # k n
        if reach < 1:
            proofs.append(decrement * (-np.log1p(-reach) / reach if reach > 0 else 1.0))
    if lower == 0 and (g >= 0).all():
        proofs.append(tangent)
    guess = min(proofs) if proofs else max(decrement, float(np.abs(across @ along).max()))
    return min(at.nll, tangent, *proofs), guess
