"""Opening pictures, lazily: from files, or from an array of small ones."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
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
        ValueError: not a whole picture, or one with more than 8 bits a channel.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(
                    f"{path} has more than 8 bits a channel (mode {picture.mode}), and how to "
                    "bring them to 8 is a choice: convert the file first"
                )
            return picture.convert("RGB")
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} is not a readable picture ({error}): replace the file or remove it"
        ) from error


def read_idx(path: Path) -> np.ndarray:
    """Returns the uint8 array in an IDX file (the format of MNIST), plain or gzip-compressed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an IDX file of unsigned bytes, damaged, or of another length than it says.
    """
    raw = path.read_bytes()
    if raw.startswith(GZIP_START):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}): fetch it again") from error
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] != IDX_BYTES:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int(side) for side in np.frombuffer(raw[4:start], dtype=">u4"))
    if len(raw) - start != np.prod(shape):
        raise ValueError(
            f"{path} says shape {shape} but holds {max(0, len(raw) - start)} values: "
            "fetch the file again"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape)
