"""What a prediction costs, and what it is worth: members and duos on one plane."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import Bbox

from duokit.metrics.table import METRICS

from .style import MUTED, WIDTH, axes_or_new, looks, styled

COLUMNS = ("name", "value", "low", "high", "kind")
# Column of the cost -> what one unit of the axis is, the words at the axis, and the word for it.
COSTS = {
    "flops": (1e9, "billion multiply-adds for one image", "FLOPs"),
    "seconds": (1e-3, "milliseconds for one image", "seconds"),
}
Cost = Literal["flops", "seconds"]
# Where a name may stand, in points right of and above its point: rings of sixteen places, turned by
# half a step outside the first so that no line to a name runs along an upright bar.
PLACES = [
    (round(radius * np.cos(angle), 2), round(radius * np.sin(angle), 2))
    for radius in (9, 22, 36, 52, 70, 90)
    for angle in (np.arange(16) + (radius > 9) / 2) * np.pi / 8
]
NEAR = 12  # points; a name further away gets a line to its point
FAR = 3  # pixels covered that one point of distance is worth


@styled
def flops_tradeoff(
    table: pd.DataFrame, ax: Axes | None = None, *, metric: str, cost: Cost = "flops"
) -> Axes:
    """Return axes with a metric against the cost of one image, one named point a predictor.

    FLOPs are multiply-adds at the resolution each predictor runs at, those of a duo the sum of its
    members', on a logarithmic axis. The upright bars are the intervals in the table. Predictors of
    unknown cost are named below the axis; if no cost is known, all stand side by side.

    Args:
        table: One row a predictor, with the columns name; flops (multiply-adds, > 0) or seconds,
            NaN or None where it is not known; value, low and high of the metric (low and high nan
            for no bar); kind, such as "member" and "duo", each drawn in its own look.
        ax: Axes to draw in; default: a new figure.
        metric: Name in METRICS: its title stands at the axis, with the direction that is better.
        cost: Column to draw along: "flops", or "seconds" measured on one machine.

    Raises:
        TypeError: Not a DataFrame, or ax is not an Axes.
        ValueError: No row, a missing column, a cost of 0 or less, or an unknown metric or cost.
    """
    _check(table, metric, cost)
    table, words = _placed(table, cost)
    ax = axes_or_new(ax, WIDTH, 4.4)
    kinds = looks(table["kind"].unique())
    for kind, look in kinds.items():
        rows = table[table["kind"] == kind]
        x = rows["x"]
        ax.vlines(x, rows["low"], rows["high"], color=look.colour, linewidth=1.4, alpha=0.6)
        ax.plot(
            x,
            rows["value"],
            linestyle="none",
            marker=look.marker,
            markersize=8,
            color=look.colour,
            markeredgecolor="white",
            label=kind,
        )
    arrow = "↑" if METRICS[metric].better == "higher" else "↓"
    ax.margins(0.1, 0.12)
    ax.xaxis.set_major_locator(NullLocator())
    ax.xaxis.set_minor_locator(NullLocator())
    if table[cost].notna().all():
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel(words)
    ax.set_ylabel(f"{METRICS[metric].title} ({arrow} better)")
    if len(kinds) > 1:
        ax.legend(loc="best")
    _names(ax, table, {kind: look.colour for kind, look in kinds.items()})
    return ax


def _placed(table: pd.DataFrame, cost: Cost) -> tuple[pd.DataFrame, str]:
    """Return the rows that can be drawn, with their place x, and the words below the axis."""
    unit, words, name = COSTS[cost]
    known = table[cost].notna()
    if not known.any():
        return table.assign(x=np.arange(len(table))), f"{name} unknown: no cost axis"
    missing = ", ".join(table.loc[~known, "name"])
    words = f"{words}\n({name} unknown: {missing})" if missing else words
    table = table[known]
    return table.assign(x=table[cost].astype(float) / unit), words


def _check(table: pd.DataFrame, metric: str, cost: str) -> None:
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"table must be a pandas DataFrame, not {type(table).__name__}")
    if cost not in COSTS:
        raise ValueError(f"unknown cost {cost!r}: choose from {', '.join(COSTS)}")
    columns = (COLUMNS[0], cost, *COLUMNS[1:])
    missing = [column for column in columns if column not in table.columns]
    if missing or table.empty:
        raise ValueError(
            f"table must have rows and the columns {', '.join(columns)}; "
            + (f"missing: {', '.join(missing)}" if missing else "it is empty")
        )
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}: choose from {', '.join(METRICS)}")
    wrong = table[table[cost].notna() & ~(table[cost].astype(float) > 0)]
    if len(wrong):
        name, value = wrong.iloc[0][["name", cost]]
        what = (
            "FLOPs: count them (duokit.models.cost)" if cost == "flops" else "seconds: measure it"
        )
        raise ValueError(f"{name!r} has {value} {what} or leave it out")


def _names(ax: Axes, table: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Write each name where it is near and covers little, with a line to the point from afar."""
    figure = ax.figure.figure
    figure.draw_without_rendering()  # settles the layout: before, no place in pixels is known
    pixels = figure.dpi / 72
    frame = ax.get_window_extent()
    taken = [_box(ax, x, y, y, 10 * pixels) for x, y in table[["x", "value"]].to_numpy()]
    bars = table[["x", "low", "high"]].dropna().to_numpy()
    taken += [_box(ax, x, low, high, 2 * pixels) for x, low, high in bars]
    legend = ax.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    longest_first = table.sort_values("name", key=lambda names: -names.str.len(), kind="stable")
    for name, x, y, kind in longest_first[["name", "x", "value", "kind"]].itertuples(index=False):
        label = ax.annotate(name, (x, y), (0, 0), textcoords="offset points", size=10.5, zorder=4)
        label.set_color(colours[kind])
        start = ax.transData.transform((x, y))
        costs = [_cost(_move(label, place), start, taken, frame) for place in PLACES]
        best = PLACES[
            int(np.argmin(np.array(costs) + [FAR * np.hypot(*place) for place in PLACES]))
        ]
        taken.append(_move(label, best))
        if np.hypot(*best) > NEAR:
            arrow = {
                "arrowstyle": "-",
                "color": MUTED,
                "linewidth": 0.7,
                "shrinkA": 0,
                "shrinkB": 5,
            }
            ax.annotate("", (x, y), best, textcoords="offset points", arrowprops=arrow)


def _box(ax: Axes, x: float, low: float, high: float, width: float) -> Bbox:
    """Return the pixels of a mark from (x, low) to (x, high), this much wider and higher."""
    bottom, top = ax.transData.transform([(x, low), (x, high)])
    return Bbox([bottom - width / 2, top + width / 2])


def _move(label: Annotation, place: tuple[float, float]) -> Bbox:
    """Put a label beside its point, turned away from it, and return the pixels it covers there."""
    right, up = place
    label.xyann = place
    label.set_horizontalalignment("left" if right > 3 else "right" if right < -3 else "center")
    label.set_verticalalignment("bottom" if up > 6 else "top" if up < -6 else "center")
    return label.get_window_extent()


def _cost(box: Bbox, start: np.ndarray, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Return the pixels that are covered, or outside the frame, or crossed on the way there."""
    common = [Bbox.intersection(box, other) for other in taken]
    covered = sum(part.width * part.height for part in common if part is not None)
    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0)
    end = np.clip(start, box.min, box.max)
    crossed = sum(Path([start, end]).intersects_bbox(other) for other in taken)
    return float(covered + outside + 60 * crossed)
