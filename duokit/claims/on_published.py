"""Checks of the paper's claims on the authors' own tables. Each returns findings."""

from __future__ import annotations

from collections.abc import Sequence
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
BINS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
ALMOST_NEVER = 0.05  # our reading: at most one pair in twenty
MEANINGFUL = 0.005  # our reading of "meaningful difference" of an AUROC or an ECE
SATURATED = 0.8  # our reading of "most of the gain is there"


def in_balance(
    table: pd.DataFrame, low: float, high: float, column: str = "flops_balance"
) -> pd.DataFrame:
    """Return the rows whose FLOPs balance is above low and at most high."""
    return table[(table[column] > low) & (table[column] <= high)]


def gains_at_ten_to_twenty_percent(
    column: str = "flops_balance", metrics: Sequence[str] = CLAIMED
) -> list[Finding]:
    """Return the mean gain of the pairs with FLOPs balance .1 to .2, by benchmark and metric.

    Args:
        column: "flops_balance" (as charged) or "flops_balance_run" (at the resolution used).
        metrics: Of `published.METRICS`.
    """
    charged = column == "flops_balance"
    found = []
    for name, info in published.BENCHMARKS.items():
        table = in_balance(published.gains(name), 0.1, 0.2, column)
        for metric in metrics:
            value, low, high = resampled(table, mean(metric))
            words = f"mean gain in {TITLES[metric]}" + ("" if charged else ", FLOPs as really run")
            found.append(
                Finding(
                    info.title, words, value, low, high, len(table), above(value, low, high),
                    TITLES[metric],
                )
            )  # fmt: skip
    return found


def gains_with_flops_as_run() -> list[Finding]:
    """Return the same with the FLOPs that were really spent."""
    return gains_at_ten_to_twenty_percent("flops_balance_run")


def largest_gain() -> list[Finding]:
    """Return, by benchmark, the largest mean gain over metrics at FLOPs balance .1 to .2."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = in_balance(published.gains(name), 0.1, 0.2)
        each = {metric: resampled(table, mean(metric)) for metric in CLAIMED}
        best = max(each, key=lambda metric: each[metric][0])
        value, low, high = each[best]
        found.append(
            Finding(
                info.title, f"largest mean gain, in {TITLES[best]}", value, low, high, len(table),
                above(value, low, high, 0.10), info.title,
            )
        )  # fmt: skip
    return found


def share_of_harm(metrics: Sequence[str] = (*CLAIMED, "ece")) -> list[Finding]:
    """Return the share of pairs that are worse than their large model, by cost and metric."""
    found = []
    for name, info in published.BENCHMARKS.items():
        gained = published.gains(name)
        for low_end, high_end, words in ((0.0, 0.1, "up to .1"), (0.1, 1.0, "above .1")):
            table = in_balance(gained, low_end, high_end)
            for metric in metrics:
                worse = table.assign(worse=table[metric] < 0)
                value, low, high = resampled(worse, mean("worse"))
                found.append(
                    Finding(
                        info.title, f"share worse in {TITLES[metric]}, FLOPs balance {words}",
                        value, low, high, len(table),
                        "holds" if value <= ALMOST_NEVER else "fails", TITLES[metric],
                    )
                )  # fmt: skip
    return found


def accuracy_above_ten_percent() -> list[Finding]:
    """Return the share of pairs above FLOPs balance .1 that are more accurate than the large."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = in_balance(published.gains(name), 0.1, 1.0)
        value, low, high = resampled(table.assign(better=table["accuracy"] > 0), mean("better"))
        says: Says = "holds" if value >= 1 - ALMOST_NEVER else "fails"
        measure = "share more accurate, FLOPs balance above .1"
        found.append(Finding(info.title, measure, value, low, high, len(table), says, info.title))
    return found


def unweighted_at_small_balance() -> list[Finding]:
    """Return what the plain average does to accuracy up to FLOPs balance .05, and the weights."""
    found = []
    keys = ["large", "small"]
    for name, info in published.BENCHMARKS.items():
        plain = in_balance(published.gains(name, mode="unweighted"), 0, 0.05)
        value, low, high = resampled(plain, mean("accuracy"))
        found.append(
            Finding(
                info.title, "mean gain in accuracy, unweighted", value, low, high, len(plain),
                below(value, low, high), "unweighted harms",
            )
        )  # fmt: skip
        both = plain.merge(published.gains(name), on=keys, suffixes=("_plain", "_weighted"))
        both["more"] = both["accuracy_weighted"] - both["accuracy_plain"]
        value, low, high = resampled(both, mean("more"))
        found.append(
            Finding(
                info.title, "weighted less unweighted, gain in accuracy", value, low, high,
                len(both), above(value, low, high), "weights mend it",
            )
        )  # fmt: skip
    return found


