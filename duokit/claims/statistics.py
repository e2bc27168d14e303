"""Intervals for numbers over pairs: whole sidekicks are drawn again, since pairs share them."""

from collections.abc import Callable

import numpy as np
import pandas as pd

RESAMPLES = 2000
SEED = 0


def resampled(
    table: pd.DataFrame,
    statistic: Callable[[pd.DataFrame, np.ndarray], np.ndarray],
    *,
    by: str = "small",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> tuple[float, float, float]:
    """Return the statistic with its 95 % percentile interval over draws of whole groups.

    The same sidekick stands in up to four pairs, so pairs are not independent of each other; a
    draw takes as many sidekicks as there are, with replacement, each with all of its pairs.

    Args:
        table: One row a pair.
        statistic: Of the table and (r, n) how often each row counts; returns (r,).
        by: Column of the groups.
        resamples: How many draws, 1 or more.
        seed: Of the draws.

    Raises:
        ValueError: An empty table.
    """
    if table.empty:
        raise ValueError("there are no pairs to average over")
    groups, place = np.unique(table[by].to_numpy(dtype=str), return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(
        len(groups), np.full(len(groups), 1 / len(groups)), size=resamples
    )
    once = np.ones((1, len(table)))
    found = statistic(table, draws[:, place].astype(float))
    known = found[~np.isnan(found)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(statistic(table, once)[0]), float(low), float(high)


def mean(column: str) -> Callable[[pd.DataFrame, np.ndarray], np.ndarray]:
    """Return the statistic "mean of a column", for `resampled`; a share for true and false."""

    def of(table: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
        found: np.ndarray = counts @ table[column].to_numpy(dtype=float) / counts.sum(1)
        return found

    return of


def ratio_of_means(
    column: str, part: str, whole: str
) -> Callable[[pd.DataFrame, np.ndarray], np.ndarray]:
    """Return the statistic "mean over some rows, by the mean over others", for `resampled`.

    Args:
        column: What is averaged.
        part: Boolean column: the rows above the line.
        whole: Boolean column: those below it.
    """

    def of(table: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
        values = table[column].to_numpy(dtype=float)
        top, bottom = (counts * table[rows].to_numpy(dtype=float) for rows in (part, whole))
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold none of them
            found: np.ndarray = (top @ values / top.sum(1)) / (bottom @ values / bottom.sum(1))
        return found

    return of


def rank_correlation(x: str, y: str) -> Callable[[pd.DataFrame, np.ndarray], np.ndarray]:
    """Return the statistic "Spearman's rank correlation of two columns", for `resampled`.

    Ranks are those of the whole table; a draw only counts rows more or less often.
    """

    def of(table: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
        a, b = (table[name].rank().to_numpy() for name in (x, y))
        total = counts.sum(1)
        a_mean, b_mean = counts @ a / total, counts @ b / total
        with np.errstate(invalid="ignore"):  # a draw of one row alone has no correlation
            spread = [np.sqrt(counts @ c**2 / total - m**2) for c, m in ((a, a_mean), (b, b_mean))]
            found: np.ndarray = (counts @ (a * b) / total - a_mean * b_mean) / np.prod(spread, 0)
        return found

    return of


def determination(x: np.ndarray, y: np.ndarray) -> float:
    """Return R squared of the straight line through (x, y)."""
    return float(np.corrcoef(x, y)[0, 1] ** 2)
