"""How far the numbers of a cascade could be off, had other images been drawn, or other seeds.

Images: limits of a share for both accuracies, percentile bootstrap for all else. Sorting does not
depend on how often an image was drawn, so it is done once, and each resample costs a few running
sums over the images. Seeds: one row a run, for a t interval over runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from duokit.cascade.deferral import (
    DeferralCurve,
    check_flops,
    checked_answers,
    deferral_curve,
    weighted_overlap,
)
from duokit.checks import row_blocks
from duokit.metrics.arrays import ArrayLike, Floats, check_confidence
from duokit.metrics.chance import check_level, paired_interval, share_interval
from duokit.metrics.ends import changed, few_answers, interval_ends
from duokit.metrics.intervals import MOST_BYTES, resample_counts
from duokit.metrics.ranked import between, group_ends, places, running
from duokit.metrics.table import refuse_repeats
from duokit.threads import in_threads

RANKED = ("small", "deferred", "auroc", "area", "s_d", "s_d_oracle")
NAMES = (*RANKED, "s_o")
BLOCK = 2**18  # counts that are worked on at a time


class Outcome(NamedTuple):
    """What a cascade does on n images, at any threshold.

    Attributes:
        uncertainty: (n,) by which the small model keeps or defers, higher = less sure.
        small_correct: (n,) bool, True where the small model is right.
        deferred_correct: (n,) bool, True where the answer to a deferred image is right: the large
            model's or the duo's.
        flops: FLOPs an image of the small and the large model; None if no budget is asked about.
    """

    uncertainty: ArrayLike
    small_correct: ArrayLike
    deferred_correct: ArrayLike
    flops: tuple[float, float] | None = None

    @property
    def curve(self) -> DeferralCurve:
        """The deferral curve of these images."""
        return deferral_curve(self.uncertainty, self.small_correct, self.deferred_correct)


def cascade_intervals(
    outcome: Outcome,
    baseline: Outcome | None = None,
    *,
    metrics: Sequence[str] = NAMES,
    budgets: Sequence[float] = (),
    bandwidth: float = 0.05,
    points: int = 1000,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return each number of a cascade with its interval, and differences to another.

    | name | number |
    |---|---|
    | small | accuracy of the small model |
    | deferred | accuracy of the deferred answer |
    | auroc | of the uncertainty, for the small model's errors; ties count half |
    | area | under the deferral curve |
    | s_d, s_d_oracle | `deferral_performance`, "published" and "oracle" |
    | s_o | `confidence_overlap`, of 1 - uncertainty; lower is better |
    | accuracy@budget | joint accuracy where small + ratio * large FLOPs meet the budget |

    Convention: `small` and `deferred` are shares of images, with Clopper-Pearson intervals and, for
    a difference, `paired_interval`, unless both cascades answer alike everywhere: then it is one
    model. All other numbers have percentile bootstrap intervals: everything is computed anew on
    each resample, the threshold of a budget too. With a baseline, such as the same small model
    before Gatekeeper, both are counted on the same resamples, so the interval of the difference is
    a paired one. Where fewer than ten answers of a small model are wrong, or right, they have none:
    `duokit.metrics.ends` says why. Resamples where a number is not defined are left out. The
    intervals cover the draw of test images, not the training of models: for that see
    `cascade_differences`. s_o is a smoothed estimate, and a resample is noisier than the sample,
    which makes densities differ more: its interval lies a little low.

    Args:
        outcome: Of the cascade.
        baseline: Of another on the same images in the same order.
        metrics: Some of `NAMES`; s_o takes most of the time, and needs uncertainties in [0, 1].
        budgets: Mean FLOPs an image; they need `flops` in each outcome, and at least the small
            model's. Above small + large all is deferred.
        bandwidth: As for `confidence_overlap`.
        points: As for `confidence_overlap`.
        resamples: How many, 1 or more.
        seed: Resample r depends on the seed, n and r alone.
        level: In (0, 1).

    Returns:
        Index metric; columns value, low, high; with a baseline also baseline, difference
        (value - baseline), difference_low, difference_high.

    Raises:
        ValueError: An unknown metric, a budget without FLOPs or below the small model's, a baseline
            of another number of images, and as `deferral_curve` and `confidence_overlap`.

    Source: Efron 1979; the numbers: Rabanser et al., arXiv 2502.19335.
    """
    _check(metrics)
    if int(resamples) != resamples or resamples < 1:
        raise ValueError(f"resamples must be a whole number, 1 or more, not {resamples}")
    check_level(level)
    given = [outcome] if baseline is None else [outcome, baseline]
    counted = [Counted(each, metrics, budgets, bandwidth, points) for each in given]
    n = counted[0].n
    if baseline is not None and counted[1].n != n:
        raise ValueError(
            f"outcome has {n} images, baseline {counted[1].n}: a paired comparison needs the same "
            "images in the same order"
        )
    chunk = max(1, MOST_BYTES // (2 * n + 16 * points))
    parts: list[list[Floats]] = [[] for _ in given]
    for first in range(0, resamples, chunk):
        counts = resample_counts(n, min(resamples - first, chunk), seed=seed, first=first)
        for part, each in zip(parts, counted, strict=True):
            part.append(each.values(counts))
    drawn = [np.concatenate(part) for part in parts]
    values = [each.own for each in counted]
    table = pd.DataFrame({"value": values[0]}, pd.Index(counted[0].names, name="metric"))
    table["low"], table["high"] = _own_ends(counted[0], drawn[0], level)
    if baseline is not None:
        table["baseline"] = values[1]
        table["difference"] = values[0] - values[1]
        ends = _difference_ends(counted[0], counted[1], drawn[0] - drawn[1], level)
        table["difference_low"], table["difference_high"] = ends
    return table


def cascade_differences(
    pairs: Sequence[tuple[Outcome, Outcome]],
    *,
    metrics: Sequence[str] = NAMES,
    budgets: Sequence[float] = (),
    bandwidth: float = 0.05,
    points: int = 1000,
) -> pd.DataFrame:
    """Return each run's numbers less those of its baseline, a row a run.

    The unit is a run (a seed, a split), so that the training of the models counts too:
    `cascade_differences(pairs).apply(duokit.ablations.runs.over_runs).T` gives mean, t interval and
    the share of runs in which each number rose.

    Args:
        pairs: One (outcome, baseline) a run, such as (tuned, untuned).
        metrics: As for `cascade_intervals`.
        budgets: As for `cascade_intervals`.
        bandwidth: As for `cascade_intervals`.
        points: As for `cascade_intervals`.

    Returns:
        Index run, 0 ... ; a column a metric.

    Raises:
        ValueError: No pair, and as `cascade_intervals`.
    """
    if not pairs:
        raise ValueError("pairs is empty: give one (outcome, baseline) a run")
    _check(metrics)
    rows = []
    for pair in pairs:
        ours, theirs = (Counted(each, metrics, budgets, bandwidth, points) for each in pair)
        rows.append(dict(zip(ours.names, ours.own - theirs.own, strict=True)))
    return pd.DataFrame(rows).rename_axis("run")


class Counted:
    """The numbers of one cascade where image i appears counts[i] times; sorted once.

    Attributes:
        n: how many images.
        names: of the numbers, in order.
    """

    def __init__(
        self,
        outcome: Outcome,
        metrics: Sequence[str],
        budgets: Sequence[float],
        bandwidth: float,
        points: int,
    ) -> None:
        scores, small, deferred = checked_answers(*outcome[:3])
        self.n = len(scores)
        self.metrics = list(metrics)
        self.ratios = [_ratio(budget, outcome.flops) for budget in budgets]
        self.names = [*metrics, *(f"accuracy@{budget:g}" for budget in budgets)]
        self.order = np.argsort(-scores, kind="stable")  # most uncertain first
        self.ends = group_ends(scores[self.order])
        right, other = small[self.order], deferred[self.order]
        self.right = right.astype(np.float64)
        self.change = other - self.right
        self.gained, self.lost = (
            flags.astype(np.float64) for flags in (other & ~right, right & ~other)
        )
        self.bandwidth, self.points = bandwidth, points
        self.small, self.confidence = small, 1 - scores
        self.answers = {"small": small, "deferred": deferred}
        if "s_o" in metrics:
            check_confidence(self.confidence, "1 - uncertainty")

    @property
    def own(self) -> Floats:
        """The numbers of the images themselves, each counted once, (names,)."""
        return self.values(np.ones((1, self.n), dtype=np.uint16))[0]

    def values(self, counts: npt.NDArray[np.uint16]) -> Floats:
        """Return (r, names) every number on each of r samples.

        Args:
            counts: (r, n) how often each image appears in each sample of n.
        """
        blocks = row_blocks(len(counts), self.n, entries=BLOCK)
        parts = in_threads(lambda i: self._ranked(counts[blocks[i]]), len(blocks))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        if "s_o" in self.metrics:
            found["s_o"] = weighted_overlap(
                self.confidence, self.small, counts, bandwidth=self.bandwidth, points=self.points
            )
        return np.stack([found[name] for name in self.names], axis=1)

    def _ranked(self, counts: npt.NDArray[np.uint16]) -> dict[str, Floats]:
        """Return (r,) each number that depends on the order of uncertainty."""
        weights = counts.take(self.order, axis=1).astype(np.float64)  # whole numbers all the same
        images, right, change = (
            running(values).take(self.ends, axis=1)
            for values in (weights, weights * self.right, weights * self.change)
        )
        n, rights = float(self.n), right[:, -1]
        small, deferred = rights / n, (rights + change[:, -1]) / n
        before = np.concatenate([np.zeros((len(change), 1)), change[:, :-1]], axis=1)
        gain = (np.diff(images, prepend=0) * (change + before)).sum(1) / (2 * n * n)
        over_lot = gain - (deferred - small) / 2  # areas above deferring by lot
        gained, lost = (weights @ flags / n for flags in (self.gained, self.lost))
        own = np.diff(right, prepend=0)
        wrong = np.diff(images, prepend=0) - own
        ordered = (wrong * (rights[:, None] - right + own / 2)).sum(1)
        found = {
            "small": small,
            "deferred": deferred,
            "auroc": _share(ordered, rights * (n - rights)),
            "area": small + gain,
            "s_d": _share(over_lot, np.maximum(0.0, deferred - small) * small / 2),
            "s_d_oracle": _share(over_lot, (gained * (1 - gained) + lost * (1 - lost)) / 2),
        }
        if self.ratios:
            at = np.tile(np.array(self.ratios) * n, (len(counts), 1))
            last = np.minimum(places(images, at), images.shape[1] - 1)
            joint = small[:, None] + between(at, images, change, last, last - 1) / n
            found.update(zip(self.names[len(self.metrics) :], joint.T, strict=True))
        return found


def _own_ends(counted: Counted, drawn: Floats, level: float) -> tuple[Floats, Floats]:
    ends = np.stack(interval_ends(drawn, level))
    few = bool(few_answers(counted.answers["small"]))
    for column, name in enumerate(counted.names):
        if name in counted.answers:
            right = counted.answers[name].sum()
            ends[:, column] = share_interval(right, counted.n, level=level)
        elif few:
            ends[:, column] = np.nan
    return ends[0], ends[1]


def _difference_ends(
    ours: Counted, theirs: Counted, drawn: Floats, level: float
) -> tuple[Floats, Floats]:
    ends = np.stack(interval_ends(drawn, level))
    few = any(few_answers(each.answers["small"]) for each in (ours, theirs))
    for column, name in enumerate(ours.names):
        if name in ours.answers:
            gained, lost = changed(ours.answers[name], theirs.answers[name])
            if gained or lost:  # else it is one model
                ends[:, column] = paired_interval(gained, lost, ours.n, level=level)
        elif few:
            ends[:, column] = np.nan
    return ends[0], ends[1]


def _share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, nan where there is nothing to divide by."""
    return np.asarray(part / np.where(whole > 0, whole, np.nan))


def _ratio(budget: float, flops: tuple[float, float] | None) -> float:
    """Return the share that a budget lets defer."""
    if flops is None:
        raise ValueError(
            "budgets need the FLOPs of both models: Outcome(..., flops=(small, large))"
        )
    small, large = flops
    check_flops(small, large)
    if not budget >= small:
        raise ValueError(
            f"budget is {budget} FLOPs an image, the small model alone takes {small}: "
            "raise the budget or take a smaller model"
        )
    return min(1.0, (budget - small) / large)


def _check(metrics: Sequence[str]) -> None:
    unknown = [name for name in metrics if name not in NAMES]
    if unknown:
        raise ValueError(f"unknown metrics {unknown}; choose from {', '.join(NAMES)}")
    refuse_repeats(metrics)
