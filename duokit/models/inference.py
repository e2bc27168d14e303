"""From pictures to features or logits, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from duokit.images import ImageSet
from duokit.models.build import head
from duokit.models.pixels import Pixels

Transform = Callable[[Image.Image], torch.Tensor]
Images = ImageSet | Pixels | torch.Tensor


class Pictures(Dataset[torch.Tensor]):
    """The pictures of an image set, transformed when they are asked for."""

    def __init__(self, image_set: ImageSet, rows: Sequence[int], transform: Transform) -> None:
        self.image_set, self.rows, self.transform = image_set, list(rows), transform

    def __len__(self) -> int:
        """Returns how many pictures there are."""
        return len(self.rows)

    def __getitem__(self, place: int) -> torch.Tensor:
        """Returns one picture as the network wants it, (3, height, width)."""
        return self.transform(self.image_set.open(int(self.rows[place])))


class DecodedBatches:
    """Decoded pictures, batch by batch, normalised when they are asked for."""

    def __init__(self, pixels: Pixels, rows: Sequence[int], batch: int) -> None:
        self.pixels, self.parts = pixels, torch.tensor(rows).split(batch)

    def __len__(self) -> int:
        """Returns how many batches there are."""
        return len(self.parts)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Yields (m, 3, side, side) float32 on the device of the pixels."""
        for rows in self.parts:
            values = self.pixels.batch(rows, self.pixels.values.device)
            yield self.pixels.normalised(values)


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Returns the device to compute on; "auto" is CUDA, else Apple's MPS, else the CPU."""
    if device != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def layout(device: torch.device) -> torch.memory_format:
    """Returns the order in which convolutions are fastest on a device: channels last, mostly."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def predict(
    model: nn.Module,
    images: Images,
    *,
    transform: Transform | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    batch: int = 32,
    workers: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Returns the logits, (n, k) float32, of these images in this order.

    The network is put in eval mode and moved to the device, and stays there.

    Args:
        model: the network.
        images: an image set, with `transform`; decoded pictures (`decode`), which have their own;
            or a tensor (n, 3, height, width), ready.
        transform: what `eval_transform` returned; needed for an image set.
        rows: which images, by number; all if not given.
        batch: images at a time.
        workers: processes that read pictures; 0 reads them here.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        progress: whether to show a progress bar (on the error stream).

    Raises:
        ValueError: no transform, no images, or logits that are not finite; a damaged picture.
    """
    loader = _loader(images, transform, rows, batch, workers)
    return _run(model, loader, lambda outputs: outputs, device, progress, "logits")


def features(
    model: nn.Module,
    images: Images,
    *,
    transform: Transform | None = None,
    rows: Sequence[int] | np.ndarray | None = None,
    batch: int = 32,
    workers: int = 0,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> np.ndarray:
    """Returns what the head of the network gets, (n, d) float32: the head of it gives the logits.

    Args:
        model: a network whose last layer is linear.
        images: as for `predict`.
        transform: as for `predict`.
        rows: as for `predict`.
        batch: as for `predict`.
        workers: as for `predict`.
        device: as for `predict`.
        progress: as for `predict`.

    Raises:
        ValueError: as `predict`; also a network without a linear head.
    """
    loader = _loader(images, transform, rows, batch, workers)
    _, layer = head(model)
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        return _run(model, loader, lambda _: seen.pop(), device, progress, "features")
    finally:
        handle.remove()


def _loader(
    images: Images,
    transform: Transform | None,
    rows: Sequence[int] | np.ndarray | None,
    batch: int,
    workers: int,
) -> DataLoader[Any] | DecodedBatches:
    data: Any
    chosen = list(range(len(images))) if rows is None else [int(row) for row in rows]
    if not chosen:
        raise ValueError("there are no images: rows is empty")
    if isinstance(images, Pixels) and transform is None:
        return DecodedBatches(images, chosen, batch)
    if isinstance(images, ImageSet) and transform is not None:
        data = Pictures(images, chosen, transform)
    elif isinstance(images, torch.Tensor) and transform is None:
        data = [images[row] for row in chosen]
    else:
        raise ValueError(
            "an image set needs a transform (eval_transform), tensors and pixels take none: "
            f"got {type(images).__name__} and {'no ' if transform is None else 'a '}transform"
        )
    return DataLoader(data, batch_size=batch, num_workers=workers)


def _run(
    model: nn.Module,
    loader: DataLoader[Any] | DecodedBatches,
    pick: Callable[[torch.Tensor], torch.Tensor],
    device: str | torch.device,
    progress: bool,
    what: str,
) -> np.ndarray:
    """Returns what `pick` takes from each batch, one below the other, as float32."""
    place = pick_device(device)
    form = layout(place)
    model.eval().to(device=place, memory_format=form)  # type: ignore[call-overload]
    pieces = []
    with torch.inference_mode():
        for inputs in tqdm(loader, desc=what, unit="batch", disable=not progress):
            outputs = model(inputs.to(device=place, memory_format=form))
            pieces.append(pick(outputs).float().cpu().numpy())
    result = np.concatenate(pieces)
    if not np.isfinite(result).all():
        row = int(np.argwhere(~np.isfinite(result))[0, 0])
        raise ValueError(
            f"{what} of image {row} of this call are not finite: did the network diverge?"
        )
    return result
