"""Pictures decoded once: the eval crop of every image as bytes in one memory-mapped file.

Resizing yields bytes, so nothing is lost: scaled and normalised, the cached crop equals what
`eval_transform` returns, bit for bit. Training augments the crops in batches, on the device.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from duokit.images import ImageSet
from duokit.logits.files import whole_file
from duokit.models.transforms import Preprocessing

T = TypeVar("T")
U = TypeVar("U")

ON_DEVICE = 0.25  # a cache up to this share of the GPU's free memory is moved there whole


@dataclass(frozen=True, eq=False)
class Pixels:
    """The eval crops of some images, as bytes.

    Attributes:
        values: (n, 3, side, side) uint8, in memory, in a memory-mapped file, or on a GPU.
        labels: (n,) int64, -1 for an image of no class.
        ids: n names.
        preprocessing: how they were cropped, and how a network of theirs wants them normalised.
    """

    values: torch.Tensor
    labels: torch.Tensor
    ids: tuple[str, ...]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.ids)

    def rows(self, ids: Sequence[str]) -> torch.Tensor:
        """Returns the row numbers, (m,) int64, of these ids in this order.

        Raises:
            KeyError: an id that is not in the cache.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        return torch.tensor([place[name] for name in ids], dtype=torch.int64)

    def batch(self, rows: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Returns (m, 3, side, side) bytes of these rows on the device, without waiting for them.

        Args:
            rows: (m,) int64 on the CPU.
            device: where the network is.
        """
        if self.values.device.type != "cpu":
            return self.values[send(rows, self.values.device)]
        found = torch.empty(
            (len(rows), *self.values.shape[1:]),
            dtype=torch.uint8,
            pin_memory=device.type == "cuda",  # gathered where a copy can start at once
        )
        torch.index_select(self.values, 0, rows, out=found)
        return send(found, device)

    def fetch(self, rows: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns bytes (m, 3, side, side) and labels (m,) of these rows, on the device."""
        return self.batch(rows, device), send(self.labels[rows], device)

    def normalised(self, values: torch.Tensor) -> torch.Tensor:
        """Returns bytes (m, 3, side, side) as the network wants them: float32, normalised."""
        mean, std = _statistics(self.preprocessing, values.device)
        return (values.float() / 255 - mean) / std  # the same steps, so the same bits, as ToTensor

    def check(self, name: str, rows: torch.Tensor, classes: int) -> None:
        """Returns nothing if these rows can be trained on or scored.

        Args:
            name: what an error calls them, such as "train".
            rows: (m,) int64.
            classes: of the network's head.

        Raises:
            ValueError: no rows, an image of no class, or a label that the head lacks.
        """
        if not len(rows):
            raise ValueError(f"there are no {name} images")
        labels = self.labels[rows]
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f"{name} labels go from {int(labels.min())} to {int(labels.max())}; the head has "
                f"{classes} classes, 0 to {classes - 1}"
            )

    def near(self, device: torch.device) -> Pixels:
        """Returns these pixels on a GPU if they take at most a quarter of its free memory."""
        if device.type != "cuda" or self.values.device.type == "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.values.numel() > ON_DEVICE * free:
            return self
        return Pixels(self.values.to(device), self.labels, self.ids, self.preprocessing)


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Returns the values on the device; a GPU gets them while it computes, and nobody waits."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()  # as it is, if it is pinned: only so a copy needs no waiting
    return values.to(device, non_blocking=device.type != "mps")


