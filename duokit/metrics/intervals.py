"""How far each number could be off, had other images been drawn: intervals and paired intervals."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..threads import in_threads
from .arrays import Floats
from .chance import check_level
from .ends import Measured, difference_ends, own_ends
from .scores import Scores
from .smooth import CELLS
from .table import METRICS, check_names, evaluate
from .weighted import Weighted

MOST_BYTES = 2**27  # held at a time: 1,100 resamples of 50,000 images and 1,000 classes


def intervals(
    scores: Scores,
    baseline: Scores | None = None,
    *,
    metrics: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return each metric with its interval, and differences to a baseline with paired ones.

    Accuracy has its Clopper-Pearson interval and a difference of accuracies that of
    `paired_interval`: both need the counts alone, and hold where there are few errors or none. All
    other metrics have percentile bootstrap intervals, where there are errors enough; `why_none`
    tells which have none and why. `duokit.metrics.ends` says more.

    A resample draws n images with replacement; the interval runs between the (1 - level) / 2 and
    (1 + level) / 2 quantiles of the metric over resamples. With a baseline both predictors are
    counted on the same resamples, so the interval of the difference is a paired one: it leaves out
    the luck of the draw that both share, and is much narrower than two separate intervals suggest.

    The intervals cover the draw of test images, not the training of the models. Calibration errors
    are biased upward by noise, and a resample is noisier than the sample, so their intervals are
    widened downward, or, of a difference, to the side that the bias came from. Resamples where a
    metric is not defined (auroc with no error in it) are left out.

    Args:
        scores: Of the predictor.
        baseline: Of the predictor to compare with, on the same images in the same order.
        metrics: Names from METRICS; default: all. `ece_class` reads the logits again and costs
            most.
        resamples: How many, 1 or more.
        seed: Resample r depends on the seed, n and r alone.
        level: In (0, 1).

    Returns:
        Index metric; columns value, low, high; with a baseline also baseline, difference
        (value - baseline), difference_low, difference_high. Ends are nan where there is none.

    Raises:
        ValueError: An unknown metric, one named twice, or a baseline scored on other labels.

    Source: Efron 1979; Clopper and Pearson 1934; Bonett and Price 2012.
    """
    names = list(METRICS if metrics is None else metrics)
    _check(scores, baseline, names, resamples, level)
    given = [scores] if baseline is None else [scores, baseline]
    drawn = resampled([Weighted(s, names) for s in given], names, resamples=resamples, seed=seed)
    measured = [Measured(s, evaluate(s, names)) for s in given]
    values = [pd.Series(each.values, dtype=float) for each in measured]
    table = pd.DataFrame({"value": values[0]}).rename_axis("metric")
    table["low"], table["high"] = own_ends(measured[0], drawn[0], level)
    if baseline is not None:
        table["baseline"] = values[1]
        table["difference"] = values[0] - values[1]
        ends = difference_ends(measured[0], measured[1:], drawn[0] - drawn[1], level)
        table["difference_low"], table["difference_high"] = ends
    return table


def resampled(
    predictors: Sequence[Weighted], names: Sequence[str], *, resamples: int, seed: int
) -> list[Floats]:
    """Return for each predictor (resamples, metrics) the metrics of every resample."""
    n, classes = predictors[0].n, predictors[0].scores.classes
    chunk = max(1, MOST_BYTES // (2 * n + 8 * (CELLS + classes)))
    parts = []
    for first in range(0, resamples, chunk):
        counts = resample_counts(n, min(resamples - first, chunk), seed=seed, first=first)
        found = [predictor.metrics(counts) for predictor in predictors]
        parts.append([np.stack([table[name] for name in names], axis=1) for table in found])
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def resample_counts(n: int, resamples: int, *, seed: int, first: int = 0) -> npt.NDArray[np.uint16]:
    """Return (resamples, n) uint16 how often each image is drawn in each resample.

    Args:
        n: Number of images.
        resamples: How many rows.
        seed: With `first` + the row's number it determines the row.
        first: Number of the first row.
    """
    counts = np.empty((resamples, n), dtype=np.uint16)

    def draw(row: int) -> None:
        # the child that SeedSequence(seed).spawn would give as number first + row
        child = np.random.SeedSequence(seed, spawn_key=(first + row,))
        places = np.random.default_rng(child).integers(0, n, n)
        counts[row] = np.bincount(places, minlength=n)

    in_threads(draw, resamples)
    return counts


def _check(
    scores: Scores, baseline: Scores | None, names: Sequence[str], resamples: int, level: float
) -> None:
    check_names(names)
    if int(resamples) != resamples or resamples < 1:
        raise ValueError(f"resamples must be a whole number, 1 or more, not {resamples}")
    check_level(level)
    if baseline is None:
        return
    if len(baseline) != len(scores):
        raise ValueError(f"scores has {len(scores)} images, baseline {len(baseline)}")
    if (baseline.labels != scores.labels).any():
        row = int((baseline.labels != scores.labels).argmax())
        raise ValueError(
            f"image {row} has label {scores.labels[row]} in scores and {baseline.labels[row]} in "
            "baseline: a paired comparison needs the same images in the same order"
        )
