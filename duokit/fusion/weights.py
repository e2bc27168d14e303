"""The paper in one file: a duo is two models whose logits are added with two learned weights.

    duo logits = weight_large * large logits + weight_small * small logits

The weights minimise the mean negative log-likelihood (NLL) of the validation labels. The NLL of a
weighted sum of logits is convex in the weights, so one minimum exists and Newton's method finds it
in a few passes over the logits: no learning rate, no grid, no starting point to choose.

The paper (arXiv 2505.18636) writes T for these weights; its released code writes T for a divisor,
(large / T_large + small / T_small) / 2, so that weight = 1 / (2 T). Here it is always the weight.
"""

import inspect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from duokit.checks import Array, check_labelled
from duokit.fusion.masks import check_labels_kept, extent, masked
from duokit.fusion.moments import Moments, moments
from duokit.fusion.newton import (
    CLOSE,
    LARGEST,
    Descent,
    identified,
    minimise,
    onward,
    prefer_smallest,
)

WARM_ROWS = 2048  # rows of the sample from which the fit of a larger set starts
ROUGH = 1e-5  # nats: from there one more step, then float64; float32 tells 1e-6 apart
ROUGH_PASSES = 8
LEAST = 1e-6  # at this weight a model that is worse than guessing keeps its answers


@dataclass(frozen=True)
class WeightFit:
    """What `fit_weights` found.

    Attributes:
        weights: (m,) one a member, in the order given; temperature = 1 / weight.
        nll: Mean NLL of the fused logits in nats, on the images the weights were fitted on.
        standard_errors: (m,) of the weights, robust ("sandwich"); NaN for a weight at 0 and
            wherever the data do not determine the weight.
        gap: The NLL lies at most this far (nats) above the smallest possible one: a proof, from
            the curvature or by convex duality (duokit.fusion.newton).
        projected_gradient: Largest slope (nats per unit of weight) in a direction that is allowed.
        passes: Passes over all logits.
        path: (steps, m) the weights from step to step, the last row being `weights`.
        status: "optimal"; "separable" (weights can grow for ever: every image is already right);
            "unidentified" (other weights are as good: members are constant, copies or mixtures of
            one another, or a weight can grow for ever); "unfinished" (out of passes).
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


def fit_weights(
    members: Sequence[Array],
    labels: Array | Sequence[int],
    *,
    nonnegative: bool = True,
    tolerance: float = 1e-11,
    max_passes: int = 100,
) -> WeightFit:
    """Return the weights that minimise the NLL of the weighted sum of the members' logits.

    One member is temperature scaling, two are a duo, more are welcome. The problem is

        minimise over w >= 0:   mean_i [ logsumexp_c (sum_j w_j z_jic) - sum_j w_j z_ji,y(i) ]

    by Newton's method with backtracking; each step solves the quadratic model within the bounds
    exactly, so a useless sidekick gets the weight 0.0 and so does a useless large model. Sums
    over images are in float64, and rows are taken in blocks: the memory needed beyond the logits
    stays under 256 MiB. Sets of over 4,096 images start from the fit of 2,048 evenly spaced ones
    and take their first passes in float32; the last is always in float64.

    Cases worth knowing: on separable data (every validation image can be right at once) no finite
    optimum exists and the fit stops, with a warning, where every image has its label at a
    probability above 1/2. Where several weights are equally good (copies or multiples of one
    model, mixtures, constant rows) the smallest are returned, with a warning: copies share their
    weight equally, a member with constant rows gets 0. Classes without a validation image are no
    problem: the weights are shared by all classes.

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
    stack, target = check_labelled(members, labels)
    extents = [extent(z) for z in stack]
    check_labels_kept(stack, target, [each.depth for each in extents])
    unit = np.array([_unit(each.width) for each in extents])
    stack = [z if u == 1 else z.double() / u for z, u in zip(stack, unit, strict=True)]
    widths, depths = (np.array(extents) / unit[:, None]).T.tolist()
    rows = len(target)
    stride = -(-rows // WARM_ROWS)
    sample, sampled = [z[::stride] for z in stack], target[::stride]
    never = masked(sample, depths)
    scale = np.array([_spread(z, never) for z in sample])  # inside, weights are in units of 1/scale
    wide = float(np.linalg.norm(np.array(widths) / scale))
    lower = 0.0 if nonnegative else -LARGEST

    def look(
        z: Sequence[torch.Tensor], y: torch.Tensor, w: np.ndarray, dtype: torch.dtype
    ) -> Moments:
        return moments(z, y, w / scale, dtype, depths).per_unit(scale)

    def descend(
        z: Sequence[torch.Tensor], y: torch.Tensor, start: np.ndarray, *, rough: bool = False
    ) -> Descent:
        return minimise(
            lambda w: look(z, y, w, torch.float32 if rough else torch.float64),
            start,
            lower,
            width=wide,
            tolerance=max(tolerance, ROUGH) if rough else tolerance,
            separable=np.log(2) / len(y),  # below it every image has p(label) > 1/2
            max_looks=min(max_passes, ROUGH_PASSES) if rough else max_passes,
            rough=ROUGH if rough else 0.0,
        )

    equal = np.full(len(stack), 1.0 / len(stack))
    if stride > 2:
        start = onward(descend(sample, sampled, equal, rough=True), lower)
        begun = descend(stack, target, start, rough=True)
        end = descend(stack, target, onward(begun, lower))
        end = end._replace(path=begun.path + end.path, looks=begun.looks + end.looks)
    else:
        end = descend(stack, target, equal)
    if end.status in ("optimal", "unidentified") and not identified(end.at.hessian, CLOSE):
        end = prefer_smallest(
            lambda w: look(stack, target, w, torch.float64), end, lower, width=wide, images=rows
        )
    if end.status != "optimal":
        warnings.warn(_ADVICE[end.status].format(passes=max_passes), stacklevel=_outside())
    weights, at = end.path[-1], end.at
    if not nonnegative:
        _warn_of_turned_masks(weights, depths)
    allowed = np.where(weights > lower, at.gradient, np.minimum(at.gradient, 0))
    scale = scale * unit
    return WeightFit(
        weights=weights / scale,
        nll=at.nll,
        standard_errors=_standard_errors(weights, at, rows, end.status) / scale,
        gap=end.gap,
        projected_gradient=float(np.abs(allowed * scale).max()),
        passes=end.looks,
        path=np.array(end.path) / scale,
        status=end.status,
        images=rows,
    )


def answering_weight(weight: float, name: str) -> float:
    """Return the weight at which a model answers alone: its own, or 1e-6 with a warning for 0.

    A model that is worse than guessing has the best weight 0. Then all classes tie, and the first
    class would be its answer to every image.

    Args:
        weight: Its weight alone, from `fit_weights([logits], labels)`.
        name: What to call the model in the warning.
    """
    if weight != 0:
        return weight
    warnings.warn(
        f"{name} is worse than guessing on the images of the fit, so its best weight alone is 0. "
        f"Its own answers are kept, at the weight {LEAST}, all about equally unsure: look whether "
        "its classes are in the order of the labels",
        stacklevel=_outside(),
    )
    return LEAST


def _outside() -> int:
    """Return the stack level of the line outside this package that led to the caller."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("duokit"):
        level, frame = level + 1, frame.f_back
    return level


def _warn_of_turned_masks(weights: np.ndarray, depths: Sequence[float]) -> None:
    """Warn of masks that a negative weight turns into the answer."""
    turned = [j for j, weight in enumerate(weights) if weight < 0 and np.isfinite(depths[j])]
    if turned:
        warnings.warn(
            f"members {turned} mask classes and got a weight below 0, which would turn their masks "
            "into the answers: mask the fused logits again, or keep nonnegative=True",
            stacklevel=_outside(),
        )


def _unit(width: float) -> float:
    """Return what to divide logits by, so that their squares stay far inside the range of floats.

    1 for all but extreme logits, which are copied.
    """
    return width if width > 0 and not 1e-12 < width < 1e12 else 1.0


def _standard_errors(weights: np.ndarray, at: Moments, rows: int, status: str) -> np.ndarray:
    """Return sandwich standard errors of the weights that are free, NaN for the others."""
    errors = np.full(len(weights), np.nan)
    free = (weights != 0) & (weights < LARGEST)
    if status == "optimal" and free.any():
        inverse = np.linalg.inv(at.hessian[np.ix_(free, free)])
        errors[free] = np.sqrt(np.diag(inverse @ at.outer[np.ix_(free, free)] @ inverse) / rows)
    return errors


def _spread(logits: torch.Tensor, never: torch.Tensor | None) -> float:
    """Return the root mean square over images of the logits' standard deviation over classes."""
    z = logits.double()
    if never is None:
        variance = z.var(dim=1, correction=0)
    else:
        kept = (~never).sum(1, keepdim=True)
        z = z.masked_fill(never, 0)
        z = (z - z.sum(1, keepdim=True) / kept).masked_fill_(never, 0)
        variance = z.square().sum(1) / kept[:, 0]
    spread = float(variance.mean().sqrt())
    return spread if spread > 0 else 1.0


_ADVICE = {
    "separable": (
        "the validation images can all be right at once, so no finite weights are best: the fit "
        "stopped where each label has a probability above 1/2. Use more validation images"
    ),
    "unidentified": (
        "the images do not determine every weight: members are constant, copies or mixtures of "
        "one another, or the NLL falls for ever as a weight grows. The fused logits are as good "
        "as any, the weights one choice among many. Leave out a member or use more images"
    ),
    "unfinished": (
        "no proof of the optimum after {passes} passes: the weights may be off. Look at gap; "
        "raise max_passes or tolerance"
    ),
}
