"""Newton's method for the convex NLL of a few weights within bounds, with a proof of its end."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import lsq_linear

from duokit.fusion.moments import Moments

LARGEST = 1e6  # bound of a weight in units of 1 / spread: far above any that makes sense


class Descent(NamedTuple):
    """Where Newton's method ended.

    Attributes:
        path: The weights after each step, the start first, the end last.
        at: The moments at the end.
        gap: The NLL lies at most this far above its minimum.
        looks: How often the moments were computed.
        status: "optimal", "separable" or "unfinished".
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
    noise: float = 1e-14,
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
        noise: An NLL may rise by so much from rounding alone.
    """
    path, at, looks = [start], look(start), 1
    while True:
        gap = _gap(path[-1], at, lower, width)
        if gap <= tolerance or at.nll < separable:
            status = "optimal" if gap <= tolerance else "separable"
            return Descent(path, at, gap, looks, status)
        # Aiming at a gradient slightly above 0 makes the end feasible for the dual (see _gap).
        aim = tolerance / (2 + 2 * np.abs(path[-1]).sum())
        step = _step(path[-1], at.gradient - aim, at.hessian, lower)
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
    """Return the weights one step further, where nobody has looked yet."""
    weights = end.path[-1]
    return weights + _step(weights, end.at.gradient, end.at.hessian, lower)


def identified(hessian: np.ndarray) -> bool:
    """Return whether the NLL curves in every direction, as far as float64 can tell."""
    size = np.sqrt(np.diag(hessian))
    if (size < 1e-4).any():
        return False
    return bool(np.linalg.eigvalsh(hessian / np.outer(size, size))[0] > 1e-9)


def smallest(weights: np.ndarray, hessian: np.ndarray, lower: float) -> np.ndarray:
    """Return the smallest weights (2-norm, within the bounds) that fuse to the same logits."""
    values, vectors = np.linalg.eigh(hessian)
    held = 1e6 * vectors[:, values > 1e-9 * values[-1]].T  # directions in which the NLL curves
    rows = np.vstack([held, np.eye(len(weights))])
    goal = np.concatenate([held @ weights, np.zeros(len(weights))])
    found = lsq_linear(rows, goal, bounds=(lower, LARGEST), method="bvls", tol=1e-15).x
    return np.where(np.abs(found) < 1e-9 * np.abs(found).max(), 0.0, found)


def _step(
    weights: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, lower: float
) -> np.ndarray:
    """Return the step to the minimum of the quadratic model within the bounds (exact)."""
    damped = hessian + (1e-13 + 1e-12 * np.trace(hessian)) * np.eye(len(weights))
    root = np.linalg.cholesky(damped).T
    goal = root @ weights - np.linalg.solve(root.T, gradient)
    found = lsq_linear(root, goal, bounds=(lower, LARGEST), method="bvls", tol=1e-15)
    return np.asarray(found.x - weights)


def _gap(weights: np.ndarray, at: Moments, lower: float, width: float) -> float:
    """Return how far the NLL can lie above its minimum: the smaller of two proofs that holds.

    Curvature: on the way from these weights to the best, d long in the norm of the Hessian H, the
    curvature cannot fall faster than exp(-k d), k = width / sqrt(smallest eigenvalue of H). So it
    stops the slope n = sqrt(g H^-1 g) within d <= -ln(1 - k n) / k, if k n < 1, and the NLL falls
    by n d at most: about n^2, where k n is small (Bach, arXiv 0910.4627, section 2).

    Duality, for weights >= 0: the dual is the largest mean entropy of any predictions whose
    expected logits are nowhere below the labels' (g >= 0). The softmax predictions have the mean
    entropy NLL - w.g, so w.g bounds the distance to the minimum.

    Where neither holds, the Newton decrement serves; it steers, and proves nothing.
    """
    free = (weights > lower) | (at.gradient < 0)
    slope = np.where(free, at.gradient, 0.0)
    decrement = float(slope @ np.linalg.lstsq(at.hessian, slope, rcond=1e-12)[0])
    bounds = []
    least = float(np.linalg.eigvalsh(at.hessian)[0])
    if least > 1e-12 * np.trace(at.hessian):
        reach = max(width / np.sqrt(least), 1e-9) * np.sqrt(max(decrement, 0.0))  # k n
        if reach < 1:
            bounds.append(decrement * (-np.log1p(-reach) / reach if reach > 0 else 1.0))
    if lower == 0 and (at.gradient >= 0).all():
        bounds.append(float(weights @ at.gradient))
    return min(bounds) if bounds else max(decrement, float(np.abs(slope).max()))
