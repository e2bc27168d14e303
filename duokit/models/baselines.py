"""What the paper compares a duo with, besides a soup: ensembles, dropout and views of a picture.

Where probabilities are averaged, what comes back is the log of the average: a record of it has
kind="log_probs". Fit the weight of such a baseline on val as for any other model: pool first, then
calibrate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from duokit.checks import Array, check_logits, check_members
from duokit.models.build import head

POOLS = ("logits", "probs")

Batches = torch.Tensor | Iterable[torch.Tensor]


@dataclass(frozen=True)
class View:
    """A picture seen mirrored or moved, at the same resolution.

    What a move leaves empty repeats the border, so that it means the same for normalised pictures.

    Attributes:
        flip: whether left and right are exchanged, before the move.
        down: pixels it moves down; negative for up.
        right: pixels it moves to the right; negative for left.
    """

    flip: bool = False
    down: int = 0
    right: int = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Returns pictures (n, c, height, width) seen so.

        Raises:
            ValueError: another shape, or a move by the whole picture or more.
        """
        if images.ndim != 4 or max(abs(self.down), abs(self.right)) >= min(images.shape[2:]):
            raise ValueError(
                f"{self} needs pictures (n, c, height, width) larger than the move, not "
                f"{tuple(images.shape)}"
            )
        height, width = images.shape[2:]
        seen = images.flip(3) if self.flip else images
        if not (self.down or self.right):
            return seen
        border = (max(self.right, 0), max(-self.right, 0), max(self.down, 0), max(-self.down, 0))
        padded = functional.pad(seen, border, mode="replicate")
        top, left = max(-self.down, 0), max(-self.right, 0)
        return padded[:, :, top : top + height, left : left + width]


def standard_views(*, flip: bool = True, shift: int = 0) -> tuple[View, ...]:
    """Returns the picture as it is, moved by `shift` pixels in four directions, and all mirrored.

    Args:
        flip: whether mirrored views are among them; False where left and right mean something, as
            in writing.
        shift: pixels, 0 or more; 0 leaves moves out.

    Raises:
        ValueError: a negative shift.
    """
    if shift < 0:
        raise ValueError(f"shift is {shift}; expected 0 or more pixels")
    moves = [(0, 0), (-shift, 0), (shift, 0), (0, -shift), (0, shift)] if shift else [(0, 0)]
    sides = (False, True) if flip else (False,)
    return tuple(View(side, down, right) for side in sides for down, right in moves)


def ensemble_logits(
    members: Sequence[Array], *, pool: Literal["logits", "probs"] = "logits"
) -> Array:
    """Returns what an ensemble says, (n, k): its mean logits, or the log of its mean probabilities.

    Computed in float64; float32 comes back unless a member is float64. Calibrate afterwards: fit
    the weight of the pooled logits on val.

    Args:
        members: one (n, k) array or tensor of logits a model, rows in the same order.
        pool: "logits", as in the paper; or "probs", the mixture of deep ensembles, which gives
            log-probabilities.

    Raises:
        ValueError: another pool; and as `duokit.checks.check_members`.
        TypeError: as `duokit.checks.check_members`.

    Source: arXiv 2505.18636, appendix A.5 (mean logits, pooled then calibrated); arXiv 1612.01474
    (mean probabilities).
    """
    if pool not in POOLS:
        raise ValueError(f"pool is {pool!r}; expected {' or '.join(POOLS)}")
    checked = check_members(members)
    wide = any(member.dtype == torch.float64 for member in checked)
    if pool == "probs":
        exact = _log_mean(checked, len(checked))
    else:
        exact = reduce(torch.add, (member.double() for member in checked)) / len(checked)
    pooled = exact.to(torch.float64 if wide else torch.float32)
    return pooled.numpy() if isinstance(members[0], np.ndarray) else pooled


def dropout_layers(model: nn.Module) -> dict[str, float]:
    """Returns the rate of each dropout layer that drops anything, by its name."""
    return {
        name: layer.p
        for name, layer in model.named_modules()
        if isinstance(layer, _DropoutNd) and layer.p > 0
    }


