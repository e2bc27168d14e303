"""Joint accuracy against mean computation: which way to use two models wins at which cost?"""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import axes_or_new, looks, percent, styled

ALONE = ("small", "large", "duo")


@styled
def cost_curves(
    table: pd.DataFrame, ax: Axes | None = None, *, budgets: tuple[float, float] | None = None
) -> Axes:
    """Return axes with accuracy against cost: a point an answer, a line a cascade.

    "small", "large" and "duo" have one cost each: a marker stands at the lowest budget that pays
    for them, and a thin line runs on from it. Any other answer is a line through its budgets.

    Args:
        table: Index budget (in units of the large model's FLOPs) and answer; column accuracy, and
            low and high for a band where they are there (nan for none), as
            `duokit.ablations.cascade_costs.cost_table` has them but for its lead.
        ax: Axes to draw in; default: a new figure.
        budgets: Ends of the horizontal axis; default: as the table needs.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: No row, another index, or no column accuracy.
    """
    lines = _lines(table)
    ax = axes_or_new(ax)
    for (name, line), look in zip(lines.items(), looks(lines).values(), strict=True):
        x, y = line.index.to_numpy(dtype=float), line["accuracy"].to_numpy(dtype=float)
        if name in ALONE:
            ax.plot(x, y, color=look.colour, linewidth=0.9, linestyle=look.dash, alpha=0.7)
            ax.plot(
                x[:1], y[:1], color=look.colour, marker=look.marker, markersize=9,
                linestyle="none", label=name, zorder=4,
            )  # fmt: skip
            continue
        if {"low", "high"} <= set(line.columns):
            ax.fill_between(
                x, line["low"], line["high"], color=look.colour, alpha=0.18, linewidth=0
            )
        ax.plot(
            x, y, color=look.colour, linestyle=look.dash, marker=look.marker, markersize=4.5,
            label=name,
        )  # fmt: skip
    if budgets is not None:
        ax.set_xlim(*budgets)
    ax.set(xlabel="mean FLOPs an image (large model = 1)", ylabel="accuracy (%)")
    ax.yaxis.set_major_formatter(percent)
    ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    ax.legend(loc="best")
    return ax


def _lines(table: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Return the rows of each answer, by rising budget."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a pandas DataFrame, not {type(table).__name__}")
    if list(table.index.names) != ["budget", "answer"] or "accuracy" not in table or table.empty:
        raise ValueError(
            "table must have rows, the index (budget, answer) and a column accuracy, as "
            f"cost_table returns it; it has {list(table.index.names)} and {list(table.columns)}"
        )
    there = dict.fromkeys(table.index.get_level_values("answer"))
    answers = sorted(there, key=lambda name: name not in ALONE)  # the points first
    return {name: pd.DataFrame(table.xs(name, level="answer")).sort_index() for name in answers}
