"""Caltech-256: 256 classes of objects and one of clutter, 30,607 photographs, 80 or more of each.

The paper trains on 257 classes, clutter among them, so clutter is a class here, unlike in
Caltech-101. Pictures are numbered as torchvision's Caltech256 numbers them, since the authors'
split depends on it: class c's pictures are c+1_0001.jpg to c+1_n.jpg, n being the number of .jpg
files in its folder. The archive holds two things that are no pictures, 056.dog/greg and
198.spider/RENAME2; they are passed over.

Source: G. Griffin, A. Holub, P. Perona, "Caltech-256 Object Category Dataset", CaltechDATA,
https://data.caltech.edu/records/nyy15-4j048; no licence is stated there.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from duokit.images.fetch import fetch
from duokit.images.image_set import ImageSet
from duokit.images.listing import files, folders
from duokit.images.official import Published, drawn_splits
from duokit.images.places import VARIABLE, candidates, data_folder
from duokit.images.reading import Files
from duokit.images.splits import Splits

NAME = "caltech256"
CLASSES = 257
FOLDER = "256_ObjectCategories"
PLACES = (FOLDER, f"caltech256/{FOLDER}", "caltech256")
CLASS = re.compile(r"(\d{3})\.(.+)")
TRAIN, VAL = 0.7, 0.15  # shares of all, rounded down
PUBLISHED = Published(
    sizes={"train": 21424, "val": 4591, "test": 4592},
    positions="d35d6eeed6126801725c0259d1467296e3ad65a0c13addd1d53fb8390b813696",
    unknown="the names of the files, whose list is not known here",
)


def load_caltech256(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns Caltech-256 with clutter as class 256; ids such as "001.ak47/001_0001.jpg".

    Fewer pictures a class are accepted, so that the path can be tried; missing classes are not.

    Args:
        root: a folder with 256_ObjectCategories in it (torchvision's layout too), that folder
            itself, or the archive of it; the data folder (DUOKIT_DATA) if not given.
        download: whether to fetch it (1.2 GB) where it is not found.

    Raises:
        FileNotFoundError: not found, and not downloaded.
        ValueError: another data set, missing classes, or pictures that are not numbered 1 to n.
    """
    base = _find(root)
    if base is None and download:
        fetch(NAME, Path(root) if root is not None else data_folder())
        base = _find(root)
    if base is None:
        _refuse_others(root)
        raise FileNotFoundError(
            f"no {FOLDER} in {root or data_folder()}: duokit data fetch {NAME}, or give its folder "
            f"or archive as root (or in the variable {VARIABLE})"
        )
    names = _class_names(base)
    ids: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        pictures = _pictures(base / name, label + 1)
        ids += [f"{name}/{picture}" for picture in pictures]
        labels += [label] * len(pictures)
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=tuple(ids),
        labels=np.array(labels, dtype=np.int64),
        class_names=names,
        read=Files(base, tuple(ids)),
        licence="none stated",
        source="https://data.caltech.edu/records/nyy15-4j048",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns 70 % for training and 15 % for val, rounded down, the rest for test, as the authors.

    They are drawn from all pictures together, not class by class, as the authors did.

    Args:
        image_set: Caltech-256.
        seed: 0 for the authors' draw (torch's generator 42); s for another one (42 + s).
    """
    train, val = int(TRAIN * len(image_set)), int(VAL * len(image_set))
    sizes = {"train": train, "val": val, "test": len(image_set) - train - val}
    rule = "train 70 %, val 15 % of the pictures (rounded down), test the rest"
    return drawn_splits(image_set, sizes, PUBLISHED, seed=seed, rule=rule)


def _find(root: str | Path | None) -> Path | None:
    return next((p for p in candidates(root, PLACES) if p.is_dir() and _numbered(p)), None)


def _numbered(base: Path) -> list[str]:
    return [name for name in folders(base) if CLASS.fullmatch(name)]


def _class_names(base: Path) -> tuple[str, ...]:
    """Returns the names of the 257 class folders, the numbers in them being 1 to 257."""
    names = _numbered(base)
    others = [name for name in folders(base) if name not in names]
    if others:  # torchvision counts each of them as a class, which moves all numbers
        raise ValueError(
            f"{base / others[0]} is no class of Caltech-256 (001.ak47, ...): remove it"
        )
    numbers = [int(name[:3]) for name in names]
    if numbers != list(range(1, CLASSES + 1)):
        missing = sorted({*range(1, CLASSES + 1)} - {*numbers})
        detail = f"{missing[0]:03d} is missing" if missing else "two have the same number"
        raise ValueError(
            f"{base} holds {len(names)} class folders; Caltech-256 has 257, numbered 001 to 257 "
            f"({detail}): the copy is not whole; unpack the archive again"
        )
    return tuple(names)


def _pictures(folder: Path, number: int) -> list[str]:
    """Returns the names of a class's pictures, which must be numbered without a gap.

    torchvision counts the .jpg files and makes the names up from the count, so a gap would make it
    open a file that is not there.
    """
    found = [name for name in files(folder) if name.endswith(".jpg")]
    wanted = [f"{number:03d}_{row:04d}.jpg" for row in range(1, len(found) + 1)]
    if not found:
        raise ValueError(f"{folder} holds no .jpg file: unpack the archive again")
    if found != wanted:
        strange = next(name for name, due in zip(found, wanted, strict=True) if name != due)
        due = wanted[found.index(strange)]
        raise ValueError(
            f"{folder} holds {strange} where {due} is due: pictures must be numbered 0001 to "
            f"{len(found):04d}; unpack the archive again"
        )
    return found


def _refuse_others(root: str | Path | None) -> None:
    for place in candidates(root, (*PLACES, "101_ObjectCategories")):
        if (place / "BACKGROUND_Google").is_dir() or (place / "Faces_easy").is_dir():
            raise ValueError(f"{place} is Caltech-101, not Caltech-256: load it as 'caltech101'")
