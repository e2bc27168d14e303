"""What sidekicks gained against what they cost: one point a pair."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from duokit.metrics.table import METRICS

from .style import INK, ROLES, WIDTH, axes_or_new, looks, percent, styled

COLUMNS = ("large", "flops_balance")
LIVE = ("name", "flops_balance")
SHORT = 20  # letters; two names of this length have room side by side


@styled
def gains_by_balance(
    gains: pd.DataFrame,
    ax: Axes | None = None,
    *,
    metric: str,
    live: pd.DataFrame | None = None,
    title: str = "",
    legend: bool = True,
    order: Sequence[str] = (),
) -> Axes:
    """Return axes with the gain of each pair against its FLOPs balance, one look a large model.

    A gain is the share of the way from the large model to perfect, drawn in per cent; above the
    line at 0 the duo is better, for every metric. The FLOPs balance is what the sidekick costs, in
    per cent of the large model, on a logarithmic axis.

    Args:
        gains: One row a pair, as `duokit.published.gains` returns: columns large, flops_balance
            (> 0) and the metric (nan: no point).
        ax: Axes to draw in; default: a new figure.
        metric: Name in METRICS, a column of `gains`.
        live: Further pairs that were measured elsewhere, in large blue rings: columns name (one
            word for all of them stands in the legend), flops_balance and the metric.
        title: Text above the axes, such as whose numbers these are.
        legend: Write which look is which large model, below the axes.
        order: Large models in the order in which they take their looks, those without a pair
            too, so that a model looks the same in several figures; others come after these.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: No row, a missing column, a balance that is not above 0, or an unknown metric.
    """
    _check("gains", gains, (*COLUMNS, metric), metric)
    if live is not None:
        _check("live", live, (*LIVE, metric), metric)
    ax = axes_or_new(ax, WIDTH, 4.2)
    names = list(dict.fromkeys(gains["large"]))
    for name, look in looks([*dict.fromkeys([*order, *names]), "duo"]).items():
        rows = gains[gains["large"] == name]
        if len(rows):
            _points(ax, rows, metric, name, marker=look.marker, color=look.colour, markersize=7.5)
    if live is not None:
        for name in dict.fromkeys(live["name"]):
            ring = {"markerfacecolor": "none", "markeredgewidth": 2.2, "markersize": 11}
            rows = live[live["name"] == name]
            _points(ax, rows, metric, name, marker="o", color=ROLES["duo"].colour, **ring)
    balance_axes(ax, metric, title)
    if legend:
        place: dict[str, Any] = {"bbox_to_anchor": (0.45, -0.2), "loc": "upper center"}
        columns = 2 if max(map(len, names)) <= SHORT else 1
        ax.legend(ncols=columns, columnspacing=1.0, handletextpad=0.3, **place)
    return ax


def _points(
    ax: Axes, rows: pd.DataFrame, metric: str, name: str, *, color: str, **look: Any
) -> None:
    look = {"markeredgecolor": color if "markerfacecolor" in look else "white"} | look
    x, y = rows["flops_balance"], rows[metric]
    ax.plot(x, y, linestyle="none", color=color, alpha=0.9, label=name, **look)


def balance_axes(ax: Axes, metric: str, title: str) -> None:
    """Set up axes of gains (per cent) against the FLOPs balance (per cent, logarithmic)."""
    ax.axhline(0, color=INK, linewidth=1, zorder=1)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    ax.set_xlabel("FLOPs of the sidekick, % of the large model")
    ax.set_ylabel(f"{METRICS[metric].title}: gain, %")
    if title:
        ax.set_title(title)


def _check(what: str, table: pd.DataFrame, columns: tuple[str, ...], metric: str) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{what} must be a pandas DataFrame, not {type(table).__name__}")
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose from {', '.join(METRICS)}")
    missing = [column for column in columns if column not in table.columns]
    if missing or table.empty:
        raise ValueError(
            f"{what} must have rows and the columns {', '.join(columns)}; "
            + (f"missing: {', '.join(missing)}" if missing else "it is empty")
        )
    wrong = table["flops_balance"][~(table["flops_balance"] > 0)]
    if len(wrong):
        raise ValueError(f"{what} has a FLOPs balance of {wrong.iloc[0]}; expected above 0")
