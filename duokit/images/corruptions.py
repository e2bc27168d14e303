"""Shifted test sets: noise, blur, fog, brightness, contrast, pixels and JPEG at five severities.

Thirteen of the nineteen corruptions of ImageNet-C and CIFAR-10-C, for grey pictures and coloured,
of any size. Left out: frost needs photographs of frost; snow and spatter paint over small pictures;
elastic_transform, glass_blur and saturate do not change a picture more at each higher severity.

No library fits: imagecorruptions and its successors know the strengths of ImageNet-C alone, refuse
pictures below 32 pixels and draw from NumPy's global state; kornia and torchvision have many of the
operations, but not these severities.

What differs from the original code:

- Strengths: pictures with a shorter side of up to 64 pixels get those of CIFAR-10-C (made for 32),
  all others those of ImageNet-C (made for 224), with lengths in pixels times (shorter side / 224),
  so that a large photograph looks as blurred as a small one. Noise and JPEG act on single pixels
  and blocks of 8, whatever the size.
- A grey picture (three equal channels) stays grey: noise is drawn once, not once a channel.
- Values are rounded to the nearest of 256 levels, the size of pixelate to the nearest pixel; the
  original cuts the fractions off.
- Edges are repeated where a blur looks beyond them; the original mirrors them for defocus_blur.
- zoom_blur keeps the whole of a picture that is not square.
- motion_blur of small pictures is a little stronger at severity 4, where CIFAR-10-C repeats 3.
- Random numbers are NumPy's PCG64, so single pictures are not those of the published sets.

Source: D. Hendrycks, T. Dietterich, arXiv 1903.12261.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from duokit.images.distortions import DISTORTIONS, Draw
from duokit.images.image_set import ImageSet

CORRUPTIONS = tuple(DISTORTIONS)
SEVERITIES = (1, 2, 3, 4, 5)
SMALL = 64  # pixels: up to this shorter side, a picture gets the strengths of CIFAR-10-C
LARGE_SIDE = 224  # pixels: the side that the lengths of ImageNet-C are made for


def corrupt(image: Image.Image, name: str, severity: int, *, seed: int) -> Image.Image:
    """Returns the corrupted picture, RGB, of the same size.

    Args:
        image: RGB picture with 8 bits a channel.
        name: one of CORRUPTIONS.
        severity: 1 (mild) to 5.
        seed: 0 or more; the same seed gives the same picture.

    Raises:
        ValueError: another name or severity, a negative seed, or a picture that is not RGB or
            has no pixels.

    Source: arXiv 1903.12261; for what differs see the module.
    """
    _check(name, severity, seed)
    if image.mode != "RGB" or 0 in image.size:
        raise ValueError(
            f"the picture has mode {image.mode} and size {image.size}; expected RGB with at least "
            'one pixel: use image.convert("RGB")'
        )
    pixels = np.asarray(image)
    grey = bool((pixels == pixels[:, :, :1]).all())
    values = pixels[:, :, : 1 if grey else 3] / 255.0
    shorter, how = min(image.size), DISTORTIONS[name]
    small = shorter <= SMALL
    strength = (how.small if small else how.large)[int(severity) - 1]
    draw = Draw(np.random.default_rng(seed), 1.0 if small else shorter / LARGE_SIDE)
    changed = np.clip(how.apply(values, strength, draw), 0, 1)
    levels = np.rint(255 * changed).astype(np.uint8)
    return Image.fromarray(np.repeat(levels, 3, axis=2) if grey else levels)


def corrupted(image_set: ImageSet, name: str, severity: int, *, seed: int = 0) -> ImageSet:
    """Returns the data set with every picture corrupted when it is opened.

    Ids, labels, columns, licence and splits stay. The random numbers of a picture depend on seed,
    name, severity and its id alone: neither the order nor the choice of pictures changes it. The
    name of the set becomes "digits+gaussian_noise-3", or "digits+gaussian_noise-3-seed7" where seed
    is not 0, so that records and caches of different pictures have different names.

    Args:
        image_set: pictures; may be a corrupted set itself.
        name: one of CORRUPTIONS.
        severity: 1 (mild) to 5.
        seed: 0 or more.

    Raises:
        ValueError: another name or severity, or a negative seed.

    Source: arXiv 1903.12261; for what differs see the module.
    """
    _check(name, severity, seed)
    words = f"{image_set.name}+{name}-{int(severity)}" + (f"-seed{int(seed)}" if seed else "")
    read = Corrupted(image_set.read, image_set.ids, name, int(severity), int(seed))
    return replace(image_set, name=words, read=read)


@dataclass(frozen=True)
class Corrupted:
    """Opens pictures and corrupts them; can be sent to worker processes if `read` can.

    Attributes:
        read: opens image i as it is.
        ids: n names of the images.
        name: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: 0 or more.
    """

    read: Callable[[int], Image.Image]
    ids: tuple[str, ...]
    name: str
    severity: int
    seed: int

    def __call__(self, row: int) -> Image.Image:
        """Returns picture number `row`, corrupted."""
        return corrupt(self.read(row), self.name, self.severity, seed=self.seed_of(row))

    def stamp(self, row: int) -> tuple[int, ...]:
        """Returns what `Files.stamp` says of picture number `row`; nothing if it is no file."""
        inner = getattr(self.read, "stamp", None)
        return () if inner is None else tuple(inner(row))

    def seed_of(self, row: int) -> int:
        """Returns the seed of picture number `row`, from its id.

        The first 32 hexadecimal digits of the SHA-256 of the JSON list [seed, name, severity, id].
        """
        return _digest(self.seed, self.name, self.severity, self.ids[row])


def with_shifted_copies(image_set: ImageSet, ids: Iterable[str], *, seed: int = 0) -> ImageSet:
    """Returns the data set and, after its images, one corrupted copy of some for each severity.

    Which of the CORRUPTIONS a picture gets depends on seed and id alone and is the same at every
    severity: each gets about one picture in thirteen, so a mean over all pictures of a severity is
    a mean over the corruptions, at the cost of one. The copy of "test/00007" that is called
    "test/00007+fog-3" is the picture of that id in `corrupted(image_set, "fog", 3, seed=seed)`.

    Args:
        image_set: pictures and labels.
        ids: which of them are copied.
        seed: 0 or more.

    Returns:
        The name is that of the set with "_c" added; columns also has "corruption" and "severity",
        empty and 0 for the images themselves.

    Raises:
        ValueError: an id that the set does not hold, or a negative seed.

    Source: arXiv 1903.12261 for the corruptions; there every picture gets all of them.
    """
    _check(CORRUPTIONS[0], 1, seed)
    rows = image_set.rows(ids)
    whole = (*range(len(image_set)), *(row for _ in SEVERITIES for row in rows.tolist()))
    kinds = [""] * len(image_set) + [
        CORRUPTIONS[_digest(seed, image_set.ids[row]) % len(CORRUPTIONS)]
        for _ in SEVERITIES
        for row in rows.tolist()
    ]
    severities = [0] * len(image_set) + [level for level in SEVERITIES for _ in rows]
    names = tuple(
        f"{image_set.ids[row]}+{kind}-{level}" if kind else image_set.ids[row]
        for row, kind, level in zip(whole, kinds, severities, strict=True)
    )
    columns = image_set.columns.iloc[list(whole)].set_axis(list(names))
    return replace(
        image_set,
        name=f"{image_set.name}_c",
        ids=names,
        labels=image_set.labels[list(whole)],
        read=Copies(image_set, whole, tuple(kinds), tuple(severities), seed),
        columns=columns.assign(corruption=kinds, severity=severities),
    )


@dataclass(frozen=True, eq=False)
class Copies:
    """Opens pictures of a set, as they are or corrupted.

    Attributes:
        image_set: where the pictures come from.
        rows: of each picture, its row in that set.
        names: its corruption; "" for none.
        severities: 1 to 5; 0 for none.
        seed: 0 or more.
    """

    image_set: ImageSet
    rows: tuple[int, ...]
    names: tuple[str, ...]
    severities: tuple[int, ...]
    seed: int

    def __call__(self, row: int) -> Image.Image:
        """Returns picture number `row`."""
        picture = self.image_set.open(self.rows[row])
        name, severity = self.names[row], self.severities[row]
        if not name:
            return picture
        own = _digest(self.seed, name, severity, self.image_set.ids[self.rows[row]])
        return corrupt(picture, name, severity, seed=own)

    def stamp(self, row: int) -> tuple[int, ...]:
        """Returns what `Files.stamp` says of picture number `row`; nothing if it is no file."""
        return next(iter(self.image_set.stamps([self.rows[row]])), ())


def _digest(*about: int | str) -> int:
    """Returns a number from the SHA-256 of a JSON list, the same on every machine."""
    return int(hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32], 16)


def _check(name: str, severity: int, seed: int) -> None:
    if name not in DISTORTIONS:
        raise ValueError(f"no corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity!r}; expected one of 1, 2, 3, 4, 5")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
