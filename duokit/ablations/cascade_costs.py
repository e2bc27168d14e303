"""What each way to use two models gives for its FLOPs, and what a tuned small model is to a duo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from duokit.ablations.cascades import ALONE, ANSWERS, BANDWIDTH, POINTS, UNTUNED, CascadeRun, Runs
from duokit.ablations.runs import over_runs
from duokit.ablations.temperatures import trust_small
from duokit.cascade.cascaded import FittedOn
from duokit.cascade.intervals import NAMES, Counted
from duokit.evaluation import fit_duo
from duokit.metrics.arrays import Floats
from duokit.metrics.ends import interval_ends
from duokit.metrics.intervals import intervals, resample_counts
from duokit.metrics.table import evaluate

SHOWN = ("accuracy", "nll", "ece", "aurc", "augrc")
Form = tuple[str, str]  # a form of the small model, and one of ANSWERS


@dataclass(frozen=True)
class Measured:
    """Numbers of several cascades and answers, in every run and on every resample of its images.

    Attributes:
        names: Of the m numbers; "accuracy@0.5" for a budget of half the large model's FLOPs.
        own: Form -> (runs, m).
        drawn: Form -> (runs, resamples, m); row r of all forms is of the same images.
    """

    names: tuple[str, ...]
    own: Mapping[Form, Floats]
    drawn: Mapping[Form, Floats]

    def compare(self, ours: Form, theirs: Form, *, level: float = 0.95) -> pd.DataFrame:
        """Return how far one form is ahead of another: the mean over runs, and two intervals.

        Convention: `low` and `high` draw images again (percentile bootstrap, of the accuracies too:
        a mean over runs is no share), the same for both forms and for all runs that share their
        images: they answer for these very networks. `t_low` and `t_high` take a run as one number:
        they answer for other trainings (and, of folds, other images).

        Args:
            ours: Form of the small model and answer.
            theirs: The ones it is compared with.
            level: Of both intervals, in (0, 1).

        Returns:
            Index metric; columns value and baseline (means over runs), difference, low, high,
            t_low, t_high (nan for one run, or where a run has no number), runs, wins (share above
            0).

        Raises:
            ValueError: A form that was not measured.
        """
        for form in (ours, theirs):
            if form not in self.own:
                raise ValueError(f"{form} was not measured; there are {list(self.own)}")
        apart = self.own[ours] - self.own[theirs]
        drawn = (self.drawn[ours] - self.drawn[theirs]).mean(0)
        table = pd.DataFrame(index=pd.Index(self.names, name="metric"))
        for column, form in (("value", ours), ("baseline", theirs)):
            table[column] = self.own[form].mean(0)
        table["difference"] = apart.mean(0)
        table["low"], table["high"] = interval_ends(drawn, level)
        columns = ["low", "high", "runs", "wins"]
        over = pd.DataFrame(np.nan, table.index, columns)  # stays nan where a run has no number
        for name, values in zip(self.names, apart.T, strict=True):
            if np.isfinite(values).all():
                over.loc[name] = over_runs(values, level=level)[columns]
        return table.join(over.rename(columns={"low": "t_low", "high": "t_high"}))


def measure(
    runs: Runs,
    forms: Sequence[Form],
    *,
    metrics: Sequence[str] = NAMES,
    budgets: Sequence[float] = (),
    part: str = "test",
    resamples: int = 1000,
    seed: int = 0,
) -> Measured:
    """Return the numbers of several forms on the same resamples, to be compared in pairs.

    Convention: the threshold of a budget is the quantile of the images (or of the resample), no
    label being needed, so that each budget is met exactly; weights are those of all of val.

    Args:
        runs: From `duokit.ablations.cascades.cascade_runs`.
        forms: (form of the small model as `CascadeRun.form` takes it, one of ANSWERS).
        metrics: Names from `duokit.cascade.intervals.NAMES`.
        budgets: In units of the large model's FLOPs, at least the small model's.
        part: Of the records.
        resamples: Of the bootstrap over images.
        seed: Of the bootstrap.

    Raises:
        ValueError: An unknown form, answer or metric, a budget below the small model's.
    """
    unknown = [answer for _, answer in forms if answer not in ANSWERS]
    if unknown:
        raise ValueError(f"unknown answers {unknown}; choose from {', '.join(ANSWERS)}")
    ids = [each.large[part].ids for each in runs.values()]
    names: list[str] = []
    own: dict[Form, list[Floats]] = {form: [] for form in forms}
    drawn: dict[Form, list[Floats]] = {form: [] for form in forms}
    for place, each in enumerate(runs.values()):
        # folds have images of their own, which are drawn apart
        draw = seed + (0 if ids[place] == ids[0] else place)
        counts = resample_counts(len(ids[place]), resamples, seed=draw)
        for variant in dict.fromkeys(variant for variant, _ in forms):
            outcomes = each.outcomes(variant, part)
            for form in (f for f in forms if f[0] == variant):
                counted = Counted(outcomes[form[1]], metrics, budgets, BANDWIDTH, POINTS)
                names = counted.names
                own[form].append(counted.own)
                drawn[form].append(counted.values(counts))
    return Measured(
        tuple(names),
        {form: np.stack(values) for form, values in own.items()},
        {form: np.stack(values) for form, values in drawn.items()},
    )


def cost_table(
    runs: Runs,
    budgets: Sequence[float],
    *,
    variant: str = UNTUNED,
    against: str = "large",
    part: str = "test",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the accuracy of each way to use two models at each cost, and its lead over one.

    Convention: as `measure`. Ways that cost more than a budget have no row there.

    Args:
        runs: From `duokit.ablations.cascades.cascade_runs`.
        budgets: In units of the large model's FLOPs, at least the small model's.
        variant: Form of the small model.
        against: The answer compared with, one of ANSWERS.
        part: Of the records.
        resamples: Of the bootstrap over images.
        seed: Of the bootstrap.

    Returns:
        Index budget, answer; columns accuracy (mean over runs), baseline (of `against`), lead, low
        and high (over images), t_low and t_high (over runs).

    Raises:
        ValueError: As `measure`.
    """
    first = next(iter(runs.values()))
    fixed = _costs(first)
    forms = [(variant, answer) for answer in ANSWERS]
    measured = measure(
        runs, forms, metrics=(), budgets=budgets, part=part, resamples=resamples, seed=seed
    )
    rows = {}
    for answer in ANSWERS:
        table = measured.compare((variant, answer), (variant, against))
        for budget, (_, row) in zip(budgets, table.iterrows(), strict=True):
            if budget >= fixed.get(answer, first.balance) - 1e-9:
                rows[budget, answer] = row
    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["budget", "answer"])
    order = [(b, answer) for b in budgets for answer in ANSWERS if (b, answer) in rows]
    found = found.rename(columns={"value": "accuracy", "difference": "lead"}).loc[order]
    return found[["accuracy", "baseline", "lead", "low", "high", "t_low", "t_high"]]


