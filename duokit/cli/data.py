"""`duokit data`: which data sets are here, fetching those that may be fetched, checking them."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.images import NAMES

if TYPE_CHECKING:
    from duokit.images import ImageSet, Splits
    from duokit.images.checkup import Remark

ACTIONS = ("list", "fetch", "check")
SECONDS = 1.0  # between two lines of progress


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "data",
        help="list, fetch and check data sets",
        description="list: one line a data set, what it is and how to get it. fetch NAME: fetches "
        "its archive into the data folder, goes on where an earlier fetch stopped, verifies the "
        "published checksum and unpacks it. check NAME: opens the data set, says how many pictures "
        "each part has and, for the benchmarks of the paper, whether the split is the authors'; "
        "of a folder of your own, every picture is opened, and copies, damaged pictures and what "
        "else is wrong are named; exit code 1 if it is not there, not theirs, or something is "
        "wrong. Sizes are in GB (10^9 bytes).",
    )
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help=f"data set: {', '.join(NAMES)} (not for list)"
    )
    parser.add_argument(
        "--root", type=Path,
        help="fetch: the folder to fetch into; check: folder or archive that holds it (default: "
        "the data folder, DUOKIT_DATA or ~/.cache/duokit)",
    )  # fmt: skip
    parser.add_argument(
        "--variant",
        help="fetch: which set of imagenet_v2, threshold0.7 or top-images (default: "
        "matched-frequency)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="fetch: keep the archive once unpacked (default: no)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after listing or fetching; after checking, 0 if all is right and 1 if not."""
    if given.action == "list":
        return _list()
    if given.name not in NAMES:
        raise ValueError(
            f"duokit data {given.action} {given.name or ''}: expected one of {', '.join(NAMES)}"
        )
    return _fetch(given) if given.action == "fetch" else _check(given.name, given.root)


def _list() -> int:
    from duokit.images.fetch import ARCHIVES
    from duokit.images.places import data_folder

    print(f"data folder: {data_folder()}")
    for name in NAMES:
        found = ARCHIVES.get(name, {})
        for variant, archive in found.items():
            here = data_folder() / (archive.folder or archive.file)
            state = "here" if here.exists() else f"fetch: {archive.size / 1e9:.2f} GB"
            print(f"{f'{name} {variant}'.strip():32}{state:18}{archive.url}")
        if not found:
            print(f"{name:32}{_other_way(name)}")
    return 0


def _other_way(name: str) -> str:
    """Returns how to get a data set that has no archive to fetch."""
    ways = {
        "imagenet": "by agreement: duokit data fetch imagenet says how",
        "folder": "your own pictures",
        "digits": "comes with scikit-learn",
        "elpv": "comes by pip: elpv-dataset",
    }
    return ways.get(name, "by torchvision (--download) or a Debian package")


def _fetch(given: argparse.Namespace) -> int:
    from duokit.images import data_folder
    from duokit.images.fetch import ARCHIVES, archive_of, fetch

    if given.name == "imagenet":
        return _imagenet(given.root or data_folder())
    if given.name not in ARCHIVES:
        raise ValueError(f"{given.name} has no archive to fetch: {_other_way(given.name)}")
    archive = archive_of(given.name, given.variant)
    folder = given.root or data_folder()
    print(
        f"{archive.url}\n  {archive.size / 1e9:.2f} GB, {archive.checksum or 'no checksum known'}"
    )
    where = fetch(
        given.name, folder, variant=given.variant, keep=given.keep, progress=_Progress(archive.size)
    )
    print(f"{given.name} is in {where}")
    return 0


class _Progress:
    """Writes how far a fetch is to stderr, at most once a second."""

    def __init__(self, size: int) -> None:
        self.size, self.last = size, 0.0

    def __call__(self, done: int, total: int | None) -> None:
        now, total = time.monotonic(), total or self.size
        if now - self.last >= SECONDS or done == total:
            self.last = now
            share = f" ({done / total:.0%})" if total else ""
            print(f"  {done / 1e9:.2f} of {total / 1e9:.2f} GB{share}", file=sys.stderr)


def _imagenet(folder: Path) -> int:
    """Returns 0 if ImageNet's pictures are there, else 1, after saying what is missing."""
    from duokit.images import load
    from duokit.images.imagenet import ARCHIVES, HOW

    try:
        found = load("imagenet", folder if folder.is_dir() else None)
    except (FileNotFoundError, ValueError) as error:
        print(f"imagenet cannot be fetched from here: {HOW}.\nPut both into {folder}:")
        for name, size, md5 in ARCHIVES:
            state = "here" if (folder / name).is_file() else "missing"
            print(f"  {state:9}{name}  {size}  md5 {md5}")
        print(f"Unpack the second there; the first is unpacked at first use.\nNow: {error}")
        return 1
    print(f"imagenet: {len(found):,} pictures are there")
    return 0


def _check(name: str, root: Path | None) -> int:
    """Returns 0 if a data set is there and, where the paper uses it, its split is the authors'."""
    from duokit.images import data_folder, default_splits, load, published_split

    base = root if root is not None and root.is_dir() else data_folder()
    for path in sorted(base.glob("*.duokit-*.part")):
        print(f"unfinished: {path} ({path.stat().st_size:,} bytes); duokit data fetch goes on")
    try:
        with warnings.catch_warnings():
            if name == "folder":
                warnings.simplefilter("ignore")  # each is told as a line below
            images = load(name, root)
    except FileNotFoundError as error:
        print(f"{name}: not found: {error}")
        return 1
    except ValueError:
        if name == "folder" and root is not None and root.is_dir():
            _tell_parts(root)
        raise
    folder = getattr(images.read, "folder", None)
    where = f" in {folder}" if folder else ""
    print(f"{name}: {len(images):,} pictures, {images.classes} classes{where}")
    print(f"  licence: {images.licence or 'not stated'}; source: {images.source}")
    splits = default_splits(images)
    sizes = ", ".join(f"{part} {size:,}" for part, size in splits.sizes().items())
    print(f"  parts: {sizes}; checksum {splits.checksum[:12]}\n  {splits.protocol}")
    found = _remarks(images, splits, root)
    for each in found:
        print(f"  {each.text}")
    verdict = published_split(images, splits)
    if verdict is None:
        print("  the paper does not use it")
    else:
        print(f"  {verdict}")
    return int(any(each.fault for each in found) or (verdict is not None and not verdict.authors))


def _remarks(images: ImageSet, splits: Splits, root: Path | None) -> list[Remark]:
    """Returns what is to be known of a folder; of another set, which pictures cannot be read.

    Of those, one picture of each class is opened.
    """
    import numpy as np

    from duokit.images.checkup import Remark, remarks
    from duokit.images.reading import unreadable

    if images.loader == "folder" and root is not None:
        return list(remarks(images, splits, root, progress=sys.stderr.isatty()))
    return [
        Remark(text) for text in unreadable(images, np.unique(images.labels, return_index=True)[1])
    ]


def _tell_parts(root: Path) -> None:
    """Prints what the parts of a data set share, where a folder holds such parts."""
    from duokit.images.checkup import between
    from duokit.images.folder import split_folders
    from duokit.images.listing import folders

    parts = split_folders(root, folders(root))
    for part in parts:
        for each in between(root, part, parts):
            print(f"  {each.text}")
