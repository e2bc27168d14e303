"""The NLL over the two weights: where the fit walked, and where it stopped."""

from typing import Protocol

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from .style import INK, ROLES, axes_or_new, styled

CONTOURS = 7
SHADES = ("#86AFD3", "#F4F8FB")  # at the lowest and at the highest NLL
LOWEST = 0.004  # height of the lowest contour above the smallest NLL, as a share of the range


class Landscape(Protocol):
    """What is drawn; duokit.fusion.landscape.Landscape has it."""

    @property
    def large(self) -> np.ndarray:
        """Return (a,) weights of the large model."""

    @property
    def small(self) -> np.ndarray:
        """Return (b,) weights of the small model."""

    @property
    def nll(self) -> np.ndarray:
        """Return (b, a) NLL in nats."""


class Fit(Protocol):
    """What is marked; duokit.fusion.weights.WeightFit has it."""

    @property
    def weights(self) -> np.ndarray:
        """Return (m,) the weights found."""

    @property
    def path(self) -> np.ndarray:
        """Return (steps, m) the weights on the way there."""


@styled
def nll_landscape(
    landscape: Landscape,
    fit: Fit,
    ax: Axes | None = None,
    *,
    alone: tuple[Fit, Fit] | None = None,
) -> Axes:
    """Return axes with contours of the NLL over the two weights, the fit's steps and its optimum.

    The contours stand closer together near the minimum, where the differences between duos lie:
    each is a fixed factor further above the smallest NLL of the grid than the one before. Steps
    outside the grid are not in view. Where no weight changes the NLL, a title says so.

    Args:
        landscape: From duokit.fusion.landscape.nll_landscape.
        fit: From duokit.fusion.weights.fit_weights([large, small], labels).
        ax: Axes to draw in; default: a new figure.
        alone: The fits of the large and of the small model alone, marked on the two edges where the
            other's weight is 0.

    Raises:
        TypeError: landscape or fit is something else, or ax is not an Axes.
        ValueError: A grid of another shape than its sides, or a fit of another number of members.
    """
    _check(landscape, fit, alone)
    ax = axes_or_new(ax)
    _contours(ax, landscape)
    ax.plot(
        *fit.path.T, color=INK, marker="o", markersize=5, linewidth=1.4, label="steps of the fit"
    )
    _mark(ax, fit.weights, "*", ROLES["duo"].colour, "duo, the optimum")
    if alone is not None:
        _mark(ax, (alone[0].weights[0], 0.0), "s", ROLES["large"].colour, "large alone")
        _mark(ax, (0.0, alone[1].weights[0]), "^", ROLES["small"].colour, "small alone")
    ax.grid(visible=False)
    ax.set(xlim=landscape.large[[0, -1]], ylim=landscape.small[[0, -1]])
    ax.set(xlabel="weight of the large model", ylabel="weight of the small model")
    ax.legend(loc="upper right", frameon=True, framealpha=0.85, edgecolor="none")
    return ax


def _contours(ax: Axes, landscape: Landscape) -> None:
    low, high = landscape.nll.min(), landscape.nll.max()
    levels = [low, *(low + np.geomspace(LOWEST, 1, CONTOURS) * (high - low))]
    if not (np.diff(levels) > 0).all():
        ax.set_title(f"the NLL is {low:.3f} nats for all weights")
        return
    grid = (landscape.large, landscape.small, landscape.nll)
    filled = ax.contourf(*grid, levels=levels, colors=sns.blend_palette(SHADES, CONTOURS))
    scale = ax.figure.colorbar(filled, ax=ax, format="%.2f", spacing="uniform")
    scale.set_label("NLL (nats)")
    scale.outline.set_visible(False)


def _mark(
    ax: Axes, point: tuple[float, float] | np.ndarray, marker: str, colour: str, name: str
) -> None:
    """Draw a marker that stays whole on the edge of the axes and visible on any shade."""
    ax.plot(
        *point,
        marker=marker,
        linestyle="none",
        markersize=17 if marker == "*" else 9,
        color=colour,
        markeredgecolor="white",
        markeredgewidth=1.2,
        clip_on=False,
        zorder=4,
        label=name,
    )


def _check(landscape: Landscape, fit: Fit, alone: tuple[Fit, Fit] | None) -> None:
    for name in ("large", "small", "nll"):
        if not isinstance(getattr(landscape, name, None), np.ndarray):
            raise TypeError(
                "landscape must come from duokit.fusion.landscape.nll_landscape, "
                f"not {type(landscape).__name__}"
            )
    shape = (len(landscape.small), len(landscape.large))
    if landscape.nll.shape != shape or min(shape) < 2:
        raise ValueError(
            f"landscape.nll must have shape (small, large) = {shape}, 2 or more each; it has "
            f"shape {landscape.nll.shape}"
        )
    fits = [("fit", fit, 2)]
    if alone is not None:
        fits += [(f"alone[{j}]", single, 1) for j, single in enumerate(alone)]
    for name, given, members in fits:
        if not isinstance(getattr(given, "weights", None), np.ndarray):
            raise TypeError(
                f"{name} must come from duokit.fusion.weights.fit_weights, "
                f"not {type(given).__name__}"
            )
        if given.weights.shape != (members,):
            raise ValueError(
                f"{name} must be a fit of {members} member(s), not of {len(given.weights)}"
            )
