"""The paper in one file: a duo is two models whose logits are added with two learned weights.

    duo logits = weight_large * large logits + weight_small * small logits

The weights minimise the mean negative log-likelihood (NLL) of the validation labels. The NLL of a
weighted sum of logits is convex in the weights, so one minimum exists and Newton's method finds it
in a few passes over the logits: no learning rate, no grid, no starting point to choose.

The paper (arXiv 2505.18636) writes T for these weights; its released code writes T for a divisor,
(large / T_large + small / T_small) / 2, so that weight = 1 / (2 T). Here it is always the weight.
"""

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import lsq_linear

from duokit.checks import Array, check_labels, check_members, row_blocks

WARM_ROWS = 2048  # rows of the sample from which the fit of a larger set starts
LARGEST = 1e4  # bound of a weight, in units of 1 / (standard deviation of the member's logits)


@dataclass(frozen=True)
class WeightFit:
    """What `fit_weights` found.

    Attributes:
        weights: (m,) one a member, in the order given; temperature = 1 / weight.
        nll: Mean NLL of the fused logits in nats, on the images the weights were fitted on.
        standard_errors: (m,) of the weights, robust ("sandwich"); NaN for a weight at 0 and
            wherever the data do not determine the weight.
        gap: The NLL lies at most this far (nats) above the smallest possible one. With
            weights >= 0 it is a proof by convex duality, otherwise the Newton decrement.
        projected_gradient: Largest slope (nats per unit of weight) in a direction that is allowed.
        passes: Passes over all logits.
        path: (passes, m) the weights of each pass, the last row being `weights`.
        status: "optimal"; "separable" (weights can grow for ever: every image is already right);
            "unbounded" (a weight met its bound); "unidentified" (members are copies or mixtures of
            one another, or constant); "unfinished" (out of passes).
        images: n, the number of images.
    """

    weights: np.ndarray
    nll: float
    standard_errors: np.ndarray
    gap: float
    projected_gradient: float
    passes: int
    path: np.ndarray
    status: str
    images: int


class Moments(NamedTuple):
    """The NLL at some weights with its first and second derivatives, all means over images."""

    nll: float
    gradient: np.ndarray  # (m,)
    hessian: np.ndarray  # (m, m)
    outer: np.ndarray  # (m, m) mean of gradient_i gradient_i^T over images i


