"""Files that are written whole or not at all, and never over what somebody else wrote."""

from __future__ import annotations

import errno
import importlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

fcntl: Any = None
with suppress(ModuleNotFoundError):  # Windows has none
    fcntl = importlib.import_module("fcntl")

# A file or folder that is being written: .NAME.HOST-RANDOM.tmp, locked by its writer.
TEMPORARY = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-[0-9a-f]{8}\.tmp", re.DOTALL)
MOST_NAME = 40  # characters of NAME that are kept: a name of the longest length must still fit
UNTOUCHED = 86_400  # seconds after which the file of another machine's writer counts as left over


def write_whole(path: str | Path, data: bytes, *, overwrite: bool = False) -> Path:
    """Returns the path after writing the bytes, as `whole_file` does.

    Args:
        path: file to write; its folder is made if missing.
        data: content.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        OSError: the disk is full, or the folder cannot be written; names the file.
    """
    with whole_file(path, overwrite=overwrite) as file:
        file.write(data)
    return Path(path)


@contextmanager
def whole_file(path: str | Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Yields a file to write: at any moment the path holds all of what is written, or none of it.

    The bytes go to a temporary file in the same folder (so on the same disk), are flushed to the
    disk, and take the name in one step. A failure leaves what was there before, and no leftover.
    What killed writers left in the folder is removed afterwards, see `remove_leftovers`.

    Args:
        path: file to write; its folder is made if missing.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        OSError: the disk is full, or the folder cannot be written; names the file.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    temporary = None
    try:
        _make_folder(path.parent)
        temporary, file = _begun(path)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file
            _take_name(temporary, path, overwrite)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        why = f"{error.strerror or error} (nothing was written, what was there is as it was)"
        raise OSError(error.errno, why, str(path)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    remove_leftovers(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which then takes the name `path` in one step.

    A failure leaves nothing. If the name is taken meanwhile (another process was faster), what
    was filled here is thrown away. Leftovers are removed as by `whole_file`.

    Args:
        path: folder to make; the folder around it is made if missing.

    Raises:
        OSError: the folder cannot be made.
    """
    _make_folder(path.parent)
    temporary, lock = _begun_folder(path)
    try:
        yield temporary
        if not path.is_dir():
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    remove_leftovers(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files and folders in a folder whose writers were killed.

    A writer holds a lock (flock) on what it writes, which ends with it, however it ends. Where
    another machine wrote, or the disk knows no locks, only what nobody has touched for a day goes.
    """
    with os.scandir(folder) as entries:
        left = [found for entry in entries if (found := TEMPORARY.fullmatch(entry.name))]
    for found in left:
        with suppress(OSError):  # gone already, or not ours to remove
            _remove_if_left(folder / found.string, here=found["host"] == _host())


def starts_with(path: Path, head: bytes) -> bool:
    """Returns whether a file begins with these bytes; anything but a plain file does not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(head)) == head


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    if os.path.lexists(path) and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        why = "Not a folder, so nothing can be written into it"
        raise NotADirectoryError(errno.ENOTDIR, why, error.filename) from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name[:MOST_NAME]}.{_host()}-{secrets.token_hex(4)}.tmp")


def _host() -> str:
    """Returns eight digits that stand for this machine: locks may not reach others."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _begun(path: Path) -> tuple[Path, BinaryIO]:
    """Returns a new temporary file for a path, locked, and open for writing and reading."""
    while True:
        temporary = _temporary(path)
        file = temporary.open("x+b")
        _lock(file.fileno(), wait=True)
        if temporary.exists():
            return temporary, file
        file.close()  # between the two steps above it was taken for a leftover: once more


def _begun_folder(path: Path) -> tuple[Path, int | None]:
    """Returns a new temporary folder for a path, and the open descriptor that locks it."""
    while True:
        temporary = _temporary(path)
        temporary.mkdir()
        if fcntl is None:
            return temporary, None
        with suppress(FileNotFoundError):  # taken for a leftover, as above
            lock = os.open(temporary, os.O_RDONLY)
            _lock(lock, wait=True)
            if temporary.exists():
                return temporary, lock
            os.close(lock)


def _take_name(temporary: Path, path: Path, overwrite: bool) -> None:
    """Gives the file its name; one that has appeared meanwhile is not replaced unasked."""
    if not overwrite:
        try:
            os.link(temporary, path)
            return  # the temporary name goes in the end
        except FileExistsError:
            _refuse_existing(path, overwrite)
        except OSError:  # a disk without hard links
            _refuse_existing(path, overwrite)
    temporary.replace(path)


def _lock(descriptor: int, *, wait: bool) -> bool | None:
    """Returns whether a lock is now held; None where there are no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_if_left(path: Path, *, here: bool) -> None:
    about = path.lstat()
    folder = stat.S_ISDIR(about.st_mode)
    if fcntl is None or not (folder or stat.S_ISREG(about.st_mode)):
        return
    way = os.O_RDONLY if folder else os.O_RDWR  # NFS locks no file that is only read
    descriptor = os.open(path, way | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        free = _lock(descriptor, wait=False)
        old = time.time() - about.st_mtime > UNTOUCHED
        if free is False or not (old or (free and here)):
            return
        shutil.rmtree(path) if folder else path.unlink()
    finally:
        os.close(descriptor)
