"""Checks of the two arrays that most metrics take: a score per image, and whether it was right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ..conversion import as_array, kind_of, whole_numbers

ArrayLike = npt.ArrayLike | torch.Tensor
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def check_scores(values: ArrayLike, name: str) -> Floats:
    """Return one float64 number per image.

    Args:
        values: (n,) real numbers, n >= 1, none of them NaN; NumPy, torch, pandas, a list.
        name: What to call them in an error.

    Raises:
        ValueError: Another shape, or NaN at some place.
        TypeError: Not numbers.
    """
    array = as_array(values, name)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, not {kind_of(values, array)}")
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
    array = as_array(correct, name)
    if array.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},), one per image, not {array.shape}")
    if array.dtype.kind not in "bfiu":
        raise ValueError(f"{name} must hold True/False or 0/1, not {kind_of(correct, array)}")
    wrong = np.flatnonzero((array != 0) & (array != 1))
    if len(wrong):
        raise ValueError(f"{name}[{wrong[0]}] is {array[wrong[0]]}: expected True/False or 0/1")
    return array.astype(bool)


def check_classes(values: ArrayLike, name: str, rows: int | None = None) -> Whole:
    """Return one class number per image as int64, whatever the number of classes.

    Args:
        values: (n,) integers of any type, n >= 1, 0 or more.
        name: What to call them in an error.
        rows: How many there must be; None: any number.

    Raises:
        TypeError: Not integers.
        ValueError: Another shape, no image, a missing or a negative number, or one above 2^63 - 1.
    """
    array = whole_numbers(values, name)
    if array.ndim != 1 or not len(array) or rows not in (None, len(array)):
        wanted = "images" if rows is None else rows
        raise ValueError(f"{name} must have shape ({wanted},), one per image, not {array.shape}")
    wrong = np.flatnonzero((array < 0) | (array > np.iinfo(np.int64).max))
    if len(wrong):
        raise ValueError(
            f"{name}[{wrong[0]}] is {array[wrong[0]]}, which is no class number: leave out images "
            "without a class"
        )
    return array.astype(np.int64)


def check_groups(
    values: ArrayLike | Sequence[object], name: str, rows: int | None = None
) -> npt.NDArray[Any]:
    """Return one number or text per image: the group that it is in; pandas categories too.

    Raises:
        TypeError: Something else than numbers or texts, or both together.
        ValueError: Another shape, no image, or a missing group.
    """
    if hasattr(getattr(values, "dtype", None), "categories"):
        values = np.asarray(values, dtype=object)
    array = as_array(values, name)
    if array.ndim != 1 or not len(array) or rows not in (None, len(array)):
        wanted = "images" if rows is None else rows
        raise ValueError(f"{name} must have shape ({wanted},), one per image, not {array.shape}")
    missing = np.flatnonzero(pd.isna(array))
    if len(missing):
        raise ValueError(f"{name}[{missing[0]}] is missing: leave that image out, or name a group")
    if array.dtype.kind == "O" and len({isinstance(group, str) for group in array}) == 1:
        array = np.array(array.tolist())
    if array.dtype.kind not in "biufU":
        raise TypeError(f"{name} must be numbers or texts, not {kind_of(values, array)}")
    return array


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
