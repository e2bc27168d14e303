"""Soups and ensembles beside a sidekick: as the large model, as the sidekick, and in its place.

A soup is one network whose weights are the average of several fine-tuned ones: it costs what one
costs. An ensemble averages the answers of several networks: it costs what all cost together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from duokit import published
from duokit.evaluation import fit_duo
from duokit.fusion.combine import weighted
from duokit.fusion.weights import fit_weights
from duokit.logits.record import Record, same_images
from duokit.metrics.ends import Measured, difference_ends, own_ends
from duokit.metrics.intervals import resampled
from duokit.metrics.scores import Scores, score
from duokit.metrics.table import METRICS, check_names, evaluate, refuse_repeats
from duokit.metrics.weighted import Weighted

Parts = Mapping[str, Record]
DATA = "caltech256"  # the only benchmark whose soups the authors published
KINDS = {"regular": "", "greedy": "_greedy", "uniform": "_uniform"}
SOUPED = ("ConvNeXt_Base", "Swin_V2_B")
# What the paper says of its greedy soup of ConvNeXt-Base: arXiv 2505.18636 v2, appendix A.4.
PAPER_SOUP = {"kept": 3, "tried": 16}
CLAIMED = ("accuracy", "nll", "aurc")


def published_soups(metrics: Sequence[str] = CLAIMED) -> pd.DataFrame:
    """Return the authors' soups on Caltech-256 alone, each at its own temperature.

    Args:
        metrics: Names from `duokit.published.METRICS`.

    Returns:
        Index model ("ConvNeXt_Base", "Swin_V2_B") and kind of KINDS; one column a metric.

    Raises:
        ValueError: An unknown metric.
    """
    _check_published(metrics)
    alone = published.single_models(DATA)
    names = {(model, kind): model + end for model in SOUPED for kind, end in KINDS.items()}
    table = alone.loc[list(names.values()), list(metrics)].astype(float)
    return table.set_axis(pd.MultiIndex.from_tuples(names, names=["model", "kind"]))


def published_soup_duos(metrics: Sequence[str] = CLAIMED) -> pd.DataFrame:
    """Return what each sidekick did for ConvNeXt-Base and for its greedy soup, by the authors.

    A gain is the share of the way to a perfect model, above 0 is better: the unit of
    `duokit.published.gains`.

    Args:
        metrics: Names from `duokit.published.METRICS`.

    Returns:
        One row a metric and sidekick: metric, small, flops_balance; regular and greedy, the value
        of the duo with either large model; gain_regular and gain_greedy, each over its own large
        model alone; instead, the gain of the REGULAR model's duo over the greedy soup alone: what
        a sidekick does in the place of a soup.

    Raises:
        ValueError: An unknown metric.
    """
    _check_published(metrics)
    alone = published.single_models(DATA)
    pairs = published.duos(DATA).sort_values("flops_balance", kind="stable")
    base = SOUPED[0]
    soup = base + KINDS["greedy"]
    plain, brewed = (pairs[pairs["large"] == name].set_index("small") for name in (base, soup))
    brewed = brewed.reindex(plain.index)
    rows = []
    for metric in metrics:
        own, souped = (float(alone[metric][name]) for name in (base, soup))
        regular, greedy = plain[metric], brewed[metric]
        columns = {
            "flops_balance": plain["flops_balance"],
            "regular": regular,
            "greedy": greedy,
            "gain_regular": _gain(metric, regular, own),
            "gain_greedy": _gain(metric, greedy, souped),
            "instead": _gain(metric, regular, souped),
        }
        frame = pd.DataFrame(columns).rename_axis("small").reset_index()
        frame.insert(0, "metric", metric)
        rows.append(frame)
    return pd.concat(rows, ignore_index=True)


def members_to_match(metrics: Sequence[str] = CLAIMED) -> pd.DataFrame:
    """Return how many ConvNeXt-Base the authors' ensembles need to equal one with a sidekick.

    The authors' ensembles of 1 to 11 are not calibrated, their duos are. So the count for the NLL
    and the ECE says more about calibration than about the number of members; accuracy does not
    depend on it. AURC, AUROC and SAC of a duo are those at the large model's class
    (`duokit.published.duos`), of an ensemble those at its own.

    Args:
        metrics: Names from `duokit.published.METRICS`.

    Returns:
        Index small, by rising cost; columns flops_balance and one a metric: the FIRST number of
        members at which the ensemble is at least as good, nan if none of them is. The authors'
        ensembles do not improve with every member, so a larger one may be worse again.

    Raises:
        ValueError: An unknown metric.
    """
    _check_published(metrics)
    ensembles = published.deep_ensembles()
    ensembles = ensembles[ensembles["uncertainty"] == "softmax_response"].set_index("members")
    pairs = published.duos(DATA)
    pairs = pairs[pairs["large"] == SOUPED[0]].set_index("small").sort_values("flops_balance")
    found = pairs[["flops_balance"]].copy()
    for metric in metrics:
        perfect = published.METRICS[metric]
        lacking = (ensembles[metric] - perfect).abs()
        found[metric] = [
            min(lacking.index[lacking <= abs(value - perfect)], default=np.nan)
            for value in pairs[metric]
        ]
    return found.astype(float)


def ingredients(record: Record) -> pd.DataFrame:
    """Return what a soup was made of, as `duokit soup` wrote it down: the best run first.

    Args:
        record: Any part of a soup, or of the best run of a sweep.

    Returns:
        Index trial; columns lr, weight_decay, val_score (of the run alone), soup_score (of the
        soup with it, BatchNorm statistics estimated again; nan where none was tried) and accepted.

    Raises:
        ValueError: A record that does not name its ingredients.
    """
    listed = record.config.get("ingredients")
    if not listed:
        raise ValueError(
            f"the record of {record.title} names no ingredients: give one that `duokit soup` made"
        )
    table = pd.DataFrame(listed).set_index("trial")
    columns = ["lr", "weight_decay", "val_score", "soup_score", "accepted"]
    return table[columns].astype(dict.fromkeys(columns[:-1], float) | {"accepted": bool})


def compare_groups(
    groups: Mapping[str, Sequence[Parts]],
    against: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = CLAIMED,
    part: str = "test",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return each group's metrics, and paired differences to the mean of other groups.

    A group of one is that model at its own temperature; a group of more is a duo, its weights
    fitted together. All of that on val; an ensemble is pooled before, so calibrated after. A
    baseline of several groups, such as the single runs, is the mean of their METRICS, not the
    metric of their mean: what a group does for one run taken at random. All groups are counted on
    the same bootstrap resamples.

    Args:
        groups: Name -> members, the large model first, each a mapping of part to record with "val"
            and `part`.
        against: Name -> names of the groups it is compared with; a group without an entry has no
            difference.
        metrics: Names from `duokit.metrics.METRICS`.
        part: What the groups are measured on.
        resamples: Behind each 95 % interval, 1 or more.
        seed: Of the bootstrap.

    Returns:
        Index group and metric. Columns flops (multiply-adds an image of all members; nan if a
        record does not say), value, low, high, baseline, difference (value - baseline),
        difference_low, difference_high, and says: "better" or "worse" where the interval of the
        difference is on one side of 0, else "open"; "" without a baseline.

    Raises:
        ValueError: No group, an empty one, groups of other images, or an unknown metric.
        KeyError: A part that is missing, or a name in `against` that is no group.
    """
    _check(groups, against, part, metrics)
    answers = {name: _answers(members, part) for name, members in groups.items()}
    names = list(metrics)
    measured = {name: Measured(s, evaluate(s, names)) for name, s in answers.items()}
    values = {name: np.array([*each.values.values()]) for name, each in measured.items()}
    counted = [Weighted(scores, names) for scores in answers.values()]
    drawn = dict(
        zip(groups, resampled(counted, names, resamples=resamples, seed=seed), strict=True)
    )
    tables = {}
    for name, members in groups.items():
        table = pd.DataFrame({"value": values[name]}, index=pd.Index(names, name="metric"))
        table.insert(0, "flops", _flops(members))
        table["low"], table["high"] = own_ends(measured[name], drawn[name], 0.95)
        rivals = against.get(name, ())
        table["baseline"] = _mean([values[rival] for rival in rivals], len(names))
        table["difference"] = table["value"] - table["baseline"]
        table["difference_low"] = table["difference_high"] = np.nan
        if rivals:
            less = drawn[name] - np.mean([drawn[rival] for rival in rivals], axis=0)
            ends = difference_ends(measured[name], [measured[r] for r in rivals], less, 0.95)
            table["difference_low"], table["difference_high"] = ends
        table["says"] = [_says(row, METRICS[str(m)].better) for m, row in table.iterrows()]
        tables[name] = table
    return pd.concat(tables, names=["group"])


