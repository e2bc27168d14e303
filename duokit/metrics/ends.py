"""Which interval each metric gets, and why some get none.

| metric | interval | of a difference |
|---|---|---|
| accuracy | Clopper-Pearson | Bonett-Price, paired |
| errors of calibration | percentiles, widened against their bias | the same |
| ece_class | none | percentiles, widened |
| mce | none | none |
| any other | percentiles of the resamples | the same |

A resample holds no error that the sample lacks: with few errors the percentiles lie far too close
together. So all but accuracy have none where fewer than LEAST answers are wrong, or right.
`benchmarks/coverage.py` counts how often each interval holds the truth.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch

from ..checks import row_blocks
from .arrays import Flags, Floats
from .chance import paired_interval, share_interval
from .ranked import allowed_risk, exact
from .scores import Scores
from .table import METRICS
from .weighted import RISK, SAC

LEAST = 10
BIASED = ("ece", "ece_mass", "ece_class", "ece_debiased", "ece_smooth")
# What resampling adds to a calibration error, times this, is what is taken off again. Resampling
# adds once. Noise of that size in the sample itself adds up to 1 / (sqrt(2) - 1) = 2.4 times as
# much (where there is nothing but noise, sqrt(2) times the noise gives sqrt(2) times the error);
# the rest is for the noise of this estimate, and makes the coverage in benchmarks/coverage.csv.
BIASES = 5.0
MAXIMUM = "the largest gap is that of a bin of few images; resamples lie above it"
MANY = "the noise of all its bins adds up to more than the error itself; look at a difference"


class Measured(NamedTuple):
    """A predictor and the metrics that it has been measured by."""

    scores: Scores
    values: Mapping[str, float]


def own_ends(measured: Measured, drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Return (m,) low and high ends of each metric of a predictor.

    Args:
        measured: The predictor and its m metrics.
        drawn: (r, m) each in each resample.
        level: In (0, 1).
    """
    scores, values = measured
    ends = _resampled_ends(values, np.array([*values.values()]), drawn, level)
    for column, name in enumerate(values):
        if why_none(name, measured):
            ends[:, column] = np.nan
        elif name == "accuracy":
            ends[:, column] = share_interval(scores.correct.sum(), len(scores), level=level)
        elif name in BIASED:
            ends[:, column] = np.clip(ends[:, column], METRICS[name].low, METRICS[name].high)
    return ends[0], ends[1]


def difference_ends(
    ours: Measured, rivals: Sequence[Measured], drawn: Floats, level: float
) -> tuple[Floats, Floats]:
    """Return (m,) low and high ends of how far a predictor is from its rival.

    Args:
        ours: The predictor and its m metrics.
        rivals: What it is compared with, by the same metrics; of several the mean of each.
        drawn: (r, m) each difference in each resample.
        level: In (0, 1).
    """
    names = list(ours.values)
    means = np.mean([[rival.values[name] for name in names] for rival in rivals], axis=0)
    ends = _resampled_ends(names, np.array([*ours.values.values()]) - means, drawn, level)
    if len(rivals) == 1 and same_predictor(ours.scores, rivals[0].scores):
        return ends[0], ends[1]
    for column, name in enumerate(names):
        if why_none(name, ours, *rivals):
            ends[:, column] = np.nan
        elif name == "accuracy" and len(rivals) == 1:
            ends[:, column] = _paired_ends(ours.scores, rivals[0].scores, level)
    return ends[0], ends[1]


