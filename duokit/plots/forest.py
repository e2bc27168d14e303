"""Many numbers with their intervals, one under the other, against one line."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import INK, MUTED, ROLES, WIDTH, axes_or_new, styled

# What a finding says -> colour, marker, filled. The words stand in the legend.
LOOKS = {
    "holds": (ROLES["duo"].colour, "o", True),
    "open": (MUTED, "o", False),
    "fails": (ROLES["large"].colour, "X", True),
}
COLUMNS = ("value", "low", "high", "says")


@styled
def forest(
    table: pd.DataFrame, ax: Axes | None = None, *, label: str = "value", line: float = 0.0
) -> Axes:
    """Return axes with one row a finding: its value, its interval, and what it says.

    Args:
        table: Index: what stands at the left of each row, drawn from the top. Columns value, low,
            high (nan for none) and says ("holds", "open" or "fails"), as
            `duokit.claims.findings` has them.
        ax: Axes to draw in; default: a new figure as high as the rows need.
        label: What the values are, with their unit.
        line: Where the vertical line stands, such as 0 for a difference.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: No row, a missing column, or another word in says.
    """
    _check(table)
    ax = axes_or_new(ax, WIDTH, 1.1 + 0.32 * len(table))
    ax.axvline(line, color=INK, linewidth=1, zorder=1)
    for says, (colour, marker, filled) in LOOKS.items():
        rows = np.flatnonzero(table["says"] == says)
        if not len(rows):
            continue
        some = table.iloc[rows]
        ax.hlines(rows, some["low"], some["high"], color=colour, linewidth=2)
        ax.plot(
            some["value"], rows, marker, color=colour, label=says,
            markerfacecolor=colour if filled else "white",
        )  # fmt: skip
    ax.set_yticks(range(len(table)), [str(name) for name in table.index])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(label)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return ax


def _check(table: pd.DataFrame) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a DataFrame of findings, not {type(table).__name__}")
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing or table.empty:
        raise ValueError(
            f"table has no column {missing[0]!r}: expected {', '.join(COLUMNS)}"
            if missing
            else "table is empty: give at least one finding"
        )
    unknown = sorted(set(table["says"]) - set(LOOKS))
    if unknown:
        raise ValueError(f"says is {unknown[0]!r} in a row; expected one of {', '.join(LOOKS)}")