def _costs(run: CascadeRun) -> dict[str, float]:
    """Return what each of ALONE takes for an image, in units of the large model's FLOPs."""
    return dict(zip(ALONE, (run.balance, 1.0, 1 + run.balance), strict=True))


def matched_answers(
    runs: Runs,
    budgets: Sequence[float],
    *,
    variant: str = UNTUNED,
    fitted_on: FittedOn = "val",
    part: str = "test",
    metrics: Sequence[str] = SHOWN,
) -> pd.DataFrame:
    """Return the metrics of all answers where threshold and weights were chosen on val.

    Args:
        runs: From `duokit.ablations.cascades.cascade_runs`.
        budgets: In units of the large model's FLOPs, at least the small model's.
        variant: Form of the small model.
        fitted_on: As for `duokit.cascade.fit_cascade`.
        part: Of the records.
        metrics: Names from `duokit.metrics.METRICS`.

    Returns:
        One row a run, budget and answer (of `ANSWERS`): run, budget, answer, cost (what it takes
        on these images, in units of the large model's FLOPs), ratio (share deferred here; nan for
        one without a threshold), then the metrics.

    Raises:
        ValueError: As `fit_cascade`.
    """
    rows = []
    for run, each in runs.items():
        large, small = each.large[part], each.form(variant)[0][part]
        fixed = _costs(each)
        for budget in budgets:
            cascade = each.cascade(variant, budget=budget, fitted_on=fitted_on)
            ratio = float(cascade.deferred(small.logits).mean())
            answers = cascade.answers(large.logits, small.logits, large.labels)
            for name in ANSWERS:
                rows.append(
                    {
                        "run": run,
                        "budget": budget,
                        "answer": name,
                        "cost": fixed.get(name, each.balance + ratio),
                        "ratio": np.nan if name in fixed else ratio,
                        **evaluate(answers[name], list(metrics)),
                    }
                )
    return pd.DataFrame(rows)


def sidekick_table(
    runs: Runs,
    variants: Sequence[str],
    *,
    baseline: str = UNTUNED,
    part: str = "test",
    metrics: Sequence[str] = SHOWN,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the duo of each form of the small model, and how it differs from the baseline's.

    Args:
        runs: From `duokit.ablations.cascades.cascade_runs`.
        variants: Forms of the small model.
        baseline: The form whose duo the others are compared with.
        part: Of the records.
        metrics: Names from `duokit.metrics.METRICS`, nll among them.
        resamples: Of the bootstrap over images.
        seed: Of the bootstrap.

    Returns:
        Index variant, run; columns weight_small (fitted on val), trust_small (its share of the
        trust), the metrics of the duo, then nll_difference, nll_low and nll_high: its NLL less that
        of the baseline's duo, with the paired interval over images.

    Raises:
        ValueError: An unknown form or metric.
    """
    rows = {}
    for run, each in runs.items():
        duos = {}
        for variant in dict.fromkeys([baseline, *variants]):
            small = each.form(variant)[0]
            duo = fit_duo([each.large["val"], small["val"]])
            duos[variant] = (duo, duo.answers([each.large[part], small[part]])["duo"])
        for variant in variants:
            duo, scores = duos[variant]
            told = intervals(
                scores, duos[baseline][1], metrics=["nll"], resamples=resamples, seed=seed
            ).loc["nll"]
            rows[variant, run] = {
                "weight_small": duo.weights[1],
                "trust_small": trust_small(duo.weights, duo.own_weights),
                **evaluate(scores, list(metrics)),
                "nll_difference": told["difference"],
                "nll_low": told["difference_low"],
                "nll_high": told["difference_high"],
            }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["variant", "run"])
    return table.loc[list(variants)]
