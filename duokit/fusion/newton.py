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
    tolerance: float,
    separable: float,
    max_looks: int,
) -> Descent:
    """Return the descent from `start` to weights whose NLL is proven to be minimal.

    Args:
        look: Computes the moments at some weights.
        start: (m,) weights to begin with.
        lower: Bound of every weight, 0 or -LARGEST.
        tolerance: The end is reached when the gap is at most this, in nats.
        separable: The NLL under which the data are known to be separable.
        max_looks: Give up after computing the moments so often.
    """
    path, at, looks = [start], look(start), 1
    while True:
        gap = _gap(path[-1], at, lower)
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
            if there.nll <= at.nll + 1e-4 * float(at.gradient @ step) + 1e-14:
                break
            step = step / 4
        path.append(path[-1] + step)
        at = there


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


def _gap(weights: np.ndarray, at: Moments, lower: float) -> float:
    """Return how far the NLL can lie above its minimum.

    The dual of the fit over weights >= 0 is: the largest mean entropy of any predictions whose
    expected logits are nowhere below the labels' (gradient >= 0). The softmax predictions at
    weights w with gradient g >= 0 have the mean entropy NLL - w.g, so w.g bounds the distance to
    the minimum. Elsewhere the Newton decrement serves; it steers, and proves nothing.
    """
    if lower == 0 and (at.gradient >= 0).all():
        return float(weights @ at.gradient)
    free = (weights > lower) | (at.gradient < 0)
    g, h = at.gradient[free], at.hessian[np.ix_(free, free)]
    decrement = float(g @ np.linalg.lstsq(h, g, rcond=1e-12)[0])
    return decrement / 2 if lower < 0 else max(decrement, float(np.abs(g).max()))
