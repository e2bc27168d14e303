"""Fashion-MNIST: 70,000 grey pictures of clothes, 28 x 28 pixels, ten classes of 7,000.

Found as Debian's package dataset-fashion-mnist installs it, as torchvision keeps it, or as four
files in a folder.

Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
Machine Learning Algorithms", arXiv 1708.07747; MIT licence.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duokit.images.image_set import ImageSet
from duokit.images.places import VARIABLE, candidates, data_folder
from duokit.images.reading import Pixels, read_idx
from duokit.images.splits import Splits, make_splits

NAME = "fashion_mnist"
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
PARTS = {"test": "t10k", "train": "train"}  # part -> how its files are called
PLACES = ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
VAL = 500  # images a class


def load_fashion_mnist(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns Fashion-MNIST; ids "train/00000"... and "test/00000"... in the published order.

    Args:
        root: folder with the four IDX files (gzip or plain), or torchvision's root; if not given,
            the data folder (DUOKIT_DATA), then where Debian's package puts them.
        download: whether to fetch it with torchvision where it is not found.

    Raises:
        FileNotFoundError: not found, and not downloaded.
        ValueError: damaged files.
    """
    base = _find(root)
    if base is None and download:
        base = _download(Path(root) if root is not None else data_folder())
    if base is None:
        raise FileNotFoundError(
            f"no Fashion-MNIST in {root or data_folder()}: apt-get install dataset-fashion-mnist, "
            f"give the folder of its four files as root (or in the variable {VARIABLE}), or let it "
            "be downloaded (--download; download=True)"
        )
    ids: list[str] = []
    pictures, labels = [], []
    for part, stem in PARTS.items():
        values = read_idx(_file(base, f"{stem}-images-idx3-ubyte"))
        numbers = read_idx(_file(base, f"{stem}-labels-idx1-ubyte"))
        if values.ndim != 3 or numbers.shape != values.shape[:1]:
            raise ValueError(
                f"{base}: {stem} pictures have shape {values.shape}, its labels {numbers.shape}; "
                "expected (n, height, width) and (n,)"
            )
        ids += [f"{part}/{row:05d}" for row in range(len(values))]
        pictures.append(values)
        labels.append(numbers)
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=tuple(ids),
        labels=np.concatenate(labels).astype(np.int64),
        class_names=CLASS_NAMES,
        read=Pixels(np.concatenate(pictures)),
        licence="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns the published test part, 500 of the training images a class as val, the others."""
    test = published_test(image_set)
    return make_splits(image_set, train=None, val=VAL, seed=seed, test=test)


def published_test(image_set: ImageSet) -> tuple[str, ...]:
    """Returns the ids of the published test part, without corrupted copies of its pictures."""
    return tuple(name for name in image_set.ids if name.startswith("test/") and "+" not in name)


def _file(base: Path, name: str) -> Path:
    plain, packed = base / name, base / f"{name}.gz"
    return packed if packed.is_file() else plain


def _find(root: str | Path | None) -> Path | None:
    places = [*candidates(root, PLACES), *([] if root is not None else [DEBIAN])]
    stem = PARTS["train"] + "-images-idx3-ubyte"
    return next((place for place in places if _file(place, stem).is_file()), None)


def _download(folder: Path) -> Path | None:
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(folder, download=True)
    except Exception as error:  # torchvision raises many kinds: URLError, RuntimeError, OSError
        raise FileNotFoundError(
            f"Fashion-MNIST could not be downloaded into {folder} ({error}): "
            "apt-get install dataset-fashion-mnist, or fetch its four files from "
            "https://github.com/zalandoresearch/fashion-mnist and give their folder as root"
        ) from error
    return _find(folder)
