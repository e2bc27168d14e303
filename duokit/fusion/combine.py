"""Six ways to answer with several models; `weighted` is the method of the paper."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch

from duokit.checks import Array, check_logits, check_members

Mode = Literal[
    "weighted", "unweighted", "raw_mean", "uq_only", "probability_average", "most_confident"
]
MODES: tuple[Mode, ...] = get_args(Mode)


class Fused(NamedTuple):
    """An answer for each image.

    Attributes:
        logits: (n, k) logits whose softmax are the fused probabilities; for
            "probability_average" these are log-probabilities, which serve as logits.
        predictions: (n,) the class answered; the logits' argmax but for "uq_only".
    """

    logits: Array
    predictions: Array


def combine(
    mode: Mode,
    members: Sequence[Array],
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    own_weights: Sequence[float] | np.ndarray | None = None,
) -> Fused:
    """Return the fused logits and the class answered, for one of the six modes.

    | mode | logits | fitted on val |
    |---|---|---|
    | weighted | sum_j w_j z_j | the weights jointly: the method |
    | unweighted | mean_j v_j z_j | each v_j alone (temperature scaling) |
    | raw_mean | mean_j z_j | nothing |
    | uq_only | as weighted, but the first member's class is the answer | the weights jointly |
    | probability_average | log mean_j softmax(v_j z_j) | each v_j alone |
    | most_confident | v_j z_j of the member j whose top probability is highest | each v_j alone |

    Args:
        mode: One of `MODES`.
        members: m arrays or tensors (n, k) of logits; the large model first.
        weights: (m,) joint weights, from `fit_weights(members, labels).weights`;
            needed by "weighted" and "uq_only".
        own_weights: (m,) each member's own weight, from `fit_weights([member], labels)`;
            needed by "unweighted", "probability_average" and "most_confident".

    Returns:
        Tensors if the first member is one, else NumPy arrays; float64 if a member is, else float32.

    Where all weights are 0, because every member is worse than guessing, all classes tie; the
    class answered is then the first member's.

    Raises:
        ValueError: Unknown mode, weights that are missing, of another number than the members,
            or not finite; and as `duokit.checks.check_members`.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    name, values = ("weights", weights) if mode in _JOINT else ("own_weights", own_weights)
    if mode == "raw_mean":
        logits = weighted(members, np.full(len(members), 1 / max(1, len(members))))
    elif values is None:
        raise ValueError(f'mode "{mode}" needs {name}=, fitted with fit_weights on the val split')
    else:
        logits = _FUSE[mode](members, values)
    silent = mode != "raw_mean" and not np.any(np.asarray(values))
    first = mode == "uq_only" or silent
    answering = _like(members[0], check_logits(members[0])) if first else logits
    return Fused(logits, answering.argmax(1))


def weighted(members: Sequence[Array], weights: Sequence[float] | np.ndarray) -> Array:
    """Return the (n, k) weighted sum of the members' logits: the duo of the paper.

    Args:
        members: m arrays or tensors (n, k) of logits.
        weights: (m,) multipliers, from `fit_weights`.

    Raises:
        ValueError: Another number of weights than members, or weights that are not finite.

    Source: arXiv 2505.18636, section 3.1.
    """
    stack, w = _floats(members), _check_weights(weights, len(members))
    fused = _finite(w[0] * stack[0])
    for weight, logits in zip(w[1:], stack[1:], strict=True):
        fused = _finite(fused.add_(_finite(weight * logits)))
    return _like(members[0], fused)


def unweighted(members: Sequence[Array], own_weights: Sequence[float] | np.ndarray) -> Array:
    """Return the (n, k) mean of the members' logits, each at its own temperature.

    Args:
        members: m arrays or tensors (n, k) of logits.
        own_weights: (m,) 1 / temperature of each member alone.

    Source: arXiv 2505.18636 calls it "unweighted" with weights 0.5; its released evaluation
    divides each member by its own temperature first, as here.
    """
    return weighted(members, _check_weights(own_weights, len(members)) / len(members))


def probability_average(
    members: Sequence[Array], own_weights: Sequence[float] | np.ndarray
) -> Array:
    """Return the (n, k) log of the mean of the members' probabilities, each at its temperature.

    Args:
        members: m arrays or tensors (n, k) of logits.
        own_weights: (m,) 1 / temperature of each member alone.

    Source: the linear opinion pool, as deep ensembles use it (arXiv 1612.01474).
    """
    w = _check_weights(own_weights, len(members))
    logs = [_finite(v * z).log_softmax(1) for v, z in zip(w, _floats(members), strict=True)]
    total = logs[0]
    for other in logs[1:]:
        total = torch.logaddexp(total, other)
    return _like(members[0], _finite(total.sub_(float(np.log(len(logs))))))


def most_confident(members: Sequence[Array], own_weights: Sequence[float] | np.ndarray) -> Array:
    """Return the (n, k) logits of the surest member for each image, at its own temperature.

    Equal confidence goes to the earlier member (the large model).

    Args:
        members: m arrays or tensors (n, k) of logits.
        own_weights: (m,) 1 / temperature of each member alone.
    """
    w = _check_weights(own_weights, len(members))
    scaled = torch.stack([_finite(v * z) for v, z in zip(w, _floats(members), strict=True)])
    surest = scaled.log_softmax(2).amax(2).argmax(0)  # (n,)
    return _like(members[0], scaled[surest, torch.arange(scaled.shape[1], device=scaled.device)])


_JOINT = ("weighted", "uq_only")
_FUSE = {
    "weighted": weighted,
    "uq_only": weighted,
    "unweighted": unweighted,
    "probability_average": probability_average,
    "most_confident": most_confident,
}


def _floats(members: Sequence[Array]) -> list[torch.Tensor]:
    stack = check_members(members)
    double = any(z.dtype == torch.float64 for z in stack)
    return [z.to(torch.float64 if double else torch.float32) for z in stack]


def _finite(logits: torch.Tensor) -> torch.Tensor:
    """Return the logits, changed in place: a mask near the lowest number of its type stays one."""
    return logits.clamp_(min=torch.finfo(logits.dtype).min, max=torch.finfo(logits.dtype).max)


def _like(original: Array, result: torch.Tensor) -> Array:
    return result if isinstance(original, torch.Tensor) else result.numpy()


def _check_weights(weights: Sequence[float] | np.ndarray, members: int) -> np.ndarray:
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (members,) or not np.isfinite(w).all():
        raise ValueError(f"weights must be {members} finite numbers, one a member, not {weights}")
    return w
