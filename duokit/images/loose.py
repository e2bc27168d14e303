"""Pictures without labels: whatever lies in a folder, for a network that is trained already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duokit.images.image_set import NO_CLASS, ImageSet
from duokit.images.listing import no_picture, walk, warn_of
from duokit.images.names import set_name
from duokit.images.places import candidates
from duokit.images.reading import Files


def load_loose(root: str | Path, class_names: Sequence[str]) -> ImageSet:
    """Returns all pictures in a folder and below it, sorted by name, each with the label -1.

    Args:
        root: the folder, or an archive of it; the set is called as it.
        class_names: k names of the classes that a network tells apart.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: no picture in it, or names that no record can keep.
    """
    base = next(candidates(root, ()))
    found = walk(base)
    ids = tuple(found.pictures)
    if not ids:
        raise ValueError(no_picture(Path(root), found))
    warn_of(base, found)
    return ImageSet(
        name=set_name(root, base),
        ids=ids,
        labels=np.full(len(ids), NO_CLASS),
        class_names=tuple(class_names),
        read=Files(base, ids),
        source="folder of pictures without labels",
    )
