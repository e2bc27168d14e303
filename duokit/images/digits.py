"""Digits: 1,797 handwritten digits, 8 x 8 pixels, grey; they come with scikit-learn.

Small enough to try everything in seconds, and with no download. Grey values 0..16 are stretched to
0..255.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, doi:10.24432/C50P49 (its test part), CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from duokit.images.image_set import ImageSet
from duokit.images.reading import Pixels
from duokit.images.splits import Splits, make_splits

NAME = "digits"
LARGEST = 16.0  # the largest grey value in scikit-learn's copy


def load_digits(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns the digits; ids "0000"... in scikit-learn's order.

    Args:
        root: must be None: the pictures are inside scikit-learn.
        download: not needed; there to have one interface.

    Raises:
        ValueError: a root was given.
    """
    if root is not None:
        raise ValueError(f"digits come with scikit-learn and lie in no folder; root is {root}")
    del download
    from sklearn import datasets

    bunch = datasets.load_digits()
    grey = np.rint(bunch.images * (255 / LARGEST)).astype(np.uint8)
    return ImageSet(
        name=NAME,
        loader=NAME,
        ids=tuple(f"{row:04d}" for row in range(len(grey))),
        labels=bunch.target.astype(np.int64),
        class_names=tuple(str(name) for name in bunch.target_names),
        read=Pixels(grey),
        licence="CC BY 4.0",
        source="https://doi.org/10.24432/C50P49",
    )


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns 50 % of each class for training, 20 % for val, the rest for test."""
    return make_splits(image_set, train=0.5, val=0.2, seed=seed)
