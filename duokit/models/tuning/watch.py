"""The clock, the progress bar, the curves and the eye on the loss of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from duokit.models.pixels import Pixels
from duokit.models.tuning.checkpoint import Progress
from duokit.models.tuning.schedule import Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator

    from duokit.models.tuning.devices import OneDevice


class Watch:
    """The clock, the progress bar, the curves and the eye on the loss of a run.

    The loss stays on the device. Only `look` and `end_epoch` wait for it.

    Attributes:
        schedule: the steps of the run.
        done: how far it is; times and losses are written into it.
        devices: where it computes.
    """

    def __init__(
        self,
        schedule: Schedule,
        done: Progress,
        devices: Accelerator | OneDevice,
        folder: Path,
        *,
        show: bool,
        tensorboard: bool,
    ) -> None:
        self.schedule, self.done, self.devices = schedule, done, devices
        real = torch.float32 if devices.device.type == "mps" else torch.float64
        self.sum = torch.tensor(done.losses, dtype=torch.float64).to(devices.device, real)
        self.broken = torch.tensor(-1, device=devices.device)  # the first step that is not finite
        self.before, self.images = done.seconds, 0
        self.began = self.last_save = time.monotonic()
        main, unfinished = devices.is_main_process, done.step < schedule.steps
        self.curves = curves(folder, done.step) if tensorboard and main and unfinished else None
        self.bar = tqdm(
            total=schedule.steps, initial=done.step, desc="fine-tune", unit="step",
            disable=not (show and main),
        )  # fmt: skip

    def saw(self, loss: torch.Tensor, images: int) -> None:
        """Keeps the loss of a step, on the device.

        Args:
            loss: () summed over this process's images.
            images: of the step, over all processes.
        """
        self.sum += loss
        # Not torch.where: it would send the number of the step, and wait for the device.
        self.broken.masked_fill_(~torch.isfinite(loss) & (self.broken < 0), self.done.step)
        self.images += images
        self.bar.update()

    def due(self, minutes: float) -> bool:
        """Returns whether the last checkpoint is so long ago; never where processes must agree."""
        alone = self.devices.num_processes == 1
        return alone and time.monotonic() - self.last_save >= 60 * minutes

    def saves(self) -> None:
        """Starts the wait for the next checkpoint; the curves are on the disk before this one."""
        self.last_save = time.monotonic()
        if self.curves is not None:
            self.curves.flush()

    def look(self, pixels: Pixels, train: torch.Tensor) -> None:
        """Waits for the device and shows the loss.

        Args:
            pixels: names of the images.
            train: (n,) rows that are trained on.

        Raises:
            FloatingPointError: the loss was not finite at some step; the text names it.
        """
        total = self.devices.reduce(self.sum.clone(), reduction="sum")
        broken = int(self.devices.reduce(self.broken.float(), reduction="max"))
        self.done.losses = float(self.sum)
        self._read_clock()
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
        loss, speed = float(total) / seen, self.images / (time.monotonic() - self.began)
        self.bar.set_postfix_str(f"loss {loss:.3f}, {speed:.0f} images/s")
        rate = self.schedule.rate(self.done.step - 1)
        self._draw({"train/loss": loss, "train/lr": rate, "train/images_per_second": speed})

    def begin(self, loss: float) -> None:
        """Keeps the loss that the network begins with, for the row of epoch 0.

        Args:
            loss: mean over training images, as `loss_before` returned.
        """
        self.sum.fill_(loss * self.schedule.images / self.devices.num_processes)

    def end_epoch(self, scores: dict[str, float]) -> None:
        """Adds a row to the history: of epoch 0, before the first step, or one that ended.

        Args:
            scores: what `val_scores` returned.
        """
        total = float(self.devices.reduce(self.sum.clone(), reduction="sum"))
        self._read_clock()
        step = self.done.step
        rate = self.schedule.rate(step - 1) if step else 0.0
        self.done.history.append(
            {"epoch": step // self.schedule.per_epoch, "step": step}
            | {"lr": rate, "loss": total / self.schedule.images}
            | {f"val_{name}": value for name, value in scores.items()}
            | {"seconds": round(self.done.seconds, 1)}
        )
        self._draw({f"val/{name}": value for name, value in scores.items()})
        self.sum.zero_()
        self.done.losses = 0.0

    def _read_clock(self) -> None:
        self.done.seconds = self.before + time.monotonic() - self.began

    def _draw(self, values: dict[str, float]) -> None:
        if self.curves is not None:
            for name, value in values.items():
                self.curves.add_scalar(name, value, self.done.step)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.curves is not None:
            self.curves.close()


def curves(folder: Path, step: int) -> Any:
    """Returns TensorBoard's writer into a folder, for a run that goes on after so many steps.

    What a stopped run drew of later steps, TensorBoard will not show.

    Raises:
        ModuleNotFoundError: TensorBoard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "the curves need TensorBoard: pip install 'duokit[tensorboard]', or leave out "
            "tensorboard",
            name=missing.name,
        ) from missing
    return SummaryWriter(folder, purge_step=step + 1 if step else 0)
