"""Checks of the paper's claims on the authors' own tables. Each returns findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from duokit import published
from duokit.claims.finding import Finding, Says, above, below, within
from duokit.claims.statistics import (
    determination,
    mean,
    rank_correlation,
    ratio_of_means,
    resampled,
)
from duokit.published.tables import Uncertainty

TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
    "auroc": "AUROC",
    "aurc": "AURC",
    "sac98": "SAC@98",
}
CLAIMED = ("accuracy", "macro_f1", "nll", "brier", "auroc", "aurc", "sac98")
KEYS = ["large", "small"]
BINS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
ALMOST_NEVER = 0.05  # our reading: at most one pair in twenty
MEANINGFUL = 0.005  # our reading of "meaningful difference" of an AUROC or an ECE
SATURATED = 0.8  # our reading of "most of the gain is there"


def in_balance(
    table: pd.DataFrame, low: float, high: float, column: str = "flops_balance"
) -> pd.DataFrame:
    """Return the rows whose FLOPs balance is above low and at most high."""
    return table[(table[column] > low) & (table[column] <= high)]


def _mean(
    data: str,
    table: pd.DataFrame,
    column: str,
    measure: str,
    *,
    group: str,
    says: Callable[[float, float, float], Says] = above,
) -> Finding:
    """Return the mean of a column over pairs as a finding; by default it should be above 0."""
    value, low, high = resampled(table, mean(column))
    told = says(value, low, high)
    return Finding(data, measure, value, low, high, len(table), told, group)


def _share(
    data: str,
    table: pd.DataFrame,
    flags: pd.Series,
    measure: str,
    *,
    group: str,
    least: float = 0.0,
    most: float = 1.0,
) -> Finding:
    """Return the share of pairs with a flag as a finding; it should lie in least ... most."""
    value, low, high = resampled(table.assign(flag=flags), mean("flag"))
    told: Says = "holds" if least <= value <= most else "fails"
    return Finding(data, measure, value, low, high, len(table), told, group)


def _alone(data: str, measure: str, value: float, n: int, *, holds: bool, group: str) -> Finding:
    """Return a number without an interval as a finding."""
    told: Says = "holds" if holds else "fails"
    return Finding(data, measure, float(value), np.nan, np.nan, n, told, group)


def gains_at_ten_to_twenty_percent(
    column: str = "flops_balance", metrics: Sequence[str] = CLAIMED
) -> list[Finding]:
    """Return the mean gain of the pairs with FLOPs balance .1 to .2, by benchmark and metric.

    Args:
        column: "flops_balance" (as charged) or "flops_balance_run" (at the resolution used).
        metrics: Of `published.METRICS`.
    """
    found = []
    words = "" if column == "flops_balance" else ", FLOPs as really run"
    for name, info in published.BENCHMARKS.items():
        table = in_balance(published.gains(name), 0.1, 0.2, column)
        for metric in metrics:
            title = TITLES[metric]
            measure = f"mean gain in {title}{words}"
            found.append(_mean(info.title, table, metric, measure, group=title))
    return found


def gains_with_flops_as_run() -> list[Finding]:
    """Return the same with the FLOPs that were really spent."""
    return gains_at_ten_to_twenty_percent("flops_balance_run")


def largest_gain() -> list[Finding]:
    """Return, by benchmark, the largest mean gain over metrics at FLOPs balance .1 to .2."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = in_balance(published.gains(name), 0.1, 0.2)
        best = str(table[list(CLAIMED)].mean().idxmax())
        measure = f"largest mean gain, in {TITLES[best]}"
        says = partial(above, bound=0.10)
        found.append(_mean(info.title, table, best, measure, group=info.title, says=says))
    return found


def share_of_harm(metrics: Sequence[str] = (*CLAIMED, "ece")) -> list[Finding]:
    """Return the share of pairs that are worse than their large model, by cost and metric."""
    found = []
    for name, info in published.BENCHMARKS.items():
        gained = published.gains(name)
        for low, high, words in ((0.0, 0.1, "up to .1"), (0.1, 1.0, "above .1")):
            table = in_balance(gained, low, high)
            for metric in metrics:
                title = TITLES[metric]
                measure = f"share worse in {title}, FLOPs balance {words}"
                worse = table[metric] < 0
                found.append(
                    _share(info.title, table, worse, measure, group=title, most=ALMOST_NEVER)
                )
    return found


