"""Where pictures lie on this machine: folders, and archives that are unpacked once."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from duokit.logits.files import whole_folder
from duokit.printable import shown

VARIABLE = "DUOKIT_DATA"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
RATIO = 100  # times its size that an archive may unpack to; pictures hardly shrink when packed
FLOOR = 1 << 24  # bytes that any archive may unpack to: small files shrink more
DEEP = 3  # archives in archives that are unpacked
BROKEN = (  # what the readers of archives raise
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError, ValueError, OverflowError, struct.error,
)  # fmt: skip


def data_folder() -> Path:
    """Returns the folder where data sets are looked for, and where archives are unpacked.

    It is the environment variable DUOKIT_DATA where that is set, else ~/.cache/duokit.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "duokit"


def candidates(
    root: str | Path | None, names: Sequence[str], *, deep: int = DEEP
) -> Iterator[Path]:
    """Yields the places to look at, in order: the root itself, then each name below it.

    An archive, given as the root or lying below it under one of the names, is unpacked, and its
    folder is looked through in the same way.

    Args:
        root: folder or archive; the data folder if not given.
        names: of what is looked for.
        deep: how many archives, each in the one before it, are unpacked.

    Raises:
        FileNotFoundError: a root was given that does not exist.
        ValueError: a root that is neither a folder nor a file, or an archive as for `unpack`.
    """
    base = data_folder() if root is None else Path(root).expanduser()
    if root is not None and not base.exists():
        raise FileNotFoundError(f"{base} does not exist: root is a folder or an archive of images")
    if base.is_file():
        base = unpack(base)
    if root is not None and not base.is_dir():
        raise ValueError(f"{base} is a pipe or a device: root is a folder or an archive of images")
    yield base
    for name in names:
        yield base / name
    for name in names:
        for suffix in ARCHIVES:
            archive = base / (name + suffix)
            if archive.is_file() and deep:  # an archive may hold another, or itself
                yield from candidates(unpack(archive), names, deep=deep - 1)


def unpack(archive: Path, *, into: Path | None = None) -> Path:
    """Returns the folder that holds what is in an archive, unpacked now or earlier.

    The folder's name ends in the first digits of the archive's SHA-256, so that another archive
    goes to another folder; it appears whole or not at all.

    Args:
        archive: .tar, .tar.gz, .tgz or .zip file.
        into: where to make the folder; `data_folder()` if not given.

    Raises:
        ValueError: not such an archive, or damaged, or with a member that points outside.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    parent = data_folder() if into is None else into
    target = parent / f"{archive.name.split('.')[0]}-{digest[:12]}"
    if target.is_dir():
        return target
    return extract(archive, target)


def extract(archive: Path, target: Path) -> Path:
    """Returns the folder `target`, which now holds what is in an archive, whole or not at all.

    Args:
        archive: .tar, .tar.gz, .tgz or .zip file.
        target: folder that does not exist yet; one that does is returned as it is.

    Raises:
        ValueError: not such an archive, or damaged; one with a member that points outside or is
            no file, folder or link; one that unpacks to more than `unpacked_limit` allows.
    """
    parent = target.parent
    try:
        with whole_folder(target) as partial:
            (_unzip if archive.suffix.lower() == ".zip" else _untar)(archive, partial)
    except BROKEN as error:
        raise ValueError(
            f"{archive} could not be unpacked into {parent} ({error}): is it a whole archive "
            f"({', '.join(ARCHIVES)}), and is there space? {VARIABLE} names another folder; one "
            "that you trust and have unpacked yourself is given as a folder"
        ) from error
    return target


def unpacked_limit(packed: int) -> int:
    """Returns how many bytes may come out of so many: 100 times, but 16 MiB of any.

    Pictures hardly shrink when they are packed. More is taken for a bomb, a small archive made to
    fill the disk.
    """
    return max(FLOOR, RATIO * packed)


def _unzip(archive: Path, into: Path) -> None:
    most = unpacked_limit(archive.stat().st_size)
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        _require_less(sum(each.file_size for each in members), most)  # zipfile reads no more
        for each in members:
            _require_inside(each.filename)
            if stat.S_ISLNK(each.external_attr >> 16):
                raise zipfile.BadZipFile(f"its member {shown(each.filename)} is a link")
        file.extractall(into)


def _untar(archive: Path, into: Path) -> None:
    most = unpacked_limit(archive.stat().st_size)
    with _Bounded(archive, most) as stream, tarfile.open(fileobj=stream, mode="r:") as file:
        file.extractall(into, members=_checked(file, most), filter="data")


def _checked(file: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """Yields the members of a tar file, each looked at before it is unpacked."""
    total = 0
    for each in file:
        _require_inside(each.name)
        if each.issym():  # what follows could be written through it
            raise tarfile.TarError(f"its member {shown(each.name)} is a link")
        total += each.size  # a sparse file says a size that no byte of the archive makes
        _require_less(total, most)
        yield each


class _Bounded:
    """The unpacked bytes of a tar file, plain or compressed; more than `most` is an error.

    It also bounds what tarfile reads at once for the head of a member.
    """

    def __init__(self, path: Path, most: int) -> None:
        with path.open("rb") as file:
            start = file.read(6)
        packers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
        way: Any = next((packers[each] for each in packers if start.startswith(each)), open)
        self.file, self.most = way(path, "rb"), most + tarfile.RECORDSIZE
        self.tell = self.file.tell

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def seek(self, place: int, whence: int = 0) -> int:
        """Goes to a place."""
        _require_less(place, self.most)
        return int(self.file.seek(place, whence))

    def read(self, size: int) -> bytes:
        """Returns the next bytes."""
        _require_less(self.tell() + size, self.most)
        return bytes(self.file.read(size))


def _require_inside(name: str) -> None:
    """Raises TarError for a member whose name leads out of the folder that it is unpacked into."""
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or os.path.splitdrive(name)[0]:
        raise tarfile.TarError(f"its member {shown(name)} points outside")


def _require_less(found: int, most: int) -> None:
    if found > most:
        raise tarfile.TarError(
            f"it unpacks to more than {most:,} bytes, {RATIO} times its size: pictures do not"
        )
