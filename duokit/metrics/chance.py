"""Is it more than chance? Exact limits of a share, paired tests, and corrections for many of them.

Everything here takes counts, differences or p-values; no logits are needed.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import beta, binomtest, false_discovery_control, norm

from .arrays import ArrayLike, Floats

CORRECTIONS = ("p_bh", "p_holm")


def lower_limit(right: ArrayLike, images: ArrayLike, certainty: float) -> Floats:
    """Return the one-sided Clopper-Pearson lower limit of a share.

    The largest share of the population below which so many successes would have a probability of at
    most 1 - certainty: the 1 - certainty quantile of Beta(right, images - right + 1), and 0 for 0.

    Args:
        right: (...) numbers of successes, 0 ... images.
        images: n, 1 or more, one for all or (...).
        certainty: In (0, 1).

    Source: Clopper and Pearson 1934.
    """
    count, n = np.asarray(right, dtype=np.float64), np.asarray(images, dtype=np.float64)
    found = beta.ppf(1 - certainty, np.maximum(count, 1), n - np.maximum(count, 1) + 1)
    return np.where(count > 0, found, 0.0)


def share_interval(
    right: ArrayLike, images: ArrayLike, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return the ends of the two-sided Clopper-Pearson interval of a share.

    Args:
        right: (...) numbers of successes, 0 ... images.
        images: n, 1 or more, one for all or (...).
        level: Probability, in (0, 1), that the interval holds the share; it is that or more.

    Raises:
        ValueError: level outside (0, 1).

    Source: Clopper and Pearson 1934.
    """
    check_level(level)
    count, n = np.asarray(right), np.asarray(images)
    tail = (1 + level) / 2
    return lower_limit(count, n, tail), 1 - lower_limit(n - count, n, tail)


def paired_interval(
    gained: ArrayLike, lost: ArrayLike, images: ArrayLike, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return the ends of the interval of the difference of two shares of the same images.

    One image is added to the gained and one to the lost before the normal interval is taken; a
    plain one has no width where neither predictor is ever right alone. Stopped at -1 and 1. Nearly
    always it holds 0 where `mcnemar` says so; that exact test is a little more careful.

    Args:
        gained: (...) images that the one alone answers right.
        lost: (...) images that the other alone answers right.
        images: n, 1 or more, one for all or (...).
        level: Probability, in (0, 1), that the interval holds the difference; about that or more.

    Raises:
        ValueError: level outside (0, 1).

    Source: Bonett and Price 2012, doi 10.3102/1076998611411915.
    """
    check_level(level)
    more, fewer, n = (np.asarray(each, dtype=np.float64) for each in (gained, lost, images))
    middle = (more - fewer) / (n + 2)
    half = norm.isf((1 - level) / 2) * np.sqrt(((more + fewer + 2) / (n + 2) - middle**2) / (n + 2))
    own = (more - fewer) / n  # at a low level it could lie outside
    return (
        np.maximum(-1, np.minimum(middle - half, own)),
        np.minimum(1, np.maximum(middle + half, own)),
    )


def check_level(level: float) -> None:
    """Raise ValueError for a level that no interval has."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), not {level}: 95 % is 0.95")


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of "as many images are gained as lost".

    Images that both predictors answer right, or both wrong, say nothing of the difference. Of the
    others either predictor has half, as with a coin.

    Args:
        gained: Images that the one alone answers right.
        lost: Images that the other alone answers right.

    Returns:
        p in [0, 1]; 1 where there are none.

    Source: McNemar 1947.
    """
    both = int(gained) + int(lost)
    return float(binomtest(int(gained), both).pvalue) if both else 1.0


def spread_test(difference: float, resampled: Floats) -> float:
    """Return the two-sided p-value of "no difference", by the spread of resampled differences.

    Takes the difference to be normal; a p-value counted from R resamples could not fall below
    2 / (R + 1). Rough for metrics that jump, such as sac98 and mce.

    Args:
        difference: Of the metric on all images; nan: undefined.
        resampled: (r,) the same in each bootstrap resample; nan: left out.

    Returns:
        p in [0, 1]; without spread 1 for no difference and 0 for any; nan where the difference is
        undefined or fewer than two resamples are left.

    Source: Efron and Tibshirani 1993, section 13.3.
    """
    known = resampled[~np.isnan(resampled)]
    if np.isnan(difference) or len(known) < 2:
        return float("nan")
    spread = float(known.std(ddof=1))
    if spread == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / spread))


def corrected(
    table: pd.DataFrame, *, by: Sequence[str] = ("metric",), p: str = "p_value"
) -> pd.DataFrame:
    """Return the table with p-values corrected for the number of comparisons.

    p_bh (Benjamini and Hochberg): among the rows with p_bh <= .05 about one in twenty, or fewer,
    is expected to be a false alarm, if the tests are independent or, as pairs with a member in
    common, depend on each other positively. p_holm (Holm): the chance of any false alarm at all
    among the rows with p_holm <= .05 is at most .05, whatever their dependence.

    Args:
        table: One row a comparison; the index may say anything, also the same twice.
        by: Columns; the rows that agree in them are one family of comparisons, a missing value
            being a value like others. (): all rows.
        p: Column of p-values; rows where it is nan count for nothing and stay nan.

    Raises:
        ValueError: A missing column, or a p-value outside [0, 1].

    Source: Benjamini and Hochberg 1995; Holm 1979.
    """
    by = (by,) if isinstance(by, str) else tuple(by)
    missing = [name for name in (*by, p) if name not in table.columns]
    if missing:
        raise ValueError(f"the table has no column {missing[0]!r}; give one that has p-values")
    values = pd.to_numeric(table[p]).to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = values[(values < 0) | (values > 1)]
    if len(wrong):
        raise ValueError(f"column {p} holds {wrong[0]}; a p-value lies in [0, 1]")
    family = np.zeros(len(table), dtype=np.int64)
    if by:
        numbers = table.groupby(list(by), sort=False, dropna=False).ngroup()
        family = np.asarray(numbers, dtype=np.int64)
    found = {name: np.full(len(table), np.nan) for name in CORRECTIONS}
    for number in np.unique(family[~np.isnan(values)]):
        rows = np.flatnonzero((family == number) & ~np.isnan(values))
        found["p_bh"][rows] = false_discovery_control(values[rows])
        found["p_holm"][rows] = _holm(values[rows])
    return table.assign(**found)


def _holm(values: Floats) -> Floats:
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty(len(values))
    found[order] = np.minimum(steps, 1.0)
    return found
