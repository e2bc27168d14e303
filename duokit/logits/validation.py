"""What a record's fields must be: each function returns the clean value or says what is wrong.

Everything here looks at values alone, so that a record made by `predict`, one read from a file and
one that somebody brought from another library pass the same gate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from duokit.logits.probabilities import ROWS_AT_ONCE, probabilities_in

KINDS = ("logits", "log_probs")
UNKEPT = re.compile("[\n\r\0\ud800-\udfff]")  # what no id may hold
# Rounding a log-probability to float16 moves it by up to 2^-11 of its size; summed over the classes
# that moves the total by entropy * 2^-11, below 0.005 for up to 10,000 classes.
LOG_PROB_TOLERANCE = {"float32": 1e-3, "float16": 1e-2}


def valid_logits(logits: Any) -> np.ndarray:
    """Returns the logits, a finite float16 or float32 array of shape (n, k).

    Args:
        logits: NumPy array (n, k), n >= 1 images, k >= 2 classes.

    Raises:
        TypeError: not a NumPy array, or another dtype (float64 too: rounding is the caller's word).
        ValueError: another shape, or a value that is not finite.
    """
    if not isinstance(logits, np.ndarray):
        raise TypeError(
            f"logits are a {type(logits).__name__}, not a NumPy array; "
            "make_record(...) takes torch tensors and lists"
        )
    if logits.dtype not in (np.float16, np.float32):
        raise TypeError(
            f"logits have dtype {logits.dtype}; a record keeps float16 or float32. "
            'To round them, say so: make_record(..., dtype="float32")'
        )
    if logits.ndim != 2 or logits.shape[0] < 1 or logits.shape[1] < 2:
        raise ValueError(
            f"logits have shape {logits.shape}; expected (n images, k classes) "
            "with n >= 1 and k >= 2"
        )
    finite = np.isfinite(logits)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"logits are not finite: {logits[row, column]} in row {row}, class {column} "
            f"({int((~finite).sum())} such values); find out why the model gave them"
        )
    return np.ascontiguousarray(logits)


def valid_labels(labels: Any, rows: int, classes: int) -> np.ndarray:
    """Returns the labels as int64 of shape (n,), each a class 0..k-1 or -1 for "no class".

    -1 marks an image that belongs to none of the classes (out of distribution).

    Args:
        labels: integer NumPy array (n,).
        rows: n, number of images in the logits.
        classes: k, number of classes in the logits.

    Raises:
        TypeError: not an integer NumPy array.
        ValueError: another length, or a label outside -1..k-1.
    """
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        found = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise TypeError(f"labels are {found}; expected a NumPy array of integers, one an image")
    if labels.shape != (rows,):
        raise ValueError(f"labels have shape {labels.shape}; the logits have {rows} rows")
    wrong = (labels < -1) | (labels >= classes)
    if wrong.any():
        row, named = int(np.argmax(wrong)), labels[labels != -1]
        first = (
            "the labels seem to start at 1: subtract 1"
            if (named.min(), named.max()) == (1, classes)
            else "-1 is allowed and means: this image belongs to no class"
        )
        raise ValueError(f"label {labels[row]} in row {row} is outside 0..{classes - 1} ({first})")
    return np.ascontiguousarray(labels, dtype=np.int64)


def valid_ids(ids: Iterable[str], rows: int) -> tuple[str, ...]:
    """Returns the ids as a tuple of n different one-line texts.

    Args:
        ids: one text an image.
        rows: n, number of images in the logits.

    Raises:
        TypeError: an id that is not a str.
        ValueError: another count, an empty or repeated id, or one that is not UTF-8 or has a line
            break or NUL (ids are kept joined by line breaks); all else is kept as it is.
    """
    if isinstance(ids, str):
        raise TypeError("ids is one str; expected a sequence with one id an image")
    found = tuple(ids)
    if len(found) != rows:
        raise ValueError(f"{len(found)} ids for {rows} rows of logits")
    seen: dict[str, int] = {}
    for position, name in enumerate(found):
        if not isinstance(name, str):
            raise TypeError(
                f"id {name!r} at position {position} is a {type(name).__name__}, not a str"
            )
        unkept = UNKEPT.search(name)
        if not name or unkept:
            holds = f"holds {unkept[0]!r}" if unkept else "is empty"
            raise ValueError(
                f"id {name!r} at position {position} {holds}; an id is one line of UTF-8 text, "
                "without a line break or NUL: name the image otherwise"
            )
        if name in seen:
            raise ValueError(
                f"id {name!r} stands at positions {seen[name]} and {position}; ids must differ"
            )
        seen[name] = position
    return found


def valid_kind(kind: str, logits: np.ndarray) -> str:
    """Returns the kind after looking whether the rows are what it says.

    "logits" are scores before softmax; rows that are probabilities, exact, rounded or in percent,
    are refused, because softmax of a probability is a different prediction.
    "log_probs" are natural logarithms of probabilities: log-sum-exp of every row is near 0.

    Args:
        kind: "logits" or "log_probs".
        logits: checked array (n, k).

    Raises:
        ValueError: unknown kind, probabilities given as logits, or log-probabilities that do not
            sum to one.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is not one of {', '.join(KINDS)}")
    if kind == "logits":
        found = probabilities_in(logits)
        if found is not None:
            raise ValueError(found.remedy)
        return kind
    tolerance = LOG_PROB_TOLERANCE[logits.dtype.name]
    for start in range(0, len(logits), ROWS_AT_ONCE):
        block = logits[start : start + ROWS_AT_ONCE].astype(np.float64)
        top = block.max(axis=1)
        total = top + np.log(np.exp(block - top[:, None]).sum(axis=1))
        if (np.abs(total) > tolerance).any():
            row = int(np.argmax(np.abs(total) > tolerance))
            raise ValueError(
                f'kind="log_probs" but the log-sum-exp of row {start + row} is {total[row]:.4g}, '
                f"not within {tolerance} of 0; scores that are not normalised are "
                'kind="logits"'
            )
    return kind


def valid_class_names(names: Sequence[str] | None, classes: int) -> tuple[str, ...] | None:
    """Returns k different class names, or None where they are not known.

    Raises:
        TypeError: a name that is not a str.
        ValueError: another count, or a repeated name.
    """
    if names is None:
        return None
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"class name {name!r} is a {type(name).__name__}, not a str")
    if len(found) != classes or len(set(found)) != classes:
        raise ValueError(
            f"{len(found)} class names, {len(set(found))} of them different; "
            f"the logits have {classes} classes"
        )
    return found


def valid_count(value: Any, name: str, *, least: int = 1) -> int | None:
    """Returns a whole number of at least `least`, or None where it is not known.

    Raises:
        TypeError: not a whole number.
        ValueError: below `least`.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}; expected a whole number or None")
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}, or None if not known")
    return int(value)


def plain(value: Any, place: str) -> Any:
    """Returns the value as JSON can hold it: tuples become lists, NumPy scalars Python numbers.

    Args:
        value: nested dicts (with str keys), lists, tuples, str, bool, int, float, None.
        place: its name, used in errors.

    Raises:
        TypeError: anything else, a key that is not a str, or a number that is not finite.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}; JSON keys are str")
        return {key: plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise TypeError(f"{place} is {value!r} ({type(value).__name__}), which JSON cannot hold")
