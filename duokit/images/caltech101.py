"""Caltech-101: 101 classes of objects, 31 to 800 photographs each, and one folder of clutter.

The 467 pictures of BACKGROUND_Google are not a class: they are kept with label -1, as a set that is
out of distribution. Classes are numbered as in torchvision's Caltech101 (sorted by name, capitals
first); "Faces" and "Faces_easy" are two classes, as its authors made them.

Source: F.-F. Li, M. Andreeto, M. Ranzato, P. Perona, "Caltech 101", CaltechDATA,
doi:10.22002/D1.20086, CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duokit.images.folder import list_pictures
from duokit.images.image_set import NO_CLASS, ImageSet
from duokit.images.listing import folders
from duokit.images.places import VARIABLE, candidates, data_folder
from duokit.images.reading import Files
from duokit.images.splits import Splits, make_splits, without_class

NAME = "caltech101"
CLASSES = 101
BACKGROUND = "BACKGROUND_Google"
FOLDER = "101_ObjectCategories"
PLACES = (FOLDER, f"caltech101/{FOLDER}", f"caltech-101/{FOLDER}", "caltech-101")
TRAIN, VAL = 30, 15  # images a class


def load_caltech101(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns Caltech-101 with BACKGROUND_Google (label -1); ids such as "cup/image_0001.jpg".

    Args:
        root: a folder with 101_ObjectCategories in it (torchvision's layout too), that folder
            itself, or the archive of it; the data folder (DUOKIT_DATA) if not given.
        download: whether to fetch it with torchvision where it is not found.

    Raises:
        FileNotFoundError: not found, and not downloaded.
        ValueError: a copy that is not whole.
    """
    base = _find(root)
    if base is None and download:
        base = _download(Path(root) if root is not None else data_folder())
    if base is None:
        raise FileNotFoundError(
            f"no {FOLDER} in {root or data_folder()}: give its folder or archive as root (or in "
            f"the variable {VARIABLE}), or let it be downloaded (--download; download=True)"
        )
    found = folders(base)
    names = tuple(name for name in found if name != BACKGROUND)
    if len(names) != CLASSES:
        raise ValueError(
            f"{base} holds {len(names)} classes; Caltech-101 has {CLASSES}: the copy is not whole"
        )
    ids, labels = list_pictures(base, (*names, BACKGROUND))
    labels[labels == CLASSES] = NO_CLASS
    order = np.argsort(np.array(ids))
    ids = tuple(ids[row] for row in order)
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=ids,
        labels=labels[order],
        class_names=names,
        read=Files(base, ids),
        licence="CC BY 4.0",
        source="https://doi.org/10.22002/D1.20086",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns 30 training images a class, up to 15 for val, the rest for test, clutter as "ood".

    Classes with fewer than 60 images give val half of what training leaves, rounded down, so that
    each has a test image: the smallest class (31 images) has 30, 0 and 1.
    """
    protocol = (
        f"train {TRAIN} images a class, val up to {VAL} but at most half of what is left, "
        f"test the rest; ood is {BACKGROUND}"
    )
    extra = {"ood": without_class(image_set)}
    return make_splits(image_set, train=TRAIN, val=VAL, seed=seed, extra=extra, protocol=protocol)


def _find(root: str | Path | None) -> Path | None:
    return next((p for p in candidates(root, PLACES) if (p / BACKGROUND).is_dir()), None)


def _download(folder: Path) -> Path | None:
    from torchvision.datasets import Caltech101

    try:
        Caltech101(folder, download=True)
    except Exception as error:  # torchvision raises many kinds: URLError, RuntimeError, OSError
        raise FileNotFoundError(
            f"Caltech-101 could not be downloaded into {folder} ({error}): fetch caltech-101.zip "
            "from https://doi.org/10.22002/D1.20086 and give the file as root"
        ) from error
    return _find(folder)
