"""How much of the trust the weights give to each sidekick, against what they might follow."""

from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from .style import INK, ROLES, axes_or_new, looks, percent, styled

XLABELS = {
    "flops_balance": "FLOPs of the sidekick, % of the large model",
    "accuracy_gap": "accuracy of the large model less the sidekick's, points",
}


@styled
def trust_shares(
    table: pd.DataFrame,
    ax: Axes | None = None,
    *,
    x: Literal["flops_balance", "accuracy_gap"] = "flops_balance",
    live: pd.DataFrame | None = None,
    title: str = "",
    legend: bool = True,
    order: Sequence[str] = (),
) -> Axes:
    """Return axes with the sidekick's share of the trust, one point a pair.

    The line at 50 % is where both models are trusted alike; at 0 the sidekick is left out.

    Args:
        table: One row a pair, as `duokit.ablations.published_weights` returns: columns large (one
            look each), trust_small and `x`.
        ax: Axes to draw in; default: a new figure.
        x: "flops_balance" (logarithmic) or "accuracy_gap".
        live: Further pairs in blue rings: columns name (stands in the legend), trust_small, `x`.
        title: Text above the axes, such as whose numbers these are.
        legend: Write which look is which large model, below the axes.
        order: Large models in the order in which they take their looks.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: No row, a missing column, another x, or a balance that is not above 0.
    """
    if x not in XLABELS:
        raise ValueError(f"x is {x!r}; expected one of {', '.join(XLABELS)}")
    _check("table", table, ("large", "trust_small", x))
    if live is not None:
        _check("live", live, ("name", "trust_small", x))
    ax = axes_or_new(ax)
    ax.axhline(0.5, color=INK, linewidth=1, zorder=1)
    names = list(dict.fromkeys(table["large"]))
    for name, look in looks([*dict.fromkeys([*order, *names]), "duo"]).items():
        rows = table[table["large"] == name]
        if len(rows):
            ax.plot(
                rows[x], rows["trust_small"], look.marker, color=look.colour, alpha=0.9, label=name,
                markersize=7.5, markeredgecolor="white",
            )  # fmt: skip
    for name in () if live is None else dict.fromkeys(live["name"]):
        rows = live[live["name"] == name]  # type: ignore[index]
        ax.plot(
            rows[x], rows["trust_small"], "o", color=ROLES["duo"].colour, label=name,
            markersize=11, markerfacecolor="none", markeredgewidth=2.2,
        )  # fmt: skip
    if x == "flops_balance":
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_minor_locator(NullLocator())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(percent)
    ax.set(xlabel=XLABELS[x], ylabel="sidekick's share of the trust, %", title=title)
    if legend:
        columns = 2 if max(map(len, names)) <= 20 else 1
        ax.legend(
            ncols=columns, columnspacing=1.0, handletextpad=0.3,
            bbox_to_anchor=(0.45, -0.2), loc="upper center",
        )  # fmt: skip
    return ax


def _check(what: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{what} must be a pandas DataFrame, not {type(table).__name__}")
    missing = [column for column in columns if column not in table.columns]
    if missing or table.empty:
        raise ValueError(
            f"{what} must have rows and the columns {', '.join(columns)}; "
            + (f"missing: {', '.join(missing)}" if missing else "it is empty")
        )
    if "flops_balance" in columns and not (table["flops_balance"] > 0).all():
        wrong = table["flops_balance"][~(table["flops_balance"] > 0)].iloc[0]
        raise ValueError(f"{what} has a FLOPs balance of {wrong}; expected above 0")
