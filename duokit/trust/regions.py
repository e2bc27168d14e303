"""The same regions for every model: cells of the picture, whatever resolution a network sees.

Regions live on the base picture, a square of one resolution that all models are shown; each network
resizes and normalises it for itself (`View`). So changing a region means the same to all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from duokit.models.duo.module import AsymmetricDuo
from duokit.models.inference import layout
from duokit.models.transforms import Preprocessing

SIDE = 224  # pixels of a base picture; a 7 x 7 grid has cells of 32
SMOOTH = ("bicubic", "bilinear")  # what torch can resize by with antialiasing
BLUR = 4  # pixels a side that are left of a picture that is "blur"


def grid_regions(cells: int, side: int) -> torch.Tensor:
    """Returns (side, side) int64, the cell of each pixel: row by row, cells x cells of them.

    Pixel p belongs to cell row floor(p * cells / side), so cells lie at the same share of the
    picture at any resolution.

    Args:
        cells: of a side, from 1 to `side`.
        side: of the picture in pixels.

    Raises:
        ValueError: fewer than one cell, or cells without a pixel.
    """
    if not 1 <= cells <= side:
        raise ValueError(f"a grid of {cells} x {cells} cells does not fit {side} x {side} pixels")
    line = torch.arange(side) * cells // side
    return line[:, None] * cells + line


def as_regions(regions: int | np.ndarray | torch.Tensor, n: int, side: int) -> torch.Tensor:
    """Returns (1 or n, side, side) int64, the region of each pixel: one map for all, or one each.

    Args:
        regions: cells a side of a grid, or whole numbers from 0 on, (side, side) or
            (n, side, side).
        n: number of pictures.
        side: of the pictures in pixels.

    Raises:
        TypeError: not whole numbers.
        ValueError: another shape, or negative numbers.
    """
    if isinstance(regions, int | np.integer):
        return grid_regions(int(regions), side)[None]
    found = torch.as_tensor(regions)
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"regions are {found.dtype}; expected whole numbers, the region of a pixel")
    found = found.long()
    found = found[None] if found.ndim == 2 else found
    if found.shape not in ((1, side, side), (n, side, side)) or found.min() < 0:
        raise ValueError(
            f"regions have shape {tuple(found.shape)} and start at {int(found.min())}; expected "
            f"({side}, {side}) or ({n}, {side}, {side}) with numbers from 0 on"
        )
    return found


def as_pictures(pictures: torch.Tensor | np.ndarray) -> torch.Tensor:
    """Returns (n, 3, side, side) float32 in [0, 1].

    Args:
        pictures: the same, or bytes.

    Raises:
        TypeError: other types.
        ValueError: not square, not three channels, or values outside [0, 1].
    """
    found = torch.as_tensor(pictures)
    if found.dtype == torch.uint8:
        found = found.float() / 255
    elif not found.is_floating_point():
        raise TypeError(f"pictures are {found.dtype}; expected bytes, or floats in [0, 1]")
    if found.ndim != 4 or found.shape[1] != 3 or found.shape[2] != found.shape[3] or not len(found):
        raise ValueError(f"pictures have shape {tuple(found.shape)}; expected (n, 3, side, side)")
    if not (found.min() >= 0 and found.max() <= 1):
        raise ValueError(
            f"pictures go from {float(found.min()):g} to {float(found.max()):g}; expected [0, 1]: "
            "give them as they are, models normalise for themselves"
        )
    return found.float()


def replacement(picture: torch.Tensor, baseline: str | float) -> torch.Tensor:
    """Returns (3, side, side), what stands where a region is replaced.

    Args:
        picture: (3, side, side) in [0, 1].
        baseline: "blur", the picture shrunk to 4 x 4 and smoothly enlarged again; "mean", its mean
            colour; or a grey in [0, 1].

    Raises:
        ValueError: another word or number.
    """
    if baseline == "blur":
        small = functional.interpolate(picture[None], BLUR, mode="bilinear", antialias=True)
        return functional.interpolate(small, picture.shape[1:], mode="bilinear")[0]
    if baseline == "mean":
        return picture.mean(dim=(1, 2), keepdim=True).expand_as(picture)
    if isinstance(baseline, str) or not 0 <= baseline <= 1:
        raise ValueError(f"baseline is {baseline!r}; expected 'blur', 'mean' or a grey in [0, 1]")
    return torch.full_like(picture, baseline)


def base_pictures(
    pictures: Iterable[Image.Image], *, side: int = SIDE, crop: float = 1.0
) -> torch.Tensor:
    """Returns (n, 3, side, side) bytes, the middle square of each picture, for all models alike.

    Args:
        pictures: n in RGB, such as an image set's `open` gives them; one at a time is held.
        side: of the square in pixels; take one no smaller than any model's resolution.
        crop: share of the shorter side that the square keeps, in (0, 1]; the largest `crop_pct` of
            the models, so that no region lies where a model sees nothing.

    Raises:
        ValueError: no pictures, or numbers out of range.
    """
    if side < 1 or not 0 < crop <= 1:
        raise ValueError(f"side is {side} and crop {crop}; expected 1 or more, and (0, 1]")
    cut = Preprocessing(side, crop, "bicubic", (0, 0, 0), (1, 1, 1)).crop()
    found = [np.array(cut(picture)) for picture in pictures]
    if not found:
        raise ValueError("there are no pictures: the list is empty")
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()


class View(nn.Module):
    """A network or a duo as a function of base pictures, differentiable, in eval mode.

    The middle of the base picture is cut out and resized, with antialiasing, to what each network
    sees, then normalised as the network is used to. This is the network's own eval transform but
    for a second rounding and resizing.

    Attributes:
        network: given one prepared batch for each preprocessing.
        preprocessings: how each of its inputs is prepared.
        crop: share of the shorter side that base pictures show.
    """

    def __init__(
        self, network: nn.Module, *preprocessings: Preprocessing, crop: float = 1.0
    ) -> None:
        """Keeps the network; sets eval mode and the order of memory that convolutions like.

        Args:
            network: from prepared pictures to logits.
            *preprocessings: one for each input of the network.
            crop: as `base_pictures` was given it.

        Raises:
            ValueError: a network that sees more than the base picture shows, or whole pictures
                of any proportions (crop_mode "squash"), or that resizes in another way.
        """
        super().__init__()
        for how in preprocessings:
            if how.interpolation not in SMOOTH:
                raise ValueError(
                    f"a network resizes by {how.interpolation!r}; a view knows {', '.join(SMOOTH)}"
                )
            if how.crop_mode != "center" or how.crop_pct > crop + 1e-9:
                raise ValueError(
                    f"a network sees {how.crop_pct:g} of the shorter side (crop_mode "
                    f"{how.crop_mode!r}), base pictures show {crop:g} of it: give a crop of "
                    f"{how.crop_pct:g} or more; the mode 'squash' has no base picture"
                )
        self.network, self.preprocessings, self.crop = network, preprocessings, crop
        self.eval()
        first = next(network.parameters(), torch.empty(0))
        network.to(memory_format=layout(first.device))  # type: ignore[call-overload]

    @classmethod
    def of_duo(cls, duo: AsymmetricDuo, *, crop: float = 1.0) -> View:
        """Returns the view of a duo, each member prepared in its own way.

        Args:
            duo: both members.
            crop: as `base_pictures` was given it.

        Raises:
            ValueError: as `View`.
        """
        return cls(duo, *(member.preprocessing for member in duo.members), crop=crop)

    def forward(self, base: torch.Tensor) -> torch.Tensor:
        """Returns logits (n, k) of base pictures (n, 3, side, side) in [0, 1]."""
        inputs = [prepare(base, how, crop=self.crop) for how in self.preprocessings]
        logits: torch.Tensor = self.network(*inputs)
        return logits


def prepare(base: torch.Tensor, how: Preprocessing, *, crop: float = 1.0) -> torch.Tensor:
    """Returns (n, 3, resolution, resolution), base pictures as a network sees them.

    Args:
        base: (n, 3, side, side) in [0, 1].
        how: resolution, share of the picture, mean and deviation.
        crop: share of the shorter side that base pictures show.
    """
    side, size = base.shape[-1], how.resolution
    kept = round(side * how.crop_pct / crop)
    first = (side - kept) // 2
    middle = base[..., first : first + kept, first : first + kept]
    if kept != size:
        smooth: dict[str, Any] = {"mode": how.interpolation, "antialias": True}
        middle = functional.interpolate(middle, (size, size), **smooth).clamp(0, 1)
    mean, std = (
        torch.tensor(each, device=base.device)[:, None, None] for each in (how.mean, how.std)
    )
    return (middle - mean) / std