def uq_only() -> list[Finding]:
    """Return what the duo's uncertainty gains if the large model keeps the answer."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = published.gains(name, mode="uq_only")
        for metric in ("auroc", "aurc", "sac98"):
            value, low, high = resampled(table, mean(metric))
            found.append(
                Finding(
                    info.title, f"mean gain in {TITLES[metric]}, UQ only", value, low, high,
                    len(table), above(value, low, high), TITLES[metric],
                )
            )  # fmt: skip
    return found


# Of the printed tables: metric -> column, whether higher is better.
PRINTED = {
    "accuracy": ("accuracy_percent", "accuracy_sd", 1),
    "Brier": ("brier_per_class_x1e4", "brier_sd", -1),
    "NLL": ("nll_x100", "nll_sd", -1),
    "ECE": ("ece_percent", "ece_sd", -1),
    "AUROC": ("auroc_percent", "auroc_sd", 1),
    "AURC": ("aurc_x100", "aurc_sd", -1),
}


def printed_against(table: int, duo: str, rival: str) -> list[Finding]:
    """Return the printed differences of a duo to a rival, signed so that above 0 is better.

    The interval is twice the two printed spreads, combined; a row without one counts as exact.

    Args:
        table: Number of the paper's table.
        duo: Part of the name of the duo's row.
        rival: Part of the name of the rival's row.

    Raises:
        ValueError: Not exactly one row with such a name.
    """
    rows = published.paper_tables()
    rows = rows[rows["paper_table"] == table]
    picked = []
    for part in (duo, rival):
        found = rows[rows["method"].str.contains(part, regex=False)]
        if len(found) != 1:
            raise ValueError(f"Table {table} has {len(found)} rows with {part!r}; expected one")
        picked.append(found.iloc[0])
    ours, theirs = picked
    findings = []
    for metric, (column, spread, sign) in PRINTED.items():
        value = sign * (ours[column] - theirs[column])
        sds = [float(np.nan_to_num(row[spread])) for row in picked]
        half = 2 * float(np.hypot(sds[0], sds[1]))
        low, high = value - half, value + half
        words = f"{ours['method']} against {theirs['method']}: {metric}, printed units"
        says = above(value, low, high) if half else above(value, np.nan, np.nan)
        findings.append(
            Finding(f"Table {table}", words, value, low, high, 1, says, theirs["method"])
        )
    return findings


def table_1(duo: str) -> list[Finding]:
    """Return a row of Table 1 against the ensembles of 2 and of 5."""
    return [f for m in (2, 5) for f in printed_against(1, duo, f"ensemble m={m}")]


def table_2() -> list[Finding]:
    """Return the rows of Table 2 against the ensemble of like FLOPs."""
    pairs = (("1-2 ResNet50s", "m=2"), ("4-5 ResNet50s", "m=5"), ("7-8 ResNet50s", "m=8"))
    return [f for duo, rival in pairs for f in printed_against(2, duo, rival)]


def table_3() -> list[Finding]:
    """Return Table 3: duos of up to two ResNet50s against IVON."""
    rivals = ("IVON deterministic", "IVON 2 samples", "IVON 8 samples", "IVON 32 samples")
    return [f for rival in rivals for f in printed_against(3, "duos with", rival)]


def table_4() -> list[Finding]:
    """Return Table 4: duos against temperature scaling and last-layer Laplace."""
    rivals = ("+ temperature", "Laplace")
    return [f for rival in rivals for f in printed_against(4, "duos with", rival)]


def entropy_against_response() -> list[Finding]:
    """Return by how much entropy ranks worse than 1 - probability, weighted duos, own class."""
    found = []
    keys = ["large", "small"]
    for name, info in published.BENCHMARKS.items():
        response, entropy = (
            published.own_class_duos(name, uncertainty=u) for u in ("softmax_response", "entropy")
        )
        both = response.merge(entropy, on=keys, suffixes=("", "_entropy"))
        both["less"] = both["auroc"] - both["auroc_entropy"]
        value, low, high = resampled(both, mean("less"))
        found.append(
            Finding(
                info.title, "AUROC of 1 - probability less that of entropy", value, low, high,
                len(both), within(low, high, MEANINGFUL), "same level",
            )
        )  # fmt: skip
        gained = [
            published.gains(name, uncertainty=u) for u in ("softmax_response", "entropy")
        ]  # fmt: skip
        table = gained[0].merge(gained[1], on=keys, suffixes=("_a", "_b"))
        table["small"] = table["small"].astype(str)
        value, low, high = resampled(table, rank_correlation("aurc_a", "aurc_b"))
        found.append(
            Finding(
                info.title, "rank correlation of the gains in AURC by both", value, low, high,
                len(table), above(value, low, high, 0.5), "same trend",
            )
        )  # fmt: skip
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
        title = published.BENCHMARKS[name].title
        table = relative_weights(name)
        value, low, high = resampled(table, rank_correlation("flops_balance", "ratio"))
        found.append(
            Finding(
                title, "rank correlation of the large model's relative weight with FLOPs balance",
                value, low, high, len(table), below(value, low, high), "falls with balance",
            )
        )  # fmt: skip
        tiny = in_balance(table, 0, 0.05)
        value = float(tiny["ratio"].max())
        found.append(
            Finding(
                title, "largest relative weight of the large model, FLOPs balance up to .05", value,
                np.nan, np.nan, len(tiny), "holds" if value >= 5 else "fails", "up to 7 times",
            )
        )  # fmt: skip
        alike = in_balance(table, 0.7, 1.0)
        value, low, high = resampled(alike, mean("ratio"))
        says: Says = "holds" if low <= 1 <= high else "fails"
        measure = "mean relative weight, FLOPs balance above .7 (1: trusted alike)"
        found.append(Finding(title, measure, value, low, high, len(alike), says, "1 at balance 1"))
    return found


def soups() -> list[Finding]:
    """Return what sidekicks add to the greedy soup of ConvNeXt-Base on Caltech-256."""
    table = published.gains("caltech256", soups=True)
    table = table[table["large"] == "ConvNeXt_Base_greedy"]
    found = []
    for low_end, high_end, words in ((0.0, 0.05, "up to .05"), (0.05, 1.0, "above .05")):
        some = in_balance(table, low_end, high_end)
        for metric in ("accuracy", "nll", "auroc", "aurc", "sac98"):
            value, low, high = resampled(some, mean(metric))
            found.append(
                Finding(
                    "Caltech-256",
                    f"mean gain over the soup in {TITLES[metric]}, FLOPs balance {words}",
                    value, low, high, len(some), above(value, low, high),
                    f"{TITLES[metric]}, {words}",
                )
            )  # fmt: skip
    return found


def calibration_error() -> list[Finding]:
    """Return the mean change of the ECE, all pairs."""
    found = []
    for name, info in published.BENCHMARKS.items():
        base = published.single_models(name)["ece"]
        table = published.duos(name)
        table = table[~table["large"].str.endswith("_greedy")]
        table = table.assign(change=table["ece"] - table["large"].map(base))
        value, low, high = resampled(table, mean("change"))
        found.append(
            Finding(
                info.title, "mean change of the ECE", value, low, high, len(table),
                below(value, low, high, MEANINGFUL), info.title,
            )
        )  # fmt: skip
    return found


def better_than_both() -> list[Finding]:
    """Return the share of duos that beat the better of their members."""
    found = []
    for name, info in published.BENCHMARKS.items():
        table = published.gains(name, baseline="better")
        for metric in ("nll", "aurc", "accuracy"):
            value, low, high = resampled(table.assign(better=table[metric] > 0), mean("better"))
            says: Says = "holds" if value >= 1 - ALMOST_NEVER else "fails"
            measure = f"share better than both members in {TITLES[metric]}"
            found.append(
                Finding(info.title, measure, value, low, high, len(table), says, TITLES[metric])
            )
    return found


def shifted() -> list[Finding]:
    """Return the mean gain over all pairs on the shifted sets, weights fitted without shift."""
    found = []
    for name in ("imagenet_v2", "iwildcam_shifted"):
        table = published.gains(name)
        for metric in (*CLAIMED, "ece"):
            value, low, high = resampled(table, mean(metric))
            found.append(
                Finding(
                    published.BENCHMARKS[name].title, f"mean gain in {TITLES[metric]}", value, low,
                    high, len(table), above(value, low, high), TITLES[metric],
                )
            )  # fmt: skip
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
    says: Says = "holds" if value >= 0.75 else "fails"
    return Finding("V100", f"R squared, {words}", value, np.nan, np.nan, n, says, "V100")


def smallest_weight() -> list[Finding]:
    """Return the smallest weight of a sidekick among all fits: can one be left out?"""
    found = []
    for name in ("imagenet", "iwildcam", "caltech256"):
        table = published.temperatures(name)
        value = float(table["weight_small"].min())
        found.append(
            Finding(
                published.BENCHMARKS[name].title, "smallest weight of a sidekick", value, np.nan,
                np.nan, len(table), "holds" if value < 0.01 else "fails", "left out",
            )
        )  # fmt: skip
    return found
