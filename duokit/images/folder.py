"""Any folder of class folders, `root/<class>/<picture>`: the layout of ImageFolder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duokit.images.image_set import ImageSet
from duokit.images.places import candidates
from duokit.images.reading import SUFFIXES, Files
from duokit.images.splits import Splits, fold_splits, make_splits

NAME = "folder"
HIDDEN = (".", "__")  # "__MACOSX" comes with archives made on a Mac
SPLIT_NAMES = frozenset({"train", "val", "valid", "validation", "test", "shifted", "ood"})


def load_folder(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns the pictures of a folder; each folder in it is a class, named as the folder.

    Classes and pictures are sorted by name (capitals first, as Python sorts), so that numbers do
    not depend on how a disk lists its files. The set is called as its folder.

    Args:
        root: the folder that holds the class folders, or an archive of it.
        download: not possible here; there to have one interface.

    Raises:
        FileNotFoundError: no root, or it does not exist.
        ValueError: no class folder, a class without pictures, fewer than two classes.
    """
    if root is None or download:
        raise FileNotFoundError("a folder of your own cannot be downloaded: give its path as root")
    base = next(candidates(root, ()))
    inner = [path for path in base.iterdir() if path.is_dir() and not path.name.startswith(HIDDEN)]
    if len(inner) == 1 and Path(root).is_file():
        base = inner[0]  # an archive usually holds one folder with everything in it
    names = class_folders(base)
    ids, labels = list_pictures(base, names)
    return ImageSet(
        name=base.name if not Path(root).is_file() else Path(root).name.split(".")[0],
        ids=ids,
        labels=labels,
        class_names=names,
        read=Files(base, ids),
        source="folder of class folders",
    )


def class_folders(base: Path) -> tuple[str, ...]:
    """Returns the names of the class folders in a folder, sorted.

    Raises:
        ValueError: fewer than two, or folders that are named as splits.
    """
    names = tuple(sorted(path.name for path in base.iterdir() if path.is_dir()))
    names = tuple(name for name in names if not name.startswith(HIDDEN))
    if len(names) < 2:
        raise ValueError(
            f"{base} holds {len(names)} folders; expected at least two, one a class, "
            f"with the pictures in them: {base.name}/<class>/<picture>"
        )
    if all(name.lower() in SPLIT_NAMES for name in names):
        raise ValueError(
            f"{base} holds the folders {', '.join(names)}, which look like splits, not classes: "
            "give one of them as root, or bring all pictures of a class into one folder"
        )
    return names


def list_pictures(base: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the ids ("class/picture.jpg") and labels of all pictures in these class folders.

    Raises:
        ValueError: a class folder without pictures.
    """
    ids: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = sorted(
            path.relative_to(base).as_posix()
            for path in (base / name).rglob("*")
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not found:
            raise ValueError(
                f"{base / name} holds no picture ({', '.join(SUFFIXES)}): "
                "remove the folder, or put the pictures of the class into it"
            )
        ids += found
        labels += [label] * len(found)
    return tuple(ids), np.array(labels, dtype=np.int64)


def default_splits(image_set: ImageSet, *, seed: int = 0, fold: int | None = None) -> Splits:
    """Returns 60 % of each class for training, 15 % for val, the rest for test; or one of 5 folds.

    Args:
        image_set: pictures and labels.
        seed: seed of the draw.
        fold: which of five folds is test, from 0; none of them if not given.

    Raises:
        ValueError: a class with fewer than two images (five for folds), or no such fold.
    """
    if fold is not None:
        return fold_splits(image_set, fold, seed=seed)
    return make_splits(image_set, train=0.6, val=0.15, seed=seed)
