"""What to know of a folder of pictures before anything is computed, each in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duokit.images.copies import copies_of, in_two_classes, shared
from duokit.images.folder import SPLIT_NAMES, alike_classes, class_root, walk_classes
from duokit.images.image_set import ImageSet
from duokit.images.listing import endings, files, folders, is_picture, walk
from duokit.images.reading import unreadable
from duokit.images.splits import Splits
from duokit.printable import shown


@dataclass(frozen=True)
class Remark:
    """One sentence.

    Attributes:
        text: the sentence.
        fault: whether something is to be done; a note if not.
    """

    text: str
    fault: bool = True


def remarks(
    image_set: ImageSet, splits: Splits, root: str | Path, *, progress: bool = False
) -> Iterator[Remark]:
    """Yields what is to be known of a folder of class folders; every picture is opened once.

    Args:
        image_set: what `load_folder` returned.
        splits: its parts.
        root: where it was loaded from.
        progress: whether to show a progress bar (on the error stream).

    Raises:
        OSError: a file that is gone meanwhile.
    """
    base = class_root(root)
    yield from _passed_over(base, image_set)
    copies = copies_of(image_set)
    wrong = in_two_classes(image_set, copies)
    if wrong:
        one, other = map(shown, wrong[0])
        yield Remark(
            f"{len(wrong):,} pictures are copies, byte for byte, of one in another class (such as "
            f"{one} of {other}): one of the two labels is wrong; remove one of them"
        )
    if len(copies) > len(wrong):
        name, first = next((a, b) for a, b in copies.items() if (a, b) not in wrong)
        yield Remark(
            f"{len(copies) - len(wrong):,} pictures are copies, byte for byte, of another of their "
            f"class (such as {shown(name)} of {shown(first)}): they are kept in one part",
            fault=False,
        )
    yield from _thin_classes(image_set, splits)
    yield from beside(base)
    bad = unreadable(image_set, range(len(image_set)), progress=progress)
    yield from map(Remark, bad)


def _passed_over(base: Path, image_set: ImageSet) -> Iterator[Remark]:
    stray = [name for name in files(base) if is_picture(name)]
    if stray:
        yield Remark(
            f"{len(stray):,} pictures lie beside the class folders, in no class (such as "
            f"{shown(stray[0])}): they are not used"
        )
    for text in alike_classes(base, image_set.class_names):
        yield Remark(text, fault=False)
    listings = walk_classes(base, image_set.class_names)
    for each in listings:
        yield from map(Remark, each.remarks())
    system = [name for each in listings for name in each.system]
    if system:
        yield Remark(
            f"{len(system):,} files and folders of systems and programs are passed over (such as "
            f"{shown(system[0])})",
            fault=False,
        )
    rest = [name for each in listings for name in each.rest]
    if rest:
        yield Remark(
            f"{len(rest):,} files are no pictures ({endings(rest)}) and are passed over",
            fault=False,
        )
    again = [each for listing in listings for each in listing.again]
    if again:
        place, first = map(shown, again[0])
        yield Remark(
            f"{len(again):,} links lead to folders that are read already ({place}, which is "
            f"{first}): they are passed over",
            fault=False,
        )


def _thin_classes(image_set: ImageSet, splits: Splits) -> Iterator[Remark]:
    for part, ids in splits.parts.items():
        counts = np.bincount(image_set.labels[image_set.rows(ids)], minlength=image_set.classes)
        absent = [image_set.class_names[label] for label in np.flatnonzero(counts == 0)]
        if absent:
            yield Remark(
                f"{len(absent):,} classes have no picture in {part} (such as {shown(absent[0])}), "
                "being too small: nothing is known of them there",
                fault=False,
            )


def beside(base: Path) -> Iterator[Remark]:
    """Yields what a part of a data set shares with the parts beside it, or lacks.

    Args:
        base: folder; only one that is called train, val, test ... has such parts.

    Raises:
        OSError: a folder that may not be read.
    """
    parts = [name for name in folders(base.resolve().parent) if name.lower() in SPLIT_NAMES]
    if base.resolve().name not in parts:
        return
    yield from between(base.resolve().parent, base.resolve().name, parts)


def between(outer: Path, part: str, parts: list[str]) -> Iterator[Remark]:
    """Yields what one part of a data set shares with the others, or lacks.

    Args:
        outer: folder of the parts.
        part: name of the folder of one.
        parts: names of the folders of all.
    """
    ours = [outer / part / name for name in walk(outer / part).pictures]
    for other in parts:
        if other == part:
            continue
        same = shared(ours, [outer / other / name for name in walk(outer / other).pictures])
        if same:
            one, two = (shown(path.relative_to(outer).as_posix()) for path in same[0])
            yield Remark(
                f"{len(same):,} of {len(ours):,} pictures in {part} are, byte for byte, in {other} "
                f"too (such as {one}, which is {two}): what is learnt from one is no test on the "
                "other"
            )
        own, theirs = set(folders(outer / part)), set(folders(outer / other))
        if theirs - own:
            lacking = sorted(theirs - own)
            yield Remark(
                f"{len(lacking):,} class folders of {other} are missing in {part} (such as "
                f"{shown(lacking[0])}), so that classes have other numbers in the two"
            )
