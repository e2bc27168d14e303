"""Where a run computes: on one device, or on the many that `accelerate launch` started it on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from duokit.models.inference import pick_device
from duokit.models.tuning.settings import FineTune

if TYPE_CHECKING:
    from accelerate import Accelerator

MISSING = "pip install 'duokit[train]'"


class OneDevice:
    """One CPU or GPU that answers what the loop asks accelerate's Accelerator, and no more.

    Attributes:
        device: where all is computed.
        half: whether the network computes in bfloat16.
    """

    num_processes, process_index, is_main_process = 1, 0, True

    def __init__(self, device: torch.device, half: bool) -> None:
        self.device, self.half = device, half

    def prepare(self, *objects: Any) -> tuple[Any, ...]:
        """Returns network and optimiser, which are where they should be."""
        return objects

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns a context in which the network computes in bfloat16, if it should."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext()

    def no_sync(self, _net: nn.Module) -> AbstractContextManager[Any]:
        """Returns a context in which gradients are not exchanged: here they never are."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss."""
        loss.backward()

    def clip_grad_norm_(self, parameters: Iterable[torch.Tensor], most: float) -> None:
        """Shortens the gradient to this norm."""
        nn.utils.clip_grad_norm_(parameters, most)

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the values of all processes: of this one."""
        return values

    def reduce(self, values: torch.Tensor, reduction: str) -> torch.Tensor:  # noqa: ARG002
        """Returns the sum or the largest of all processes' values: this one's."""
        return values

    def wait_for_everyone(self) -> None:
        """Returns at once."""

    def unwrap_model(self, net: nn.Module, *, keep_fp32_wrapper: bool) -> nn.Module:  # noqa: ARG002
        """Returns the network, which was never wrapped."""
        return net


def pick_devices(settings: FineTune, device: str) -> Accelerator | OneDevice:
    """Returns where to compute: accelerate's answer, or one device if accelerate is missing.

    Raises:
        ModuleNotFoundError: several processes were started, and accelerate is missing.
    """
    place = pick_device(device)
    half = computes_in_half(settings, place)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if ":" in str(place) and not several:  # "cuda:1": accelerate would take the first
        return OneDevice(place, half)
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ModuleNotFoundError as missing:
        if several:
            raise ModuleNotFoundError(
                f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and training by several processes "
                f"needs accelerate: {MISSING}",
                name=missing.name,
            ) from missing
        warnings.warn(
            f"accelerate is missing, so one device trains; several need it: {MISSING}", stacklevel=3
        )
        return OneDevice(place, half)
    if not several:  # an earlier run may have had another device
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision="bf16" if half else "no", cpu=place.type == "cpu")


def computes_in_half(settings: FineTune, device: torch.device) -> bool:
    """Returns whether the network computes in bfloat16 there; its weights are always float32."""
    if settings.precision != "auto":
        return settings.precision == "bf16"
    # torch.cuda.is_bf16_supported() is also true where bfloat16 is imitated, slowly (T4, V100).
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def adamw(model: nn.Module, settings: FineTune, device: torch.device) -> torch.optim.AdamW:
    """Returns the optimiser: on CUDA as one kernel, whose step counts stay on the device."""
    fused = True if device.type == "cuda" else None
    return torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=fused
    )


def is_out_of_memory(error: RuntimeError) -> bool:
    """Returns whether a device had no room; all but CUDA say it only in words."""
    said = any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    return said or isinstance(error, torch.cuda.OutOfMemoryError)


def half_of(images: int, *, step: int, batch: int, processes: int, error: RuntimeError) -> int:
    """Returns how many images at a time to go on with where `images` had no room, and warns.

    Raises:
        torch.cuda.OutOfMemoryError: one image at a time is too much already, or other processes
            compute too: they cannot know. The text says what to do.
    """
    fewer = (images + 1) // 2
    if images == 1:
        raise torch.cuda.OutOfMemoryError(
            f"out of memory at step {step} with one image at a time: take a smaller resolution, a "
            "smaller network or a device with more memory"
        ) from error
    if processes > 1:
        raise torch.cuda.OutOfMemoryError(
            f"out of memory at step {step} with {images} images at a time on each of {processes} "
            f"processes: set micro_batch = {fewer} and start again; the run goes on from its last "
            f"checkpoint, with the same batch of {batch}"
        ) from error
    warnings.warn(
        f"out of memory at step {step}: on with {fewer} images at a time and the same batch of "
        f"{batch}",
        stacklevel=5,
    )
    return fewer
