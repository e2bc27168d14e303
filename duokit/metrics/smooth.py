"""Smooth calibration error: no bins, one number for the width that the data can resolve.

Spread each image's gap (confidence - right or wrong) over the confidences around its own with a
Gaussian of width s, reflected at 0 and 1. The error at width s is the integral of the absolute
spread
gap: it falls as s grows, because gaps of opposite sign cancel. The smooth calibration error is the
s that equals its own error.
"""

import numpy as np
import scipy.fft

from .arrays import ArrayLike, Flags, Floats, Whole, check_confidence, check_correct

CELLS = 1000  # of the mesh over [0, 1]; a gap moves by at most half a cell
TOLERANCE = 1e-10
MOST_STEPS = 200  # about ten are needed


def ece_smooth(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the smooth calibration error smECE: the width at which width and error are equal.

    Convention: gaps are spread from the middles of 1,000 cells; the equation is solved to 1e-10.
    torch-uncertainty with kernel_type="reflected" is within .002; by default it spreads in
    log-odds, which is another number.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.

    Returns:
        A number in [0, 1], lower is better.

    Raises:
        ValueError: Other shapes, no image, a confidence outside 0 ... 1, flags that are not 0 or 1.

    Source: Blasiok and Nakkiran, arXiv 2309.12236.
    """
    values = check_confidence(confidence)
    flags: Flags = check_correct(correct, len(values))
    gaps = np.bincount(cells(values), weights=values - flags, minlength=CELLS) / len(values)
    return float(fixed_width(gaps[None])[0])


def cells(confidence: Floats) -> Whole:
    """Return the mesh cell of each confidence."""
    return np.minimum((confidence * CELLS).astype(np.int64), CELLS - 1)


def error_at(width: Floats, waves: Floats) -> Floats:
    """Return the error at a width of each of several samples.

    A reflected Gaussian is a product in the cosine transform: wave j fades by exp(-(pi j s)^2 / 2).

    Args:
        width: (r,) one s per sample.
        waves: (r, m) cosine transforms (type 2) of the gaps per mesh cell.
    """
    fading = np.exp(-0.5 * (np.pi * np.arange(waves.shape[1]) * width[:, None]) ** 2)
    return np.asarray(np.abs(scipy.fft.idct(waves * fading, axis=1)).sum(1))


def fixed_width(gaps: Floats) -> Floats:
    """Return the width that equals its own error, for each of several samples.

    The error falls with the width, so error - width has one zero between 0 and 1. False position
    finds it; an end that stays twice counts half, so that both ends move (the Illinois rule).

    Args:
        gaps: (r, m) summed gaps in each mesh cell, divided by the number of images.
    """
    waves = scipy.fft.dct(gaps, axis=1)
    low, high = np.zeros(len(gaps)), np.ones(len(gaps))
    at_low, at_high = error_at(low, waves), error_at(high, waves) - 1
    stayed, result, done = np.zeros(len(gaps)), low, np.zeros(len(gaps), dtype=bool)
    for _ in range(MOST_STEPS):
        if done.all():
            break
        fall = at_low - at_high
        middle = low + (high - low) * at_low / np.where(fall > 0, fall, 1)
        found = error_at(middle, waves) - middle
        result = np.where(done, result, middle)
        done |= np.abs(found) < TOLERANCE
        above = found > 0
        at_high = np.where(above, at_high / np.where(stayed == 1, 2, 1), found)
        at_low = np.where(above, found, at_low / np.where(stayed == -1, 2, 1))
        low, high = np.where(above, middle, low), np.where(above, high, middle)
        stayed = np.where(above, 1, -1)
    return result
