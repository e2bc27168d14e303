"""Fashion-MNIST with shifted test sets: the test pictures again, corrupted at five severities.

Each severity is a part of its own, "shifted-1" to "shifted-5", with all 10,000 test pictures; a
thirteenth of them has each corruption (`duokit.images.corruptions.with_shifted_copies`). Training,
val and test are those of Fashion-MNIST, and so are the labels.

Source: arXiv 1708.07747 for the pictures, arXiv 1903.12261 for the corruptions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from duokit.images import fashion_mnist
from duokit.images.corruptions import SEVERITIES, with_shifted_copies
from duokit.images.image_set import ImageSet
from duokit.images.splits import Splits, make_splits

NAME = "fashion_mnist_c"


def load_fashion_mnist_c(root: str | Path | None = None, *, download: bool = False) -> ImageSet:
    """Returns Fashion-MNIST and 50,000 corrupted copies, such as "test/00007+fog-3".

    Args:
        root: as for `duokit.images.fashion_mnist.load_fashion_mnist`.
        download: as there.

    Raises:
        FileNotFoundError, ValueError: as there.
    """
    whole = fashion_mnist.load_fashion_mnist(root, download=download)
    shifted = with_shifted_copies(whole, fashion_mnist.published_test(whole))
    return replace(shifted, name=NAME, loader=NAME)


def default_splits(image_set: ImageSet, *, seed: int = 0) -> Splits:
    """Returns the splits of Fashion-MNIST, and one part for each severity."""
    level = image_set.columns["severity"]
    parts = {f"shifted-{each}": level.index[level == each] for each in SEVERITIES}
    return make_splits(
        image_set,
        train=None,
        val=fashion_mnist.VAL,
        seed=seed,
        within=level.index[level == 0],
        test=fashion_mnist.published_test(image_set),
        extra=parts,
        protocol=f"train all others, val up to {fashion_mnist.VAL} images a class, test as "
        "published; shifted-1 to shifted-5 are the test pictures corrupted at that severity",
    )
