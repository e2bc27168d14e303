"""Seeds and splits as the unit: what a mean over runs says, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import beta, t


def over_runs(differences: Sequence[float] | np.ndarray, *, level: float = 0.95) -> pd.Series:
    """Return the mean of one difference a run, its t interval, and the share of runs it favours.

    The interval answers how far the mean of *new runs of this kind* may be from 0: with n runs it
    has n - 1 degrees of freedom, so that with three runs it is wide whatever the runs say. Runs on
    the same test images share their luck, which no run-to-run interval sees; folds of one
    cross-validation share training images, so that theirs is somewhat too narrow.

    Args:
        differences: (n,) one number a run, duo less large model; signed so that above 0 is better.
        level: In (0, 1).

    Returns:
        Index mean, sd, low, high (nan for a single run), runs, wins (share above 0), wins_low and
        wins_high (Clopper-Pearson).

    Raises:
        ValueError: No run, a difference that is no number, or a level outside (0, 1).

    Source: Student 1908; Clopper and Pearson 1934. Folds: Bengio and Grandvalet 2004.
    """
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"differences are {values.tolist()}; expected one finite number a run")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1")
    n, mean = len(values), values.mean()
    sd = values.std(ddof=1) if n > 1 else np.nan
    half = t.ppf((1 + level) / 2, n - 1) * sd / np.sqrt(n) if n > 1 else np.nan
    won = int((values > 0).sum())
    tail = (1 - level) / 2
    return pd.Series(
        {
            "mean": mean,
            "sd": sd,
            "low": mean - half,
            "high": mean + half,
            "runs": n,
            "wins": won / n,
            "wins_low": beta.ppf(tail, won, n - won + 1) if won else 0.0,
            "wins_high": beta.ppf(1 - tail, won + 1, n - won) if won < n else 1.0,
        }
    )
