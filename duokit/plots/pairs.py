"""What pairs gained against what their sidekicks cost, by what the members have in common."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from duokit.metrics.table import METRICS

from .balance import balance_axes
from .style import MUTED, WIDTH, axes_or_new, looks, styled

COLUMNS = ("flops_balance", "gain")
OPEN = "not told apart from 0"


@styled
def pair_gains(
    table: pd.DataFrame,
    ax: Axes | None = None,
    *,
    metric: str,
    by: str = "relation",
    order: Sequence[str] = (),
    title: str = "",
) -> Axes:
    """Return axes with one point a pair: its gain, per cent of the way to perfect, and its cost.

    Above the line at 0 the duo is better. A hollow point is a pair whose verdict is "open"; an
    upright line is the interval of the gain. Pairs of unknown FLOPs or without a gain (the large
    model is perfect) are counted below the axis; if no FLOPs are known, all stand side by side.

    Args:
        table: Rows of one metric, as `duokit.ablations.pairs` returns: columns flops_balance (> 0,
            NaN where it is not known), gain and `by`; verdict, gain_low and gain_high are drawn if
            they are there.
        ax: Axes to draw in; default: a new figure.
        metric: Name in METRICS, for the label.
        by: Column whose words have a look each; at most eight.
        order: Words in the order in which they take their looks, those without a pair too, so
            that a word looks the same in several figures.
        title: Text above the axes, such as whose pairs these are.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: A missing column, rows of several metrics, a balance of 0 or less, or an
            unknown metric.
    """
    _check(table, by, metric)
    ax = axes_or_new(ax, WIDTH, 4.2)
    every, table = len(table), table.dropna(subset="gain")
    known = table["flops_balance"].notna()
    place = table["flops_balance"] if known.any() else pd.Series(range(len(table)), table.index)
    table = table.assign(x=place.astype(float))
    names = list(dict.fromkeys(table[by]))
    look = looks([*dict.fromkeys([*order, *names])])
    hollow = table["verdict"] == "open" if "verdict" in table else table["gain"].isna()
    handles = []
    for name in sorted(names, key=list(look).index):
        colour, marker = look[name].colour, look[name].marker
        mine = table[table[by] == name]
        if {"gain_low", "gain_high"} <= set(table):
            ends = mine[["x", "gain_low", "gain_high"]].to_numpy(dtype=float).T
            ax.vlines(*ends, color=colour, linewidth=1.2, alpha=0.6)
        point: dict[str, Any] = {"linestyle": "none", "marker": marker, "markeredgecolor": colour}
        point["zorder"] = 2 + 1 / len(mine)  # the fewest lie on top
        for is_open, fill in ((False, colour), (True, "white")):
            rows = mine[hollow[mine.index] == is_open]
            ax.plot(rows["x"], rows["gain"], markerfacecolor=fill, markersize=7, **point)
        handles.append(Line2D([], [], markerfacecolor=colour, label=name, **point))
    balance_axes(ax, metric, title)
    if not known.any():
        ax.set_xscale("linear")
        ax.xaxis.set_major_locator(NullLocator())
        ax.set_xlabel("FLOPs unknown: no cost axis" if len(table) else "no pair to draw")
    elif not known.all():
        ax.set_xlabel(f"{ax.get_xlabel()}\n(unknown for {(~known).sum()} of {len(known)} pairs)")
    if len(table) < every:
        without = f"(no gain for {every - len(table)} of {every} pairs: nothing is left to gain)"
        ax.set_xlabel(f"{ax.get_xlabel()}\n{without}")
    if "verdict" in table and bool((table["verdict"] == "open").any()):
        grey: dict[str, Any] = {
            "markeredgecolor": MUTED,
            "markerfacecolor": "white",
            "linestyle": "none",
        }
        handles.append(Line2D([], [], marker="o", label=OPEN, **grey))
    below: dict[str, Any] = {"bbox_to_anchor": (0.45, -0.2), "loc": "upper center"}
    if handles:
        ax.legend(handles=handles, ncols=min(2, len(handles)), handletextpad=0.3, **below)
    return ax


def _check(table: pd.DataFrame, by: str, metric: str) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a pandas DataFrame, not {type(table).__name__}")
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose from {', '.join(METRICS)}")
    missing = [column for column in (*COLUMNS, by) if column not in table.columns]
    if missing:
        raise ValueError(
            f"the table must have the columns {', '.join((*COLUMNS, by))}; "
            f"missing: {', '.join(missing)}"
        )
    if "metric" in table and (table["metric"] != metric).any():
        others = sorted(set(table["metric"]) - {metric})
        raise ValueError(f"the table has rows of {others[0]} too: choose those of {metric}")
    wrong = table["flops_balance"][table["flops_balance"] <= 0]
    if len(wrong):
        raise ValueError(f"the table has a FLOPs balance of {wrong.iloc[0]}; expected above 0")
