"""Risk against coverage: how often is the model wrong if it may leave out what it is unsure of?"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from duokit.metrics.selective import RiskCoverageCurve

from .style import axes_or_new, looks, percent, styled

STEADY = 0.05  # the risk of fewer images than this share jumps about too much to set the scale


@styled
def risk_coverage(
    curves: Mapping[str, RiskCoverageCurve], ax: Axes | None = None, *, log: bool = False
) -> Axes:
    """Return axes with the error rate among the kept images against the share kept, lower = better.

    Every point of a curve is where a step begins: between two coverages no threshold lies, so the
    risk stays that of the smaller one. The risk axis shows all risks at coverages above 5 %; the
    first few images, where one error is a risk of 100 %, may run out of the frame.

    Args:
        curves: Name -> curve (duokit.metrics.selective.risk_coverage_curve). Names that begin with
            duo, large or small have the same colour in every figure.
        ax: Axes to draw in; default: a new figure.
        log: Draw the risk on a logarithmic axis; where it is 0 the line leaves the frame.

    Raises:
        TypeError: Not a mapping of names to curves, or ax is not an Axes.
        ValueError: No curve.
    """
    if not isinstance(curves, Mapping):
        raise TypeError(
            f'curves must be a dict such as {{"duo": curve}}, not {type(curves).__name__}'
        )
    if not curves:
        raise ValueError("curves is empty: give at least one, by name")
    for name, curve in curves.items():
        if not isinstance(curve, RiskCoverageCurve):
            raise TypeError(
                f"curves[{name!r}] must come from duokit.metrics.selective.risk_coverage_curve, "
                f"not {type(curve).__name__}"
            )
    ax = axes_or_new(ax)
    for name, look in looks(curves).items():
        curve = curves[name]
        ax.step(
            curve.coverage,
            curve.risk,
            where="post",
            label=name,
            color=look.colour,
            linestyle=look.dash,
        )
        ax.plot(
            curve.coverage[-1:],
            curve.risk[-1:],
            color=look.colour,
            marker=look.marker,
            clip_on=False,
            zorder=3,
        )
    _frame(ax, curves, log=log)
    ax.set(xlabel="coverage (% of images kept)", ylabel="risk (% wrong among them)")
    ax.xaxis.set_major_formatter(percent)
    ax.yaxis.set_major_formatter(percent)
    ax.legend(loc="upper left")
    return ax


def _frame(ax: Axes, curves: Mapping[str, RiskCoverageCurve], *, log: bool) -> None:
    risks = np.concatenate([curve.risk[curve.coverage >= STEADY] for curve in curves.values()])
    ax.set_xlim(0, 1)
    highest = risks.max() or 1.0
    if log and risks.any():
        ax.set_yscale("log", nonpositive="clip")
        ax.set_ylim(risks[risks > 0].min() / 1.3, min(1.0, highest * 1.3))
    else:
        ax.set_ylim(0, min(1.0, highest * 1.1))
        ax.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
