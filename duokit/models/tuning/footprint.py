"""What a training step takes on this machine: seconds for one image, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from duokit.models.build import build
from duokit.models.inference import layout, pick_device
from duokit.models.speed import _wait
from duokit.models.tuning.devices import OneDevice, adamw, computes_in_half
from duokit.models.tuning.objectives import objective
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.step import summed_loss

FEW = 2  # images of the smaller of two counts: with one, BatchNorm may have nothing to norm by


@dataclass(frozen=True)
class Footprint:
    """What training a network takes, of time and of memory.

    Attributes:
        training_seconds: for one image of an epoch: forward, backward, its share of AdamW's step.
        inference_seconds: for one image without gradients.
        memory: bytes at the peak of a training step, at `images` at a time.
        memory_is: "measured" by CUDA, where it fits; or "counted" from tensors: weights, gradients,
            both moments of AdamW, and all that is kept for the backward pass, but not what a kernel
            needs while it runs.
        images: at a time, for the memory: the micro-batch of the settings, or their batch.
        device: where it ran, "cpu" or the name of the GPU.
        threads: of the CPU that torch may use.
    """

    training_seconds: float
    inference_seconds: float
    memory: int
    memory_is: str
    images: int
    device: str
    threads: int


def measure_step(
    settings: FineTune, *, classes: int, device: str = "auto", images: int = 8, steps: int = 2
) -> Footprint:
    """Returns what a training step of these settings takes, for random weights and pictures.

    Decoding, augmentation and checkpoints are not in it. The median of the steps counts, after one
    that warms up, by clocks that wait for the device.

    Args:
        settings: network, resolution, precision and batch; the resolution settled.
        classes: outputs of the head.
        device: "auto", "cpu", "cuda", "mps".
        images: at a time while the clock runs, 3 or more. AdamW's step is timed apart and shared by
            a whole batch.
        steps: how many are timed.

    Raises:
        ValueError: no resolution, fewer than 3 images or than 1 step; or as `build`.
    """
    if settings.resolution is None or images <= FEW or steps < 1:
        raise ValueError(
            f"resolution is {settings.resolution}, images {images}, steps {steps}; expected a "
            f"number of pixels, more than {FEW}, and 1 or more"
        )
    place = pick_device(device)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(0)
        pictures = torch.rand(images, 3, settings.resolution, settings.resolution)
        before = torch.cuda.memory_allocated(place) if place.type == "cuda" else 0
        trial = _Trial(settings, classes, place)
        trial.step(pictures)
        backward = [_seconds(place, lambda: trial.backward(pictures)) for _ in range(steps)]
        update = [_seconds(place, trial.optimiser.step) for _ in range(steps)]
        memory, memory_is = trial.counted(pictures), "counted"
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)
            try:
                trial.step(torch.zeros(trial.images, *pictures.shape[1:]))
                memory, memory_is = torch.cuda.max_memory_allocated(place) - before, "measured"
            except torch.cuda.OutOfMemoryError:  # training will halve its micro-batch
                torch.cuda.empty_cache()
        trial.net.eval()
        trial.predict(pictures)
        predict = [_seconds(place, lambda: trial.predict(pictures)) for _ in range(steps)]
    return Footprint(
        training_seconds=float(np.median(backward)) / images
        + float(np.median(update)) / settings.batch,
        inference_seconds=float(np.median(predict)) / images,
        memory=memory,
        memory_is=memory_is,
        images=trial.images,
        device=torch.cuda.get_device_name(place) if place.type == "cuda" else place.type,
        threads=torch.get_num_threads(),
    )


class _Trial:
    """A network with random weights and its optimiser, as the loop has them."""

    def __init__(self, settings: FineTune, classes: int, place: torch.device) -> None:
        self.settings, self.place = settings, place
        self.images = settings.micro_batch or settings.batch
        self.minimised = objective(settings.replace(stage="plain", alpha=None))  # all cost alike
        self.devices = OneDevice(place, computes_in_half(settings, place))
        self.net = build(
            settings.model, classes=classes, pretrained=None, resolution=settings.resolution
        ).train()
        self.net.to(device=place, memory_format=layout(place))  # type: ignore[call-overload]
        self.optimiser = adamw(self.net, settings, place)

    def loss(self, pictures: torch.Tensor) -> torch.Tensor:
        labels = torch.zeros(len(pictures), dtype=torch.int64, device=self.place)
        with self.devices.autocast():
            shown = pictures.to(self.place)
            return summed_loss(self.net, shown, labels, labels, self.settings, self.minimised)

    def backward(self, pictures: torch.Tensor) -> None:
        self.loss(pictures).backward()

    def step(self, pictures: torch.Tensor) -> None:
        self.optimiser.zero_grad()
        self.backward(pictures)
        self.optimiser.step()

    def predict(self, pictures: torch.Tensor) -> None:
        ready = pictures.to(self.place).contiguous(memory_format=layout(self.place))
        with torch.inference_mode(), self.devices.autocast():
            self.net(ready)

    def counted(self, pictures: torch.Tensor) -> int:
        """Returns the bytes of a step of `images`, from what two forward passes keep."""
        few, more = self.kept(pictures[:FEW]), self.kept(pictures)
        an_image = (more - few) / (len(pictures) - FEW)
        state = (each for values in self.optimiser.state.values() for each in values.values())
        grads = (each.grad for each in self.net.parameters() if each.grad is not None)
        tensors = (*self.net.parameters(), *self.net.buffers(), *grads, *state)
        constant = sum(each.untyped_storage().nbytes() for each in tensors)
        return constant + round(few + an_image * (self.images - FEW))

    def kept(self, pictures: torch.Tensor) -> int:
        """Returns the bytes that a forward pass keeps for the backward pass, weights apart."""
        own = {_storage(each) for each in (*self.net.parameters(), *self.net.buffers())}
        sizes: dict[int, int] = {}

        def keep(values: torch.Tensor) -> torch.Tensor:
            if _storage(values) not in own:  # a tensor that two layers keep is there once
                sizes[_storage(values)] = values.untyped_storage().nbytes()
            return values

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
            loss = self.loss(pictures)  # while it lives, so do the tensors: no two share a place
        del loss
        return sum(sizes.values())


def _storage(values: torch.Tensor) -> int:
    return values.untyped_storage()._cdata  # its identity, on any device


def _seconds(place: torch.device, work: Callable[[], object]) -> float:
    """Returns how long it takes, from an idle device to an idle device."""
    _wait(place)
    begun = time.perf_counter()
    work()
    _wait(place)
    return time.perf_counter() - begun
