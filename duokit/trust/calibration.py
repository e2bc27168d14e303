"""Do two models mean the same when they say 80 %? Calibration side by side, raw and tempered.

Much of a difference between two models may be one number: a temperature, fitted on val. So each
model is shown as it is ("raw") and at its own temperature ("tempered"), and what differs then is
more than scale. A difference comes with a paired interval and a test.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel

from duokit.checks import Array, check_logits
from duokit.fusion.weights import fit_weights
from duokit.metrics.arrays import (
    ArrayLike,
    Floats,
    check_confidence,
    check_correct,
)
from duokit.metrics.calibration import ReliabilityCurve, ece_of, mass_bins, mce_of
from duokit.metrics.chance import share_interval, spread_test
from duokit.metrics.ends import interval_ends, widened_ends
from duokit.metrics.intervals import resample_counts
from duokit.metrics.ranked import group_ends
from duokit.metrics.scores import Scores, score

BINS = 10
MEASURES = ("ece", "mce", "brier", "log_loss")
CHUNK = 2**18  # resampled counts held at a time


def own_weights(val: Mapping[str, Array], labels: Array) -> dict[str, float]:
    """Return the weight of each model that minimises its own NLL on val; temperature = 1 / weight.

    Args:
        val: Name -> (n, k) logits on val.
        labels: (n,) integers 0 ... k - 1.

    Raises:
        TypeError, ValueError: As `fit_weights`.

    Source: Guo et al., arXiv 1706.04599.
    """
    return {name: float(fit_weights([z], labels).weights[0]) for name, z in val.items()}


def calibration_similarity(
    models: Mapping[str, Array],
    labels: Array,
    *,
    weights: Mapping[str, float] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return the published measures of each model, and how far each is from the first one.

    | measure | meaning | test of the difference |
    |---|---|---|
    | ece | mean gap of confidence and accuracy over 10 bins of equal mass | bootstrap z |
    | mce | the largest gap of these | none, and no interval: see `duokit.metrics.ends` |
    | brier | squared distance to the one-hot label, summed over classes | paired t |
    | log_loss | NLL of the label, nats, never clipped | paired t |

    The authors' scripts cut at quantiles of the confidence, so that a bin holds whole images; here
    each bin holds exactly n / 10 (see `duokit.metrics.calibration.ece_mass`), the same where n is a
    multiple of 10 and no confidence repeats. They give no test of a difference; these are ours.
    ECE and MCE are biased upward by noise, for two models on the same images alike but not equally.

    Args:
        models: Name -> (n, k) logits on the same images; the first is the one to compare with.
        labels: (n,) integers 0 ... k - 1.
        weights: Name -> weight fitted on val (`own_weights`), a model without one has 1; given,
            each model appears tempered too.
        resamples: Of the bootstrap, 2 or more.
        seed: Of the bootstrap.
        level: Of the intervals, in (0, 1).

    Returns:
        Index model, form ("raw", "tempered") and measure; columns value, low, high, difference
        (value less that of the first model in the same form), difference_low, difference_high and
        p_value; for the first model these are nan.

    Raises:
        TypeError, ValueError: As `score`; no model, a weight of an unknown model, options out of
            range.

    Source: Rai et al., arXiv 2508.13533 (measures and bins).
    """
    _check(models, weights, resamples, level)
    blocks = {}
    forms: dict[str, Mapping[str, float]] = {"raw": {}}
    if weights is not None:
        forms["tempered"] = weights
    for form, used in forms.items():
        found = {name: _scored(z, labels, used.get(name, 1.0)) for name, z in models.items()}
        blocks[form] = _compared(found, resamples=resamples, seed=seed, level=level)
    table = pd.concat(blocks, names=["form"]).reorder_levels(["model", "form", "measure"])
    return table.loc[list(models)]


def published_measures(scores: Scores, *, bins: int = BINS) -> pd.Series:
    """Return ece, mce, brier and log_loss of one model, as `calibration_similarity` defines them.

    Args:
        scores: Of the model.
        bins: Of equal mass, 1 or more.
    """
    once = np.ones((1, len(scores)))
    return pd.Series(_measures(scores, once, bins=bins)[0], list(MEASURES)).rename_axis("measure")


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = BINS, level: float = 0.95
) -> ReliabilityCurve:
    """Return count, confidence, accuracy and its Clopper-Pearson interval in bins of equal mass.

    Convention: cut at quantiles of the confidence, whole images, equal confidences together; so
    bins may differ in size, and fewer than asked remain where many images are equally sure.
    `duokit.plots.reliability_diagram` draws it.

    Args:
        confidence: (n,) probabilities in [0, 1].
        correct: (n,) bool, True where the class of that probability is the label.
        bins: How many at most, 1 or more.
        level: Of the intervals, in (0, 1).

    Raises:
        ValueError: As `duokit.metrics.calibration.ece`, or a level outside (0, 1).

    Source: Rai et al., arXiv 2508.13533; Clopper and Pearson 1934.
    """
    values = check_confidence(confidence)
    flags = check_correct(correct, len(values))
    if int(bins) != bins or bins < 1:
        raise ValueError(f"bins must be a whole number, 1 or more, not {bins}")
    inner = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
    inner = inner[inner < values.max()]  # nothing lies above
    at = np.searchsorted(inner, values, side="left")
    size = len(inner) + 1
    count, right, total = (np.bincount(at, w, size) for w in (None, flags, values))
    low, high = share_interval(right, count, level=level)
    edges = np.concatenate([[values.min()], inner, [values.max()]])
    return ReliabilityCurve(
        lower=edges[:-1],
        upper=edges[1:],
        count=count.astype(np.int64),
        confidence=total / count,
        accuracy=right / count,
        low=low,
        high=high,
        level=level,
    )


