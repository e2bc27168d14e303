"""Pictures decoded once: the eval crop of every image as bytes in one memory-mapped file.

Resizing yields bytes, so nothing is lost: scaled and normalised, the cached crop equals what
`eval_transform` returns, bit for bit. Training augments the crops in batches, on the device.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from duokit.images import ImageSet
from duokit.models.transforms import Preprocessing

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
            return self.values[rows.to(self.values.device, non_blocking=True)]
        found = self.values[rows]
        if device.type == "cuda":  # only from pinned memory does a copy run beside the computation
            return found.pin_memory().to(device, non_blocking=True)
        return found.to(device)

    def normalised(self, values: torch.Tensor) -> torch.Tensor:
        """Returns bytes (m, 3, side, side) as the network wants them: float32, normalised."""
        mean, std = (
            torch.tensor(each, dtype=torch.float32).view(3, 1, 1)
            for each in (self.preprocessing.mean, self.preprocessing.std)
        )
        scaled = values.float() / 255  # the same steps, so the same rounding, as ToTensor
        return (scaled - mean.to(values.device)) / std.to(values.device)

    def near(self, device: torch.device) -> Pixels:
        """Returns these pixels on a GPU if they take at most a quarter of its free memory."""
        if device.type != "cuda" or self.values.device.type == "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.values.numel() > ON_DEVICE * free:
            return self
        return Pixels(self.values.to(device), self.labels, self.ids, self.preprocessing)


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

    The name of a file ends in a digest of all that its bytes depend on: the data set, the ids and
    the crop. A file is written whole or not at all, and mapped into memory, not read.

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
    if path is None or not path.is_file():
        temporary = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            values = _fill(image_set, rows, preprocessing, shape, temporary, threads, progress)
            if path is None or temporary is None:
                return Pixels(torch.from_numpy(values), labels, chosen, preprocessing)
            del values
            temporary.replace(path)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
    mapped = np.load(path, mmap_mode="c", allow_pickle=False)  # never written: copy on write
    if mapped.shape != shape or mapped.dtype != np.uint8:
        raise ValueError(
            f"{path} holds {mapped.dtype} {mapped.shape}, not uint8 {shape}: remove it"
        )
    return Pixels(torch.from_numpy(mapped), labels, chosen, preprocessing)


def _fill(
    image_set: ImageSet,
    rows: np.ndarray,
    preprocessing: Preprocessing,
    shape: tuple[int, ...],
    path: Path | None,
    threads: int | None,
    progress: bool,
) -> np.ndarray:
    """Returns the decoded crops, on the disk if a path is given, else in memory."""
    values: np.ndarray = (
        np.empty(shape, np.uint8)
        if path is None
        else np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    )
    crop = preprocessing.crop()

    def one(place: int) -> None:
        values[place] = np.asarray(crop(image_set.open(int(rows[place])))).transpose(2, 0, 1)

    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        done = pool.map(one, range(len(rows)))
        for _ in tqdm(done, total=len(rows), desc="decode", unit="image", disable=not progress):
            pass
    if isinstance(values, np.memmap):
        values.flush()
    return values


def _key(image_set: ImageSet, ids: tuple[str, ...], preprocessing: Preprocessing) -> str:
    how = {k: v for k, v in preprocessing.as_dict().items() if k not in ("mean", "std")}
    parts = [image_set.name, image_set.source, ids, how]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    name = "".join(c if c.isalnum() or c in "-_+" else "-" for c in image_set.name)
    return f"{name}-{preprocessing.resolution}px-{digest}"
