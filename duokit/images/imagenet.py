"""ImageNet: the 50,000 validation pictures of ILSVRC 2012, 50 of each of 1,000 classes.

For evaluation only: the paper takes published networks, fits the weights of the duo on 2,500 of
these pictures and reports on the other 47,500. The training pictures are not needed.

Source: O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", arXiv
1409.0575; https://image-net.org, for non-commercial research and education, by agreement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from duokit.images.ground_truth import find_labels
from duokit.images.image_set import ImageSet
from duokit.images.listing import files, is_picture
from duokit.images.official import Published, drawn_splits
from duokit.images.places import VARIABLE, candidates, data_folder
from duokit.images.reading import Files
from duokit.images.splits import Splits
from duokit.images.wnids import imagenet_wnids, wnid_folders

NAME = "imagenet"
PLACES = (
    "val", "imagenet/val", "imagenet", "ILSVRC2012/val", "ILSVRC2012_img_val",
    "ILSVRC/Data/CLS-LOC/val",
)  # fmt: skip
PICTURE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
VAL = 0.05  # share of all, rounded down
PUBLISHED = Published(
    sizes={"val": 2500, "test": 47500},
    positions="3beb86ac534abac82286f8e298a74fbc181618b6e5e935b41e2bebe720accd9e",
    ids="6e2d909642754e6d194ae7245936b9643c6bf6eae22a847e373ed41d6257bafb",
    each=50,
)
ARCHIVES = (  # name, size, MD5 as torchvision's ImageNet states it
    ("ILSVRC2012_img_val.tar", "6,744,924,160 bytes", "29b22e2961454d5413ddabcf34fc5622"),
    ("ILSVRC2012_devkit_t12.tar.gz", "a few MB", "fa75699e90414af021442c21a62c3abf"),
)
HOW = (
    "ILSVRC2012_img_val.tar (6.7 GB) and ILSVRC2012_devkit_t12.tar.gz come from "
    "https://image-net.org, for people with an account there who accept its terms"
)


def load_imagenet(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns ImageNet's validation pictures; ids "n01440764/ILSVRC2012_val_00000293.JPEG".

    Two layouts are read: one folder a class, val/<wnid>/, as torchvision's ImageFolder wants it,
    and the flat one of the official archive, which needs a file that says what each picture shows
    (`find_labels`). Ids, order and labels are the same for both. Fewer pictures a class are
    accepted, so that the path can be tried; missing classes are not.

    Args:
        root: folder with val/ in it, that folder itself, or the official archive; the data folder
            (DUOKIT_DATA) if not given.
        download: not possible here: ImageNet needs an account.

    Raises:
        FileNotFoundError: not found, or the flat layout without a file of labels.
        ValueError: other pictures, missing classes, or a label for no picture.
    """
    base = next((place for place in candidates(root, PLACES) if _is_val(place)), None)
    if base is None:
        _refuse_others(root)
        word = "it cannot be downloaded from here: " if download else ""
        raise FileNotFoundError(
            f"no ImageNet validation pictures (<wnid>/ILSVRC2012_val_00000001.JPEG) in "
            f"{root or data_folder()}: {word}{HOW}; give the folder or the archive as root (or in "
            f"the variable {VARIABLE})"
        )
    shown = _in_folders(base) if wnid_folders(base) else _flat(base, root)
    names, wnids = imagenet_wnids(), [wnid for wnid, _ in shown]
    missing = sorted({*names} - {*wnids})
    if missing:
        raise ValueError(
            f"{base} has no picture of {len(missing)} of ImageNet's 1,000 classes (the first is "
            f"{missing[0]}): the copy is not whole; unpack the archive again"
        )
    order = sorted(range(len(shown)), key=lambda row: (wnids[row], Path(shown[row][1]).name))
    number = {wnid: label for label, wnid in enumerate(names)}
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=tuple(f"{wnids[row]}/{Path(shown[row][1]).name}" for row in order),
        labels=np.array([number[wnids[row]] for row in order], dtype=np.int64),
        class_names=names,
        read=Files(base, tuple(shown[row][1] for row in order)),
        licence="non-commercial research and education, by agreement",
        source="https://image-net.org",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns 5 % of the pictures as val, rounded down, and the others as test, as the authors.

    Args:
        image_set: ImageNet's validation pictures.
        seed: 0 for the authors' draw (torch's generator 42); s for another one (42 + s).
    """
    val = int(VAL * len(image_set))
    sizes = {"val": val, "test": len(image_set) - val}
    rule = "val 5 % of the pictures (rounded down), test the others"
    return drawn_splits(image_set, sizes, PUBLISHED, seed=seed, rule=rule)


def _is_val(place: Path) -> bool:
    if not place.is_dir():
        return False
    return bool(wnid_folders(place)) or any(map(PICTURE.fullmatch, files(place)))


def _in_folders(base: Path) -> list[tuple[str, str]]:
    """Returns (wnid, path below base) of the pictures in class folders."""
    known = {*imagenet_wnids()}
    shown: list[tuple[str, str]] = []
    for wnid in wnid_folders(base):
        if wnid not in known:
            raise ValueError(
                f"{base / wnid} is none of the 1,000 classes of ILSVRC 2012: remove the folder; "
                "other parts of ImageNet (ImageNet-21k, ImageNet-R) are read by 'folder'"
            )
        shown += [(wnid, f"{wnid}/{name}") for name in _pictures(base / wnid)]
    _refuse_twice(base, [path for _, path in shown])
    return shown


def _flat(base: Path, root: str | Path | None) -> list[tuple[str, str]]:
    """Returns (wnid, name) of the pictures in one folder, by a file of labels near it."""
    outer = data_folder() if root is None else Path(root).expanduser()
    near = (base, base.parent, outer.parent if outer.is_file() else outer)
    labels, source = find_labels(near, base)
    found = []
    for name in _pictures(base):
        picture = PICTURE.fullmatch(name)
        number = int(picture.group(1)) if picture else 0
        if number not in labels:
            raise ValueError(
                f"{source} has no label for {base / name}; it has {len(labels):,}: is it the "
                "file for these pictures, whole?"
            )
        found.append((labels[number], name))
    return found


def _pictures(folder: Path) -> Iterator[str]:
    """Yields the names of the validation pictures in a folder; other pictures are an error.

    One picture more would move all that come after it, and the split would be another.
    """
    for name in files(folder):
        if PICTURE.fullmatch(name):
            yield name
        elif is_picture(name):
            training = name.startswith("n")
            raise ValueError(
                f"{folder / name} is no validation picture of ILSVRC 2012 "
                "(ILSVRC2012_val_00000001.JPEG)"
                + (" but a training picture: give the folder val as root" if training else "")
                + ("" if training else ": remove it, or read the folder as 'folder'")
            )


def _refuse_twice(base: Path, paths: list[str]) -> None:
    seen: dict[str, str] = {}
    for path in paths:
        name = path.rsplit("/", 1)[1]
        if name in seen:
            raise ValueError(f"{base} holds one picture in two classes: {seen[name]} and {path}")
        seen[name] = path


def _refuse_others(root: str | Path | None) -> None:
    """Raises ValueError where a folder is clearly another data set."""
    for place in candidates(root, PLACES):
        if place.is_dir() and (place / "0").is_dir() and (place / "1").is_dir():
            raise ValueError(
                f"{place} has folders named 0, 1, ...: that is the layout of ImageNet-V2; "
                "load it as 'imagenet_v2'"
            )