def mc_dropout(
    model: nn.Module,
    batches: Batches,
    *,
    samples: int = 30,
    rate: float | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Returns the log of the mean of the probabilities under random dropout, (n, k) float32.

    Without `rate` the network's own dropout layers (`dropout_layers`) drop as in training and the
    network runs `samples` times; they must have been there in training for this to be MC dropout.
    With `rate` the network's own stay off, and what its head gets is dropped instead: the network
    runs once and only its head `samples` times. Everything else is in eval mode; all modes and the
    random state come back as they were. Same seed, same batches: same result.

    Args:
        model: the network, on its device.
        batches: pictures as the network wants them; a tensor is one batch.
        samples: how many dropout masks a picture sees, 1 or more.
        rate: share of the features that is dropped before the head, above 0 and below 1.
        seed: seed of the masks.

    Raises:
        ValueError: no dropout layer and no rate; a rate or samples out of range; no pictures,
            or outputs that are not finite or not (n, k).

    Source: arXiv 1506.02142.
    """
    check_masks(samples, rate)
    if rate is None and not dropout_layers(model):
        raise ValueError(
            f"{type(model).__name__} has no dropout layer that drops anything: give rate=, "
            "say 0.1, for dropout before its head"
        )
    pieces = []
    with _evaluating(model), torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        for batch in _each(batches, model):
            if rate is None:
                pieces.append(_own_dropout(model, batch, samples))
            else:
                pieces.append(_dropout_before_head(model, batch, samples, rate))
    return _below(pieces)


def check_masks(samples: int, rate: float | None) -> None:
    """Returns nothing if `mc_dropout` takes these.

    Raises:
        ValueError: a rate or samples out of range.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; expected 1 or more")
    if rate is not None and not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; expected a share above 0 and below 1")


def test_time_augmentation(
    model: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    batches: Batches,
    views: Sequence[Callable[[torch.Tensor], torch.Tensor]],
) -> np.ndarray:
    """Returns the log of the mean of the probabilities over views of each picture, (n, k) float32.

    Args:
        model: the network, which is put in eval mode meanwhile; or any function of a batch to
            logits.
        batches: pictures as the network wants them; a tensor is one batch.
        views: functions of a batch of pictures to one of the same shape, such as those of
            `standard_views`.

    Raises:
        ValueError: no view, no pictures, or outputs that are not finite or not (n, k).
    """
    if not views:
        raise ValueError("views is empty: standard_views() gives two")
    pieces = []
    with _evaluating(model):
        for batch in _each(batches, model):
            found = (_logits(model(view(batch)), len(batch)) for view in views)
            pieces.append(_log_mean(found, len(views)))
    return _below(pieces)


def _log_mean(members: Iterable[torch.Tensor], count: int) -> torch.Tensor:
    """Returns the log of the mean of the probabilities of `count` tensors of logits, in float64."""
    logs = (logits.double().log_softmax(1) for logits in members)
    return reduce(torch.logaddexp, logs) - math.log(count)


def _own_dropout(model: nn.Module, batch: torch.Tensor, samples: int) -> torch.Tensor:
    for name in dropout_layers(model):
        model.get_submodule(name).train()
    return _log_mean((_logits(model(batch), len(batch)) for _ in range(samples)), samples)


def _dropout_before_head(
    model: nn.Module, batch: torch.Tensor, samples: int, rate: float
) -> torch.Tensor:
    # The head gets the features of the batch `samples` times, so the network before it runs once.
    def drop(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        return (functional.dropout(torch.cat([inputs[0]] * samples), rate),)

    handle = head(model)[1].register_forward_pre_hook(drop)
    try:
        found = _logits(model(batch), samples * len(batch))
    finally:
        handle.remove()
    return _log_mean(found.chunk(samples), samples)


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    """Puts a network in eval mode, without gradients, and all its modes back at the end."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        with torch.inference_mode():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _each(batches: Batches, model: object) -> Iterator[torch.Tensor]:
    first = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    for batch in [batches] if isinstance(batches, torch.Tensor) else batches:
        if len(batch):
            yield batch if first is None else batch.to(first.device)


def _logits(outputs: torch.Tensor, rows: int) -> torch.Tensor:
    """Returns what a network gave, checked, in float64 on the CPU (not all devices have it)."""
    if outputs.ndim != 2 or len(outputs) != rows:
        raise ValueError(f"the network gave {tuple(outputs.shape)}; expected ({rows}, classes)")
    return check_logits(outputs.float().cpu(), "what the network gave").double()


def _below(pieces: list[torch.Tensor]) -> np.ndarray:
    if not pieces:
        raise ValueError("there are no pictures: batches is empty")
    found: np.ndarray = torch.cat(pieces).float().numpy()
    return found
