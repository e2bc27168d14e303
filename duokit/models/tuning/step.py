"""One step of training, and what the network says in between, on this process's share of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from duokit.models.build import head
from duokit.models.inference import layout
from duokit.models.pixels import Pixels, ahead
from duokit.models.tuning.augment import augment
from duokit.models.tuning.checkpoint import Progress
from duokit.models.tuning.devices import half_of, is_out_of_memory
from duokit.models.tuning.objectives import Objective
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune

if TYPE_CHECKING:
    from accelerate import Accelerator

    from duokit.models.tuning.devices import OneDevice

T = TypeVar("T")

ENOUGH = 1024  # pictures to estimate a loss from


def augmented(
    pixels: Pixels,
    train: torch.Tensor,
    schedule: Schedule,
    devices: Accelerator | OneDevice,
    step: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns bytes, labels and rows of the step's images that are this process's.

    Bytes and labels are on its device, rows on the CPU.
    """
    mine = schedule.mine(step, devices.process_index, devices.num_processes)
    rows = train[schedule.places(step)[mine]]
    images, labels = pixels.fetch(rows, devices.device)
    draws = schedule.draws(step)[mine]
    return augment(images, draws, magnitude=schedule.settings.magnitude), labels, rows


def gradients(
    net: nn.Module,
    pixels: Pixels,
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    schedule: Schedule,
    done: Progress,
    devices: Accelerator | OneDevice,
    minimised: Objective,
) -> torch.Tensor:
    """Returns the step's mean loss over this process's images, their gradients left in the net.

    Where memory does not suffice, with fewer images at a time.
    """

    def work() -> torch.Tensor:
        net.zero_grad()  # what a step that had no room left behind
        return _accumulate(net, pixels, batch, schedule, done, devices, minimised)

    return fewer_until_it_fits(work, len(batch[1]), schedule, done, devices)


def fewer_until_it_fits(
    work: Callable[[], T],
    images: int,
    schedule: Schedule,
    done: Progress,
    devices: Accelerator | OneDevice,
) -> T:
    """Returns what the work does, with fewer images at a time where memory does not suffice.

    Args:
        work: takes `done.micro_batch` images at a time.
        images: that it takes in all, on this process.
        schedule: of the run.
        done: how far it is; `micro_batch` is halved.
        devices: where it computes.

    Raises:
        torch.cuda.OutOfMemoryError: as `half_of`.
    """
    while True:
        try:
            return work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            done.micro_batch = half_of(
                min(done.micro_batch, images), step=done.step,
                batch=schedule.settings.batch, processes=devices.num_processes, error=error,
            )  # fmt: skip
        torch.cuda.empty_cache()  # only here, after the error, has what it held been let go


def loss_before(
    model: nn.Module,
    pixels: Pixels,
    train: torch.Tensor,
    schedule: Schedule,
    done: Progress,
    devices: Accelerator | OneDevice,
    minimised: Objective,
) -> float:
    """Returns the mean training loss that the network begins with, in eval mode.

    Over the pictures of the first epoch, augmented as they will be, but no more than are needed.
    """
    model.eval()
    rank, seen = devices.process_index, 0
    total = torch.zeros((), device=devices.device)
    for step in range(min(schedule.per_epoch, math.ceil(ENOUGH / schedule.settings.batch))):
        images, labels, rows = augmented(pixels, train, schedule, devices, step)
        torch.manual_seed(schedule.seed(step, stream=2 + rank))  # of mixup
        seen += schedule.size(step)
        share = float(rank < schedule.size(step))
        for first in range(0, len(labels), done.micro_batch):
            some = slice(first, first + done.micro_batch)
            with torch.inference_mode(), devices.autocast():
                shown = pixels.normalised(images[some])
                total += share * summed_loss(
                    model, shown, labels[some], rows[some], schedule.settings, minimised
                )
    return float(devices.reduce(total, reduction="sum")) / seen


def _accumulate(
    net: nn.Module,
    pixels: Pixels,
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    schedule: Schedule,
    done: Progress,
    devices: Accelerator | OneDevice,
    minimised: Objective,
) -> torch.Tensor:
    """Returns the step's summed loss; gradients are added up, micro-batch by micro-batch.

    Every process takes every so-manieth image, every micro-batch some of these. Losses are summed
    and divided by the size of the global batch, so how it is shared does not matter.
    """
    images, labels, rows = batch
    world, rank = devices.num_processes, devices.process_index
    share = float(rank < schedule.size(done.step))  # 0: no image of a small batch is left for it
    total = torch.zeros((), device=devices.device)
    for first in range(0, len(labels), done.micro_batch):
        some = slice(first, first + done.micro_batch)
        with nullcontext() if some.stop >= len(labels) else devices.no_sync(net):
            with devices.autocast():
                shown = pixels.normalised(images[some])
                loss = summed_loss(
                    net, shown, labels[some], rows[some], schedule.settings, minimised
                )  # fmt: skip
            # Processes' gradients are averaged, not summed: hence times their number.
            devices.backward(loss * share * world / schedule.size(done.step))
        total += loss.detach() * share
    return total


def summed_loss(
    net: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    rows: torch.Tensor,
    settings: FineTune,
    minimised: Objective,
) -> torch.Tensor:
    """Returns the summed loss, in float32."""
    target: torch.Tensor = labels
    if settings.mixup > 0:
        from torchvision.transforms.v2 import MixUp

        classes = head(getattr(net, "module", net))[1].out_features
        images, target = MixUp(alpha=settings.mixup, num_classes=classes)(images, labels)
    logits = net(images.contiguous(memory_format=layout(images.device))).float()
    return minimised(logits, target, rows)


def logits_of(
    model: nn.Module,
    pixels: Pixels,
    rows: torch.Tensor,
    done: Progress,
    devices: Accelerator | OneDevice,
) -> torch.Tensor:
    """Returns the logits, (m, k) float32 on the CPU, of these rows; every process computes some."""
    model.eval()
    world, rank = devices.num_processes, devices.process_index
    share = -(-len(rows) // world)
    mine = rows[torch.arange(rank * share, (rank + 1) * share).clamp(max=len(rows) - 1)]
    found = []
    with torch.inference_mode(), devices.autocast():
        fetch = partial(pixels.fetch, device=devices.device)
        for images, _ in ahead(fetch, mine.split(done.micro_batch)):
            ready = pixels.normalised(images).contiguous(memory_format=layout(images.device))
            found.append(model(ready).float())
    gathered: torch.Tensor = devices.gather(torch.cat(found))
    return gathered[: len(rows)].cpu()
