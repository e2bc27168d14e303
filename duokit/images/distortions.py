"""What each corruption does to a picture, and how strongly at each of five severities.

Strengths are those of D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", arXiv 1903.12261: of CIFAR-10-C for small pictures, of
ImageNet-C for large ones (https://github.com/hendrycks/robustness, Apache-2.0 licence). The code is
another, on NumPy, SciPy and Pillow alone; `duokit.images.corruptions` says what differs.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

WIDEST_ANGLE = np.pi / 4  # motion goes at most so far from the horizontal
SOFT_EDGE = 8.0  # pixels: the edge of a larger disc is softened over 5 pixels, not 3


class Draw(NamedTuple):
    """What a distortion needs besides the picture and its strength.

    Attributes:
        random: where the random numbers come from.
        scale: what lengths in pixels are multiplied by.
    """

    random: np.random.Generator
    scale: float


class Distortion(NamedTuple):
    """One kind of corruption.

    Attributes:
        apply: takes values 0..1 (height, width, 1 or 3), a strength and a Draw; gives new values,
            which may leave 0..1.
        small: five strengths for small pictures.
        large: five strengths for large pictures.
    """

    apply: Callable[[np.ndarray, Any, Draw], np.ndarray]
    small: tuple[Any, ...]
    large: tuple[Any, ...]


def _gaussian_noise(x: np.ndarray, deviation: float, draw: Draw) -> np.ndarray:
    return x + draw.random.normal(scale=deviation, size=x.shape)


def _shot_noise(x: np.ndarray, photons: float, draw: Draw) -> np.ndarray:
    return draw.random.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, share: float, draw: Draw) -> np.ndarray:
    hit = draw.random.random(x.shape) < share
    return np.where(hit, draw.random.random(x.shape) < 0.5, x)


def _speckle_noise(x: np.ndarray, deviation: float, draw: Draw) -> np.ndarray:
    return x + x * draw.random.normal(scale=deviation, size=x.shape)


def _gaussian_blur(x: np.ndarray, sigma: float, draw: Draw) -> np.ndarray:
    deviation = sigma * draw.scale
    return ndimage.gaussian_filter(x, (deviation, deviation, 0), mode="nearest")


def _spread(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the picture with every point spread over the kernel; its edges are repeated."""
    from scipy import signal

    rows, columns = (side // 2 for side in kernel.shape)
    padded = np.pad(x, ((rows, rows), (columns, columns), (0, 0)), mode="edge")
    return signal.convolve(padded, (kernel / kernel.sum())[:, :, None], mode="valid")


def _defocus_blur(x: np.ndarray, strength: tuple[float, float], draw: Draw) -> np.ndarray:
    radius, softness = strength[0] * draw.scale, strength[1]
    taps = 2 if radius > SOFT_EDGE else 1
    offsets = np.arange(-int(radius) - taps, int(radius) + taps + 1)
    disc = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(float)
    return _spread(x, ndimage.gaussian_filter(disc, softness, radius=taps, mode="constant"))


def _motion_blur(x: np.ndarray, strength: tuple[float, float], draw: Draw) -> np.ndarray:
    length, sigma = (number * draw.scale for number in strength)
    angle = draw.random.uniform(-WIDEST_ANGLE, WIDEST_ANGLE)
    steps = np.arange(int(np.ceil(length)) + 1)
    rows, columns = (np.rint(steps * turn).astype(int) for turn in (np.sin(angle), np.cos(angle)))
    kernel = np.zeros((2 * len(steps) - 1,) * 2)
    # A trail to one side: half a Gaussian.
    np.add.at(kernel, (steps[-1] + rows, steps[-1] + columns), np.exp(-((steps / sigma) ** 2) / 2))
    return _spread(x, kernel)


def _zoom_blur(x: np.ndarray, strength: tuple[int, float], _: Draw) -> np.ndarray:
    count, step = strength
    picture = _picture(x)
    width, height = picture.size
    total = x.copy()  # once more than the others, as in the original
    for zoom in 1 + step * np.arange(count):
        left, top = width * (1 - 1 / zoom) / 2, height * (1 - 1 / zoom) / 2
        box = (left, top, width - left, height - top)
        total += _values(picture.resize(picture.size, Image.Resampling.BILINEAR, box=box))
    return total / (count + 1)


def _clouds(height: int, width: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """Returns clouds, 0..1, by midpoint displacement on a square whose edges meet."""
    side = 1 << (max(height, width, 2) - 1).bit_length()
    cloud = np.zeros((side, side))
    step, swing = side, 1.0
    while step > 1:
        half = step // 2
        shape = (side // step,) * 2
        corners = cloud[::step, ::step]
        below, beside = np.roll(corners, -1, 0), np.roll(corners, -1, 1)
        centres = (corners + below + beside + np.roll(below, -1, 1)) / 4
        centres += random.uniform(-swing, swing, shape)
        across = (corners + beside + centres + np.roll(centres, 1, 0)) / 4
        along = (corners + below + centres + np.roll(centres, 1, 1)) / 4
        cloud[half::step, half::step] = centres
        cloud[::step, half::step] = across + random.uniform(-swing, swing, shape)
        cloud[half::step, ::step] = along + random.uniform(-swing, swing, shape)
        step, swing = half, swing / decay**2
    cloud -= cloud.min()
    return (cloud / cloud.max())[:height, :width]


def _fog(x: np.ndarray, strength: tuple[float, float], draw: Draw) -> np.ndarray:
    thickness, decay = strength
    lightest = x.max()
    cloud = _clouds(x.shape[0], x.shape[1], decay, draw.random)[:, :, None]
    return (x + thickness * cloud) * lightest / (lightest + thickness)


def _brightness(x: np.ndarray, more: float, _: Draw) -> np.ndarray:
    # The value of HSV is the largest channel; hue and saturation stay if all are scaled alike.
    value = x.max(axis=2, keepdims=True)
    raised = np.minimum(value + more, 1)
    return np.where(value > 0, x * (raised / np.where(value > 0, value, 1)), raised)


def _contrast(x: np.ndarray, kept: float, _: Draw) -> np.ndarray:
    mean = x.mean(axis=(0, 1), keepdims=True)
    return mean + (x - mean) * kept


def _pixelate(x: np.ndarray, kept: float, _: Draw) -> np.ndarray:
    picture = _picture(x)
    width, height = (round(side * kept) for side in picture.size)
    coarse = picture.resize((width, height), Image.Resampling.BOX)
    return _values(coarse.resize(picture.size, Image.Resampling.BOX))


def _jpeg_compression(x: np.ndarray, quality: int, _: Draw) -> np.ndarray:
    file = BytesIO()
    _picture(x).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return _values(picture)


def _picture(x: np.ndarray) -> Image.Image:
    pixels = np.rint(255 * x).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _values(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture) / 255.0
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


# Lengths are in pixels. Motion blur of small pictures differs from CIFAR-10-C at severity 4: there
# it is (16, 2), which is the blur of severity 3 with a tail below one grey level.
DISTORTIONS: dict[str, Distortion] = {
    "gaussian_noise": Distortion(  # standard deviation
        _gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot_noise": Distortion(  # photons that make white
        _shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)
    ),
    "impulse_noise": Distortion(  # share of the values that become black or white
        _impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "speckle_noise": Distortion(  # standard deviation, times the value
        _speckle_noise, (0.06, 0.10, 0.12, 0.16, 0.20), (0.15, 0.20, 0.35, 0.45, 0.60)
    ),
    "gaussian_blur": Distortion(  # standard deviation
        _gaussian_blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)
    ),
    "defocus_blur": Distortion(  # radius of the disc, softness of its edge
        _defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion_blur": Distortion(  # length of the trail, standard deviation along it
        _motion_blur,
        ((12, 1.0), (12, 1.5), (12, 2.0), (16, 2.25), (18, 2.5)),
        ((20, 3), (30, 5), (30, 8), (30, 12), (40, 15)),
    ),
    "zoom_blur": Distortion(  # number of zooms, step between them
        _zoom_blur,
        ((7, 0.01), (12, 0.01), (16, 0.01), (21, 0.01), (26, 0.01)),
        ((12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)),
    ),
    "fog": Distortion(  # thickness, decay of the finer clouds
        _fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    ),
    "brightness": Distortion(  # added to the value of HSV
        _brightness, (0.05, 0.10, 0.15, 0.20, 0.30), (0.1, 0.2, 0.3, 0.4, 0.5)
    ),
    "contrast": Distortion(  # share of the contrast that is kept
        _contrast, (0.75, 0.50, 0.40, 0.30, 0.15), (0.40, 0.30, 0.20, 0.10, 0.05)
    ),
    "pixelate": Distortion(  # share of the pixels that are kept along a side
        _pixelate, (0.95, 0.90, 0.85, 0.75, 0.65), (0.60, 0.50, 0.40, 0.30, 0.25)
    ),
    "jpeg_compression": Distortion(  # quality
        _jpeg_compression, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)
    ),
}
