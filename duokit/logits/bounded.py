"""Reading what others packed: how large it is is checked before anything is unpacked."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

LONGEST_IDS = 1024  # bytes an id, on average
LONGEST_TEXT = 100_000_000  # bytes; the limit of a safetensors header
UNCHECKED = 1 << 26  # bytes that an array of an archive may have, whatever its ratio (64 MiB)
LARGEST_RATIO = 200  # of larger arrays; measured numbers hardly pack at all, long paths to 100
LONGEST_HEADER = 10_000  # bytes of the header of a .npy file; NumPy's own limit
AT_ONCE = 1 << 22  # bytes; longest piece of an archive that is read, such as its list of members


def unpacked_ids(packed: bytes, rows: int) -> list[str]:
    """Returns the ids in text that zlib packed, joined by line breaks.

    Args:
        packed: the compressed bytes.
        rows: number of images.

    Raises:
        ValueError: damaged, more than 1,024 bytes an image, or another number of ids.
    """
    most = LONGEST_IDS * max(rows, 1)
    work = zlib.decompressobj()
    try:
        text = work.decompress(packed, most)
    except zlib.error as error:
        raise ValueError(f"its ids are damaged ({error})") from error
    if not work.eof:
        too_long = len(text) >= most
        raise ValueError(
            f"its ids unpack to more than {LONGEST_IDS:,} bytes an image" if too_long
            else "its ids are cut short"
        )  # fmt: skip
    found = text.count(b"\n") + 1
    if found != rows:
        raise ValueError(f"it has {found:,} ids for {rows:,} images")
    return text.decode().split("\n")


def packed_ids(ids: Sequence[str]) -> bytes:
    """Returns the ids joined by line breaks and compressed, as `unpacked_ids` reads them.

    Raises:
        ValueError: they are longer than that takes.
    """
    text = "\n".join(ids).encode()
    if len(text) > LONGEST_IDS * len(ids):
        raise ValueError(
            f"the ids have {len(text) / len(ids):,.0f} bytes on average; a record keeps up to "
            f"{LONGEST_IDS:,}"
        )
    return zlib.compress(text, level=9)


def parsed(text: str | bytes) -> Any:
    """Returns what a JSON text holds.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_array(file: BinaryIO, size: int) -> np.ndarray:
    """Returns the array in a .npy file, which its header must fill exactly.

    Args:
        file: open at its beginning.
        size: bytes that it holds, unpacked.

    Raises:
        ValueError: no .npy, an array of objects or structures, one of another size than the file,
            or text that is none.
    """
    start = io.BytesIO(file.read(LONGEST_HEADER))
    shape, by_column, dtype = _header(start)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which can only be unpickled")
    if dtype.kind == "V":
        raise ValueError(f"an array of {dtype}, which is neither numbers nor text")
    wanted, there = math.prod(shape) * dtype.itemsize, size - start.tell()
    if min(shape, default=0) < 0 or wanted != there:
        raise ValueError(
            f"its header says {dtype} {shape}, {wanted:,} bytes, but {there:,} bytes follow: it "
            "is cut short, or no array"
        )
    values = bytearray(wanted)
    begun = start.read()
    values[: len(begun)] = begun
    done = len(begun)
    while block := file.read(min(AT_ONCE, wanted - done)):
        values[done : done + len(block)] = block
        done += len(block)
    if done != wanted:
        raise ValueError(f"{wanted - done:,} bytes are missing: it is cut short")
    if dtype.kind == "U":
        letters = np.frombuffer(values, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if letters.max(initial=0) > sys.maxunicode:
            raise ValueError("a text in it has characters that do not exist: it is damaged")
    array: np.ndarray = np.ndarray(shape, dtype, values, order="F" if by_column else "C")
    return array


def _header(start: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Returns shape, whether by column, and dtype."""
    version = np.lib.format.read_magic(start)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"version {version} of the format .npy is for tables, not for arrays")
    try:
        return read[version](start)
    except Exception as error:  # NumPy lets those of Python's own parser through
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from error


def read_npy(path: Path) -> np.ndarray:
    """Returns the array in a .npy file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_array`; names the file.
    """
    with path.open("rb") as file:
        try:
            return read_array(file, os.fstat(file.fileno()).st_size)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{path} cannot be read as .npy: {error}") from error


def read_arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the arrays of these names that an .npz file has, and the names of all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no .npz, as `read_array`, or packed so well that it can hold no measured
            numbers; the file is not named.
    """
    with _Pieces(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                there = [name.removesuffix(".npy") for name in archive.namelist()]
                found = {name: _member(archive, name) for name in names if name in there}
                return found, there
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, OSError),
            *(RuntimeError, OverflowError, MemoryError),  # encrypted; absurd sizes
        ) as error:
            raise ValueError(f"no .npz, or damaged: {error}") from error


class _Pieces(io.FileIO):
    """A file that is never read in a piece larger than AT_ONCE: a list of members can be huge."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > AT_ONCE:
            raise ValueError(f"an archive with too many members (a list of {size:,} bytes)")
        return super().read(size) or b""


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    about = archive.getinfo(f"{name}.npy")
    if about.file_size > UNCHECKED and about.file_size > LARGEST_RATIO * about.compress_size:
        raise ValueError(
            f"the array {name} unpacks to {about.file_size:,} bytes from {about.compress_size:,}, "
            f"more than {LARGEST_RATIO} times as many; if it is meant, save it by np.savez, which "
            "does not compress"
        )
    with archive.open(about) as file:
        try:
            return read_array(file, about.file_size)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"the array {name}: {error}") from error
