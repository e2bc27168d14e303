"""What a duo may be shown: pictures in memory, files, a folder, an image set; opened one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from duokit.images import ImageSet
from duokit.images.loose import load_loose
from duokit.images.names import require_plain
from duokit.images.reading import read_picture

Images = ImageSet | str | Path | Image.Image | torch.Tensor | Iterable[Image.Image | str | Path]


class Prepared(Dataset[tuple[torch.Tensor, ...]]):
    """Pictures, each opened once and prepared for every member when it is asked for.

    Attributes:
        ids: their names: as in the image set, the path in the folder, the path given, or "row-0",
            "row-1" ... for pictures in memory.
    """

    def __init__(
        self,
        images: Images,
        rows: Sequence[int] | np.ndarray | None,
        transforms: Sequence[Callable[[Image.Image], torch.Tensor] | None],
    ) -> None:
        """Finds the pictures; opens none.

        Args:
            images: as for `AsymmetricDuo.predict`.
            rows: which of them, by number; all if not given.
            transforms: one a member; None for a member that does not run, which gets nothing.

        Raises:
            FileNotFoundError: no such folder or file.
            ValueError: no pictures.
        """
        ids, self.open = _find(images)
        self.rows = range(len(ids)) if rows is None else [int(row) for row in rows]
        self.ids = tuple(ids[row] for row in self.rows)
        self.transforms = transforms
        if not self.ids:
            raise ValueError("there are no pictures: the list, or the rows, are empty")

    def __len__(self) -> int:
        """Returns how many pictures there are."""
        return len(self.ids)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, ...]:
        """Returns one picture, (3, height, width) for each member; empty for one that is idle."""
        picture = self.open(self.rows[place])
        return tuple(torch.empty(0) if each is None else each(picture) for each in self.transforms)


def _find(images: Images) -> tuple[Sequence[str], Callable[[int], Image.Image]]:
    """Returns the names of the pictures, and what opens the one of a number."""
    if isinstance(images, str | Path) and Path(images).is_dir():
        images = load_loose(images, ())
    if isinstance(images, ImageSet):
        return images.ids, images.open
    alone = isinstance(images, str | Path | Image.Image)
    given: list[Any] = [images] if alone else list(images)  # type: ignore[arg-type]
    names = tuple(
        str(each) if isinstance(each, str | Path) else f"row-{row}"
        for row, each in enumerate(given)
    )
    require_plain(names, "the pictures")
    return names, _Given(given)


@dataclass(frozen=True)
class _Given:
    """Opens what was given in a list; small enough to be sent to worker processes."""

    images: list[Any]

    def __call__(self, row: int) -> Image.Image:
        """Returns picture number `row` in RGB, 8 bits a channel."""
        found = self.images[row]
        if isinstance(found, str | Path):
            return read_picture(Path(found))
        if isinstance(found, torch.Tensor):
            return _from_bytes(found, row)
        if not isinstance(found, Image.Image):
            raise TypeError(
                f"picture {row} is a {type(found).__name__}; expected a path, a PIL picture "
                "(Image.fromarray of an array of bytes), or a tensor of bytes"
            )
        if found.mode.startswith(("I", "F")):
            raise ValueError(
                f"picture {row} has more than 8 bits a channel (mode {found.mode}), and how to "
                "bring them to 8 is a choice: convert it first"
            )
        return found.convert("RGB")


def _from_bytes(values: torch.Tensor, row: int) -> Image.Image:
    """Returns the picture in a tensor (3, height, width) of colours in 0..255."""
    if values.dtype != torch.uint8 or values.ndim != 3 or values.shape[0] != 3:
        raise TypeError(
            f"picture {row} is a tensor of {values.dtype}, {tuple(values.shape)}; expected "
            "torch.uint8, (3, height, width), so a batch is (n, 3, height, width). Pictures that "
            "are prepared already go to the duo itself: duo(large_inputs, small_inputs)"
        )
    return Image.fromarray(values.permute(1, 2, 0).cpu().numpy())
