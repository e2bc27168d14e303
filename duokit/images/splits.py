"""Splits: which image is for training, for val, for test; drawn with a seed, kept as ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duokit.images.image_set import NO_CLASS, ImageSet
from duokit.logits.files import write_whole

PARTS = ("train", "val", "test")
FOLDS = 5


@dataclass(frozen=True)
class Splits:
    """The parts of a data set, as ids.

    Attributes:
        dataset: name of the data set.
        protocol: the rule that made the parts, in words.
        seed: seed of the draw.
        parts: name of a part -> ids of its images, sorted.

    Raises:
        ValueError: an empty part, or an image in two parts.
    """

    dataset: str
    protocol: str
    seed: int
    parts: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        parts = {name: tuple(sorted(ids)) for name, ids in self.parts.items()}
        home: dict[str, str] = {}
        for name, ids in parts.items():
            if not ids:
                raise ValueError(f"the {name} part of {self.dataset} is empty ({self.protocol})")
            for image in ids:
                if image in home:
                    raise ValueError(f"{image!r} is in {home[image]} and in {name}")
                home[image] = name
        object.__setattr__(self, "parts", parts)

    @property
    def checksum(self) -> str:
        """SHA-256 over the names of the parts and the ids in them, 64 hexadecimal digits."""
        text = json.dumps(self.parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def sizes(self) -> dict[str, int]:
        """Returns the number of images of each part."""
        return {name: len(ids) for name, ids in self.parts.items()}

    def at_most(self, images: int, *, seed: int = 0) -> Splits:
        """Returns the same parts with so many images each, drawn at random, for a quick trial.

        Args:
            images: how many a part keeps, 1 or more; a smaller part stays whole.
            seed: of the draw, 0 or more.

        Raises:
            ValueError: fewer than one image, or a negative seed.
        """
        if images < 1:
            raise ValueError(f"images is {images}; expected 1 or more a part")
        parts = {
            name: tuple(_generator(seed, name).permutation(np.array(ids))[:images].tolist())
            for name, ids in self.parts.items()
        }
        return Splits(self.dataset, f"{self.protocol}; at most {images} of each", self.seed, parts)


def make_splits(
    image_set: ImageSet,
    *,
    train: int | float | None,
    val: int | float,
    seed: int,
    within: Iterable[str] | None = None,
    test: Iterable[str] | None = None,
    extra: Mapping[str, Iterable[str]] | None = None,
    protocol: str = "",
) -> Splits:
    """Returns splits stratified by class: each class is shuffled and cut by itself.

    Of a class with n images, training gets `train` of them but at most n - 1; of what is left, val
    gets `val` but at most half, rounded down; test gets the rest. So every class has at least one
    image for training and one for test, and the smallest may have none in val. With `test` given,
    training and val share all n in the same way. The shuffle of a class depends on the seed and the
    name of the class alone (NumPy's PCG64): adding a class leaves the others as they are.

    Args:
        image_set: images and labels; those without a class (label -1) are left out.
        train: images a class (int), or share of the class (float in 0..1, rounded); None for all
            that val leaves, which needs `test`.
        val: images a class, or share of the class, as train.
        seed: seed of the shuffles, 0 or more.
        within: ids to draw from; all images of the set if not given.
        test: ids of the test part, where its authors fixed it; they are not drawn from.
        extra: further parts, whole: name -> ids.
        protocol: the rule in words; one is written if not given.

    Raises:
        ValueError: a class with fewer than two images, or sizes that are not positive.
    """
    fixed = None if test is None else tuple(test)
    pool = set(image_set.ids if within is None else within) - set(fixed or ())
    rows = image_set.rows(sorted(pool))
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for label, class_name in enumerate(image_set.class_names):
        names = np.array([image_set.ids[row] for row in rows[image_set.labels[rows] == label]])
        to_train, to_val = _sizes(
            len(names), train, val, fixed is not None, f"class {class_name!r} of {image_set.name}"
        )
        order = _generator(seed, class_name).permutation(len(names))
        cuts = np.split(names[order], [to_train, to_train + to_val])
        for part, chosen in zip(PARTS, cuts, strict=True):
            parts[part] += chosen.tolist()
    whole = {name: tuple(ids) for name, ids in parts.items()}
    whole |= {} if fixed is None else {"test": fixed}
    whole |= {name: tuple(ids) for name, ids in (extra or {}).items()}
    rest = "the rest" if fixed is None else "as published"
    words = protocol or f"train {_words(train)}, val {_words(val)}, test {rest}"
    return Splits(image_set.name, words, seed, whole)


def fold_splits(
    image_set: ImageSet,
    fold: int,
    *,
    folds: int = FOLDS,
    seed: int,
    within: Iterable[str] | None = None,
    extra: Mapping[str, Iterable[str]] | None = None,
    whose: str = "images",
) -> Splits:
    """Returns one of the splits of a cross-validation: over all of them, each image is test once.

    Each class is shuffled as in `make_splits` and dealt to the folds one by one. Test is this fold,
    val the next one (after the last comes the first), training all the others.

    Args:
        image_set: images and labels; those without a class (label -1) are left out.
        fold: which fold is test, from 0.
        folds: how many there are, 3 or more.
        seed: seed of the shuffles, 0 or more.
        within: ids to draw from; all images of the set if not given.
        extra: further parts, whole: name -> ids.
        whose: what the images are called in the words of the protocol.

    Raises:
        ValueError: fewer than three folds, another fold, or a class with fewer images than folds.
    """
    if folds < 3 or not 0 <= fold < folds:
        raise ValueError(
            f"fold is {fold} of {folds}; expected a fold from 0 to {folds - 1}, and 3 or more folds"
        )
    rows = image_set.rows(sorted(image_set.ids if within is None else within))
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for label, class_name in enumerate(image_set.class_names):
        names = np.array([image_set.ids[row] for row in rows[image_set.labels[rows] == label]])
        if len(names) < folds:
            raise ValueError(
                f"class {class_name!r} of {image_set.name} has {len(names)} images, fewer than the "
                f"{folds} folds: add images, or leave the class out"
            )
        order = names[_generator(seed, class_name).permutation(len(names))]
        place = (np.arange(len(names)) - fold) % folds  # 0: test, 1: val
        for part, chosen in (("test", place == 0), ("val", place == 1), ("train", place > 1)):
            parts[part] += order[chosen].tolist()
    whole = {name: tuple(ids) for name, ids in parts.items()}
    whole |= {name: tuple(ids) for name, ids in (extra or {}).items()}
    words = f"fold {fold} of {folds} of the {whose} is test, the next val, the others train"
    return Splits(image_set.name, words, seed, whole)


def without_class(image_set: ImageSet) -> tuple[str, ...]:
    """Returns the ids of the images that belong to no class (label -1)."""
    return tuple(image_set.ids[row] for row in np.flatnonzero(image_set.labels == NO_CLASS))


def save_splits(splits: Splits, path: str | Path, *, overwrite: bool = False) -> Path:
    """Returns the path of the JSON file that now holds the splits and their checksum.

    Raises:
        FileExistsError: the file exists, holds other splits, and overwrite is False.
    """
    path = Path(path)
    content = {
        "dataset": splits.dataset,
        "protocol": splits.protocol,
        "seed": splits.seed,
        "sizes": splits.sizes(),
        "checksum": splits.checksum,
        "parts": splits.parts,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if path.exists() and not overwrite and path.read_text(encoding="utf-8") != text:
        raise FileExistsError(f"{path} holds other splits; pass overwrite=True to replace them")
    return write_whole(path, text.encode(), overwrite=True)


def load_splits(path: str | Path) -> Splits:
    """Returns the splits in a file, verified against the checksum in it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of splits, or the ids are not those that were saved.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        parts = {name: tuple(ids) for name, ids in content["parts"].items()}
        splits = Splits(content["dataset"], content["protocol"], int(content["seed"]), parts)
        checksum = content["checksum"]
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a file of splits ({error!r})") from error
    if splits.checksum != checksum:
        raise ValueError(
            f"{path} was changed: its ids have checksum {splits.checksum[:12]}..., "
            f"the file says {str(checksum)[:12]}...; fetch it again, or make the splits again"
        )
    return splits


def _generator(seed: int, class_name: str) -> np.random.Generator:
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    digest = hashlib.sha256(class_name.encode()).digest()
    words = [int.from_bytes(digest[start : start + 4], "little") for start in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64([seed, *words]))


def _sizes(
    images: int, train: int | float | None, val: int | float, test_fixed: bool, whose: str
) -> tuple[int, int]:
    """Returns how many of a class's images go to train and to val."""
    if images < 2:
        raise ValueError(
            f"{whose} has {images} images to draw from; splits need at least 2 (one for training, "
            "one to test or validate on): add images, or leave the class out"
        )
    to_val = _count(val, images, "val")
    if train is None:
        if not test_fixed:
            raise ValueError("train is None (all that val leaves), which needs test to be given")
        to_val = min(to_val, images // 2)
        return images - to_val, to_val
    to_train = max(1, min(_count(train, images, "train"), images - 1))
    left = images - to_train
    return to_train, min(to_val, left if test_fixed else left // 2)


def _count(size: int | float, images: int, name: str) -> int:
    whole = isinstance(size, int) and not isinstance(size, bool) and size > 0
    share = isinstance(size, float) and 0 < size < 1
    if not (whole or share):
        raise ValueError(
            f"{name} is {size!r}; expected images a class (1, 2, ...) or a share (0.2)"
        )
    return int(size) if whole else round(size * images)


def _words(size: int | float | None) -> str:
    if size is None:
        return "all others"
    return f"up to {size} images a class" if isinstance(size, int) else f"{size:.0%} of each class"
