"""Joint accuracy against the share deferred: is it the right images that the large model gets?"""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from duokit.cascade.deferral import DeferralCurve

from .style import MUTED, axes_or_new, looks, percent, styled

Reference = Literal["oracle", "ideal", "random"]
_DASHES: dict[str, tuple[int, tuple[int, ...]]] = {
    "oracle": (0, (1, 1)),
    "ideal": (0, (5, 1, 1, 1)),
    "random": (0, (7, 3)),
}


@styled
def deferral_curves(
    curves: Mapping[str, DeferralCurve],
    ax: Axes | None = None,
    *,
    lines: Sequence[Reference] = ("oracle", "ideal", "random"),
    of: str | None = None,
) -> Axes:
    """Return axes with joint accuracy against the share deferred, higher = better.

    Left is the small model alone, right the deferred answer alone; the marker stands there. The
    thin grey lines belong to one curve: the oracle, which no order of deferral is above, the
    published ideal, which a curve may be above, and deferring by lot.

    Args:
        curves: Name -> curve (duokit.cascade.deferral.deferral_curve). Names that begin with duo,
            large or small have the same colour in every figure.
        ax: Axes to draw in; default: a new figure.
        lines: Which grey lines to draw, of "oracle", "ideal" and "random"; () for none.
        of: The name of the curve they belong to; default: the first.

    Raises:
        TypeError: Not a mapping of names to curves, or ax is not an Axes.
        ValueError: No curve, or a line or a name that is not known.
    """
    _check(curves, lines, of)
    ax = axes_or_new(ax)
    whose = next(iter(curves)) if of is None else of
    grey: list[Line2D] = []
    for line in lines:
        corners = getattr(curves[whose], line)
        label = line if len(curves) == 1 else f"{line} ({whose})"
        grey += ax.plot(
            corners.ratio, corners.accuracy, color=MUTED, linewidth=1.2, linestyle=_DASHES[line],
            label=label,
        )  # fmt: skip
    drawn: list[Line2D] = []
    for name, look in looks(curves).items():
        curve = curves[name]
        drawn += ax.plot(
            curve.ratio, curve.accuracy, color=look.colour, linestyle=look.dash, label=name
        )
        ax.plot(
            curve.ratio[-1:], curve.accuracy[-1:], color=look.colour, marker=look.marker,
            clip_on=False, zorder=3,
        )  # fmt: skip
    ax.set_xlim(0, 1)
    ax.set(xlabel="deferral ratio (% of images deferred)", ylabel="joint accuracy (%)")
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    ax.legend(handles=[*drawn, *grey], loc="best")
    return ax


def _check(curves: Mapping[str, DeferralCurve], lines: Sequence[str], of: str | None) -> None:
    if not isinstance(curves, Mapping):
        raise TypeError(
            f'curves must be a dict such as {{"cascade": curve}}, not {type(curves).__name__}'
        )
    if not curves:
        raise ValueError("curves is empty: give at least one, by name")
    for name, curve in curves.items():
        if not isinstance(curve, DeferralCurve):
            raise TypeError(
                f"curves[{name!r}] must come from duokit.cascade.deferral.deferral_curve, "
                f"not {type(curve).__name__}"
            )
    unknown = [name for name in lines if name not in get_args(Reference)]
    if isinstance(lines, str) or unknown:
        raise ValueError(
            f"lines is {lines!r}; give a list of {', '.join(get_args(Reference))}, or () for none"
        )
    if of is not None and of not in curves:
        raise ValueError(f"of is {of!r}; choose one of {', '.join(map(str, curves))}")