def interval_ends(drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the quantiles over resamples of each number, undefined values left out."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    for column, values in enumerate(drawn.T):
        known = values[~np.isnan(values)]
        if len(known):
            ends[:, column] = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return ends[0], ends[1]


def widened_ends(value: float, drawn: Floats, level: float) -> tuple[float, float]:
    """Return the quantiles over resamples, moved outward by BIASES times what resampling added.

    A calibration error is biased upward by noise, and a resample is noisier than the sample: its
    quantiles may lie above the value itself. That of a difference moves to either side. The end
    that the truth lies beyond is moved, the other one stays.

    Args:
        value: On the images themselves.
        drawn: (r,) in each resample; nan: left out.
        level: In (0, 1).
    """
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    back = BIASES * (known.mean() - value)
    return float(min(value, low, low - back)), float(max(value, high, high - back))


def why_none(name: str, *measured: Measured) -> str:
    """Return the reason why a metric, or its difference, has no interval; "" if it has one.

    Args:
        name: Of a metric.
        measured: The predictor, or both, with the value of this metric.
    """
    if name == "accuracy":
        return ""
    if name == "mce":
        return MAXIMUM
    if name == "ece_class" and len(measured) == 1:
        return MANY
    for scores, values in measured:
        reason = _few(name, values[name], scores.correct)
        if reason:
            return reason
    if name in (*RISK, "macro_f1") and len(measured) > 1:
        first, *others = (each.scores.correct for each in measured)
        if min(sum(changed(first, other)) for other in others) < LEAST:
            return f"fewer than {LEAST} answers are right for one of both alone"
    return ""


def few_answers(right: Flags) -> str:
    """Return the reason why too few answers are wrong, or right, to resample them; else "".

    Args:
        right: (n,) which answers are right.
    """
    n, wrong = len(right), int((~right).sum())
    if min(wrong, n - wrong) >= LEAST:
        return ""
    return f"{wrong} of {n} answers are wrong; it takes {LEAST} wrong and {LEAST} right"


def changed(right: Flags, baseline: Flags) -> tuple[int, int]:
    """Return how many images the one alone answers right, and how many the baseline alone."""
    return int((right & ~baseline).sum()), int((baseline & ~right).sum())


def same_predictor(scores: Scores, baseline: Scores) -> bool:
    """Return whether both are one predictor, in its answers and in its confidence."""
    return scores is baseline or all(
        np.array_equal(getattr(scores, name), getattr(baseline, name))
        for name in ("predictions", "hit", "uncertainty", "nll", "brier")
    )


def _resampled_ends(
    names: Sequence[str] | Mapping[str, float], values: Floats, drawn: Floats, level: float
) -> Floats:
    ends = np.stack(interval_ends(drawn, level))
    for column, name in enumerate(names):
        if name in BIASED:
            ends[:, column] = widened_ends(values[column], drawn[:, column], level)
    return ends


def _few(name: str, value: float, right: Flags) -> str:
    """Return the reason why too few errors decide a metric; "" if there are enough."""
    n = len(right)
    if name in SAC:
        accepted = round(value * n)
        if accepted * exact(1) - accepted * exact(SAC[name]) >= LEAST:
            return ""
        share = f"{allowed_risk(SAC[name]):.0%}"
        return f"{accepted} images are accepted; it takes {LEAST} errors, {share} of them, to tell"
    if name in RISK:
        errors = round(value * ceil(exact(RISK[name]) * n), 6)
        if errors >= LEAST:
            return few_answers(right)
        return f"{errors:.3g} of the kept answers are wrong; it takes {LEAST}"
    return few_answers(right)


def _paired_ends(scores: Scores, baseline: Scores, level: float) -> tuple[float, float]:
    if _one_classifier(scores, baseline):
        return 0.0, 0.0
    low, high = paired_interval(
        *changed(scores.correct, baseline.correct), len(scores), level=level
    )
    return float(low), float(high)


def _one_classifier(scores: Scores, baseline: Scores) -> bool:
    """Return whether both answer alike by construction, so that no image can part them.

    A model and its multiple, as after temperature scaling; or answers taken from the baseline, as
    in UQ-only mode. Two models that merely agree on these images are not one.
    """
    z, w = scores.logits, baseline.logits
    if z.ndim < 2 or w.ndim < 2 or not np.array_equal(scores.predictions, baseline.predictions):
        return False  # a sweep over pairs does not keep the logits
    if any((each.argmax(1).cpu().numpy() != scores.predictions).any() for each in (z, w)):
        return True
    at = int(w.abs().argmax())
    ratio = z.flatten()[at].double() / w.flatten()[at].double()
    return all(
        torch.allclose(z[rows].double(), ratio * w[rows].double(), rtol=1e-4, atol=1e-4)
        for rows in row_blocks(*z.shape)
    )
