"""Splits that the authors of the paper drew: drawing them again, and telling them from others.

The released code draws with `torch.utils.data.random_split` and a generator seeded with 42. Which
pictures that gives depends on how many there are, on their order and on torch's generator; on
nothing else. Checksums of the result are kept here, so that a reader's split can be recognised.

Source: Zhou, Shelhamer, Pleiss, "Asymmetric Duos", arXiv 2505.18636; the released code,
load_data/datasets.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from duokit.images.image_set import ImageSet
from duokit.images.splits import Splits

AUTHORS_SEED = 42  # of torch's generator, in the released code


@dataclass(frozen=True)
class Published:
    """What is known of the authors' split of a data set.

    Attributes:
        sizes: name of a part -> number of its images.
        positions: SHA-256 of the positions of the parts (`positions_checksum`); "" if not drawn.
        ids: `Splits.checksum` of the authors' parts; "" if the list of files is not known here.
        unknown: why ids is empty, in words.
        each: images of each class, where the data set has as many of each; 0 if not.
    """

    sizes: Mapping[str, int]
    positions: str = ""
    ids: str = ""
    unknown: str = ""
    each: int = 0


@dataclass(frozen=True)
class Verdict:
    """Whether a split is the authors'.

    Attributes:
        authors: True if nothing that is known of the authors' split speaks against it.
        agrees: what was compared and agrees.
        differs: what differs, each with both values.
        unknown: what could not be compared, and why; "" if all was.
    """

    authors: bool
    agrees: tuple[str, ...]
    differs: tuple[str, ...]
    unknown: str = ""

    def __str__(self) -> str:
        """Returns the verdict in one sentence."""
        if not self.authors:
            return f"not the authors' split: {'; '.join(self.differs)}"
        known = f"the authors' split ({', '.join(self.agrees)} agree)"
        return f"{known}; not compared: {self.unknown}" if self.unknown else known


def drawn_positions(images: int, sizes: Mapping[str, int], *, seed: int) -> dict[str, np.ndarray]:
    """Returns part -> positions (m,) int64, sorted, drawn as torch's `random_split` draws them.

    The parts are consecutive pieces of `torch.randperm(images)`.

    Args:
        images: how many there are to draw from.
        sizes: name of a part -> how many it gets, in the order of the draw; together all images.
        seed: of the generator, 0 or more; the authors' is 42.

    Raises:
        ValueError: sizes that do not make up all images, or a negative seed.
    """
    import torch

    if sum(sizes.values()) != images or min(sizes.values()) < 0:
        raise ValueError(f"parts of {dict(sizes)} images do not make up all {images}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed)).numpy()
    pieces = np.split(order, np.cumsum(list(sizes.values()))[:-1])
    return {part: np.sort(piece) for part, piece in zip(sizes, pieces, strict=True)}


def positions_checksum(parts: Mapping[str, np.ndarray]) -> str:
    """Returns the SHA-256 of part -> sorted positions as JSON, 64 hexadecimal digits.

    It depends on the number of images and on torch's generator, not on how the files are called.
    """
    plain = {part: np.sort(rows).tolist() for part, rows in parts.items()}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def drawn_splits(
    image_set: ImageSet, sizes: Mapping[str, int], published: Published, *, seed: int, rule: str
) -> Splits:
    """Returns splits drawn as the authors drew theirs, from torch's generator 42 + seed.

    Args:
        image_set: its ids in the order of the authors' data set.
        sizes: name of a part -> how many images it gets, in the order of the draw.
        published: what is known of the authors' split, for the words of the protocol.
        seed: 0 for the authors' generator; any other number for another draw of the same sizes.
        rule: the rule in words.

    Raises:
        ValueError: a negative seed, or fewer images than parts.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 (the authors' draw) or more")
    drawn = drawn_positions(len(image_set), sizes, seed=AUTHORS_SEED + seed)
    parts = {part: tuple(image_set.ids[row] for row in rows) for part, rows in drawn.items()}
    words = f"{rule}, drawn by torch's random_split with generator seed {AUTHORS_SEED + seed}"
    return Splits(image_set.name, words + _whose(sizes, published, seed), seed, parts)


def fixed_splits(
    image_set: ImageSet,
    parts: Mapping[str, tuple[str, ...]],
    published: Published,
    *,
    seed: int,
    rule: str,
) -> Splits:
    """Returns splits that are part of the data set: nothing is drawn, the seed is only kept.

    Raises:
        ValueError: a negative seed, or a part without an image.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    sizes = {part: len(ids) for part, ids in parts.items()}
    return Splits(image_set.name, rule + _whose(sizes, published, 0), seed, dict(parts))


def compare(image_set: ImageSet, splits: Splits, published: Published) -> Verdict:
    """Returns whether splits of a data set are the authors', as far as that is known.

    Raises:
        ValueError: splits with images that the set does not hold.
    """
    rows = {part: image_set.rows(ids) for part, ids in splits.parts.items()}
    agrees, differs = [], []

    def note(what: str, found: object, wanted: object) -> None:
        if found == wanted:
            agrees.append(what)
        else:
            differs.append(f"{what}: {_short(found)}, the authors' {_short(wanted)}")

    note("sizes", splits.sizes(), dict(published.sizes))
    if published.each:
        counts = np.bincount(image_set.labels, minlength=image_set.classes)
        note("images a class", sorted({*counts.tolist()}), [published.each])
    if published.positions:
        note("checksum of positions", positions_checksum(rows), published.positions)
    if published.ids:
        note("checksum of ids", splits.checksum, published.ids)
    return Verdict(not differs, tuple(agrees), tuple(differs), published.unknown)


def _whose(sizes: Mapping[str, int], published: Published, seed: int) -> str:
    """Returns the end of a protocol that says whether this can be the authors' split."""
    if dict(sizes) != dict(published.sizes):
        wanted = ", ".join(f"{part} {size:,}" for part, size in published.sizes.items())
        return f"; not the authors' split, whose sizes are {wanted}"
    return "; not the authors' split, whose generator seed is 42" if seed else "; as the authors"


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if isinstance(value, str) and len(text) == 64 else text
