"""Logits in fewer digits, without changing what they predict."""

from __future__ import annotations

from typing import Literal

import numpy as np


def rounded(logits: np.ndarray, dtype: Literal["float16", "float32"]) -> np.ndarray:
    """Returns logits in fewer digits, rounded so that the largest of each row stays the largest.

    Values go to the nearest that dtype has. Where that leaves another class in front (two classes
    that differ by less than a step become equal), the one that was in front gets one step more, or
    the others one less where it is the largest number that dtype has.

    Args:
        logits: (n, k) float32.
        dtype: "float16" or "float32".

    Raises:
        ValueError: logits that are too large for dtype.
    """
    with np.errstate(over="ignore"):
        kept = logits.astype(dtype)
    if not np.isfinite(kept).all():
        raise ValueError(f"logits up to {abs(logits).max():.6g} do not fit in {dtype}: use float32")
    rows, top = np.arange(len(kept)), logits.argmax(axis=1)
    changed = kept.argmax(axis=1) != top
    largest = np.finfo(kept.dtype).max
    crowded = changed & (kept[rows, top] == largest)  # nothing is above: the others go below
    below = np.minimum(kept[crowded], np.nextafter(largest, kept.dtype.type(0)))
    below[np.arange(len(below)), top[crowded]] = largest
    kept[crowded], changed = below, changed & ~crowded
    kept[rows[changed], top[changed]] = np.nextafter(
        kept[rows[changed], top[changed]], kept.dtype.type(np.inf)
    )
    return kept
