"""Copies of pictures: files with the same bytes, which belong into one part of a data set."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from duokit.images.image_set import ImageSet
from duokit.images.reading import Files
from duokit.images.splits import Splits

COPIES = "; copies of a picture are in one part"


def copies_of(image_set: ImageSet) -> dict[str, str]:
    """Returns id of each copy -> id of the first picture, by name, with the same bytes.

    Only files of the same size are read. A picture that was saved anew, or turned, has other bytes
    and is no copy here. Sets whose pictures are no files of their own have none.

    Args:
        image_set: pictures.

    Raises:
        OSError: a file that is gone or may not be read.
    """
    if not isinstance(image_set.read, Files):
        return {}
    paths = dict(zip(image_set.ids, image_set.read.paths(), strict=True))
    return {name: group[0] for group in same_bytes(paths) for name in group[1:]}


def same_bytes(paths: Mapping[str, Path]) -> list[list[str]]:
    """Returns the groups of names, in their order, whose files hold the same bytes, empty or not.

    Args:
        paths: name -> file.

    Raises:
        OSError: a file that is gone or may not be read.
    """
    sizes: dict[int, list[str]] = defaultdict(list)
    for name, path in paths.items():
        sizes[path.stat().st_size].append(name)
    found: dict[bytes, list[str]] = defaultdict(list)
    for group in sizes.values():
        if len(group) > 1:
            for name in group:
                with paths[name].open("rb") as file:
                    found[hashlib.file_digest(file, "sha256").digest()].append(name)
    return [group for group in found.values() if len(group) > 1]


def distinct(image_set: ImageSet, copies: Mapping[str, str], least: int) -> tuple[str, ...]:
    """Returns the ids that are no copies, to draw splits from.

    Args:
        image_set: pictures and labels.
        copies: what `copies_of` returned.
        least: how many of them each class must have.

    Raises:
        ValueError: a class with fewer.
    """
    firsts = tuple(name for name in image_set.ids if name not in copies)
    left = image_set.labels[image_set.rows(firsts)]
    for label, name in enumerate(image_set.class_names):
        own, all_of_it = ((each == label).sum() for each in (left, image_set.labels))
        if own < least <= all_of_it:
            raise ValueError(
                f"class {name!r} of {image_set.name} has {all_of_it} pictures, but {own} without "
                f"those that are copies, byte for byte, of another; splits need {least}: remove "
                "the copies and add pictures, or leave the class out"
            )
    return firsts


def with_copies(splits: Splits, copies: Mapping[str, str]) -> Splits:
    """Returns the splits with each copy in the part of its picture.

    Args:
        splits: of pictures that are no copies.
        copies: what `copies_of` returned.
    """
    home = {name: part for part, ids in splits.parts.items() for name in ids}
    parts = {part: list(ids) for part, ids in splits.parts.items()}
    for name, first in copies.items():
        if first in home:
            parts[home[first]].append(name)
    whole = {part: tuple(ids) for part, ids in parts.items()}
    return Splits(splits.dataset, splits.protocol + COPIES, splits.seed, whole)


def in_two_classes(image_set: ImageSet, copies: Mapping[str, str]) -> list[tuple[str, str]]:
    """Returns (copy, first) of the copies that lie in another class than the first."""
    label = dict(zip(image_set.ids, image_set.labels.tolist(), strict=True))
    return [(name, first) for name, first in copies.items() if label[name] != label[first]]


def shared(one: Iterable[Path], other: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Returns (file of one, file of the other) for each file of one that the other holds too."""
    paths = {f"{number}:{path}": path for number, each in enumerate((other, one)) for path in each}
    found = []
    for group in same_bytes(paths):
        theirs = [name for name in group if name.startswith("0:")]
        ours = [name for name in group if name.startswith("1:")]
        found += [(paths[name], paths[theirs[0]]) for name in ours] if theirs else []
    return found
