"""What lies in a folder of pictures: the one walk that every data set of files goes through."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from duokit.printable import shown

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
OTHERS = (  # pictures, but how to bring them to 8 bits a channel, or to pixels, is a choice
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".tga", ".ico", ".dcm", ".exr",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".eps", ".mpo", ".nii", ".pcx", ".xcf",
)  # fmt: skip
# Made by systems and programs, not by whoever sorted the pictures; all that begins with "." too.
SYSTEM = frozenset({
    "__macosx", "__pycache__", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle",
    "#snapshot", "$recycle.bin", "recycler", "lost+found", "system volume information",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
})  # fmt: skip


@dataclass
class Listing:
    """The files below a folder, as paths below it with "/" between, each list sorted.

    Attributes:
        pictures: files that end as a picture does.
        system: folders and files of the system; what is in them is not looked at.
        others: pictures of a kind that is not read here (OTHERS).
        broken: called as pictures, but no files: links that lead nowhere, pipes, devices.
        rest: files that are no pictures by their ending.
        again: (folder, where it was read already): links that lead to a folder a second time.
    """

    pictures: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    again: list[tuple[str, str]] = field(default_factory=list)

    def remarks(self) -> list[str]:
        """Returns what is passed over though it may be meant as a picture, in sentences."""
        found = []
        if self.others:
            found.append(f"{_some(self.others)} not read ({endings(self.others)}): convert to .png")
        if self.broken:
            found.append(
                f"{_some(self.broken)} called as a picture, but no file (a link that leads "
                "nowhere, or a pipe): remove it, or bring the file back"
            )
        return found


def walk(base: Path, below: str = "", *, seen: dict[str, str] | None = None) -> Listing:
    """Returns what lies in a folder and in the folders below it; nothing is opened.

    Links are followed, but no folder is read twice and none that the base lies in, so that
    links in a circle end.

    Args:
        base: folder that the paths begin at.
        below: folder in it that is looked through; the base itself if not given.
        seen: real path of each folder that was read -> its path; those read now are added.

    Raises:
        OSError: a folder that may not be read.
    """
    seen = {} if seen is None else seen
    around = {os.fspath(place) for place in (base.resolve(), *base.resolve().parents)}
    found, places = Listing(), [below]
    while places:
        place = places.pop()
        real = os.path.realpath(base / place)
        if real in seen or (place and real in around):
            found.again.append((place, seen.get(real, ".")))
            continue
        seen[real] = place or "."
        for name, entry in _entries(base / place):
            path = f"{place}/{name}" if place else name
            if is_system(name):
                found.system.append(path)
            elif _is(entry, folder=True):
                places.append(path)
            elif is_picture(name):
                (found.pictures if _is(entry, folder=False) else found.broken).append(path)
            else:
                (found.others if ending(name) in OTHERS else found.rest).append(path)
    for each in (found.pictures, found.system, found.others, found.broken, found.rest, found.again):
        each.sort()
    return found


def no_picture(folder: Path, found: Listing) -> str:
    """Returns the sentence on a folder in which no picture was found."""
    instead = found.remarks()
    if found.rest:
        instead.append(f"{len(found.rest):,} files are something else ({endings(found.rest)})")
    return "; ".join([f"{folder} holds no picture ({', '.join(SUFFIXES)})", *instead])


def warn_of(base: Path, *found: Listing) -> None:
    """Warns of what was passed over though it may be meant as a picture, if anything was."""
    whole = Listing()
    for each in found:
        whole.others += each.others
        whole.broken += each.broken
    for remark in whole.remarks():
        warnings.warn(f"{base}: {remark}", stacklevel=3)


def folders(base: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without those of the system."""
    return [name for name, each in _entries(base) if not is_system(name) and _is(each, folder=True)]


def files(base: Path) -> list[str]:
    """Returns the names of the files in a folder, sorted, without those of the system."""
    return [
        name for name, each in _entries(base) if not is_system(name) and _is(each, folder=False)
    ]


def is_picture(name: str) -> bool:
    """Returns whether a name ends as that of a picture that is read here."""
    return ending(name) in SUFFIXES


def ending(name: str) -> str:
    """Returns the ending of a name in small letters, such as ".jpg"; "" if it has none."""
    return Path(name).suffix.lower()


def endings(names: Sequence[str]) -> str:
    """Returns the endings of names, the commonest first, at most three of them."""
    counts = Counter(map(ending, names)).most_common()
    told = [shown(end) or "without an ending" for end, _ in counts[:3]]
    return ", ".join(told + ["..."] * (len(counts) > 3))


def is_system(name: str) -> bool:
    """Returns whether a file or folder of this name belongs to a system or program."""
    return name.startswith(".") or name.lower() in SYSTEM


def _entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        yield from sorted(((entry.name, entry) for entry in entries), key=lambda each: each[0])


def _is(entry: os.DirEntry[str], *, folder: bool) -> bool:
    """Returns whether it is a folder, or a plain file; links that lead in a circle are neither."""
    try:
        return entry.is_dir() if folder else entry.is_file()
    except OSError:
        return False


def _some(names: Sequence[str]) -> str:
    """Returns "3 files (the first is ...) are", or "... is" for one."""
    first = shown(names[0])
    return f"{first} is" if len(names) == 1 else f"{len(names):,} files (the first is {first}) are"
