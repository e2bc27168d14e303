"""How far each number could be off, had other images been drawn: intervals and paired intervals."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ..checks import row_blocks
from ..threads import in_threads
from .arrays import Flags, Floats
from .chance import check_level, paired_interval, share_interval
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
    other metrics have percentile bootstrap intervals.

    A resample draws n images with replacement; the interval runs between the (1 - level) / 2 and
    (1 + level) / 2 quantiles of the metric over resamples. With a baseline both predictors are
    counted on the same resamples, so the interval of the difference is a paired one: it leaves out
    the luck of the draw that both share, and is much narrower than two separate intervals suggest.

    The intervals cover the draw of test images, not the training of the models. Calibration errors
    are biased upward by noise, and a resample is noisier than the sample, so their intervals lie
    too high and may not hold the value; differences suffer less. Resamples where a metric is not
    defined (auroc with no error in it) are left out.

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
        (value - baseline), difference_low, difference_high.

    Raises:
        ValueError: An unknown metric, one named twice, or a baseline scored on other labels.

    Source: Efron 1979; Clopper and Pearson 1934; Bonett and Price 2012.
    """
    names = list(METRICS if metrics is None else metrics)
    _check(scores, baseline, names, resamples, level)
    given = [scores] if baseline is None else [scores, baseline]
    drawn = resampled([Weighted(s, names) for s in given], names, resamples=resamples, seed=seed)
    values = [pd.Series(evaluate(s, names)) for s in given]
    table = pd.DataFrame({"value": values[0]}).rename_axis("metric")
    table["low"], table["high"] = own_ends(scores, names, drawn[0], level)
    if baseline is not None:
        table["baseline"] = values[1]
        table["difference"] = values[0] - values[1]
        ends = difference_ends(scores, [baseline], names, drawn[0] - drawn[1], level)
        table["difference_low"], table["difference_high"] = ends
    return table


def own_ends(
    scores: Scores, names: Sequence[str], drawn: Floats, level: float
) -> tuple[Floats, Floats]:
    """Return (m,) low and high ends of each metric of a predictor.

    Args:
        scores: Of the predictor.
        names: Of m metrics.
        drawn: (r, m) each in each resample.
        level: In (0, 1).
    """
    ends = np.stack(interval_ends(drawn, level))
    for column, name in enumerate(names):
        if name == "accuracy":
            right = scores.correct.sum()
            ends[:, column] = share_interval(right, len(scores), level=level)
    return ends[0], ends[1]


def difference_ends(
    scores: Scores,
    rivals: Sequence[Scores],
    names: Sequence[str],
    drawn: Floats,
    level: float,
) -> tuple[Floats, Floats]:
    """Return (m,) low and high ends of how far a predictor is from its rival.

    Args:
        scores: Of the predictor.
        rivals: Of what it is compared with; of several the mean of their metrics.
        names: Of m metrics.
        drawn: (r, m) each difference in each resample.
        level: In (0, 1).
    """
    ends = np.stack(interval_ends(drawn, level))
    for column, name in enumerate(names):
        if name == "accuracy" and len(rivals) == 1 and not _one_classifier(scores, rivals[0]):
            gained, lost = changed(scores.correct, rivals[0].correct)
            ends[:, column] = paired_interval(gained, lost, len(scores), level=level)
    return ends[0], ends[1]


def changed(right: Flags, baseline: Flags) -> tuple[int, int]:
    """Return how many images the one alone answers right, and how many the baseline alone."""
    return int((right & ~baseline).sum()), int((baseline & ~right).sum())


def _one_classifier(scores: Scores, baseline: Scores) -> bool:
    """Return whether both answer alike by construction, so that no image can part them.

    A model and its multiple, as after temperature scaling; or answers taken from the baseline, as
    in UQ-only mode. Two models that merely agree on these images are not one.
    """
    if scores is baseline:
        return True
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


def interval_ends(drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the quantiles over resamples of each metric, undefined values left out."""
    ends = np.full((2, drawn.shape[1]), np.nan)
    for column, values in enumerate(drawn.T):
        known = values[~np.isnan(values)]
        if len(known):
            ends[:, column] = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return ends[0], ends[1]


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