def _answers(members: Sequence[Parts], part: str) -> Scores:
    val, asked = [each["val"] for each in members], [each[part] for each in members]
    if len(members) > 1:
        return score(fit_duo(val).logits(asked), asked[0].labels)
    weights = fit_weights([val[0].logits], val[0].labels).weights
    return score(weighted([asked[0].logits], weights), asked[0].labels)


def _check(
    groups: Mapping[str, Sequence[Parts]],
    against: Mapping[str, Sequence[str]],
    part: str,
    metrics: Sequence[str],
) -> None:
    check_names(metrics)
    empty = [name for name, members in groups.items() if not members]
    if empty or not groups:
        raise ValueError(f"group {empty[0]!r} is empty" if empty else "groups is empty: name one")
    unknown = {*against, *(name for rivals in against.values() for name in rivals)} - set(groups)
    if unknown:
        raise KeyError(f"{min(unknown)!r} is no group; there are {', '.join(groups)}")
    for each in ("val", part):
        same_images(*(parts[each] for members in groups.values() for parts in members))


def _gain(metric: str, value: pd.Series, base: float) -> pd.Series:
    """Return the share of the way from base to perfect."""
    return (value - base) / (published.METRICS[metric] - base)


def _check_published(metrics: Sequence[str]) -> None:
    unknown = [name for name in metrics if name not in published.METRICS]
    if unknown or not metrics:
        raise ValueError(
            f"unknown metric {unknown[0]!r}: choose from {', '.join(published.METRICS)}"
            if unknown
            else "no metric is named"
        )
    refuse_repeats(metrics)


def _flops(members: Sequence[Parts]) -> float:
    known = [parts["val"].flops for parts in members]
    return float("nan") if None in known else float(sum(f for f in known if f is not None))


def _mean(values: Sequence[np.ndarray], metrics: int) -> np.ndarray:
    return np.mean(values, axis=0) if values else np.full(metrics, np.nan)


def _says(row: pd.Series, better: str) -> str:
    if np.isnan(row["difference"]):
        return ""
    up, down = row["difference_low"] > 0, row["difference_high"] < 0
    if not (up or down):
        return "open"
    return "better" if up == (better == "higher") else "worse"
