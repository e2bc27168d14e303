"""Tells probabilities from logits, also when they were rounded or written in percent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 5e-3  # of a row's sum, relative: what half precision and bfloat16 leave of it
DECIMALS = 6  # more are as good as exact
FEW = 10  # rows with one decimal are taken for scores below
ROWS_AT_ONCE = 4096  # rows turned to float64 together, so that a check needs little extra memory


class Probabilities(NamedTuple):
    """What rows of probabilities sum to, and how they were rounded.

    Attributes:
        total: 1, or 100 for percent.
        decimals: digits after the point; None if there are more than `DECIMALS`, or none at all in
            rows that sum to 1.
    """

    total: int
    decimals: int | None

    @property
    def floor(self) -> float | None:
        """What a zero may stand for, half of the last decimal, as a share; None if exact."""
        return None if self.decimals is None else 0.5 * 10.0**-self.decimals / self.total

    @property
    def remedy(self) -> str:
        """Says what was found, and how to make logarithms of it."""
        percent = " in percent" if self.total == 100 else ""
        digits = "" if self.decimals is None else f", rounded to {self.decimals} decimals"
        floor = 1e-37 if self.floor is None else self.floor
        share = "rows / 100" if percent else "rows"
        return (
            f"these rows are probabilities{percent}{digits} (none negative, each sums to "
            f"{self.total}), not logits: take p = np.maximum({share}, {floor:.3g}) and give "
            'np.log(p / p.sum(axis=1, keepdims=True)) with kind="log_probs" (in a file, these '
            "logarithms are the logits), or give the scores before softmax"
        )


def probabilities_in(values: np.ndarray) -> Probabilities | None:
    """Returns what kind of probabilities the rows are, None if they are none.

    No value is negative, and every row sums to 1 (or to 100) within 0.5 %, or within what rounding
    to the decimals that are there can do: half of the last one for each class, and on average
    much less. Rows that hold a single 100 are taken for scores.

    Args:
        values: (n, k) finite floats.
    """
    blocks = [values[i : i + ROWS_AT_ONCE] for i in range(0, len(values), ROWS_AT_ONCE)]
    if any((block < 0).any() for block in blocks):  # stops at the first
        return None
    largest = float(values.max())
    for total in (1, 100):
        if largest > total * (1 + TOLERANCE):
            continue
        if total == 100 and all(np.count_nonzero(block, axis=1).max() <= 1 for block in blocks):
            continue
        off = [block.sum(axis=1, dtype=np.float64) - total for block in blocks]
        exact = max(float(np.abs(each).max()) for each in off) <= TOLERANCE * total
        decimals = _decimals(values, least=1 if total == 1 else 0)
        if exact or (
            decimals is not None and _rounded(values, np.concatenate(off), decimals, total)
        ):
            return Probabilities(total, decimals)
    return None


def _decimals(values: np.ndarray, *, least: int) -> int | None:
    """Returns the fewest digits after the point that give all values, None if more than six."""
    relative = float(np.finfo(values.dtype).eps) / 2
    shown = values[:ROWS_AT_ONCE].astype(np.float64).ravel()
    shown = shown[shown != 0]
    for decimals in range(least, DECIMALS + 1):
        steps = shown * 10**decimals
        if (np.abs(steps - np.round(steps)) <= 1.01 * relative * steps).all():
            return decimals
    return None


def _rounded(values: np.ndarray, off: np.ndarray, decimals: int, total: int) -> bool:
    """Returns whether rounding to so many decimals can have moved the sums so far.

    Args:
        values: (n, k), none negative.
        off: (n,) what the sums are too large.
        decimals: to which the values are rounded.
        total: what the sums should be.
    """
    if total == 1 and decimals == 1 and len(values) < FEW:  # a few scores typed by hand
        return False
    whole = total * 10**decimals
    off = np.round(off * 10**decimals, 2)  # in units of the last decimal
    filled = np.count_nonzero(values, axis=1)
    empty = values.shape[1] - filled
    if (off >= np.maximum(filled / 2, 0.01)).any() or (-off >= values.shape[1] / 2).any():
        return False
    chance = np.sqrt(filled.mean()) / 2 + filled.mean() / 16
    up, down = np.maximum(off, 0).mean(), np.maximum(-off, 0).mean()
    return bool(up <= chance and down <= min(chance + empty.mean() / 2, whole / 2))