def fit_weights(
    members: Sequence[Array],
    labels: Array | Sequence[int],
    *,
    nonnegative: bool = True,
    tolerance: float = 1e-10,
    max_passes: int = 100,
) -> WeightFit:
    """Return the weights that minimise the NLL of the weighted sum of the members' logits.

    One member is temperature scaling, two are a duo, more are welcome. The problem is

        minimise over w >= 0:   mean_i [ logsumexp_c (sum_j w_j z_jic) - sum_j w_j z_ji,y(i) ]

    by Newton's method with backtracking; each step solves the quadratic model within the bounds
    exactly, so a useless sidekick gets the weight 0.0 and so does a useless large model. Sums
    over images are in float64, and rows are taken in blocks: the memory needed beyond the logits
    stays under 256 MiB. Sets of over 4,096 images start from the fit of 2,048 evenly spaced ones.

    Cases worth knowing: on separable data (every validation image can be right at once) no finite
    optimum exists and the fit stops, with a warning, where every image has its label at a
    probability above 1/2. Among copies or multiples of one model only the sum of the scaled
    weights is determined: they share it equally, with a warning. A member with constant rows gets
    weight 0. Classes without a validation image are no problem: the weights are shared by all.

    Args:
        members: m arrays or tensors (n, k) of logits, same images in the same order; any float
            type; NumPy or torch, CPU or GPU (all on one device).
        labels: (n,) class numbers 0 ... k - 1.
        nonnegative: Keep every weight >= 0; False lets a member count against its own answer.
        tolerance: Stop when the NLL is proven to be within this many nats of the minimum.
        max_passes: Give up (status "unfinished", with a warning) after so many passes.

    Raises:
        TypeError: Logits that are not floats, labels that are not integers.
        ValueError: Shapes that differ, NaN or infinite logits, labels out of range, fewer than two
            classes. Probabilities are not recognised as such: logits are expected.

    Source: Zhou, Shelhamer, Pleiss, arXiv 2505.18636, section 3.1 (the objective).
    """
    stack = check_members(members)
    target = check_labels(labels, *stack[0].shape).to(stack[0].device)
    rows, m = len(target), len(stack)
    stride = -(-rows // WARM_ROWS)
    sample = [z[::stride] for z in stack], target[::stride]
    scale = np.array([_spread(z) for z in sample[0]])  # weights are fitted in units of 1 / scale
    bound = np.where(nonnegative, 0.0, -LARGEST)
    start = np.full(m, 1.0 / m)
    if stride > 2:
        start = _newton(*sample, scale, start, bound, tolerance, max_passes)[0][-1]
    path, last, gap, status = _newton(stack, target, scale, start, bound, tolerance, max_passes)
    weights = path[-1]
    if status == "optimal" and not _identified(last.hessian):
        status = "unidentified"
        weights[np.diag(last.hessian) < 1e-20] = 0.0
    if status != "optimal":
        warnings.warn(_ADVICE[status].format(passes=max_passes), stacklevel=2)
    slope = np.where(weights > bound, last.gradient, np.minimum(last.gradient, 0)) * scale
    return WeightFit(
        weights=weights / scale,
        nll=last.nll,
        standard_errors=_standard_errors(weights, last, rows, status) / scale,
        gap=gap,
        projected_gradient=float(np.abs(slope).max()),
        passes=len(path),
        path=np.array(path) / scale,
        status=status,
        images=rows,
    )


def moments(
    members: Sequence[torch.Tensor], labels: torch.Tensor, weights: np.ndarray
) -> Moments:
    """Return the mean NLL at these weights with its gradient and Hessian, in one pass.

    With p the softmax of the weighted logits and x_jc = z_jc - z_j,label: the gradient is the mean
    of E_p[x_j], the Hessian the mean of the covariances Cov_p[x_j, x_l].

    Args:
        members: m tensors (n, k), checked (duokit.checks.check_members).
        labels: (n,) int64 tensor on the same device.
        weights: (m,) float64.
    """
    m, (rows, classes) = len(members), members[0].shape
    w = torch.as_tensor(weights, dtype=torch.float64)

    def block(part: slice) -> torch.Tensor:
        return _block_sums([z[part] for z in members], labels[part], w)

    if members[0].device.type == "cuda":
        parts = [block(part) for part in row_blocks(rows, classes, entries=2**23 // (m + 3))]
    else:
        parts = _on_every_core(block, row_blocks(rows, classes), classes * (m + 3) * 8)
    sums = torch.stack(parts).sum(0).cpu().numpy() / rows
    nll, gradient, second, outer = np.split(sums, [1, 1 + m, 1 + m + m * m])
    outer = outer.reshape(m, m)
    return Moments(float(nll[0]), gradient, second.reshape(m, m) - outer, outer)


def _block_sums(
    members: Sequence[torch.Tensor], labels: torch.Tensor, w: torch.Tensor
) -> torch.Tensor:
    """Return [sum of NLL, of E_p[x] (m), of E_p[x x^T] (m m), of E_p[x] E_p[x]^T (m m)]."""
    work = labels.device if labels.device.type == "cuda" else w.device  # MPS has no float64
    x = torch.stack([z.to(work, torch.float64) for z in members])  # (m, b, k)
    x -= x.gather(2, labels.to(work)[None, :, None].expand(len(members), -1, 1))
    fused = torch.tensordot(w.to(work), x, dims=1)
    top = fused.amax(1, keepdim=True)
    p = fused.sub_(top).exp_()
    total = p.sum(1, keepdim=True)
    nll = (top + total.log()).sum()
    p /= total
    expected = torch.einsum("mbk,bk->mb", x, p)  # each image's gradient
    x *= p.sqrt_()
    x = x.flatten(1)
    pieces = nll[None], expected.sum(1), (x @ x.T).flatten(), (expected @ expected.T).flatten()
    return torch.cat(pieces)


def _on_every_core(
    work: Callable[[slice], torch.Tensor], blocks: list[slice], row_bytes: int
) -> list[torch.Tensor]:
    """Return work(block) for each block: one core a block, not one block over all cores.

    A block is so small that cores sharing it would mostly wait for each other (on a busy machine
    thirty times longer than one core alone takes).
    """
    threads = torch.get_num_threads()
    block_bytes = max(8 * 2**17, row_bytes)
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(max(1, min(threads, 8, 2**27 // block_bytes))) as pool:
            return list(pool.map(work, blocks))
    finally:
        torch.set_num_threads(threads)


def _newton(
    members: Sequence[torch.Tensor],
    labels: torch.Tensor,
    scale: np.ndarray,
    start: np.ndarray,
    bound: np.ndarray,
    tolerance: float,
    max_passes: int,
) -> tuple[list[np.ndarray], Moments, float, str]:
    """Return (path, moments at its end, gap, status), all in units where each spread is 1."""

    def look(weights: np.ndarray) -> Moments:
        at = moments(members, labels, weights / scale)
        return Moments(
            at.nll,
            at.gradient / scale,
            at.hessian / np.outer(scale, scale),
            at.outer / np.outer(scale, scale),
        )

    here = look(start)
    path = [start]
    while True:
        gap = _gap(path[-1], here, bound)
        if gap <= tolerance:
            return path, here, gap, "optimal"
        if here.nll * len(labels) < np.log(2):  # then every image has p(label) > 1/2
            return path, here, gap, "separable"
        if np.abs(path[-1]).max() >= LARGEST:
            return path, here, gap, "unbounded"
        # Aiming at a slightly positive gradient makes the next point feasible for the dual, so
        # that its gap is a proof.
        aim = tolerance / (2 + 2 * np.abs(path[-1]).sum())
        goal = _solve(path[-1], here.gradient - aim, here.hessian, bound)
        descent = float(here.gradient @ (goal - path[-1]))
        share = 1.0
        while True:
            if len(path) >= max_passes:
                return path, here, gap, "unfinished"
            point = path[-1] + share * (goal - path[-1])
            there = look(point)
            if there.nll <= here.nll + 1e-4 * share * descent + 1e-14:
                break
            share /= 4
        path.append(point)
        here = there


def _solve(
    weights: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, bound: np.ndarray
) -> np.ndarray:
    """Return the minimiser of the quadratic model within the bounds (exact, by active sets)."""
    damped = hessian + (1e-13 + 1e-12 * np.trace(hessian)) * np.eye(len(weights))
    root = np.linalg.cholesky(damped).T
    goal = root @ weights - np.linalg.solve(root.T, gradient)
    return lsq_linear(root, goal, bounds=(bound, LARGEST), method="bvls", tol=1e-15).x


def _gap(weights: np.ndarray, at: Moments, bound: np.ndarray) -> float:
    """Return how far the NLL can lie above its minimum.

    The dual of the fit over weights >= 0 is: the largest mean entropy of any predictions whose
    expected logits are nowhere below the labels' (gradient >= 0). Softmax predictions with
    gradient g >= 0 have the mean entropy NLL - w.g, so w.g bounds the distance to the minimum.
    """
    if not bound.any() and (at.gradient >= 0).all():
        return float(weights @ at.gradient)
    free = (weights > bound) | (at.gradient < 0)
    g, h = at.gradient[free], at.hessian[np.ix_(free, free)]
    decrement = float(g @ np.linalg.lstsq(h, g, rcond=1e-12)[0])
    return decrement / 2 if bound.any() else max(decrement, np.abs(g).max())


def _standard_errors(weights: np.ndarray, at: Moments, rows: int, status: str) -> np.ndarray:
    """Return sandwich standard errors of the weights that are free, NaN for the others."""
    errors = np.full(len(weights), np.nan)
    free = (weights != 0) & (weights < LARGEST)
    if status == "optimal" and free.any():
        inverse = np.linalg.inv(at.hessian[np.ix_(free, free)])
        errors[free] = np.sqrt(np.diag(inverse @ at.outer[np.ix_(free, free)] @ inverse) / rows)
    return errors


def _identified(hessian: np.ndarray) -> bool:
    size = np.sqrt(np.diag(hessian))
    if (size < 1e-10).any():
        return False
    return bool(np.linalg.eigvalsh(hessian / np.outer(size, size))[0] > 1e-9)


def _spread(logits: torch.Tensor) -> float:
    """Return the root mean square over images of the logits' standard deviation over classes."""
    spread = float(logits.double().var(dim=1, correction=0).mean().sqrt())
    return spread if spread > 0 else 1.0


_ADVICE = {
    "separable": (
        "the validation images can all be right at once, so no finite weights are best: the fit "
        "stopped where each label has a probability above 1/2. Use more validation images"
    ),
    "unbounded": (
        "a weight grew to its bound: the validation images do not limit it. Use more of them"
    ),
    "unidentified": (
        "the members' logits are copies or mixtures of one another (or constant), so only some "
        "combination of the weights is determined: the fused logits are right, the weights one "
        "choice among many. Leave out a member to get a unique answer"
    ),
    "unfinished": (
        "no proof of the optimum after {passes} passes: the weights may be off. Look at gap; "
        "raise max_passes or tolerance"
    ),
}
