"""Checks of what comes in; each error says what is wrong, where, and what to do.

Every other module may import this one; it imports nothing of duokit but the conversion of arrays.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .conversion import AnyArray, as_array, kind_of, whole_numbers

Array = np.ndarray | torch.Tensor

BLOCK_ENTRIES = 2**17  # numbers in a block that is worked on at once, so that it stays in the cache


def row_blocks(rows: int, columns: int, *, entries: int = BLOCK_ENTRIES) -> list[slice]:
    """Return slices that cut a (rows, columns) matrix into blocks of about `entries` numbers."""
    step = max(1, entries // max(1, columns))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def check_logits(logits: Array | npt.ArrayLike, name: str = "logits") -> torch.Tensor:
    """Return logits as a tensor with its rows one after another in memory.

    It shares memory, dtype and device with what was given where its rows are so already and torch
    knows its type; sums over a row could round differently if its numbers stood apart, and equal
    rows would not tie.

    Args:
        logits: (n, k) finite scores before softmax; n >= 1 images, k >= 2 classes, any float type;
            NumPy, torch, pandas (columns as they stand), lists, or what becomes an array.
        name: What to call them in an error.

    Raises:
        TypeError: Not an array or tensor of floating-point numbers.
        ValueError: Not two-dimensional, no image, fewer than two classes, NaN or infinite; numbered
            columns of a table in another order than their numbers.
    """
    tensor = _as_tensor(logits, name)
    if tensor.ndim != 2 or tensor.shape[0] < 1 or tensor.shape[1] < 2:
        raise ValueError(
            f"{name} must have shape (images, classes) with at least 1 image and 2 classes, "
            f"not {tuple(tensor.shape)}"
        )
    _check_finite(tensor, name)
    return tensor


def check_labels(
    labels: Array | npt.ArrayLike, rows: int, classes: int, name: str = "labels"
) -> torch.Tensor:
    """Return labels as an int64 tensor.

    Args:
        labels: (n,) integers of any type in 0 ... classes - 1; NumPy, torch, pandas, a list.
        rows: How many there must be.
        classes: k, the number of classes.
        name: What to call them in an error.

    Raises:
        TypeError: Not integers: floats (also whole ones), True/False, texts, categories.
        ValueError: Another length, a missing label, or one outside 0 ... classes - 1.
    """
    given = labels.detach() if isinstance(labels, torch.Tensor) else labels
    if not (isinstance(given, torch.Tensor) and given.dtype in _WHOLE and _is_dense(given)):
        given = whole_numbers(labels, name)
    if tuple(given.shape) != (rows,):
        raise ValueError(
            f"{name} must have shape ({rows},), one a row of the logits, not {tuple(given.shape)}"
            + (": take its one column, or .argmax(1) of one-hot rows" if given.ndim == 2 else "")
        )
    wrong = _outside(given, classes)
    if wrong is not None:
        raise ValueError(
            f"{name}[{wrong}] is {as_array(given)[wrong]}, outside 0 ... {classes - 1}: "
            "leave out images without a class, or give logits for every class"
        )
    if isinstance(given, torch.Tensor):
        return given.long()
    return torch.from_numpy(given.astype(np.int64))


def check_members(members: Sequence[Array]) -> list[torch.Tensor]:
    """Return each member's logits, checked, all of one shape and on one device.

    Args:
        members: One (n, k) array or tensor of logits a model, rows in the same order.

    Raises:
        TypeError: Not a sequence of arrays, or not floats.
        ValueError: No member, or members whose shapes or devices differ.
    """
    if not isinstance(members, list | tuple):
        raise TypeError(
            "members must be a list with one array of logits a model, such as [large, small], "
            f"not {type(members).__name__}; list(stacked) makes one of an array (models, n, k)"
        )
    if not members:
        raise ValueError("members is empty: give at least one model's logits")
    checked = [check_logits(member, f"members[{j}]") for j, member in enumerate(members)]
    for j, member in enumerate(checked):
        if member.shape != checked[0].shape or member.device != checked[0].device:
            raise ValueError(
                f"members[{j}] has shape {tuple(member.shape)} on {member.device}, members[0] has "
                f"{tuple(checked[0].shape)} on {checked[0].device}: "
                "bring all to the same images, classes and device"
            )
    return checked


def check_labelled(
    members: Sequence[Array], labels: Array | npt.ArrayLike
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return each member's logits and the labels, checked, all on one device.

    Args:
        members: As `check_members`.
        labels: (n,) as `check_labels`.

    Raises:
        TypeError, ValueError: As both.
    """
    checked = check_members(members)
    first = checked[0]
    return checked, check_labels(labels, *first.shape).to(first.device)


_WHOLE = (
    *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
)


def _outside(given: torch.Tensor | AnyArray, classes: int) -> int | None:
    """Return the place of the first number that is no class, or None.

    In int64, where no bound wraps; what is above it in uint64 becomes negative.
    """
    if isinstance(given, torch.Tensor):
        given = given.long()
    elif given.dtype != object:
        given = given.astype(np.int64)
    wrong: Any = (given < 0) | (given >= classes)
    return int(wrong.nonzero()[0][0]) if wrong.any() else None


def _is_dense(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta


def _as_tensor(values: Any, name: str) -> torch.Tensor:
    """Return a tensor of floats, rows one after another, on the same memory where it can be."""
    if isinstance(values, torch.Tensor) and _is_dense(values):
        tensor = values.detach()
    else:
        array = as_array(values, name)
        if array.dtype.kind != "f":
            raise TypeError(
                f"{name} must be an array or a tensor of floats, not {kind_of(values, array)}"
            )
        native = array.dtype.newbyteorder("=") if array.itemsize <= 8 else np.float64
        # read-only is fine, as nothing here writes to its inputs; an overflow is not finite
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=native))
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be an array or a tensor of floats, not {tensor.dtype}")
    return (tensor.float() if tensor.element_size() < 2 else tensor).contiguous()


def _check_finite(logits: torch.Tensor, name: str) -> None:
    for rows in row_blocks(*logits.shape, entries=2**20):
        if all(end.isfinite() for end in torch.aminmax(logits[rows])):  # NaN shows in both ends
            continue
        row, column = (~logits[rows].isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"{name}[{rows.start + row}, {column}] is {float(logits[rows][row, column])}: logits "
            "must be finite. Look for a diverged model or an overflow in half precision; "
            "for a masked class use a large negative number such as -1e4"
        )
