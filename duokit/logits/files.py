"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_whole(path: str | Path, data: bytes, *, overwrite: bool = False) -> Path:
    """Returns the path after writing the bytes, as `whole_file` does.

    Args:
        path: file to write; its folder is made if missing.
        data: content.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        OSError: the disk is full, or the folder cannot be written.
    """
    with whole_file(path, overwrite=overwrite) as file:
        file.write(data)
    return Path(path)


@contextmanager
def whole_file(path: str | Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Yields a file to write: at any moment the path holds all of what is written, or none of it.

    The bytes go to a temporary file in the same folder (so on the same disk), are flushed to the
    disk, and take the name in one step. A failure leaves what was there before, and no leftover.

    Args:
        path: file to write; its folder is made if missing.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: the file exists and overwrite is False.
        OSError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _refuse_existing(path, overwrite)  # it may have appeared while we wrote
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")
