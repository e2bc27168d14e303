"""Fine-tuning: one loop, on the CPU, a GPU, or many of them (`accelerate launch`)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from duokit.models.build import head
from duokit.models.inference import layout
from duokit.models.pixels import Pixels, ahead
from duokit.models.tuning.checkpoint import (
    Progress,
    read_best,
    read_checkpoint,
    write_best,
    write_checkpoint,
    write_history,
)
from duokit.models.tuning.devices import adamw, pick_devices
from duokit.models.tuning.objectives import objective
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.statistics import Choice, adapt_statistics, choose, freeze_statistics
from duokit.models.tuning.step import (
    augmented,
    fewer_until_it_fits,
    gradients,
    logits_of,
    loss_before,
)
from duokit.models.tuning.watch import Watch

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
    choice: Choice | None = None,
    device: str = "auto",
    until: float | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> Progress:
    """Returns how the run went; the model has the weights of the epoch that was best on val.

    The network as it comes, with its linear probe, counts as epoch 0: it is kept where no epoch is
    better; of one that is just as good, the NLL decides. Random weights without a probe know
    nothing, and are not kept. Unweighted cross-entropy, or the loss of
    another stage (`duokit.models.tuning.objectives`), AdamW, linear warm-up, cosine. A run that
    finds its own checkpoint in the folder goes on from there, and on a CPU ends with the same bits
    as if it had never stopped.
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
        choice: what becomes of BatchNorm's statistics if the settings say "auto", as `prepare`
            found; if not given, "frozen" or "train", by a trial of both with this very head.
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
    if not done.batchnorm:
        both = {"frozen": model, "train": model}
        chosen = choose(both, pixels, train, settings, devices, minimised, choice)
        done.batchnorm, done.trials = chosen.batchnorm, chosen.losses
    _warn_of_old_statistics(model, schedule)
    # A batch has up to three sizes (micro, the rest, an epoch's last): each is compiled, once.
    net: nn.Module = torch.compile(model, dynamic=False) if settings.compile else model  # type: ignore[assignment]
    net, optimiser = devices.prepare(net, optimiser)

    fetch = partial(augmented, pixels, train, schedule, devices)
    with (
        torch.random.fork_rng(devices=[place] if place.type == "cuda" else []),
        Watch(schedule, done, devices, folder, show=progress, tensorboard=tensorboard) as watch,
        closing(ahead(fetch, range(done.step, schedule.steps))) as batches,
    ):
        if done.step == 0:
            before = partial(loss_before, model, pixels, train, schedule, done, devices, minimised)
            watch.begin(fewer_until_it_fits(before, len(train), schedule, done, devices))
            _end_epoch(model, pixels, train, val, watch, folder)
        for batch in batches:
            net.train()
            if done.batchnorm != "train":
                freeze_statistics(net)
            torch.manual_seed(schedule.seed(done.step, stream=2 + rank))
            optimiser.param_groups[0]["lr"] = schedule.rate(done.step)
            loss = gradients(net, pixels, batch, schedule, done, devices, minimised)
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
                _end_epoch(model, pixels, train, val, watch, folder)
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


def _end_epoch(
    model: nn.Module,
    pixels: Pixels,
    train: torch.Tensor,
    val: torch.Tensor,
    watch: Watch,
    folder: Path,
) -> None:
    """Returns nothing; adds a row to the history, and keeps the weights if they are the best."""
    done, devices, schedule = watch.done, watch.devices, watch.schedule
    if done.step and schedule.settings.batchnorm == "auto" and done.batchnorm == "train":
        adapt_statistics(model, pixels, train)
    logits = partial(logits_of, model, pixels, val, done, devices)
    found = fewer_until_it_fits(logits, len(val), schedule, done, devices)
    scores = val_scores(found, pixels.labels[val])
    watch.end_epoch(scores)
    epoch = done.step // schedule.per_epoch
    if not epoch and not schedule.settings.starts_trained:
        return
    value = scores.get(schedule.settings.select, float(epoch))  # "last": its number
    as_good = done.best_epoch == 0 and value == done.best
    if value > done.best or (as_good and scores["nll"] < done.history[0]["val_nll"]):
        done.best, done.best_epoch = value, epoch
        if devices.is_main_process:
            write_best(folder, model)


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
    if settings.batchnorm != "train" or settings.source is None or goes_on:
        return
    norms = (each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm))
    left = max(((1 - (each.momentum or 0.0)) ** schedule.steps for each in norms), default=0.0)
    if left > MOSTLY:
        warnings.warn(
            f"after {schedule.steps} steps the statistics of BatchNorm are still {left:.0%} those "
            'of the pretrained weights, and do not suit the new ones: batchnorm = "auto", or '
            "more epochs",
            stacklevel=3,
        )
