"""The reliability diagram: among images told 80 %, are 80 % right, and how many images say so?"""

from collections.abc import Iterable, Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from duokit.metrics.calibration import ReliabilityCurve

from .style import MUTED, Look, axes_or_new, fixed, looks, percent, styled

ALONE = "observed"
BELOW_ONE = 0.5  # where the logarithmic axis of the counts begins, so that one image has a height
ROOM = 0.02  # beyond 100 %, as a share of the axis, so that a marker there is whole


@styled
def reliability_diagram(
    curves: ReliabilityCurve | Mapping[str, ReliabilityCurve],
    ax: Axes | None = None,
    *,
    start: float = 0.0,
    fewest: int = 1,
    counts: bool = True,
) -> Axes:
    """Return axes with the accuracy against the mean confidence of each bin.

    On the diagonal confidence is what it promises; below it the model is too sure. The upright bars
    are the curve's own intervals of the accuracy. The strip below counts the images of each bin, on
    a logarithmic axis, since one bin often holds nearly all of them. Empty bins have no point.

    Args:
        curves: One curve (duokit.metrics.calibration.reliability_curve), or name -> curve.
        ax: Axes to draw in; default: a new figure. The strip takes its place from these axes.
        start: Both axes begin at this confidence, in [0, 1): .8 shows the last fifth alone. The
            accuracy axis begins lower where a bar needs it.
        fewest: Bins with fewer images than this have no point either; the strip still counts them.
        counts: Draw the strip.

    Raises:
        TypeError: Something else than curves, or ax is not an Axes.
        ValueError: No curve, start outside [0, 1), or fewest below 1.
    """
    named = _check(curves, start, fewest)
    drawn = looks(named if isinstance(curves, Mapping) else ["duo"]).values()
    ax = axes_or_new(ax, height=4.9 if counts else 4.2)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, zorder=1)
    for (name, curve), look in zip(named.items(), drawn, strict=True):
        _points(ax, curve, look, name, fewest)
    floor = _floor(named, start, fewest)
    ax.set_xlim(start, 1 + ROOM * (1 - start))
    ax.set_ylim(floor, 1 + ROOM * (1 - floor))
    ax.set_ylabel("accuracy (%)")
    lower = _strip(ax, named, drawn) if counts else ax
    lower.set_xlabel("confidence (%)")
    for axis in (ax.yaxis, lower.xaxis):
        axis.set_major_formatter(percent)
    ax.legend(loc="best", title=_title(named), alignment="left")
    return ax


def _check(
    curves: ReliabilityCurve | Mapping[str, ReliabilityCurve], start: float, fewest: int
) -> dict[str, ReliabilityCurve]:
    named = dict(curves) if isinstance(curves, Mapping) else {ALONE: curves}
    if not named:
        raise ValueError("curves is empty: give at least one, by name")
    for name, curve in named.items():
        if not isinstance(curve, ReliabilityCurve):
            raise TypeError(
                f"{name!r} must be a curve from duokit.metrics.calibration.reliability_curve, "
                f"not {type(curve).__name__}"
            )
    if not 0 <= start < 1:
        raise ValueError(f"start must be a confidence in [0, 1), not {start}: 80 % is 0.8")
    if fewest < 1:
        raise ValueError(f"fewest must be 1 image or more, not {fewest}: empty bins have no point")
    return named


def _points(ax: Axes, curve: ReliabilityCurve, look: Look, name: str, fewest: int) -> None:
    full = curve.count >= fewest
    x, y = curve.confidence[full], curve.accuracy[full]
    ax.plot(
        x,
        y,
        label=name,
        color=look.colour,
        marker=look.marker,
        markersize=5.5,
        linewidth=1.2,
        zorder=3,
    )
    # One line for all intervals, broken between them: the legend makes way for lines only.
    ends = np.column_stack([curve.low[full], curve.high[full], np.full(len(x), np.nan)]).ravel()
    ax.plot(np.repeat(x, 3), ends, color=look.colour, linewidth=1.2, zorder=2)


def _floor(named: Mapping[str, ReliabilityCurve], start: float, fewest: int) -> float:
    """Return where the accuracy axis begins: at start, or below the lowest bar that is in view."""
    lows = [c.low[(c.count >= fewest) & (c.confidence >= start)] for c in named.values()]
    return float(min([start, *(0.98 * low.min() for low in lows if len(low))]))


def _title(named: Mapping[str, ReliabilityCurve]) -> str:
    levels = sorted({curve.level for curve in named.values()})
    return "bars: " + " and ".join(f"{100 * level:.4g} %" for level in levels) + " interval"


def _strip(ax: Axes, named: Mapping[str, ReliabilityCurve], drawn: Iterable[Look]) -> Axes:
    """Return axes cut from the lower end of these, with the images of each bin."""
    strip = _cut(ax)
    for curve, look in zip(named.values(), drawn, strict=True):
        edges = np.append(curve.lower, curve.upper[-1])
        draw = partial(strip.stairs, curve.count, edges, baseline=BELOW_ONE, color=look.colour)
        draw(linestyle=look.dash, linewidth=1.4)
        if len(named) == 1:
            draw(fill=True, alpha=0.25)
    strip.set_yscale("log")
    most = max(int(curve.count.max()) for curve in named.values())
    strip.set_ylim(BELOW_ONE, 2 * most)
    strip.set_ylabel("images")
    strip.yaxis.set_major_locator(LogLocator(numticks=4))
    strip.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    strip.yaxis.set_minor_locator(NullLocator())
    return strip


def _cut(ax: Axes) -> Axes:
    """Return new axes in the lower fifth of these, which shrink; both share the confidence axis."""
    figure, place = ax.figure, ax.get_subplotspec()
    if place is not None:
        halves = place.subgridspec(2, 1, height_ratios=[4, 1], hspace=0.08)
        ax.set_subplotspec(halves[0])
        strip = figure.add_subplot(halves[1], sharex=ax)
    else:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position((left, bottom + 0.26 * height, width, 0.74 * height))
        strip = figure.add_axes((left, bottom, width, 0.2 * height), sharex=ax)
    ax.tick_params(labelbottom=False)
    return fixed(strip)
