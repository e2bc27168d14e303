"""Opening pictures, lazily: from files, or from an array of small ones."""

from __future__ import annotations

import gzip
import math
import os
import stat
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from duokit.images.image_set import ImageSet
from duokit.images.places import unpacked_limit

# Pictures are told by their content; these kinds alone, since others run programs (EPS).
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
IDX_BYTES = 8  # third byte of an IDX file: what its values are; 8 stands for unsigned bytes
GZIP_START = b"\x1f\x8b"


@dataclass(frozen=True)
class Files:
    """Opens the files `folder / names[row]`; small enough to be sent to worker processes."""

    folder: Path
    names: tuple[str, ...]

    def __call__(self, row: int) -> Image.Image:
        """Returns the picture in file number `row`."""
        return read_picture(self.folder / self.names[row])

    def paths(self) -> list[Path]:
        """Returns the files."""
        return [self.folder / name for name in self.names]

    def stamp(self, row: int) -> tuple[int, ...]:
        """Returns size and time of change (ns) of file number `row`, as long as it is the same.

        Raises:
            OSError: the file is gone.
        """
        about = (self.folder / self.names[row]).stat()
        return about.st_size, about.st_mtime_ns


@dataclass(frozen=True, eq=False)
class Pixels:
    """Opens the pictures of an array (n, height, width) of grey values 0..255, uint8."""

    values: np.ndarray

    def __call__(self, row: int) -> Image.Image:
        """Returns picture number `row`, the grey value in all three channels."""
        return Image.fromarray(self.values[row]).convert("RGB")


def read_picture(path: Path) -> Image.Image:
    """Returns the picture in a file, in RGB with 8 bits a channel.

    The orientation note that some cameras write (EXIF) is not applied, as in torchvision's
    ImageFolder, so that logits agree with those of other programs.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a whole picture, one of a kind that is not read (FORMATS), no plain file,
            or one with more than 8 bits a channel; the text names the file and what to do.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
        raise ValueError(f"{path} is a folder, a pipe or a device, no picture: remove it")
    try:
        with Image.open(path, formats=_formats()) as picture:
            mode = picture.mode
            if not mode.startswith(("I", "F")):
                return picture.convert("RGB")
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise ValueError(f"{path} may not be read by you: chmod u+r, or remove it") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is too large a picture ({error}): make it smaller") from error
    except Exception as error:  # Pillow and what it calls raise nearly every kind
        raise ValueError(
            f"{path} is not a readable picture ({_reason(error)}): replace the file (to save it "
            "anew with another program may do), or remove it"
        ) from error
    raise ValueError(
        f"{path} has more than 8 bits a channel (mode {mode}), and how to bring them to 8 is a "
        "choice: convert the file first"
    )


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    """Returns what an error of Pillow says, with its type where that alone says little."""
    text = " ".join(str(error).split())
    own = isinstance(error, OSError | SyntaxError | ValueError) and " " in text
    return text if own else f"{type(error).__name__} {text}".strip()


def unreadable(image_set: ImageSet, rows: Iterable[int], *, progress: bool = False) -> list[str]:
    """Returns what is wrong with each of these pictures that cannot be opened, in their order.

    Args:
        image_set: pictures.
        rows: which.
        progress: whether to show a progress bar (on the error stream).
    """

    def told(row: int) -> str:
        try:
            image_set.open(row)
        except (OSError, ValueError) as error:
            return str(error)
        return ""

    chosen = [int(row) for row in rows]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = pool.map(told, chosen)
        bar = tqdm(each, total=len(chosen), desc="look", unit="image", disable=not progress)
        return [text for text in bar if text]


def read_idx(path: Path) -> np.ndarray:
    """Returns the uint8 array in an IDX file (the format of MNIST), plain or gzip-compressed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an IDX file of unsigned bytes, damaged, or of another length than it says.
    """
    raw = path.read_bytes()
    if raw.startswith(GZIP_START):
        try:
            raw = _unpacked(path, len(raw))
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}): fetch it again") from error
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] != IDX_BYTES:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int(side) for side in np.frombuffer(raw[4:start], dtype=">u4"))
    if len(raw) - start != math.prod(shape):
        raise ValueError(
            f"{path} says shape {shape} but holds {max(0, len(raw) - start)} values: "
            "fetch the file again"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path, packed: int) -> bytes:
    """Returns what is in a gzip file, if it is not suspiciously much."""
    most = unpacked_limit(packed)
    with gzip.open(path) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise OSError(f"it unpacks to more than {most:,} bytes, from {packed:,}")
    return raw
