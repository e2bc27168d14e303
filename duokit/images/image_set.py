"""An image set: stable names, labels, and a way to open one picture at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from PIL import Image

from duokit.images.names import require_plain
from duokit.printable import shown

NO_CLASS = -1  # the label of an image that belongs to no class (out of distribution)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set of labelled images, of which none is in memory until it is opened.

    Attributes:
        name: name of the data set; of the folder, for a folder of your own.
        ids: n different texts, the names of the images; sorted, the same on every machine.
        labels: (n,) int64, class 0..k-1, or -1 for an image that belongs to no class.
        class_names: k names; the class number is the place in this tuple.
        read: opens image i; `open` calls it.
        columns: what else is known of each image, one row an image, indexed by the ids.
        licence: licence of the pictures, as their authors state it.
        source: where the pictures come from.
        loader: one of NAMES, for the protocol of its splits; any folder's if not given.

    Raises:
        ValueError: lengths that disagree, repeated ids, names that no record can keep
            (`require_plain`), or labels outside -1..k-1.
    """

    name: str
    ids: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    read: Callable[[int], Image.Image] = field(repr=False)
    columns: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    licence: str = ""
    source: str = ""
    loader: str = "folder"

    def __post_init__(self) -> None:
        ids, names = tuple(self.ids), tuple(self.class_names)
        require_plain((self.name, *names, *ids), shown(self.name))
        labels = np.asarray(self.labels, dtype=np.int64)
        columns = self.columns if len(self.columns) else pd.DataFrame(index=pd.Index(ids))
        if not ids or labels.shape != (len(ids),):
            raise ValueError(
                f"{self.name}: {len(ids)} ids and labels of shape {labels.shape}; "
                "expected one label an image and at least one image"
            )
        if len(set(ids)) != len(ids):
            twice = next(name for row, name in enumerate(ids) if name in ids[:row])
            raise ValueError(f"{self.name}: the id {twice!r} names two images")
        if labels.min() < NO_CLASS or labels.max() >= len(names):
            raise ValueError(
                f"{self.name}: labels go from {labels.min()} to {labels.max()}; expected "
                f"-1 (no class) or 0..{len(names) - 1}"
            )
        if tuple(columns.index) != ids:
            raise ValueError(f"{self.name}: the rows of columns are not the ids, in order")
        clean = {"ids": ids, "class_names": names, "labels": labels, "columns": columns}
        for attribute, value in clean.items():
            object.__setattr__(self, attribute, value)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.ids)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def open(self, row: int) -> Image.Image:
        """Returns image number `row`, in RGB with 8 bits a channel, read from where it lies.

        Raises:
            ValueError: the picture is damaged or of a kind that cannot be shown in 8 bits.
        """
        return self.read(row)

    def stamps(self, rows: Iterable[int]) -> list[tuple[int, ...]]:
        """Returns size and time of change (ns) of the files of these images; none if in memory.

        They go into the name of what is kept of pictures, since another picture may have the
        name of one that was read before.

        Raises:
            OSError: a file that is gone.
        """
        stamp = getattr(self.read, "stamp", None)
        return [] if stamp is None else [stamp(int(row)) for row in rows]

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """Returns the row numbers, (m,) int64, of these ids in this order.

        Raises:
            ValueError: an id that this set does not hold.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        wanted = list(ids)
        missing = [name for name in wanted if name not in place]
        if missing:
            raise ValueError(
                f"{self.name} has no image {missing[0]!r} ({len(missing)} of {len(wanted)} ids "
                f"are missing; its first id is {self.ids[0]!r}): is it the same data set, whole?"
            )
        return np.array([place[name] for name in wanted], dtype=np.int64)
