"""Checks of what comes in; each error says what is wrong, where, and what to do.

This is the one module that every other may import; it imports nothing of duokit.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch

Array = np.ndarray | torch.Tensor

BLOCK_ENTRIES = 2**17  # numbers in a block that is worked on at once, so that it stays in the cache


def row_blocks(rows: int, columns: int, *, entries: int = BLOCK_ENTRIES) -> list[slice]:
    """Return slices that cut a (rows, columns) matrix into blocks of about `entries` numbers."""
    step = max(1, entries // max(1, columns))
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def check_logits(logits: Array, name: str = "logits") -> torch.Tensor:
    """Return logits as a tensor that shares memory, dtype and device with what was given.

    Args:
        logits: (n, k) finite scores before softmax; n >= 1 images, k >= 2 classes, any float type.
        name: What to call them in an error.

    Raises:
        TypeError: Not an array or tensor of floating-point numbers.
        ValueError: Not two-dimensional, no image, fewer than two classes, NaN or infinite.
    """
    tensor = _as_tensor(logits)
    if tensor is None or not tensor.is_floating_point():
        kind = getattr(logits, "dtype", type(logits).__name__)
        raise TypeError(f"{name} must be an array or a tensor of floats, not {kind}")
    if tensor.ndim != 2 or tensor.shape[0] < 1 or tensor.shape[1] < 2:
        raise ValueError(
            f"{name} must have shape (images, classes) with at least 1 image and 2 classes, "
            f"not {tuple(tensor.shape)}"
        )
    _check_finite(tensor, name)
    return tensor


def check_labels(
    labels: Array | Sequence[int], rows: int, classes: int, name: str = "labels"
) -> torch.Tensor:
    """Return labels as an int64 tensor.

    Args:
        labels: (n,) integers in 0 ... classes - 1.
        rows: How many there must be.
        classes: k, the number of classes.
        name: What to call them in an error.

    Raises:
        TypeError: Not integers.
        ValueError: Another length, or a label outside 0 ... classes - 1.
    """
    tensor = _as_tensor(np.asarray(labels) if isinstance(labels, Sequence) else labels)
    if tensor is None or tensor.is_floating_point() or tensor.dtype == torch.bool:
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise TypeError(f"{name} must be integers (class numbers), not {kind}")
    if tuple(tensor.shape) != (rows,):
        raise ValueError(
            f"{name} must have shape ({rows},), one a row of the logits, not {tuple(tensor.shape)}"
        )
    wrong = ((tensor < 0) | (tensor >= classes)).nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        raise ValueError(
            f"{name}[{row}] is {int(tensor[row])}, outside 0 ... {classes - 1}: "
            "leave out images without a class, or give logits for every class"
        )
    return tensor.long()


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
            f"not {type(members).__name__}"
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


def _as_tensor(values: object) -> torch.Tensor | None:
    """Return a tensor on the same memory, or None when the values are no numbers torch knows."""
    if isinstance(values, torch.Tensor):
        return values.detach()
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        return None
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    if native.dtype == np.longdouble:
        native = native.astype(np.float64)
    with warnings.catch_warnings():  # a read-only array is fine: nothing here writes to its inputs
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(native)


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
