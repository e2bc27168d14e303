"""ImageNet-V2: new pictures for ImageNet's classes, 10 of each, collected by the old recipe.

There are three sets of 10,000: matched-frequency, threshold-0.7 and top-images. The paper does not
say which it took. Folders are named by class number, 0 to 999; a loader that sorts them as text
takes folder 10 for class 2. Here the number in the name is the class.

Source: B. Recht, R. Roelofs, L. Schmidt, V. Shankar, "Do ImageNet Classifiers Generalize to
ImageNet?", arXiv 1902.10811; MIT, as their deposit of the pictures states.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from duokit.images.fetch import fetch
from duokit.images.image_set import ImageSet
from duokit.images.listing import files, folders
from duokit.images.official import Published, fixed_splits
from duokit.images.places import VARIABLE, candidates, data_folder
from duokit.images.reading import Files
from duokit.images.splits import Splits
from duokit.images.wnids import imagenet_wnids, wnid_folders

NAME = "imagenet_v2"
CLASSES = 1000
VARIANTS = ("matched-frequency", "threshold0.7", "top-images")  # as the archives spell them
FOLDERS = {variant: f"imagenetv2-{variant}-format-val" for variant in VARIANTS}
PLACES = tuple(
    place
    for variant, folder in FOLDERS.items()
    for place in (folder, f"imagenetv2-{variant}/{folder}", f"imagenetv2-{variant}")
)
PUBLISHED = Published(
    sizes={"shifted": 10_000},
    unknown="which of the three sets it is, since the paper does not say, and the names of the "
    "files, whose list is not known here",
    each=10,
)


def load_imagenet_v2(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns one of the three sets of ImageNet-V2; ids such as "7/0ab12c.jpeg".

    Class names are ImageNet's (WordNet ids), so that records of both fuse. Fewer pictures a class
    are accepted, missing classes are not.

    Args:
        root: folder with the folders 0 to 999, one above it, or the archive; the data folder
            (DUOKIT_DATA) if not given, where only one of the three sets may lie.
        download: whether to fetch matched-frequency (1.3 GB) where none is found.

    Raises:
        FileNotFoundError: not found, and not downloaded.
        ValueError: another layout, missing classes, or several of the three sets and no root.
    """
    base = _find(root)
    if base is None and download:
        fetch(NAME, Path(root) if root is not None else data_folder())
        base = _find(root)
    if base is None:
        _refuse_others(root)
        raise FileNotFoundError(
            f"no ImageNet-V2 (folders named 0 to 999) in {root or data_folder()}: duokit data "
            f"fetch {NAME}, or give the folder or archive as root (or in the variable {VARIABLE})"
        )
    numbers = _class_folders(base)
    shown = sorted(
        (f"{number}/{name}", number)
        for number in numbers
        for name in files(base / str(number))
        if fnmatchcase(name, "*.jp*g")
    )
    missing = sorted({*range(CLASSES)} - {number for _, number in shown})
    if missing:
        raise ValueError(
            f"{base} has no picture (*.jpeg) of {len(missing)} of the 1,000 classes (the first is "
            f"{base / str(missing[0])}): the copy is not whole; unpack the archive again"
        )
    ids = tuple(name for name, _ in shown)
    variant = next((v for v in VARIANTS if v in base.as_posix()), "a set of unknown name")
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=ids,
        labels=np.array([number for _, number in shown], dtype=np.int64),
        class_names=imagenet_wnids(),
        read=Files(base, ids),
        licence="MIT",
        source=f"https://github.com/modestyachts/ImageNetV2 ({variant})",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns all pictures as "shifted"; the weights of a duo are fitted on ImageNet's val.

    Args:
        image_set: ImageNet-V2.
        seed: kept in the splits; nothing is drawn.
    """
    rule = "shifted is all pictures, weights are fitted on val of imagenet"
    return fixed_splits(image_set, {"shifted": image_set.ids}, PUBLISHED, seed=seed, rule=rule)


def _find(root: str | Path | None) -> Path | None:
    found = [p for p in candidates(root, PLACES) if p.is_dir() and (p / "0").is_dir()]
    if root is None and len(found) > 1:
        names = ", ".join(str(place) for place in found)
        raise ValueError(
            f"there is more than one set of ImageNet-V2 ({names}): give one of them as root"
        )
    return found[0] if found else None


def _class_folders(base: Path) -> list[int]:
    """Returns the numbers of the class folders in order; other folders are an error."""
    names = folders(base)
    known = {str(number) for number in range(CLASSES)}
    strange = sorted({*names} - known)
    if strange:
        raise ValueError(
            f"{base / strange[0]} is no class of ImageNet-V2, whose folders are 0 to 999: "
            "remove it, or read the folder as 'folder'"
        )
    return sorted(int(name) for name in names)


def _refuse_others(root: str | Path | None) -> None:
    for place in candidates(root, (*PLACES, "val")):
        if place.is_dir() and wnid_folders(place):
            raise ValueError(
                f"{place} has folders named by WordNet id: that is the layout of ImageNet; load "
                "it as 'imagenet'"
            )
