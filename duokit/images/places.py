"""Where pictures lie on this machine: folders, and archives that are unpacked once."""

from __future__ import annotations

import hashlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from duokit.logits.files import whole_folder

VARIABLE = "DUOKIT_DATA"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")


def data_folder() -> Path:
    """Returns the folder where data sets are looked for, and where archives are unpacked.

    It is the environment variable DUOKIT_DATA where that is set, else ~/.cache/duokit.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "duokit"


def candidates(root: str | Path | None, names: Sequence[str]) -> Iterator[Path]:
    """Yields the places to look at, in order: the root itself, then each name below it.

    An archive, given as the root or lying below it under one of the names, is unpacked, and its
    folder is looked through in the same way.

    Raises:
        FileNotFoundError: a root was given that does not exist.
    """
    base = data_folder() if root is None else Path(root).expanduser()
    if root is not None and not base.exists():
        raise FileNotFoundError(f"{base} does not exist: root is a folder or an archive of images")
    if base.is_file():
        base = unpack(base)
    yield base
    for name in names:
        yield base / name
    for name in names:
        for suffix in ARCHIVES:
            archive = base / (name + suffix)
            if archive.is_file():
                yield from candidates(unpack(archive), names)  # an archive may hold another


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
        ValueError: not such an archive, or damaged, or with a member that points outside.
    """
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_folder(target) as partial:
            if archive.suffix.lower() == ".zip":
                with zipfile.ZipFile(archive) as members:  # drops ".." and absolute names itself
                    members.extractall(partial)
            else:
                with tarfile.open(archive) as members:
                    members.extractall(partial, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(
            f"{archive} could not be unpacked into {parent} ({error}): is it a whole archive "
            f"({', '.join(ARCHIVES)}), and is there space? {VARIABLE} names another folder"
        ) from error
    return target
