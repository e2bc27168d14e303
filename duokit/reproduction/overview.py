"""The authors' results of a benchmark as three small tables. All numbers in them are theirs."""

from collections.abc import Sequence
from typing import get_args

import pandas as pd

from duokit.published.gains import METRICS, gains
from duokit.published.tables import Mode, duos, single_models
from duokit.reproduction.pairs import SHORT_NAMES, check_pair

COLUMNS = tuple(METRICS)
WEIGHTED = "weighted, against large"


def published_pair(benchmark: str, large: str, small: str) -> pd.DataFrame:
    """Return the authors' metrics of a pair: its members and the duo in three modes.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        large: The authors' name of the large model.
        small: That of the sidekick.

    Returns:
        Index "large, as it is", "large" and "small" (each at its own temperature), "weighted",
        "unweighted", "uq_only"; columns the metrics of `duokit.published.METRICS`.

    Raises:
        ValueError: As `check_pair`.
    """
    check_pair(benchmark, large, small)
    raw, own = (single_models(benchmark, calibrated=c).T for c in (False, True))
    rows = {"large, as it is": raw[large], "large": own[large], "small": own[small]}
    for mode in get_args(Mode):
        table = duos(benchmark, mode=mode)
        rows[mode] = table[(table["large"] == large) & (table["small"] == small)].iloc[0]
    found = pd.DataFrame({name: row[list(COLUMNS)] for name, row in rows.items()}).T
    return found.astype(float).rename_axis("the authors'")


def mean_gains(benchmark: str, *, low: float = 0.1, high: float = 0.2) -> pd.DataFrame:
    """Return the authors' mean gains over the pairs whose FLOPs balance lies in (low, high].

    Five ways to look at the same pairs: the method against the large model at its own
    temperature; the same with the balance at which the networks were really run, which are other
    pairs; against the better member; and the two other modes. Pairs with a soup are left out.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        low: Of the FLOPs balance, without it.
        high: Of the FLOPs balance, with it.

    Returns:
        Index what is compared; columns pairs (how many) and the metrics, as shares of the way to
        perfect; nan without a pair.

    Raises:
        ValueError: Another benchmark, or bounds in the wrong order.
    """
    if not 0 <= low < high:
        raise ValueError(f"the FLOPs balance cannot lie between {low} and {high}")
    charged, run = "flops_balance", "flops_balance_run"
    looks = {
        WEIGHTED: (charged, gains(benchmark)),
        "the same, FLOPs as run": (run, gains(benchmark)),
        "weighted, against the better": (charged, gains(benchmark, baseline="better")),
        "unweighted, against large": (charged, gains(benchmark, mode="unweighted")),
        "UQ only, against large": (charged, gains(benchmark, mode="uq_only")),
    }
    rows = {}
    for name, (column, table) in looks.items():
        near = table[(table[column] > low) & (table[column] <= high)]
        rows[name] = {"pairs": len(near), **near[list(COLUMNS)].mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("the authors'")


def where_it_harms(benchmark: str, *, least: float = 0.1) -> pd.DataFrame:
    """Return in how many of the authors' pairs the duo is worse, by metric.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        least: FLOPs balance from which a pair counts as not tiny.

    Returns:
        Index metric; columns pairs; weighted (worse than the large model at its own temperature),
        "weighted, not tiny" (the same among pairs with a FLOPs balance of `least` or more),
        "than the better" (weighted, worse than whichever member is better), unweighted, uq_only.

    Raises:
        ValueError: Another benchmark.
    """
    theirs = gains(benchmark)
    big = theirs[theirs["flops_balance"] >= least]
    tables = {
        "weighted": theirs,
        "weighted, not tiny": big,
        "than the better": gains(benchmark, baseline="better"),
        "unweighted": gains(benchmark, mode="unweighted"),
        "uq_only": gains(benchmark, mode="uq_only"),
    }
    counts = {name: (table[list(COLUMNS)] < 0).sum() for name, table in tables.items()}
    found = pd.DataFrame(counts).rename_axis("metric")
    found.insert(0, "pairs", len(theirs))
    found.insert(2, "not tiny", len(big))
    return found


def worst_pairs(
    benchmark: str, metric: str, *, columns: Sequence[str] = ("nll", "aurc"), rows: int = 8
) -> pd.DataFrame:
    """Return the authors' pairs whose duo is worse than the large model, worst first.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        metric: What they are ranked by, a metric of `duokit.published.METRICS`.
        columns: Further metrics to show.
        rows: At most so many.

    Returns:
        Columns large, small, flops_balance (as charged), flops_balance_run, metric and `columns`,
        shares of the way to perfect; empty if no pair is worse.

    Raises:
        ValueError: Another benchmark or metric.
    """
    unknown = [name for name in (metric, *columns) if name not in METRICS]
    if unknown:
        raise ValueError(f"no gain is known of {unknown[0]!r}; of {', '.join(METRICS)} it is")
    table = gains(benchmark)
    shown = ["large", "small", "flops_balance", "flops_balance_run"]
    shown += list(dict.fromkeys([metric, *columns]))
    worse = table[table[metric] < 0].sort_values(metric, kind="stable").head(rows)[shown]
    short = worse["small"].replace(SHORT_NAMES)
    return worse.assign(large=worse["large"].replace(SHORT_NAMES), small=short).reset_index(
        drop=True
    )
