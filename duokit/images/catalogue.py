"""The data sets by name."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from duokit.images import caltech101, digits, elpv, fashion_mnist, folder
from duokit.images.image_set import ImageSet
from duokit.images.splits import Splits

_MODULES: dict[str, ModuleType] = {
    module.NAME: module for module in (caltech101, fashion_mnist, elpv, digits, folder)
}
_LOADERS = {
    caltech101.NAME: caltech101.load_caltech101,
    fashion_mnist.NAME: fashion_mnist.load_fashion_mnist,
    elpv.NAME: elpv.load_elpv,
    digits.NAME: digits.load_digits,
    folder.NAME: folder.load_folder,
}
NAMES = tuple(_LOADERS)


def load(name: str, root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns the data set of this name; pictures are opened later, one by one.

    Args:
        name: one of NAMES; "folder" is any folder of class folders.
        root: folder or archive that holds it. If not given: DUOKIT_DATA, else ~/.cache/duokit, and
            for some sets a package that brings the pictures.
        download: whether torchvision may fetch it where it is not found.

    Raises:
        FileNotFoundError: it is not there; the text says how to get it.
        ValueError: another name, or a copy that is not whole.
    """
    if name not in _LOADERS:
        raise ValueError(f"no data set {name!r}; there are {', '.join(NAMES)}")
    return _LOADERS[name](root, download=download)


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns the splits of a data set by its own protocol.

    Args:
        image_set: what `load` returned.
        seed: seed of the draw.
    """
    splits: Splits = _MODULES[image_set.loader].default_splits(image_set, seed=seed)
    return splits
