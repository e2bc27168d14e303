"""Lines with a band around each: a number against another, with its spread."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from .style import MUTED, axes_or_new, looks, styled


@styled
def bands(
    series: Mapping[str, pd.DataFrame],
    ax: Axes | None = None,
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    mark: float | None = None,
    mark_label: str = "",
) -> Axes:
    """Return axes with one line a name, and a band where its spread is known.

    Args:
        series: Name -> table: the index is x, rising; column value, and for a band low and high
            (nan where there is none).
        ax: Axes to draw in; default: a new figure.
        xlabel: What the index is, with its unit.
        ylabel: What the values are, with their unit.
        log: Draw x on a logarithmic axis, with a tick at each x of the first series.
        mark: x at which an upright line stands.
        mark_label: What stands there, in the legend.

    Raises:
        TypeError: Not a mapping of names to tables, or ax is not an Axes.
        ValueError: No series, an empty one, one without values, or x that does not rise.
    """
    _check(series)
    ax = axes_or_new(ax)
    for (name, table), look in zip(series.items(), looks(series).values(), strict=True):
        x = table.index.to_numpy(dtype=float)
        if {"low", "high"} <= set(table.columns):
            ax.fill_between(
                x, table["low"], table["high"], color=look.colour, alpha=0.18, linewidth=0
            )
        ax.plot(
            x, table["value"], color=look.colour, linestyle=look.dash, marker=look.marker,
            markersize=5.5, label=name,
        )  # fmt: skip
    if mark is not None:
        ax.axvline(mark, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label=mark_label)
    if log:
        first = next(iter(series.values()))
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator([float(each) for each in first.index]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.tick_params(axis="x", rotation=45)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(loc="best")
    return ax


def _check(series: Mapping[str, pd.DataFrame]) -> None:
    if not isinstance(series, Mapping):
        raise TypeError(f"series must be a dict of names and tables, not {type(series).__name__}")
    if not series:
        raise ValueError("series is empty: give at least one table, by name")
    for name, table in series.items():
        if not isinstance(table, pd.DataFrame):
            raise TypeError(f"series[{name!r}] must be a DataFrame, not {type(table).__name__}")
        if table.empty or "value" not in table:
            raise ValueError(f"series[{name!r}] must have rows and a column 'value'")
        if not (table.index.is_monotonic_increasing and table.index.is_unique):
            raise ValueError(f"the index of series[{name!r}] is the x of the line: it must rise")
