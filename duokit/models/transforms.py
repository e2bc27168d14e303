"""The eval transform of a network, at the resolution of your choice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from PIL import Image

from duokit.models.build import Source, resolve


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a picture before a network sees it.

    The shorter side is resized to floor(resolution / crop_pct) with antialiasing, the middle square
    of `resolution` pixels is cut out, values are scaled to 0..1, then the mean is subtracted and
    the deviation divided out, by channel. With crop_mode "squash" the whole picture is resized to
    the square, whatever its proportions. This is what timm and torchvision do in evaluation.

    Attributes:
        resolution: side of the square input in pixels.
        crop_pct: share of the resized side that the crop keeps, in (0, 1].
        interpolation: "bicubic", "bilinear" or another that torchvision knows.
        mean: by channel, in 0..1.
        std: by channel.
        crop_mode: "center" or "squash".
    """

    resolution: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop_mode: str = "center"

    @property
    def resize(self) -> int:
        """Length of the shorter side before the crop, in pixels."""
        return math.floor(self.resolution / self.crop_pct)

    def as_dict(self) -> dict[str, Any]:
        """Returns the values for a record."""
        return asdict(self) | {"resize": self.resize}

    def crop(self) -> Callable[[Image.Image], Image.Image]:
        """Returns the function from an RGB picture to the square that the network will see."""
        from torchvision import transforms

        how = transforms.InterpolationMode(self.interpolation)
        size = (self.resize, self.resize) if self.crop_mode == "squash" else self.resize
        steps = [
            transforms.Resize(size, how, antialias=True),
            transforms.CenterCrop(self.resolution),
        ]
        chain: Callable[[Image.Image], Image.Image] = transforms.Compose(steps)
        return chain

    def transform(self) -> Callable[[Image.Image], torch.Tensor]:
        """Returns the function from an RGB picture to a (3, resolution, resolution) tensor."""
        from torchvision import transforms

        steps = [self.crop(), transforms.ToTensor(), transforms.Normalize(self.mean, self.std)]
        chain: Callable[[Image.Image], torch.Tensor] = transforms.Compose(steps)
        return chain


def eval_transform(
    name: str, resolution: int | None = None, *, pretrained: Source | None = "auto"
) -> Callable[[Image.Image], torch.Tensor]:
    """Returns the function from an RGB picture to the network's input, by its own convention.

    Args:
        name: as for `build`.
        resolution: side of the input in pixels; the network's own if not given.
        pretrained: as for `build`; the convention belongs to the weights.

    Raises:
        ValueError: unknown name, or a size below 1.
    """
    return preprocessing(name, resolution, pretrained=pretrained).transform()


def preprocessing(
    name: str, resolution: int | None = None, *, pretrained: Source | None = "auto"
) -> Preprocessing:
    """Returns the numbers of a network's eval transform.

    The pip-shipped weights are prepared as timm prepares its copy of them: see pip_weights.py.
    A network that starts from random weights has no convention to keep: nothing is cropped but
    what makes the picture square.

    Args:
        name: as for `build`.
        resolution: side of the input in pixels; the network's own if not given.
        pretrained: as for `build`.

    Raises:
        ValueError: unknown name, a size below 1, or a way of cropping that is not known here.
    """
    if resolution is not None and resolution < 1:
        raise ValueError(f"resolution is {resolution} pixels; expected 1 or more")
    library, bare = resolve(name, pretrained)
    how = (_torchvision if library == "torchvision" else _timm)(bare, resolution)
    return how if pretrained else replace(how, crop_pct=1.0)


def _timm(name: str, resolution: int | None) -> Preprocessing:
    from timm.data.config import resolve_data_config
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(name)
    config = resolve_data_config(pretrained_cfg=found.to_dict() if found else {})
    if config["crop_mode"] not in ("center", "squash"):
        raise ValueError(
            f"{name} crops in the mode {config['crop_mode']!r}, which is not built in: "
            "pass timm's own transform to features and predict"
        )
    return Preprocessing(
        resolution=resolution or int(config["input_size"][1]),
        crop_pct=float(config["crop_pct"]),
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_mode=config["crop_mode"],
    )


def _torchvision(name: str, resolution: int | None) -> Preprocessing:
    from torchvision.models import get_model_weights

    preset = get_model_weights(name).DEFAULT.transforms()
    return Preprocessing(
        resolution=resolution or int(preset.crop_size[0]),
        crop_pct=preset.crop_size[0] / preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