def accuracy_above_ten_percent() -> list[Finding]:
    """Return the share of pairs above FLOPs balance .1 that are more accurate than the large."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = in_balance(published.gains(name), 0.1, 1.0)
        measure = "share more accurate, FLOPs balance above .1"
        better, least = table["accuracy"] > 0, 1 - ALMOST_NEVER
        found.append(_share(info.title, table, better, measure, group=info.title, least=least))
    return found


def unweighted_at_small_balance() -> list[Finding]:
    """Return what the plain average does to accuracy up to FLOPs balance .05, and the weights."""
    found = []
    for name, info in published.BENCHMARKS.items():
        plain = in_balance(published.gains(name, mode="unweighted"), 0, 0.05)
        both = plain.merge(published.gains(name), on=KEYS, suffixes=("_plain", "_weighted"))
        both["more"] = both["accuracy_weighted"] - both["accuracy_plain"]
        harm, mend = (
            "mean gain in accuracy, unweighted",
            "weighted less unweighted, gain in accuracy",
        )
        found += [
            _mean(info.title, plain, "accuracy", harm, group="unweighted harms", says=below),
            _mean(info.title, both, "more", mend, group="weights mend it"),
        ]
    return found


def uq_only() -> list[Finding]:
    """Return what the duo's uncertainty gains if the large model keeps the answer."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = published.gains(name, mode="uq_only")
        for metric in ("auroc", "aurc", "sac98"):
            title = TITLES[metric]
            measure = f"mean gain in {title}, UQ only"
            found.append(_mean(info.title, table, metric, measure, group=title))
    return found


def entropy_against_response() -> list[Finding]:
    """Return by how much entropy ranks worse than 1 - probability, weighted duos, own class."""
    found = []
    kinds: tuple[Uncertainty, ...] = ("softmax_response", "entropy")
    for name, info in published.BENCHMARKS.items():
        own = [published.own_class_duos(name, uncertainty=kind) for kind in kinds]
        both = own[0].merge(own[1], on=KEYS, suffixes=("", "_entropy"))
        both["less"] = both["auroc"] - both["auroc_entropy"]
        found.append(
            _mean(
                info.title, both, "less", "AUROC of 1 - probability less that of entropy",
                group="same level", says=lambda _, low, high: within(low, high, MEANINGFUL),
            )
        )  # fmt: skip
        gained = [published.gains(name, uncertainty=kind) for kind in kinds]
        table = gained[0].merge(gained[1], on=KEYS, suffixes=("_a", "_b"))
        value, low, high = resampled(table, rank_correlation("aurc_a", "aurc_b"))
        measure = "rank correlation of the gains in AURC by both"
        says = above(value, low, high, 0.5)
        found.append(Finding(info.title, measure, value, low, high, len(table), says, "same trend"))
    return found


def saturation() -> list[Finding]:
    """Return which share of the NLL gain above FLOPs balance .4 is there at .1 to .2."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = published.gains(name)
        balance = table["flops_balance"]
        table = table.assign(part=(balance > 0.1) & (balance <= 0.2), whole=balance > 0.4)
        value, low, high = resampled(table, ratio_of_means("nll", "part", "whole"))
        found.append(
            Finding(
                info.title, "mean NLL gain at .1 to .2, as a share of that above .4", value, low,
                high, int(table["part"].sum()), above(value, low, high, SATURATED), info.title,
            )
        )  # fmt: skip
    return found


def gain_by_balance(benchmark: str, metric: str = "nll") -> pd.DataFrame:
    """Return the mean gain in each bin of FLOPs balance, with its interval.

    Args:
        benchmark: One of `published.BENCHMARKS`.
        metric: One of `published.METRICS`.

    Returns:
        Index balance (such as "0.1 to 0.2"); columns pairs, gain, low, high.
    """
    table = published.gains(benchmark)
    rows = {}
    for low_end, high_end in pairwise(BINS):
        some = in_balance(table, low_end, high_end)
        rows[f"{low_end:g} to {high_end:g}"] = (len(some), *resampled(some, mean(metric)))
    columns = ["pairs", "gain", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("balance")


def relative_weights(benchmark: str) -> pd.DataFrame:
    """Return the authors' fitted weights, each relative to what its model needs alone.

    Args:
        benchmark: "imagenet", "iwildcam" or "caltech256".

    Returns:
        `published.temperatures` with the column ratio: (weight_large / own weight of the large
        model) / (weight_small / own weight of the small one); 1 means that both are trusted alike.
    """
    table = published.temperatures(benchmark)
    large = table["divisor_single_large"] / table["divisor_duo_large"]
    small = table["divisor_single_small"] / table["divisor_duo_small"]
    return table.assign(ratio=large / small)


def weights_by_balance() -> list[Finding]:
    """Return how the large model's relative weight goes with FLOPs balance."""
    found = []
    for name in ("imagenet", "iwildcam", "caltech256"):
        title, table = published.BENCHMARKS[name].title, relative_weights(name)
        value, low, high = resampled(table, rank_correlation("flops_balance", "ratio"))
        measure = "rank correlation of the large model's relative weight with FLOPs balance"
        says = below(value, low, high)
        found.append(
            Finding(title, measure, value, low, high, len(table), says, "falls with balance")
        )
        tiny, alike = in_balance(table, 0, 0.05), in_balance(table, 0.7, 1.0)
        most = float(tiny["ratio"].max())
        measure = "largest relative weight of the large model, FLOPs balance up to .05"
        found.append(
            _alone(title, measure, most, len(tiny), holds=most >= 5, group="up to 7 times")
        )
        found.append(
            _mean(
                title, alike, "ratio",
                "mean relative weight, FLOPs balance above .7 (1: trusted alike)",
                group="1 at balance 1",
                says=lambda _, low, high: "holds" if low <= 1 <= high else "fails",
            )
        )  # fmt: skip
    return found