def ahead(work: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
    """Yields work(item), item by item; a thread works on the next one meanwhile.

    Args:
        work: what to do with an item; it runs in another thread, on the same GPU and stream.
        items: such as the rows of each batch.
    """
    place = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def begin() -> None:
        if place is not None:
            torch.cuda.set_device(place)  # a new thread would use the first GPU

    with ThreadPoolExecutor(1, initializer=begin) as thread:
        coming: deque[Future[U]] = deque()
        for item in items:
            coming.append(thread.submit(work, item))
            if len(coming) > 1:
                yield coming.popleft().result()
        for last in coming:
            yield last.result()


def decode(
    image_set: ImageSet,
    preprocessing: Preprocessing,
    *,
    ids: Sequence[str] | None = None,
    folder: Path | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> Pixels:
    """Returns the eval crops of these images; from the folder, if they were decoded before.

    The name of a file ends in a digest of all that its bytes depend on: the data set, the ids,
    size and time of change of the files, and the crop. A file is written whole or not at all, and
    mapped into memory, not read.

    Args:
        image_set: pictures and labels.
        preprocessing: resize, crop and interpolation; `duokit.models.preprocessing` of a network.
        ids: which images, in this order; all if not given.
        folder: where decoded pictures are kept; in memory alone if not given.
        threads: threads that decode; one a core if not given.
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ValueError: an id that the set does not hold; a damaged picture.
        OSError: the disk is full, or the folder cannot be written.
    """
    chosen = image_set.ids if ids is None else tuple(ids)
    rows = image_set.rows(chosen)
    labels = torch.from_numpy(image_set.labels[rows])
    shape = (len(rows), 3, preprocessing.resolution, preprocessing.resolution)
    path = None if folder is None else folder / f"{_key(image_set, chosen, preprocessing)}.npy"
    if path is None:
        values = np.empty(shape, np.uint8)
        _fill(values, image_set, rows, preprocessing, threads, progress)
        return Pixels(torch.from_numpy(values), labels, chosen, preprocessing)
    if not path.is_file():
        with whole_file(path, overwrite=True) as file:
            values = _mapped(file, shape)
            _fill(values, image_set, rows, preprocessing, threads, progress)
    mapped = np.load(path, mmap_mode="c", allow_pickle=False)  # never written: copy on write
    if mapped.shape != shape or mapped.dtype != np.uint8:
        raise ValueError(
            f"{path} holds {mapped.dtype} {mapped.shape}, not uint8 {shape}: remove it"
        )
    return Pixels(torch.from_numpy(mapped), labels, chosen, preprocessing)


def _mapped(file: BinaryIO, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a (n, 3, side, side) uint8 array that lies in a new .npy file.

    Raises:
        OSError: the disk is full. Room is taken here: a mapped file that finds none later on
            kills the process.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    start = file.tell()
    file.flush()
    size: int = math.prod(shape)
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), start, size)
    return np.memmap(file, np.uint8, "r+", start, shape)


def _fill(
    values: np.ndarray,
    image_set: ImageSet,
    rows: np.ndarray,
    preprocessing: Preprocessing,
    threads: int | None,
    progress: bool,
) -> None:
    """Decodes the crops into an array, (n, 3, side, side) uint8."""
    crop = preprocessing.crop()

    def one(place: int) -> None:
        values[place] = np.asarray(crop(image_set.open(int(rows[place])))).transpose(2, 0, 1)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        done = pool.map(one, range(len(rows)))
        for _ in tqdm(done, total=len(rows), desc="decode", unit="image", disable=not progress):
            pass
    if isinstance(values, np.memmap):
        values.flush()


@lru_cache(maxsize=8)
def _statistics(how: Preprocessing, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns mean and std, (3, 1, 1), on the device: sending them each time would wait for it."""
    mean, std = (torch.tensor(each, dtype=torch.float32) for each in (how.mean, how.std))
    return mean.view(3, 1, 1).to(device), std.view(3, 1, 1).to(device)


def _key(image_set: ImageSet, ids: tuple[str, ...], preprocessing: Preprocessing) -> str:
    how = {k: v for k, v in preprocessing.as_dict().items() if k not in ("mean", "std")}
    stamps = image_set.stamps(image_set.rows(ids))  # another picture may come by the same name
    parts = [image_set.name, image_set.source, ids, how, stamps]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    name = "".join(c if c.isalnum() or c in "-_+" else "-" for c in image_set.name)
    return f"{name}-{preprocessing.resolution}px-{digest}"
