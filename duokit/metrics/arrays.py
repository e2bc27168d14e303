"""Checks of the two arrays that most metrics take: a score per image, and whether it was right."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

ArrayLike = npt.ArrayLike | torch.Tensor
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def as_array(values: ArrayLike) -> npt.NDArray[Any]:
    """Return the values as a NumPy array on the CPU."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def check_scores(values: ArrayLike, name: str) -> Floats:
    """Return one float64 number per image.

    Args:
        values: (n,) real numbers, n >= 1, none of them NaN.
        name: What to call them in an error.

    Raises:
        ValueError: Another shape, or NaN at some place.
        TypeError: Not numbers.
    """
    array = as_array(values)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, not {array.dtype}")
    if array.ndim != 1 or len(array) < 1:
        raise ValueError(f"{name} must have shape (images,) with n >= 1, not {array.shape}")
    array = array.astype(np.float64)
    if np.isnan(array).any():
        row = int(np.isnan(array).argmax())
        raise ValueError(f"{name}[{row}] is NaN: leave the image out, or repair its score")
    return array


def check_confidence(values: ArrayLike, name: str = "confidence") -> Floats:
    """Return one confidence in [0, 1] per image, or raise as check_scores does."""
    array = check_scores(values, name)
    outside = (array < 0) | (array > 1)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(
            f"{name}[{row}] is {array[row]:g}, outside 0 ... 1: a calibration error needs "
            "probabilities, not logits; scores without a scale can only be ranked (aurc, auroc)"
        )
    return array


def check_correct(correct: ArrayLike, rows: int, name: str = "correct") -> Flags:
    """Return one bool per image.

    Args:
        correct: (n,) bool, or numbers that are all 0 or 1; True where the prediction is right.
        rows: How many there must be.
        name: What to call them in an error.

    Raises:
        ValueError: Another shape, or a value that is neither 0 nor 1.
    """
    array = as_array(correct)
    if array.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},), one per image, not {array.shape}")
    if array.dtype.kind not in "bfiu" or not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name} must hold True/False or 0/1, not {array.dtype} {array[:3]}...")
    return array.astype(bool)


def check_share(value: float, name: str) -> float:
    """Return a number in (0, 1], or raise ValueError."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be a fraction in (0, 1], not {value}: 98 % is 0.98")
    return float(value)


def check_convention(convention: str) -> bool:
    """Return True for "paper" and False for "standard"; raise ValueError for anything else."""
    if convention not in ("standard", "paper"):
        raise ValueError(f'convention must be "standard" or "paper", not {convention!r}')
    return convention == "paper"
