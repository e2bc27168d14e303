"""Fine-tuning: one loop, on the CPU, a GPU, or many of them (`accelerate launch`)."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from duokit.models.tuning.augment import augment
from duokit.models.build import head
from duokit.models.tuning.checkpoint import (
    Progress,
    read_best,
    read_checkpoint,
    write_best,
    write_checkpoint,
    write_history,
)
from duokit.models.inference import pick_device
from duokit.models.pixels import Pixels
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune

if TYPE_CHECKING:
    from accelerate import Accelerator

LOOK_EVERY = 20  # steps between two looks at the loss: each look waits for the device


def fine_tune(
    model: nn.Module,
    pixels: Pixels,
    settings: FineTune,
    *,
    train: torch.Tensor,
    val: torch.Tensor,
    folder: Path,
    device: str = "auto",
    until: float | None = None,
    after_epoch: Callable[[Progress], None] | None = None,
    progress: bool = True,
) -> Progress:
    """Returns how the run went; the model has the weights of the epoch that was best on val.

    Unweighted cross-entropy, AdamW, linear warm-up, cosine. A run that finds its own checkpoint in
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
        device: "auto", "cpu", "cuda", "mps".
        until: when to stop with a checkpoint, in seconds of time.monotonic(); None for never.
        after_epoch: called after each epoch's checkpoint; what it raises ends the run.
        progress: whether to show a progress bar (on the error stream).

    Raises:
        TimeoutError: it is `until`; the same call goes on from the checkpoint.
        ValueError: rows without a class, a label that the head lacks, or a folder in which a run
            with other settings lies.
        FloatingPointError: the loss is not finite any more; the text names step and images.
        ModuleNotFoundError: accelerate is missing.
    """
    _check(pixels, train, val, head(model)[1].out_features)
    accelerator = _accelerator(settings, device)
    place = accelerator.device
    pixels = pixels.near(place)
    model.to(device=place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    done = read_checkpoint(folder, settings, model, optimiser)
    schedule = Schedule(len(train), settings)
    done.micro_batch = done.micro_batch or settings.micro_batch or settings.batch
    net: nn.Module = torch.compile(model) if settings.compile else model  # type: ignore[assignment]
    net, optimiser = accelerator.prepare(net, optimiser)
    alone = accelerator.num_processes == 1  # several would have to agree on the time

    with torch.random.fork_rng(), _Watch(schedule, done, accelerator, show=progress) as watch:
        while done.step < schedule.steps:
            net.train()
            if settings.batchnorm == "frozen":
                _freeze_statistics(net)
            torch.manual_seed(schedule.seed(done.step, stream=2 + accelerator.process_index))
            rows = train[schedule.places(done.step)]
            optimiser.param_groups[0]["lr"] = schedule.rate(done.step)
            loss = _gradients(net, pixels, rows, schedule, done, accelerator)
            if settings.clip is not None:
                accelerator.clip_grad_norm_(net.parameters(), settings.clip)
            optimiser.step()
            optimiser.zero_grad()
            watch.saw(loss, len(rows))

            done.step += 1
            ended = done.step % schedule.per_epoch == 0
            late = until is not None and time.monotonic() >= until and alone
            save = ended or late or watch.due(settings.save_minutes)
            if save or done.step % LOOK_EVERY == 0:
                watch.look(pixels, train)
            if ended:
                scores = val_scores(_logits(model, pixels, val, accelerator), pixels.labels[val])
                watch.end_epoch(scores)
                if scores[settings.select] > done.best:
                    done.best, done.best_epoch = scores[settings.select], len(done.history)
                    if accelerator.is_main_process:
                        write_best(folder, model)
            if save and accelerator.is_main_process:
                write_checkpoint(folder, settings, done, model, optimiser)
                write_history(folder, done)
                watch.saved()
            if ended and after_epoch is not None:
                after_epoch(done)
            if late and done.step < schedule.steps:
                raise TimeoutError(f"out of time after step {done.step} of {schedule.steps}")
    accelerator.wait_for_everyone()
    accelerator.unwrap_model(net, keep_fp32_wrapper=False)  # no autocast from here on
    read_best(folder, model)
    model.eval()
    return done


def _gradients(
    net: nn.Module,
    pixels: Pixels,
    rows: torch.Tensor,
    schedule: Schedule,
    done: Progress,
    accelerator: Accelerator,
) -> torch.Tensor:
    """Returns the step's mean loss over this process's images, their gradients left in the net.

    Every process takes every so-manieth image, every micro-batch some of these. Losses are summed
    and divided by the size of the global batch, so how it is shared does not matter.
    """
    world, rank = accelerator.num_processes, accelerator.process_index
    draws = schedule.draws(done.step)
    mine = torch.arange(rank, len(rows), world)
    share = 1.0 if len(mine) else 0.0  # the last batch may have fewer images than processes
    mine = mine if len(mine) else torch.zeros(1, dtype=torch.int64)
    while True:
        try:
            total = torch.zeros((), device=accelerator.device)
            pieces = mine.split(done.micro_batch)
            for number, some in enumerate(pieces):
                images = augment(
                    pixels.batch(rows[some], accelerator.device),
                    draws[some],
                    magnitude=schedule.settings.magnitude,
                )
                labels = pixels.labels[rows[some]].to(accelerator.device, non_blocking=True)
                last = number == len(pieces) - 1
                with nullcontext() if last else accelerator.no_sync(net):
                    loss = _loss(net, pixels.normalised(images), labels, schedule.settings)
                    # Processes' gradients are averaged, not summed: hence times their number.
                    accelerator.backward(loss * share * world / len(rows))
                total += loss.detach() * share
            return total
        except torch.cuda.OutOfMemoryError:
            if world > 1 or done.micro_batch == 1:
                raise
            net.zero_grad()
            done.micro_batch = (min(done.micro_batch, len(mine)) + 1) // 2
            torch.cuda.empty_cache()
            warnings.warn(
                f"out of memory at step {done.step}: on with {done.micro_batch} images at a time "
                f"and the same batch of {schedule.settings.batch}",
                stacklevel=3,
            )


def _loss(
    net: nn.Module, images: torch.Tensor, labels: torch.Tensor, settings: FineTune
) -> torch.Tensor:
    """Returns the summed cross-entropy, in float32."""
    target: torch.Tensor = labels
    if settings.mixup > 0:
        from torchvision.transforms.v2 import MixUp

        classes = head(getattr(net, "module", net))[1].out_features
        images, target = MixUp(alpha=settings.mixup, num_classes=classes)(images, labels)
    logits = net(images.contiguous(memory_format=torch.channels_last)).float()
    return cross_entropy(logits, target, label_smoothing=settings.label_smoothing, reduction="sum")


def _logits(
    model: nn.Module, pixels: Pixels, rows: torch.Tensor, accelerator: Accelerator
) -> torch.Tensor:
    """Returns the logits, (m, k) float32 on the CPU, of these rows; every process computes some."""
    model.eval()
    world, rank = accelerator.num_processes, accelerator.process_index
    share = -(-len(rows) // world)
    mine = rows[torch.arange(rank * share, (rank + 1) * share).clamp(max=len(rows) - 1)]
    found = []
    with torch.inference_mode(), accelerator.autocast():
        for some in mine.split(256):
            images = pixels.normalised(pixels.batch(some, accelerator.device))
            found.append(model(images.contiguous(memory_format=torch.channels_last)).float())
    gathered: torch.Tensor = accelerator.gather(torch.cat(found))
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


class _Watch:
    """The clock, the progress bar and the eye on the loss of a run."""

    def __init__(
        self, schedule: Schedule, done: Progress, accelerator: Accelerator, *, show: bool
    ) -> None:
        self.schedule, self.done, self.accelerator = schedule, done, accelerator
        self.sum = torch.tensor(done.losses, dtype=torch.float64, device="cpu")
        self.sum = self.sum.to(accelerator.device, torch.float32 if self._mps() else torch.float64)
        self.broken = torch.tensor(-1, device=accelerator.device)  # the first step not finite
        self.before, self.images = done.seconds, 0
        self.began = self.last_save = time.monotonic()
        self.bar = tqdm(
            total=schedule.steps, initial=done.step, desc="fine-tune", unit="step",
            disable=not (show and accelerator.is_main_process),
        )  # fmt: skip

    def _mps(self) -> bool:
        return self.accelerator.device.type == "mps"

    def saw(self, loss: torch.Tensor, images: int) -> None:
        """Keeps the loss of a step, on the device."""
        self.sum += loss
        unbroken = torch.isfinite(loss) | (self.broken >= 0)
        self.broken = torch.where(unbroken, self.broken, self.done.step)
        self.images += images
        self.bar.update()

    def due(self, minutes: float) -> bool:
        """Returns whether the last checkpoint is so long ago; never where processes must agree."""
        alone = self.accelerator.num_processes == 1
        return alone and time.monotonic() - self.last_save >= 60 * minutes

    def saved(self) -> None:
        """Starts the wait for the next checkpoint."""
        self.last_save = time.monotonic()

    def look(self, pixels: Pixels, train: torch.Tensor) -> None:
        """Waits for the device, shows the loss, and stops the run if it is not finite."""
        total = self.accelerator.reduce(self.sum.clone(), reduction="sum")
        broken = int(self.accelerator.reduce(self.broken.float(), reduction="max"))
        self.done.losses = float(self.sum)
        self.done.seconds = self.before + time.monotonic() - self.began
        if broken >= 0:
            ids = [pixels.ids[row] for row in train[self.schedule.places(broken)].tolist()]
            raise FloatingPointError(
                f"the loss is not finite at step {broken} (epoch "
                f"{broken // self.schedule.per_epoch + 1}), images {', '.join(ids[:5])} and "
                f"{max(0, len(ids) - 5)} more. The checkpoint in the folder is from before that; "
                "a smaller lr or clip = 1.0 may help, in a new folder"
            )
        within = (self.done.step - 1) % self.schedule.per_epoch + 1
        seen = min(within * self.schedule.settings.batch, self.schedule.images)
        speed = self.images / (time.monotonic() - self.began)
        self.bar.set_postfix_str(f"loss {float(total) / seen:.3f}, {speed:.0f} images/s")

    def end_epoch(self, scores: dict[str, float]) -> None:
        """Adds a row to the history."""
        total = float(self.accelerator.reduce(self.sum.clone(), reduction="sum"))
        self.done.seconds = self.before + time.monotonic() - self.began
        self.done.history.append(
            {"epoch": len(self.done.history) + 1, "step": self.done.step}
            | {"lr": self.schedule.rate(self.done.step - 1), "loss": total / self.schedule.images}
            | {f"val_{name}": value for name, value in scores.items()}
            | {"seconds": round(self.done.seconds, 1)}
        )
        self.sum.zero_()
        self.done.losses = 0.0

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def _freeze_statistics(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _accelerator(settings: FineTune, device: str) -> Accelerator:
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "fine-tuning needs accelerate: pip install 'duokit[train]'", name=missing.name
        ) from missing
    from accelerate.state import AcceleratorState

    place = pick_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # an earlier run may have had another device
        AcceleratorState._reset_state(reset_partial_state=True)
    half = settings.precision == "bf16"
    if settings.precision == "auto":
        half = place.type == "cuda" and torch.cuda.is_bf16_supported()
    return Accelerator(mixed_precision="bf16" if half else "no", cpu=place.type == "cpu")


def _check(pixels: Pixels, train: torch.Tensor, val: torch.Tensor, classes: int) -> None:
    for name, rows in (("train", train), ("val", val)):
        if not len(rows):
            raise ValueError(f"there are no {name} images")
        labels = pixels.labels[rows]
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f"{name} labels go from {int(labels.min())} to {int(labels.max())}; the head has "
                f"{classes} classes, 0 to {classes - 1}"
            )
