"""Any folder of class folders, `root/<class>/<picture>`: the layout of ImageFolder."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from duokit.images.copies import copies_of, distinct, with_copies
from duokit.images.image_set import ImageSet
from duokit.images.listing import (
    Listing,
    files,
    folders,
    is_picture,
    no_picture,
    walk,
    warn_of,
)
from duokit.images.names import alike, look_the_same, set_name
from duokit.images.places import candidates
from duokit.images.reading import Files
from duokit.images.splits import FOLDS, Splits, fold_splits, make_splits

NAME = "folder"
SPLIT_NAMES = frozenset({
    "train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval",
    "shifted", "ood",
})  # fmt: skip
TRAIN, VAL = 0.6, 0.15  # shares of each class


def load_folder(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns the pictures of a folder; each folder in it is a class, named as the folder.

    What systems put between them is passed over (`is_system`), and what may be meant as a picture
    and cannot be read is warned of. Classes and pictures are sorted by name (capitals first, as
    Python sorts), so that numbers do not depend on how a disk lists its files: class 10 comes
    before class 2. The set is called as its folder.

    Args:
        root: the folder that holds the class folders, or an archive of it.
        download: not possible here; there to have one interface.

    Raises:
        FileNotFoundError: no root, or it does not exist.
        ValueError: no class folder, a class without pictures, fewer than two classes, names that
            no record can keep, classes that share a folder by a link.
    """
    if root is None or download:
        raise FileNotFoundError("a folder of your own cannot be downloaded: give its path as root")
    base = class_root(root)
    names = class_folders(base)
    ids, labels = list_pictures(base, names)
    for remark in alike_classes(base, names):
        warnings.warn(f"{base}: {remark}", stacklevel=2)
    return ImageSet(
        name=set_name(root, base),
        ids=ids,
        labels=labels,
        class_names=names,
        read=Files(base, ids),
        source="folder of class folders",
    )


def alike_classes(base: Path, names: Iterable[str]) -> list[str]:
    """Returns a sentence on each group of class folders whose names differ in capitals alone.

    Raises:
        ValueError: names that look the same, since their accents alone are written otherwise.
    """
    groups = alike(names)
    same = next(filter(look_the_same, groups), None)
    if same:
        raise ValueError(
            f"{base} has class folders whose names look the same and are written otherwise "
            f"({', '.join(map(ascii, same))}): bring their pictures into one"
        )
    return [
        f"the class folders {' and '.join(group)} differ in capitals alone, and are two classes "
        "here: if they are one, bring their pictures into one folder"
        for group in groups
    ]


def class_root(root: str | Path) -> Path:
    """Returns the folder of the class folders; of an archive, the one in it that holds all."""
    base = next(candidates(root, ()))
    inner = folders(base)
    return base / inner[0] if len(inner) == 1 and Path(root).is_file() else base


def class_folders(base: Path) -> tuple[str, ...]:
    """Returns the names of the class folders in a folder, sorted.

    Raises:
        ValueError: fewer than two, or folders that are named as splits.
    """
    names = tuple(folders(base))
    if len(names) < 2:
        inner = len(names) == 1 and len(folders(base / names[0])) > 1
        raise ValueError(
            f"{base} holds {len(names)} folders; expected at least two, one a class, "
            f"with the pictures in them: {base.name}/<class>/<picture>"
            + (f"; give {base / names[0]} as root" if inner else "")
        )
    parts = split_folders(base, names)
    if parts:
        others = [name for name in names if name not in parts]
        raise ValueError(
            f"{base} holds the folders {', '.join(parts)}, which look like splits, not classes"
            + (f" (beside {', '.join(others[:3])})" if others else "")
            + ": give one of them as root, or bring all pictures of a class into one folder"
        )
    return names


def split_folders(base: Path, names: Iterable[str]) -> list[str]:
    """Returns those of the folders that hold parts of a data set, not a class.

    Folders called train, val, test ... are taken for that if there are two of them, or if one
    holds folders and no picture of its own: there may be a class "train" beside "bus".
    """
    found = [name for name in names if name.lower() in SPLIT_NAMES]
    if len(found) > 1:
        return found
    return [
        name
        for name in found
        if folders(base / name) and not any(is_picture(each) for each in files(base / name))
    ]


def list_pictures(base: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the ids ("class/picture.jpg") and labels of all pictures in these class folders.

    Raises:
        ValueError: a class folder without pictures, or one that another links to.
    """
    listings = walk_classes(base, names)
    warn_of(base, *listings)
    ids = [name for each in listings for name in each.pictures]
    labels = np.repeat(np.arange(len(names)), [len(each.pictures) for each in listings])
    return tuple(ids), labels.astype(np.int64)


def walk_classes(base: Path, names: Iterable[str]) -> list[Listing]:
    """Returns what lies in each of these class folders.

    Raises:
        ValueError: a class folder without pictures, or one that another links to.
    """
    seen: dict[str, str] = {}
    listings = []
    for name in names:
        found = walk(base, name, seen=seen)
        for place, first in found.again:
            if first.split("/")[0] not in (name, "."):
                raise ValueError(
                    f"{base / place} is a link to pictures of another class, or that class to it "
                    f"({base / first}): remove the link, so that each picture has one class"
                )
        if not found.pictures:
            raise ValueError(
                f"{no_picture(base / name, found)}: remove the folder, or put the pictures of the "
                "class into it"
            )
        listings.append(found)
    return listings


def default_splits(image_set: ImageSet, *, seed: int = 0, fold: int | None = None) -> Splits:
    """Returns 60 % of each class for training, 15 % for val, the rest for test; or one of 5 folds.

    Pictures are drawn; copies of them, byte for byte, go where they go (`copies_of`).

    Args:
        image_set: pictures and labels.
        seed: seed of the draw.
        fold: which of five folds is test, from 0; none of them if not given.

    Raises:
        ValueError: a class with fewer than two different images (five for folds), or no such fold.
    """
    copies = copies_of(image_set)
    least = FOLDS if fold is not None else 2
    within = distinct(image_set, copies, least) if copies else None
    if fold is not None:
        splits = fold_splits(image_set, fold, seed=seed, within=within)
    else:
        splits = make_splits(image_set, train=TRAIN, val=VAL, seed=seed, within=within)
    return with_copies(splits, copies) if copies else splits
