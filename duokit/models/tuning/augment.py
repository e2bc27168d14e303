"""RandAugment and flips for a whole batch of bytes at once, on the device where it lies.

What torchvision.transforms.RandAugment does to one picture after the other (two random operations
of fourteen, all of the same strength) is done here to all pictures of a batch that drew the same
operation. What was drawn is an argument, so a training step can be repeated exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch

from duokit.models.pixels import send

BINS = 31  # strengths that RandAugment tells apart
Op = Callable[[torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Draws:
    """What is done to each picture of a batch.

    Attributes:
        ops: (m, rounds) int64, numbers of operations.
        signs: (m, rounds) int64, -1 or 1: the direction, where an operation has one.
        flips: (m,) bool, whether the picture is mirrored.
    """

    ops: torch.Tensor
    signs: torch.Tensor
    flips: torch.Tensor

    def __getitem__(self, places: slice | torch.Tensor) -> Draws:
        """Returns what is done to some of the pictures."""
        return Draws(self.ops[places], self.signs[places], self.flips[places])


def draw(images: int, *, rounds: int, flip: bool, generator: torch.Generator) -> Draws:
    """Returns what to do to so many pictures.

    Args:
        images: m.
        rounds: operations a picture gets; 0 for none.
        flip: whether half of them are mirrored (left and right).
        generator: where the numbers come from.
    """
    ops = torch.randint(len(_OPS), (images, rounds), generator=generator)
    signs = 1 - 2 * torch.randint(2, (images, rounds), generator=generator)
    flips = torch.rand(images, generator=generator) < 0.5
    return Draws(ops, signs, flips if flip else torch.zeros_like(flips))


def augment(values: torch.Tensor, draws: Draws, *, magnitude: int = 9) -> torch.Tensor:
    """Returns the augmented pictures, (m, 3, height, width) uint8; the input stays as it is.

    Operations and strengths are torchvision's, with its nearest-neighbour warps and black borders.
    There RandAugment comes before the crop; here after it, so a warp cannot pull in what the crop
    cut off.

    Args:
        values: (m, 3, height, width) uint8.
        draws: for m pictures, on the CPU.
        magnitude: strength, 0 to 30.

    Raises:
        ValueError: a magnitude outside 0 ... 30.
    """
    if not 0 <= magnitude < BINS:
        raise ValueError(f"magnitude is {magnitude}; expected 0 to {BINS - 1}")
    from torchvision.transforms.v2 import functional as F  # noqa: N812 (its usual name)

    values = values.clone()
    for ops, signs in zip(draws.ops.T, draws.signs.T, strict=True):
        code = ops * 2 + (signs > 0)
        for group in code.unique().tolist():
            rows = send(torch.nonzero(code == group)[:, 0], values.device)
            op = _OPS[group // 2]
            values[rows] = op(values[rows], (1 if group % 2 else -1) * magnitude / (BINS - 1))
    rows = send(torch.nonzero(draws.flips)[:, 0], values.device)
    values[rows] = F.horizontal_flip(values[rows])
    return values


def _warp(name: str) -> Op:
    """Returns a warp of torchvision's, for pictures and a strength in -1 ... 1."""

    def apply(x: torch.Tensor, strength: float) -> torch.Tensor:
        inside, source = _sources(name, strength, x.shape[-2], x.shape[-1], x.device)
        return x.flatten(2)[:, :, source].view_as(x) * inside

    return apply


@lru_cache(maxsize=64)
def _sources(
    name: str, strength: float, height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what a warp does: whether a pixel comes from inside, 0 or 1, and from which one.

    torchvision sends a matrix to the device at each call and waits until it is there; here it warps
    the numbers of the pixels, once, and their places are kept on the device.

    Returns:
        (height, width) uint8 and (height * width,) int64.
    """
    from torchvision.transforms.v2 import functional as F  # noqa: N812

    numbers = torch.arange(1.0, height * width + 1).view(1, height, width)
    if name == "rotate":
        warped = F.rotate(numbers, 30 * strength)
    else:
        shear = math.degrees(math.atan(0.3 * strength))
        shifts = [int(150 / 331 * side * strength) for side in (width, height)]
        warped = F.affine(
            numbers, angle=0.0, scale=1.0, center=[0.0, 0.0] if "shear" in name else None,
            shear=[shear * (name == "shear x"), shear * (name == "shear y")],
            translate=[shifts[0] * (name == "shift x"), shifts[1] * (name == "shift y")],
        )  # fmt: skip
    source = warped.long().flatten()
    inside = (source > 0).to(torch.uint8).view(height, width)
    return inside.to(device), (source - 1).clamp(min=0).to(device)


def _adjust(name: str) -> Op:
    """Returns one of torchvision's functions, for pictures and a strength in -1 ... 1."""

    def apply(x: torch.Tensor, strength: float) -> torch.Tensor:
        from torchvision.transforms.v2 import functional as F  # noqa: N812

        adjusted: torch.Tensor = getattr(F, f"adjust_{name}")(x, 1 + 0.9 * strength)
        return adjusted

    return apply


def _sharpen(x: torch.Tensor, strength: float) -> torch.Tensor:
    """Returns torchvision's adjust_sharpness, whose kernel would wait for the device."""
    if min(x.shape[-2:]) < 3:
        return x
    height, width = x.shape[-2] - 2, x.shape[-1] - 2
    sharp = x.float()
    inner = sharp[..., 1:-1, 1:-1]
    total = 4 * inner
    for down in range(3):
        for right in range(3):
            total += sharp[..., down : down + height, right : right + width]
    inner += ((total / 13).round() - inner) * (-0.9 * strength)
    return sharp.clamp(0, 255).to(torch.uint8)


def _posterize(x: torch.Tensor, strength: float) -> torch.Tensor:
    bits = 8 - round(4 * abs(strength))
    return x & (0xFF << (8 - bits) & 0xFF)


def _solarize(x: torch.Tensor, strength: float) -> torch.Tensor:
    return torch.where(x >= 255 * (1 - abs(strength)), 255 - x, x)


def _autocontrast(x: torch.Tensor, _: float) -> torch.Tensor:
    from torchvision.transforms.v2 import functional as F  # noqa: N812

    stretched: torch.Tensor = F.autocontrast(x)
    return stretched


def _equalize(x: torch.Tensor, _: float) -> torch.Tensor:
    from torchvision.transforms.v2 import functional as F  # noqa: N812

    flat: torch.Tensor = F.equalize(x)
    return flat


# In torchvision's order.
_OPS: tuple[Op, ...] = (
    lambda x, _: x,
    _warp("shear x"),
    _warp("shear y"),
    _warp("shift x"),
    _warp("shift y"),
    _warp("rotate"),
    _adjust("brightness"),
    _adjust("saturation"),
    _adjust("contrast"),
    _sharpen,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)
