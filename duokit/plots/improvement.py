"""What the duo gains on each metric, with the interval of the gain."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from duokit.metrics.table import METRICS

from .style import INK, MUTED, ROLES, WIDTH, axes_or_new, styled

BETTER, WORSE, OPEN = ROLES["duo"].colour, ROLES["large"].colour, MUTED
COLUMNS = ("value", "baseline", "difference", "difference_low", "difference_high")


@styled
def improvements(table: pd.DataFrame, ax: Axes | None = None, *, values: bool = True) -> Axes:
    """Return axes with one row a metric: the difference to the baseline, in % of the baseline.

    Right is better for every metric: differences of those where lower is better change sign. A
    point and bar is blue where the whole interval is better, orange where it is worse, grey and
    hollow where it holds 0. A row whose baseline is 0 has no ratio, and says so.

    Args:
        table: From duokit.metrics.intervals.intervals(duo, baseline); rows are drawn from the top
            in its order, so `table.loc[["accuracy", "nll"]]` chooses among them.
        ax: Axes to draw in; default: a new figure as high as the rows need.
        values: Write baseline and value of each metric at its right, as fractions or nats.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: No row, a missing column (intervals without a baseline), or an unknown metric.
    """
    _check(table)
    ax = axes_or_new(ax, WIDTH, 1.0 + 0.32 * len(table))
    for row, name in enumerate(table.index):
        _row(ax, row, table.loc[name], METRICS[name].better)
    ax.axvline(0, color=INK, linewidth=1, zorder=1)
    ax.set_yticks(range(len(table)), [METRICS[name].title for name in table.index])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("difference, in % of the baseline (right = better)")
    ax.xaxis.set_major_formatter(_signed)
    if values:
        _values(ax, table)
    return ax


def _check(table: pd.DataFrame) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            "table must be the DataFrame of duokit.metrics.intervals.intervals, "
            f"not {type(table).__name__}"
        )
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise ValueError(
            f"table has no column {missing[0]!r}: call intervals(scores, baseline) with a baseline"
        )
    unknown = [name for name in table.index if name not in METRICS]
    if unknown or table.empty or not table.index.is_unique:
        raise ValueError(
            f"the index of table must name metrics, each once, not {unknown or list(table.index)}: "
            f"choose from {', '.join(METRICS)}"
        )


def _row(ax: Axes, row: int, numbers: pd.Series, better: str) -> None:
    sign = 1 if better == "higher" else -1
    if not numbers["baseline"] or np.isnan(numbers["difference"]):
        reason = "undefined" if np.isnan(numbers["difference"]) else "the baseline is 0"
        ax.annotate(
            reason, (0, row), (6, 0), textcoords="offset points", color=MUTED, va="center", size=10
        )
        return
    unit = sign * 100 / numbers["baseline"]
    point = unit * numbers["difference"]
    low, high = sorted(unit * numbers[["difference_low", "difference_high"]])
    colour = BETTER if low > 0 else WORSE if high < 0 else OPEN
    ax.plot([low, high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
    ax.plot(
        [point],
        [row],
        color=colour,
        marker="o",
        markersize=6,
        markerfacecolor="white" if colour == OPEN else colour,
        markeredgewidth=1.6,
    )


def _values(ax: Axes, table: pd.DataFrame) -> None:
    right = ax.secondary_yaxis("right")
    right.set_yticks(
        range(len(table)),
        [_pair(*row) for row in zip(table["baseline"], table["value"], strict=True)],
    )
    right.tick_params(length=0, labelsize=10)
    right.spines["right"].set_visible(False)


def _signed(value: float, _: object) -> str:
    return f"{value:+.4g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _pair(was: float, now: float) -> str:
    digits = 3 if max(was, now) >= 0.1 else 4
    return f"{was:.{digits}f} → {now:.{digits}f}"
