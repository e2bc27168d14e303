"""Every pair of every model of a benchmark, in one sweep.

Each model is read and scored once. A pair then costs one fit of two weights, one score test and
one pass over the images to be tested; the bootstrap's resamples are drawn once for all pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from duokit.ablations.comparing import paired_test
from duokit.ablations.journal import Journal, Row
from duokit.ablations.members import Given, Member, members
from duokit.ablations.relation import relation
from duokit.checks import row_blocks
from duokit.fusion.combine import weighted
from duokit.fusion.sidekick import LEAST_IMAGES, sidekick_test
from duokit.fusion.weights import WeightFit, answering_weight, fit_weights
from duokit.logits.agreement import matched
from duokit.logits.record import Record
from duokit.metrics.chance import corrected
from duokit.metrics.ends import (
    BIASED,
    Measured,
    difference_ends,
    few_answers,
    interval_ends,
    same_predictor,
    why_none,
    widened_ends,
)
from duokit.metrics.intervals import MOST_BYTES, resample_counts
from duokit.metrics.scores import Scores, score
from duokit.metrics.smooth import CELLS
from duokit.metrics.table import METRICS, check_names, evaluate
from duokit.metrics.weighted import Weighted

DEFAULT = ("accuracy", "nll", "brier", "ece", "auroc", "aurc", "sac98")
# What a table without rows has, of the columns that `pairs` returns.
COLUMNS = [
    *("large", "small", "relation", "flops_large", "flops_small", "flops_balance"),
    *("weight_large", "weight_small", "error_large", "error_small", "status", "reason"),
    *("score_t", "score_p_value", "metric", "value", "baseline", "sidekick", "difference"),
    *("low", "high", "gain", "gain_low", "gain_high", "p_value", "p_test"),
]
Report = Callable[[int, int, str], object]


def pairs(
    given: Given,
    *,
    large: Sequence[str] | None = None,
    small: Sequence[str] | None = None,
    part: str = "test",
    metrics: Sequence[str] = DEFAULT,
    equal: bool = False,
    any_records: bool = False,
    families: Mapping[str, str] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    journal: str | Path | None = None,
    report: Report | None = None,
    allow_mismatch: bool = False,
) -> pd.DataFrame:
    """Return what each sidekick changes for each large model: one row a pair and metric.

    A pair is a large model and a cheaper one, by FLOPs at the resolution each runs at. The weights
    are fitted on val; the baseline is the large model at its own temperature (fitted on val too).
    A sidekick of weight 0 leaves the large model as it is: no difference, p = 1.

    gain is the share of the way from the baseline to perfect, as `duokit.published.gains` has it:
    (value - baseline) / (perfect - baseline), above 0 is better for every metric.

    Memory: a folder's logits stay on the disk and are mapped, so beside what the system keeps in
    its cache there are the scores of each model (about 100 bytes an image), one (n, k) float32
    array, and the resamples (2 bytes an image and resample, or 128 MiB).

    Args:
        given: Folder that holds a folder a model with val.safetensors and PART.safetensors, or
            name -> part -> record.
        large: Names of the large models; default: all.
        small: Names of the sidekicks; default: all.
        part: What is reported on.
        metrics: Names from `duokit.metrics.METRICS`, all but "ece_class", whose resamples would
            read all logits again.
        equal: Whether members of equal FLOPs, such as two initialisations, are paired, each as
            the other's sidekick.
        any_records: Leave out models that lack a part; pair those of unknown FLOPs both ways (their
            balance is NaN); pair those of equal FLOPs if there is no other pair; and return a
            table without rows if there is none at all. Default: each of these is an error.
        families: Model -> family, for `relation`.
        resamples: Of the paired bootstrap, 2 or more.
        level: Of the intervals, in (0, 1).
        seed: Of the bootstrap.
        journal: File that takes each pair when it is done; pairs that it holds already, with the
            same settings and logits, are not done again.
        report: Called before each pair with how many are done, how many there are, and its name.
        allow_mismatch: Whether records that do not belong together (see
            `duokit.logits.agreement`) are only warned of; a column "allowed" then says why.

    Returns:
        Columns large, small, relation (one of RELATIONS), flops_large, flops_small, flops_balance,
        weight_large, weight_small, error_large, error_small (standard errors), status (of the
        fit; "failed": there is none, and what was to be measured is nan), reason (why it failed),
        score_t, score_p_value (the score test; nan below three images), metric, value (of the
        duo), baseline, sidekick (alone, at its own temperature), difference (value - baseline),
        low, high, gain, gain_low, gain_high, p_value, p_test (see `paired_test`), and p_bh,
        p_holm: corrected over all pairs of the metric (see `corrected`). Sorted by FLOPs of
        large, then of small.

    Raises:
        FileNotFoundError: No such folder, or no model in it.
        ValueError: An unknown metric or name; unless any_records, a part or FLOPs that are missing
            or no pair at all; records of different images; a journal with other settings.
    """
    _check(metrics, resamples, level)
    only = None if large is None or small is None else sorted({*large, *small})
    found = members(given, ("val", part), only=only, any_records=any_records)
    for name in (*(large or ()), *(small or ())):
        if name not in found:
            raise ValueError(f"there is no model {name!r}; expected some of {', '.join(found)}")
    chosen = _chosen(found, large, small, equal, any_records)
    settings = {
        "part": part, "metrics": list(metrics), "resamples": resamples, "level": level, "seed": seed
    }  # fmt: skip
    kept = None if journal is None else Journal(journal, settings)
    sweep = Sweep(part, tuple(metrics), resamples, level, seed, allow_mismatch)
    rows: list[Row] = []
    for number, (big, side) in enumerate(chosen):
        if report is not None:
            report(number, len(chosen), f"{big.name} + {side.name}")
        key = () if kept is None else (big.name, side.name, big.checksum(), side.checksum())
        mine = kept.done.get(key) if kept is not None else None
        if mine is None:
            mine = sweep.pair_or_reason(big, side)
            if kept is not None:
                kept.add(key, mine)
        rows += [_described(big, side, families) | row for row in mine]
    return corrected(pd.DataFrame(rows, columns=COLUMNS))


@dataclass(frozen=True)
class Scored:
    """A member that was read and scored.

    Attributes:
        val: (m, k) logits on val.
        logits: (n, k) logits on the part that is reported on.
        own: Its own weight.
        scores: At its own temperature, without the logits.
        values: Metric -> value.
    """

    val: np.ndarray
    logits: np.ndarray
    own: WeightFit
    scores: Scores
    values: Mapping[str, float]


class Sweep:
    """What pairs of one benchmark share: scored members, resamples, one array to fuse into.

    Args:
        part: What is reported on.
        metrics: Names of metrics.
        resamples: Of the bootstrap.
        level: Of the intervals.
        seed: Of the bootstrap.
        allow_mismatch: Whether records that do not belong together are only warned of.
    """

    def __init__(
        self,
        part: str,
        metrics: tuple[str, ...],
        resamples: int,
        level: float,
        seed: int,
        allow_mismatch: bool = False,
    ) -> None:
        self.part, self.metrics, self.allow_mismatch = part, metrics, allow_mismatch
        self.resamples, self.level, self.seed = resamples, level, seed
        self._first: dict[str, Record] = {}
        self._records: dict[str, tuple[Record, Record]] = {}
        self._members: dict[str, Scored] = {}
        self._allowed: dict[str, tuple[str, ...]] = {}
        self._drawn: dict[str, np.ndarray] = {}
        self._counts: list[np.ndarray] = []
        self._fused = np.empty((0, 0), dtype=np.float32)

    def pair_or_reason(self, large: Member, small: Member) -> list[Row]:
        """Return `pair`; where it cannot be fitted, one row a metric that says why.

        Raises:
            ValueError: Records of different images.
        """
        for each in (large, small):
            self._read(each)
        try:
            return self.pair(large, small)
        except (ValueError, np.linalg.LinAlgError) as error:
            told = {"status": "failed", "reason": str(error)}
            return [told | {"metric": name} for name in self.metrics]

    def pair(self, large: Member, small: Member) -> list[Row]:
        """Return one row a metric: what the sidekick changed for the large model.

        Raises:
            ValueError: Records of different images.
        """
        big, side = self.member(large), self.member(small)
        labels = self._first["val"].labels
        fit = fit_weights([big.val, side.val], labels)
        enough = len(labels) >= LEAST_IMAGES
        test = sidekick_test(big.val, side.val, labels, alone=big.own) if enough else None
        base = self._resampled_member(large.name, big.scores)
        if fit.weights[1] == 0:  # the duo is the large model; its weight differs by rounding alone
            scores, drawn = big.scores, base
        else:
            scores = self._scores(
                lambda rows: weighted([big.logits[rows], side.logits[rows]], fit.weights)
            )
            drawn = self._resampled(scores)
        told = {
            "weight_large": float(fit.weights[0]), "weight_small": float(fit.weights[1]),
            "error_large": float(fit.standard_errors[0]),
            "error_small": float(fit.standard_errors[1]),
            "status": fit.status, "reason": "", "score_t": test.t if test else np.nan,
            "score_p_value": test.p_value if test else np.nan,
        }  # fmt: skip
        allowed = dict.fromkeys([*self._allowed[large.name], *self._allowed[small.name]])
        told |= {"allowed": "; ".join(allowed)} if allowed else {}
        return [told | row for row in self._rows(scores, big, side, drawn, base)]

    def member(self, member: Member) -> Scored:
        """Return a member, read and scored when it is needed first.

        Raises:
            ValueError: Its records hold other images than those of the first member, or do not
                belong to them or to one another.
        """
        if member.name not in self._members:
            val, tested = self._read(member)
            own = fit_weights([val.logits], val.labels)
            weight = answering_weight(float(own.weights[0]), member.name)
            scores = self._scores(lambda rows: weighted([tested.logits[rows]], [weight]))
            self._members[member.name] = Scored(
                val.logits, tested.logits, own, scores, evaluate(scores, self.metrics)
            )
        return self._members[member.name]

    def _read(self, member: Member) -> tuple[Record, Record]:
        """Return its records on val and on the part, their classes as the first member's."""
        if member.name not in self._records:
            parts = []
            for part in ("val", self.part):
                record = member.read(part)
                parts.append([self._first.setdefault(part, record), record])
            one, two, allowed = matched(parts[0], parts[1], self.allow_mismatch)
            self._allowed[member.name] = allowed
            self._records[member.name] = one[1], two[1]
        return self._records[member.name]

    def _rows(
        self, scores: Scores, big: Scored, side: Scored, drawn: np.ndarray, base: np.ndarray
    ) -> Iterator[Row]:
        values, difference = evaluate(scores, self.metrics), drawn - base
        perfect = np.array([_perfect(name) for name in self.metrics])
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = difference / (perfect - base)
        gain[~np.isfinite(gain)] = np.nan
        pair = Measured(scores, values), Measured(big.scores, big.values)
        ends = difference_ends(pair[0], pair[1:], difference, self.level)
        for place, name in enumerate(self.metrics):
            value, baseline = values[name], big.values[name]
            lack = perfect[place] - baseline
            share = float((value - baseline) / lack) if lack else np.nan
            gain_low, gain_high = _gain_ends(name, share, gain[:, place], pair, self.level)
            p, kind = paired_test(name, scores, big.scores, difference[:, place])
            yield {
                "metric": name, "value": value, "baseline": baseline,
                "sidekick": side.values[name], "difference": value - baseline,
                "low": float(ends[0][place]), "high": float(ends[1][place]),
                "gain": share, "gain_low": gain_low, "gain_high": gain_high,
                "p_value": p, "p_test": kind,
            }  # fmt: skip

    def _scores(self, logits: Callable[[slice], Any]) -> Scores:
        """Return the scores of logits that are made block by block, in the one array kept."""
        labels, k = self._first[self.part].labels, self._first[self.part].k
        if self._fused.shape != (len(labels), k):
            self._fused = np.empty((len(labels), k), dtype=np.float32)
        for rows in row_blocks(len(labels), k, entries=2**20):
            self._fused[rows] = logits(rows)
        return dataclasses.replace(score(self._fused, labels), logits=torch.empty(0))

    def _resampled_member(self, name: str, scores: Scores) -> np.ndarray:
        if name not in self._drawn:
            self._drawn[name] = self._resampled(scores)
        return self._drawn[name]

    def _resampled(self, scores: Scores) -> np.ndarray:
        """Return (resamples, metrics), the same draws for every predictor."""
        predictor = Weighted(scores, self.metrics)
        parts = []
        for counts in self._draws(len(scores), scores.classes):
            found = predictor.metrics(counts)
            parts.append(np.stack([found[name] for name in self.metrics], axis=1))
        return np.concatenate(parts)

    def _draws(self, n: int, classes: int) -> Iterable[np.ndarray]:
        """Return counts of images by resample, in chunks; kept if they fit into one chunk."""
        chunk = max(1, MOST_BYTES // (2 * n + 8 * (CELLS + classes)))
        if chunk >= self.resamples:
            if not self._counts:
                self._counts = [resample_counts(n, self.resamples, seed=self.seed)]
            return self._counts
        return (
            resample_counts(n, min(chunk, self.resamples - first), seed=self.seed, first=first)
            for first in range(0, self.resamples, chunk)
        )


def _chosen(
    found: Mapping[str, Member],
    large: Sequence[str] | None,
    small: Sequence[str] | None,
    equal: bool,
    any_records: bool,
) -> list[tuple[Member, Member]]:
    bigs = [m for name, m in found.items() if large is None or name in large]
    sides = [m for name, m in found.items() if small is None or name in small]
    both = [(big, side) for big in bigs for side in sides if big != side]
    # without any_records all FLOPs are known
    chosen = [(big, side) for big, side in both if not side.flops >= big.flops]
    if equal or (any_records and not chosen):
        chosen = [(big, side) for big, side in both if not side.flops > big.flops]
    if not chosen and not any_records:
        raise ValueError(
            f"no pair among {len(bigs)} large and {len(sides)} small models: a sidekick must cost "
            "less than its large model; give more models, or equal=True for equal FLOPs"
        )
    return chosen


def _described(large: Member, small: Member, families: Mapping[str, str] | None) -> Row:
    both = [(each.model, each.resolution, each.seed) for each in (large, small)]
    return {
        "large": large.name, "small": small.name,
        "relation": relation(*both, families=families),
        "flops_large": large.flops, "flops_small": small.flops,
        "flops_balance": small.flops / large.flops,
    }  # fmt: skip


def _gain_ends(
    name: str, gain: float, drawn: np.ndarray, pair: tuple[Measured, Measured], level: float
) -> tuple[float, float]:
    """Return the ends of a gain from its resamples: nan where the metric or the ratio has none."""
    if not same_predictor(pair[0].scores, pair[1].scores) and (
        why_none(name, *pair) or few_answers(pair[1].scores.correct)
    ):
        return np.nan, np.nan
    if name in BIASED:
        return widened_ends(gain, drawn, level)
    low, high = interval_ends(drawn[:, None], level)
    return float(low[0]), float(high[0])


def _perfect(metric: str) -> float:
    found = METRICS[metric]
    return found.high if found.better == "higher" else found.low


def _check(metrics: Sequence[str], resamples: int, level: float) -> None:
    check_names(metrics)
    if not metrics or "ece_class" in metrics:
        raise ValueError(
            "give at least one metric"
            if not metrics
            else "ece_class reads all logits again for each resample: leave it out here and use "
            "`duokit evaluate` for the pairs that matter"
        )
    if int(resamples) != resamples or resamples < 2:
        raise ValueError(f"resamples must be a whole number, 2 or more, not {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), not {level}: 95 % is 0.95")
