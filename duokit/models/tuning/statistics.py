"""What happens to the statistics of BatchNorm when a network is fine-tuned.

A head is fitted on features of a network in eval mode, which norms by statistics that it has kept.
In training mode it norms by those of each batch: the head no longer fits, and a short run never
makes up for that. So they stay as they are ("frozen"), or are estimated again on the training
pictures before the head is fitted, and then stay ("adapted"), or follow the weights ("train").
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from duokit.models.inference import layout
from duokit.models.pixels import Pixels
from duokit.models.tuning.checkpoint import Progress
from duokit.models.tuning.devices import OneDevice, adamw, computes_in_half
from duokit.models.tuning.objectives import Objective
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.soup import reestimate_batchnorm
from duokit.models.tuning.step import augmented, gradients

if TYPE_CHECKING:
    from accelerate import Accelerator

MOST = 1024  # training pictures that statistics are estimated from
BATCH = 128  # of them at a time
STEPS = 10  # of a trial


@dataclass(frozen=True)
class Choice:
    """What becomes of the statistics in a run.

    Attributes:
        batchnorm: "frozen", "adapted" or "train"; "none" for a network that keeps no statistics.
        losses: of those that were tried, the mean training loss (nats) at the end of a trial; empty
            if there was nothing to choose.
    """

    batchnorm: str
    losses: dict[str, float] = field(default_factory=dict)


def choose(
    starts: Mapping[str, nn.Module],
    pixels: Pixels,
    train: torch.Tensor,
    settings: FineTune,
    devices: Accelerator | OneDevice,
    minimised: Objective,
    known: Choice | None = None,
) -> Choice:
    """Returns what the settings say, or for "auto" what has the lowest training loss in a trial.

    A trial is ten steps of training (an epoch, if that is fewer) of a copy of the network, at the
    largest learning rate; the mean loss of their second half counts. All trials see the same
    pictures, augmented in the same way. Random weights are not tried: statistics that belong to
    them say nothing, so they follow.

    Args:
        starts: "frozen", "adapted" or "train" -> the network that it starts from, whose head is
            the one for it. They stay as they are.
        pixels: decoded pictures.
        train: (n,) rows to train on.
        settings: of the run.
        devices: where it computes; all processes agree.
        minimised: what a step minimises.
        known: what was chosen before, if anything was.
    """
    if settings.batchnorm != "auto":
        return Choice(settings.batchnorm)
    if known is not None:
        return known
    if not any(keeps_statistics(each) for each in starts.values()):
        return Choice("none")
    if settings.source is None:
        return Choice("train")
    losses = {}
    for name, model in starts.items():
        mine = _trial(model, name, pixels, train, settings, devices.device, minimised)
        total = float(devices.reduce(mine, reduction="sum"))
        losses[name] = total / devices.num_processes
    finite = {name: loss for name, loss in losses.items() if math.isfinite(loss)}
    return Choice(min(finite, key=lambda name: finite[name], default="frozen"), finite)


def keeps_statistics(model: nn.Module) -> bool:
    """Returns whether a layer of BatchNorm has statistics of its own."""
    return any(
        isinstance(each, _BatchNorm) and each.running_mean is not None for each in model.modules()
    )


def freeze_statistics(net: nn.Module) -> None:
    """Returns nothing; BatchNorm norms by what it has kept until the next `train()`."""
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def adapt_statistics(model: nn.Module, pixels: Pixels, rows: torch.Tensor) -> None:
    """Returns nothing; the statistics are now those of training pictures as they are.

    Of 1,024 at most, evenly spread over the rows; one picture alone has none, and changes nothing.

    Args:
        model: with the weights that the statistics are to suit.
        pixels: decoded pictures.
        rows: (n,) of them, to train on.
    """
    if len(rows) > 1:
        some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), MOST)).round().long()]
        place = next(model.parameters()).device
        reestimate_batchnorm(model, shown(pixels, some, place))


def shown(pixels: Pixels, rows: torch.Tensor, place: torch.device) -> Iterator[torch.Tensor]:
    """Yields pictures as a network wants them, in batches of nearly equal size, 128 at most."""
    for some in rows.tensor_split(math.ceil(len(rows) / BATCH)):
        yield pixels.normalised(pixels.batch(some, place))


def _trial(
    model: nn.Module,
    batchnorm: str,
    pixels: Pixels,
    train: torch.Tensor,
    settings: FineTune,
    place: torch.device,
    minimised: Objective,
) -> torch.Tensor:
    """Returns the mean loss, (), of the second half of a trial; each process does all of it."""
    devices = OneDevice(place, computes_in_half(settings, place))
    model = copy.deepcopy(model).to(device=place, memory_format=layout(place))  # type: ignore[call-overload]
    optimiser = adamw(model, settings, place)
    schedule = Schedule(len(train), settings)
    done = Progress(micro_batch=settings.micro_batch or settings.batch)
    losses = []
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        for step in range(min(STEPS, schedule.per_epoch)):
            done.step = step
            model.train()
            if batchnorm != "train":
                freeze_statistics(model)
            torch.manual_seed(schedule.seed(step, stream=2))
            batch = augmented(pixels, train, schedule, devices, step)
            loss = gradients(model, pixels, batch, schedule, done, devices, minimised)
            losses.append(loss / schedule.size(step))
            if settings.clip is not None:
                devices.clip_grad_norm_(model.parameters(), settings.clip)
            optimiser.step()
    return torch.stack(losses[len(losses) // 2 :]).mean()
