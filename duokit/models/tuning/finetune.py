"""Fine-tuning: one loop, on the CPU, a GPU, or many of them (`accelerate launch`)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from duokit.models.build import head
from duokit.models.inference import layout
from duokit.models.pixels import Pixels, ahead
from duokit.models.tuning.augment import augment
from duokit.models.tuning.checkpoint import (
    Progress,
    read_best,
    read_checkpoint,
    write_best,
    write_checkpoint,
    write_history,
)
from duokit.models.tuning.devices import adamw, half_of, is_out_of_memory, pick_devices
from duokit.models.tuning.objectives import Objective, objective
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.watch import Watch

if TYPE_CHECKING:
    from accelerate import Accelerator

    from duokit.models.tuning.devices import OneDevice

MOSTLY = 0.5
LOOK_EVERY = 20  # steps between two looks at the loss: each look waits for the device


def fine_tune(
    model: nn.Module,
    pixels: Pixels,
    settings: FineTune,
    *,
    train: torch.Tensor,
    val: torch.Tensor,
    folder: Path,
    teacher: torch.Tensor | None = None,
    device: str = "auto",
    until: float | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> Progress:
    """Returns how the run went; the model has the weights of the epoch that was best on val.

    Unweighted cross-entropy, or the loss of another stage (`duokit.models.tuning.objectives`),
    AdamW, linear warm-up, cosine. A run that finds its own checkpoint in
    the folder goes on from there, and on a CPU ends with the same bits as if it had never stopped.
    The global batch is that of the settings, however many processes and micro-batches share it;
    only BatchNorm, which sees one micro-batch at a time, can tell (batchnorm = "frozen": nothing
    can).

    Args:
        model: a network with a linear head for the classes of the labels.
        pixels: decoded pictures (`decode`) with their labels.
        settings: how; `settings.model`, `probe` and `split_seed` are the caller's to follow.
        train: (n,) rows of pixels to train on; these alone are augmented.
        val: (m,) rows that choose the best epoch.
        folder: for checkpoint, best weights (safetensors) and metrics.jsonl.
        teacher: (rows of pixels, k) logits to learn from, for the stage "distilled".
        device: "auto", "cpu", "cuda", "mps".
        until: when to stop with a checkpoint, in seconds of time.monotonic(); None for never.
        after_epoch: called after each epoch's checkpoint; what it raises ends the run.
        progress: whether to show a progress bar (on the error stream).
        tensorboard: whether the folder also gets curves for TensorBoard: loss, learning rate,
            images a second, val scores.

    Raises:
        TimeoutError: it is `until`; the same call goes on from the checkpoint.
        ValueError: rows without a class, a label that the head lacks, a folder in which a run
            with other settings lies, or no teacher to learn from.
        FloatingPointError: the loss is not finite any more; the text names step and images.
        ModuleNotFoundError: several processes without accelerate, or `tensorboard` without it.
        torch.cuda.OutOfMemoryError: one image does not fit, or one of several processes ran out;
            the text says what to do.
    """
    for name, rows in (("train", train), ("val", val)):
        pixels.check(name, rows, head(model)[1].out_features)
    minimised = objective(settings, teacher=teacher)
    devices = pick_devices(settings, device)
    place, world, rank = devices.device, devices.num_processes, devices.process_index
    pixels = pixels.near(place)
    model.to(device=place, memory_format=layout(place))  # type: ignore[call-overload]
    optimiser = adamw(model, settings, place)
    done = read_checkpoint(folder, settings, model, optimiser)
    schedule = Schedule(len(train), settings)
    _warn_of_old_statistics(model, schedule)
    # A batch has up to three sizes (micro, the rest, an epoch's last): each is compiled, once.
    net: nn.Module = torch.compile(model, dynamic=False) if settings.compile else model  # type: ignore[assignment]
    net, optimiser = devices.prepare(net, optimiser)

    fetch = partial(_augmented, pixels, train, schedule, devices)
    with (
        torch.random.fork_rng(devices=[place] if place.type == "cuda" else []),
        Watch(schedule, done, devices, folder, show=progress, tensorboard=tensorboard) as watch,
        closing(ahead(fetch, range(done.step, schedule.steps))) as batches,
    ):
        for batch in batches:
            net.train()
            if settings.batchnorm == "frozen":
                _freeze_statistics(net)
            torch.manual_seed(schedule.seed(done.step, stream=2 + rank))
            optimiser.param_groups[0]["lr"] = schedule.rate(done.step)
            loss = _gradients(net, pixels, batch, schedule, done, devices, minimised)
            if settings.clip is not None:
                devices.clip_grad_norm_(net.parameters(), settings.clip)
            optimiser.step()
            optimiser.zero_grad()
            watch.saw(loss, schedule.size(done.step))

            done.step += 1
            ended = done.step % schedule.per_epoch == 0
            late = until is not None and time.monotonic() >= until and world == 1
            save = ended or late or watch.due(settings.save_minutes)
            if save or done.step % LOOK_EVERY == 0:
                watch.look(pixels, train)
            if ended:
                scores = val_scores(_logits(model, pixels, val, done, devices), pixels.labels[val])
                watch.end_epoch(scores)
                value = scores.get(settings.select, float(len(done.history)))  # "last": its number
                if value > done.best:
                    done.best, done.best_epoch = value, len(done.history)
                    if devices.is_main_process:
                        write_best(folder, model)
            if save and devices.is_main_process:
                watch.saves()
                write_checkpoint(folder, settings, done, model, optimiser)
                write_history(folder, done)
            if ended and after_epoch is not None:
                after_epoch(done)
            if late and done.step < schedule.steps:
                raise TimeoutError(f"out of time after step {done.step} of {schedule.steps}")
    devices.wait_for_everyone()
    devices.unwrap_model(net, keep_fp32_wrapper=False)  # no autocast from here on
    read_best(folder, model)
    model.eval()
    return done


def _augmented(
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


def _gradients(
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
    while True:
        try:
            return _accumulate(net, pixels, batch, schedule, done, devices, minimised)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            done.micro_batch = half_of(
                min(done.micro_batch, len(batch[1])), step=done.step,
                batch=schedule.settings.batch, processes=devices.num_processes, error=error,
            )  # fmt: skip
        net.zero_grad()  # only here, after the error, has what the step held been let go
        torch.cuda.empty_cache()


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
                loss = _loss(
                    net, shown, labels[some], rows[some], schedule.settings, minimised
                )  # fmt: skip
            # Processes' gradients are averaged, not summed: hence times their number.
            devices.backward(loss * share * world / schedule.size(done.step))
        total += loss.detach() * share
    return total


def _loss(
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


def _logits(
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


def val_scores(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Returns "accuracy", "macro_f1" and "nll" (nats): what val can choose by, and what is kept.

    Args:
        logits: (m, k) on the CPU.
        labels: (m,) int64.
    """
    from sklearn.metrics import f1_score

    chosen = logits.argmax(1)
    return {
        "accuracy": float((chosen == labels).double().mean()),
        "macro_f1": float(f1_score(labels.numpy(), chosen.numpy(), average="macro")),
        "nll": float(cross_entropy(logits.double(), labels)),
    }


def _warn_of_old_statistics(model: nn.Module, schedule: Schedule) -> None:
    """Warns if BatchNorm will mostly remember pictures that the pretrained weights were made of."""
    settings = schedule.settings
    goes_on = settings.stage in ("continued", "gatekeeper")  # its statistics are of these pictures
    if settings.batchnorm == "frozen" or settings.source is None or goes_on:
        return
    norms = (each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm))
    left = max(((1 - (each.momentum or 0.0)) ** schedule.steps for each in norms), default=0.0)
    if left > MOSTLY:
        warnings.warn(
            f"after {schedule.steps} steps the statistics of BatchNorm are still {left:.0%} those "
            'of the pretrained weights, and do not suit the new ones: batchnorm = "frozen", or '
            "more epochs",
            stacklevel=3,
        )


def _freeze_statistics(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