def _check(
    models: Mapping[str, Array], weights: Mapping[str, float] | None, resamples: int, level: float
) -> None:
    if not models:
        raise ValueError("models is empty: give at least one name and its logits")
    unknown = [name for name in weights or {} if name not in models]
    if unknown:
        raise ValueError(f"weight of {unknown[0]!r}, but models are {', '.join(models)}")
    if int(resamples) != resamples or resamples < 2:
        raise ValueError(f"resamples must be a whole number, 2 or more, not {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), not {level}: 95 % is 0.95")


def _scored(logits: Array, labels: Array, weight: float) -> Scores:
    return score(weight * check_logits(logits).double(), labels)


def _compared(
    models: Mapping[str, Scores], *, resamples: int, seed: int, level: float
) -> pd.DataFrame:
    """Return value, interval, difference to the first model and its test, by model and measure."""
    first = next(iter(models))
    drawn = {name: _resampled(s, resamples=resamples, seed=seed) for name, s in models.items()}
    values = {name: published_measures(s).to_numpy() for name, s in models.items()}
    parts = {}
    for name, scores in models.items():
        table = pd.DataFrame({"value": values[name]}, index=list(MEASURES))
        table["low"], table["high"] = _ends(values[name], drawn[name], level)
        table["low"] = np.maximum(table["low"], 0)
        columns = ["difference", "difference_low", "difference_high", "p_value"]
        table[columns] = np.nan
        if name != first:
            difference, spread = values[name] - values[first], drawn[name] - drawn[first]
            p = [_paired_t(getattr(scores, m), getattr(models[first], m)) for m in ("brier", "nll")]
            p = [spread_test(difference[0], spread[:, 0]), np.nan, *p]
            table[columns] = np.column_stack([difference, *_ends(difference, spread, level), p])
        parts[name] = table
    return pd.concat(parts, names=["model", "measure"])


def _ends(values: Floats, drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Return (4,) low and high ends of MEASURES or their differences."""
    low, high = interval_ends(drawn, level)
    low[0], high[0] = widened_ends(values[0], drawn[:, 0], level)
    low[1] = high[1] = np.nan
    return low, high


def _paired_t(ours: Floats, theirs: Floats) -> float:
    if np.ptp(ours - theirs) == 0:  # no spread: t is 0 / 0 or infinite
        return 1.0 if ours[0] == theirs[0] else 0.0
    return float(ttest_rel(ours, theirs).pvalue)


def _resampled(scores: Scores, *, resamples: int, seed: int) -> Floats:
    """Return (resamples, 4) the measures of every bootstrap resample."""
    chunk = max(1, CHUNK // len(scores))
    parts = []
    for first in range(0, resamples, chunk):
        some = min(chunk, resamples - first)
        counts = resample_counts(len(scores), some, seed=seed, first=first)
        parts.append(_measures(scores, counts.astype(np.float64)))
    return np.concatenate(parts)


def _measures(scores: Scores, counts: Floats, *, bins: int = BINS) -> Floats:
    """Return (r, 4) the measures when image i appears counts[r, i] times."""
    order = np.argsort(scores.confidence, kind="stable")
    confidence, hit = scores.confidence[order], scores.hit[order].astype(np.float64)
    ends, ordered = group_ends(confidence), counts[:, order]

    def running(values: Floats) -> Floats:
        totals = np.cumsum(ordered * values, axis=1)
        return np.ascontiguousarray(totals[:, ends])

    images, gaps, rights = running(np.ones(len(hit))), running(confidence - hit), running(hit)
    count, gap, _ = mass_bins(images, gaps, rights, bins)
    n = counts.sum(1)
    means = counts @ np.column_stack([scores.brier, scores.nll]) / n[:, None]
    return np.column_stack([ece_of(count, gap), mce_of(count, gap), means])
