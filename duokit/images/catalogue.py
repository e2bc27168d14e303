"""The data sets by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

from duokit.images import (
    caltech101,
    caltech256,
    digits,
    elpv,
    fashion_mnist,
    fashion_mnist_c,
    folder,
    imagenet,
    imagenet_v2,
    iwildcam,
)
from duokit.images.image_set import ImageSet
from duokit.images.official import Published, Verdict, compare
from duokit.images.splits import Splits

_MODULES: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        caltech101, fashion_mnist, fashion_mnist_c, elpv, digits,
        imagenet, imagenet_v2, iwildcam, caltech256, folder,
    )
}  # fmt: skip
_LOADERS = {
    caltech101.NAME: caltech101.load_caltech101,
    fashion_mnist.NAME: fashion_mnist.load_fashion_mnist,
    fashion_mnist_c.NAME: fashion_mnist_c.load_fashion_mnist_c,
    elpv.NAME: elpv.load_elpv,
    digits.NAME: digits.load_digits,
    imagenet.NAME: imagenet.load_imagenet,
    imagenet_v2.NAME: imagenet_v2.load_imagenet_v2,
    iwildcam.NAME: iwildcam.load_iwildcam,
    caltech256.NAME: caltech256.load_caltech256,
    folder.NAME: folder.load_folder,
}
NAMES = tuple(_LOADERS)


def load(name: str, root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns the data set of this name; pictures are opened later, one by one.

    Args:
        name: one of NAMES; "folder" is any folder of class folders.
        root: folder or archive that holds it. If not given: DUOKIT_DATA, else ~/.cache/duokit, and
            for some sets a package that brings the pictures.
        download: whether it may be fetched where it is not found.

    Raises:
        FileNotFoundError: it is not there; the text says how to get it.
        ValueError: another name, or a copy that is not whole.
    """
    if name not in _LOADERS:
        raise ValueError(f"no data set {name!r}; there are {', '.join(NAMES)}")
    return _LOADERS[name](root, download=download)


def default_splits(image_set: ImageSet, *, seed: int = 0, fold: int | None = None) -> Splits:
    """Returns the splits of a data set by its own protocol.

    Args:
        image_set: what `load` returned.
        seed: seed of the draw. For the benchmarks of the paper ("imagenet", "caltech256") 0 is the
            authors' split, and any other number draws one of the same sizes; "imagenet_v2" and
            "iwildcam" are not drawn.
        fold: which of five folds is test, from 0, for "elpv" and "folder"; other sets have none.

    Raises:
        ValueError: no such fold, or a set without folds.
    """
    module = _MODULES[image_set.loader]
    folded = [
        name
        for name, each in _MODULES.items()
        if "fold" in inspect.signature(each.default_splits).parameters
    ]
    if fold is not None and image_set.loader not in folded:
        raise ValueError(f"{image_set.name} has no folds; those that have: {', '.join(folded)}")
    options = {} if fold is None else {"fold": fold}
    splits: Splits = module.default_splits(image_set, seed=seed, **options)
    return splits


def published_split(image_set: ImageSet, splits: Splits) -> Verdict | None:
    """Returns whether splits are those of the paper; None for a set that the paper does not use.

    Sizes are compared, and checksums of positions and of ids as far as they are known.

    Args:
        image_set: what `load` returned.
        splits: splits of it, drawn now or loaded from a file.

    Raises:
        ValueError: splits with images that the set does not hold.

    Source: Zhou, Shelhamer, Pleiss, "Asymmetric Duos", arXiv 2505.18636, and its released code.
    """
    published: Published | None = getattr(_MODULES[image_set.loader], "PUBLISHED", None)
    return None if published is None else compare(image_set, splits, published)
