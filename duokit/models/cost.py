"""What a network costs for one image: multiply-adds at the resolution used, and parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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
    with torch.device("meta"):
        model = build(name, classes=classes, pretrained=None, resolution=resolution)
        picture = torch.empty(1, 3, resolution, resolution)
    return count(model, picture)


def count(model: torch.nn.Module, inputs: torch.Tensor) -> Cost:
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
