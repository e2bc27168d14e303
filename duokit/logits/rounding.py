"""Logits in fewer digits, without changing what they predict."""

from __future__ import annotations

from typing import Literal

import numpy as np


def rounded(logits: np.ndarray, dtype: Literal["float16", "float32"]) -> np.ndarray:
    """Returns logits in fewer digits, rounded so that the largest of each row stays the largest.

    Values go to the nearest that dtype has. Where that leaves another class in front (two classes
    that differ by less than a step become equal), the one that was in front gets one step more.

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
    with np.errstate(over="ignore"):
        step = np.nextafter(kept[rows, top], np.array(np.inf, dtype=kept.dtype))
    if not np.isfinite(step[changed]).all():
        raise ValueError(
            f"logits up to {abs(logits).max():.6g} cannot be told apart in {dtype}: use float32"
        )
    kept[rows[changed], top[changed]] = step[changed]
    return kept
