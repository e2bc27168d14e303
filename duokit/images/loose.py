"""Pictures without labels: whatever lies in a folder, for a network that is trained already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duokit.images.image_set import NO_CLASS, ImageSet
from duokit.images.places import candidates
from duokit.images.reading import SUFFIXES, Files


def load_loose(root: str | Path, class_names: Sequence[str]) -> ImageSet:
    """Returns all pictures in a folder and below it, sorted by name, each with the label -1.

    Args:
        root: the folder, or an archive of it; the set is called as it.
        class_names: k names of the classes that a network tells apart.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: no picture in it.
    """
    base = next(candidates(root, ()))
    found = (path.relative_to(base) for path in base.rglob("*") if path.suffix.lower() in SUFFIXES)
    ids = tuple(sorted(path.as_posix() for path in found if not path.name.startswith(".")))
    if not ids:
        raise ValueError(f"{root} holds no picture ({', '.join(SUFFIXES)})")
    return ImageSet(
        name=Path(root).name.split(".")[0] if Path(root).is_file() else base.resolve().name,
        ids=ids,
        labels=np.full(len(ids), NO_CLASS),
        class_names=tuple(class_names),
        read=Files(base, ids),
        source="folder of pictures without labels",
    )