def soups() -> list[Finding]:
    """Return what sidekicks add to the greedy soup of ConvNeXt-Base on Caltech-256."""
    table = published.gains("caltech256", soups=True)
    table = table[table["large"] == "ConvNeXt_Base_greedy"]
    found = []
    for low, high, words in ((0.0, 0.05, "up to .05"), (0.05, 1.0, "above .05")):
        some = in_balance(table, low, high)
        for metric in ("accuracy", "nll", "auroc", "aurc", "sac98"):
            title = TITLES[metric]
            measure = f"mean gain over the soup in {title}, FLOPs balance {words}"
            found.append(_mean("Caltech-256", some, metric, measure, group=f"{title}, {words}"))
    return found


def calibration_error() -> list[Finding]:
    """Return the mean change of the ECE, all pairs."""
    found = []
    for name, info in published.BENCHMARKS.items():
        base = published.single_models(name)["ece"]
        table = published.duos(name)
        table = table[~table["large"].str.endswith("_greedy")]
        table = table.assign(change=table["ece"] - table["large"].map(base))
        says = partial(below, bound=MEANINGFUL)
        measure = "mean change of the ECE"
        found.append(_mean(info.title, table, "change", measure, group=info.title, says=says))
    return found


def better_than_both() -> list[Finding]:
    """Return the share of duos that beat the better of their members."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = published.gains(name, baseline="better")
        for metric in ("nll", "aurc", "accuracy"):
            title = TITLES[metric]
            measure = f"share better than both members in {title}"
            better, least = table[metric] > 0, 1 - ALMOST_NEVER
            found.append(_share(info.title, table, better, measure, group=title, least=least))
    return found


def shifted() -> list[Finding]:
    """Return the mean gain over all pairs on the shifted sets, weights fitted without shift."""
    found = []
    for name in ("imagenet_v2", "iwildcam_shifted"):
        title, table = published.BENCHMARKS[name].title, published.gains(name)
        for metric in (*CLAIMED, "ece"):
            measure = f"mean gain in {TITLES[metric]}"
            found.append(_mean(title, table, metric, measure, group=TITLES[metric]))
    return found


def throughput() -> list[Finding]:
    """Return how well FLOPs predict the authors' throughput: R squared of three straight lines."""
    known = published.single_models("imagenet")["flops"]
    measured = published.throughput()["images_per_second"]
    left_out = ["EfficientNet_V2_M", "EfficientNet_V2_S"]  # by the authors' notebook too
    rate = measured.drop(index=left_out)
    flops = rate.index.to_series().map(known)
    value = determination(np.log(flops.to_numpy()), np.log(rate.to_numpy()))
    found = [_predicts("log throughput by log FLOPs", value, len(rate))]
    for large in ("ConvNeXt_Base", "ConvNeXt_Large"):
        small = flops[flops < flops[large]]
        together = 1 / (1 / rate[large] + 1 / rate[small.index])
        value = determination((small / flops[large]).to_numpy(), together.to_numpy())
        words = f"throughput of {large} and a sidekick by FLOPs balance"
        found.append(_predicts(words, value, len(small)))
    return found


def _predicts(words: str, value: float, n: int) -> Finding:
    return _alone("V100", f"R squared, {words}", value, n, holds=value >= 0.75, group="V100")


def smallest_weight() -> list[Finding]:
    """Return the smallest weight of a sidekick among all fits: can one be left out?"""
    found = []
    for name in ("imagenet", "iwildcam", "caltech256"):
        table = published.temperatures(name)
        least = float(table["weight_small"].min())
        title, measure = published.BENCHMARKS[name].title, "smallest weight of a sidekick"
        found.append(
            _alone(title, measure, least, len(table), holds=least < 0.01, group="left out")
        )
    return found
