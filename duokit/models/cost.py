"""What a network costs for one image: multiply-adds at the resolution used, and parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from duokit.models.build import IMAGENET_CLASSES, build, head


@dataclass(frozen=True)
class Cost:
    """Cost of one network for one image.

    Attributes:
        flops: multiply-adds, head included. One multiply-add counts once, as in most papers and in
            timm's and torchvision's tables ("GFLOPs"); twice this is the number of operations.
        parameters: number of trained values, head included; running statistics are not counted.
        head_flops: multiply-adds of the head.
        head_parameters: parameters of the head.
    """

    flops: int
    parameters: int
    head_flops: int
    head_parameters: int


def cost(name: str, resolution: int, classes: int = IMAGENET_CLASSES) -> Cost:
    """Returns the cost of a network for one image at a resolution.

    Convolutions, linear layers, matrix products and attention are counted; normalisation,
    activations and pooling are not, as is usual. It is counted on torch's meta device, which needs
    neither weights nor memory, and where attention is seen (the fused attention of the CPU is not).

    Args:
        name: as for `build`.
        resolution: side of the square input in pixels.
        classes: outputs of the head.

    Raises:
        ValueError: unknown name, or a resolution that the network cannot take.
    """
    if resolution < 1:
        raise ValueError(f"resolution is {resolution} pixels; expected 1 or more")
    model = skeleton(name, classes=classes, resolution=resolution)
    return count(model, torch.empty(1, 3, resolution, resolution, device="meta"))


def skeleton(
    name: str, *, classes: int = IMAGENET_CLASSES, resolution: int | None = None
) -> nn.Module:
    """Returns the network in eval mode on the meta device: shapes without values, in no time.

    Args:
        name: as for `build`.
        classes: outputs of the head.
        resolution: side of the input in pixels, for networks built for one size.

    Raises:
        ValueError: as `build`.
    """
    with _EmptyOnMeta():
        model = build(name, classes=classes, pretrained=None, resolution=resolution)
    return model.to("meta")


class _EmptyOnMeta(TorchFunctionMode):
    """Puts the memory that layers ask for on the meta device, and nothing else.

    With `torch.device("meta")` the few numbers that a network computes its widths from would have
    no value either, and torchvision's RegNets could not be built.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)


def count(model: nn.Module, inputs: torch.Tensor) -> Cost:
    """Returns the cost of a network for the images in a batch, all together; see `cost`.

    Args:
        model: a network in eval mode, best on the meta device.
        inputs: (n, 3, height, width) on the same device.

    Raises:
        ValueError: inputs that the network cannot take.
    """
    name, layer = head(model)
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            model(inputs)
    except (RuntimeError, AssertionError) as error:
        size = tuple(inputs.shape[-2:])
        raise ValueError(f"{type(model).__name__} cannot take {size} pixels ({error})") from error
    total = counter.get_total_flops()
    per_layer = counter.get_flop_counts()
    of_head = sum(per_layer.get(f"{type(model).__name__}.{name}", {}).values())
    return Cost(
        flops=total // 2,
        parameters=sum(values.numel() for values in model.parameters()),
        head_flops=of_head // 2,
        head_parameters=sum(values.numel() for values in layer.parameters()),
    )
