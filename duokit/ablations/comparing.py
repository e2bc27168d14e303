"""Is a difference more than chance, and is it still when many were looked at?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from duokit.metrics.chance import CORRECTIONS, mcnemar, spread_test
from duokit.metrics.ends import Measured, changed, same_predictor, why_none
from duokit.metrics.scores import Scores
from duokit.metrics.table import evaluate

PER_IMAGE = ("nll", "brier")
UNTESTED = ("mce", "ece_debiased")  # their bias differs between predictors, and z takes it for more


def paired_test(
    metric: str, scores: Scores, baseline: Scores, resampled: np.ndarray
) -> tuple[float, str]:
    """Return the two-sided p-value of "both predictors are equally good", and the test's name.

    | metric | test | what is compared |
    |---|---|---|
    | accuracy | McNemar | the images that one of the two alone answers right; exact binomial |
    | nll, brier | paired t | the differences image by image |
    | mce, ece_debiased | none | noise lifts them unequally, which z takes for a difference |
    | any other | bootstrap z | the difference, over the spread of the resampled differences |

    The first two are of the images alone. The third takes the difference to be normal; a p-value
    counted from R resamples could not fall below 2 / (R + 1), too much to survive a correction
    over hundreds of pairs. It is rough for metrics that jump, such as sac98, and none is made where
    there are too few errors for an interval (`duokit.metrics.ends.why_none`).

    Args:
        metric: Name from `duokit.metrics.METRICS`.
        scores: Of the predictor.
        baseline: Of the predictor to compare with, on the same images in the same order.
        resampled: (r,) the difference of the metric in each bootstrap resample; nan: undefined.

    Returns:
        p in [0, 1], 1 where nothing differs, nan where the difference is not defined, one image has
        to say all, or there is no test; name.

    Source: McNemar 1947; Student 1908; Efron and Tibshirani 1993, section 13.3.
    """
    if metric == "accuracy":
        return mcnemar(*changed(scores.correct, baseline.correct)), "McNemar"
    if metric in PER_IMAGE:
        ours, theirs = getattr(scores, metric), getattr(baseline, metric)
        if len(ours) < 2:
            return float("nan"), "paired t"
        if np.ptp(ours - theirs) == 0:  # no spread: t is 0 / 0 or infinite
            return (1.0 if ours[0] == theirs[0] else 0.0), "paired t"
        return float(ttest_rel(ours, theirs).pvalue), "paired t"
    pair = [Measured(each, evaluate(each, [metric])) for each in (scores, baseline)]
    if not same_predictor(scores, baseline) and (metric in UNTESTED or why_none(metric, *pair)):
        return np.nan, "none"
    difference = pair[0].values[metric] - pair[1].values[metric]
    return spread_test(difference, resampled if len(scores) > 1 else resampled[:0]), "bootstrap z"


def verdicts(table: pd.DataFrame, *, alpha: float = 0.05, p: str = "p_bh") -> pd.Series:
    """Return "better", "worse" or "open" for each row: what the corrected p-value lets one say.

    Args:
        table: As `pairs` returns: columns gain (above 0 is better) and p.
        alpha: Largest p-value that counts, in (0, 1).
        p: Column of p-values.

    Raises:
        ValueError: alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), not {alpha}: 5 % is 0.05")
    sure = (table[p] <= alpha).to_numpy()
    gain = table["gain"].to_numpy(dtype=float)
    said = np.where(sure & (gain > 0), "better", np.where(sure & (gain < 0), "worse", "open"))
    return pd.Series(said, index=table.index, name="verdict")


def summary(
    table: pd.DataFrame, *, by: Sequence[str] = ("metric",), alpha: float = 0.05
) -> pd.DataFrame:
    """Return how many pairs are better, worse or open, one row a group of pairs.

    Args:
        table: As `pairs` returns.
        by: Columns that make the groups, such as ("metric", "relation").
        alpha: Largest corrected p-value that counts, in (0, 1).

    Returns:
        Index: `by`, in the order of the table. Columns pairs, gain (mean), better, worse, open
        (counts by p_bh), and sure (better or worse by p_holm as well).

    Raises:
        ValueError: alpha outside (0, 1).
    """
    verdict, strict = (verdicts(table, alpha=alpha, p=p) for p in CORRECTIONS)
    words = ("better", "worse", "open")
    counted = table.assign(**{word: verdict == word for word in words}, sure=strict != "open")
    groups = counted.groupby(list(by), sort=False)
    found = groups.agg(pairs=("gain", "size"), gain=("gain", "mean"))
    return found.join(groups[[*words, "sure"]].sum())
