"""How every figure of the project looks: one palette, one set of sizes, one way to open a figure.

The figures are read on a phone (about 360 px wide) and on a desk, in light and in dark pages. So
they are narrow and their letters large, their background is white, and no meaning hangs on colour
alone: each colour comes with a line style and a marker of its own.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.style
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes

from duokit.printable import printable

WIDTH, HEIGHT = 5.6, 4.2  # inches

INK = "#222222"
MUTED = "#6B6B6B"  # contrast 5.3 on white: text may have it
FAINT = "#E3E3E3"


class Look(NamedTuple):
    """How one predictor is drawn in every figure."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]]
    marker: str


# The words of the project have one look each; the first three hues are Okabe and Ito's. All differ
# for readers with any of the three colour-vision deficiencies, and stand out from white (3 : 1).
ROLES = {
    "duo": Look("#0072B2", "-", "o"),
    "large": Look("#D55E00", (0, (5, 2)), "s"),
    "small": Look("#009E73", (0, (2, 1)), "^"),
    "member": Look(MUTED, (0, (3, 2)), "h"),  # any single model, where only "not a duo" matters
}
OTHERS = (
    Look("#CC6FA5", (0, (6, 2, 1, 2)), "D"),
    Look(INK, (0, (1, 1)), "v"),
    Look("#7A4A1E", (0, (8, 2)), "P"),
    Look("#332288", (0, (4, 1, 1, 1, 1, 1)), "X"),
)

STYLE: dict[Any, Any] = {  # the names of rcParams are typed in some versions of matplotlib only
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=[look.colour for look in (*ROLES.values(), *OTHERS)]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.figsize": (WIDTH, HEIGHT),
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure is the same everywhere
    "font.size": 12,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": "figure",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 11,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 11,
}


Drawing = TypeVar("Drawing", bound=Callable[..., Any])


def styled(draw: Drawing) -> Drawing:
    """Decorate: draw in this style whatever settings the reader has, and leave them as they were.

    All but one: the first figure of a notebook starts its display by switching matplotlib to
    interactive, and figures after it would not be shown if that were switched back. Names are drawn
    as they are, whatever they hold; a title or the words at an axis may hold formulas ($x^2$).
    """

    @wraps(draw)
    def in_style(*args: Any, **options: Any) -> Any:
        with mpl.style.context(["default", STYLE]):
            drawn = draw(
                *map(_printed, args), **{key: _printed(value) for key, value in options.items()}
            )
            interactive = mpl.is_interactive()
        mpl.interactive(interactive)
        return drawn

    return cast(Drawing, in_style)


def _printed(given: Any) -> Any:
    """Return what a function draws, with printable texts and names; all else is as it was."""
    if isinstance(given, str):
        return printable(given)
    if isinstance(given, Mapping):
        return {_name(key): value for key, value in given.items()}
    if type(given) in (list, tuple):
        return type(given)(map(_name, given))
    if not isinstance(given, pd.DataFrame):
        return given
    table = given.rename(index=_name)
    for column in table.select_dtypes(["object", "string", "category"]):
        table[column] = table[column].map(_name)
    return table


def _name(given: Any) -> Any:
    """Return a name so that matplotlib draws all of it: no formula, and not left out of legends."""
    if not isinstance(given, str):
        return given
    text = re.sub(r"(?<!\\)\$", r"\$", printable(given))
    return f" {text}" if text.startswith("_") else text


def apply_style() -> None:
    """Set the look of all figures drawn from here on, your own among them.

    The functions of this package have this look without it. Call it before `plt.subplots` if you
    make the axes yourself, so that their letters and lines fit.
    """
    mpl.rcParams.update(STYLE)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return the look of each name; the words in ROLES have the same one in every figure.

    A name that is such a word, or else the first that begins with one ("large, calibrated"), has
    its look. All others take the remaining looks in their order; after the last the first is used
    again.

    Args:
        names: What the predictors are called in the figure.
    """
    names = list(names)
    words = {name: re.split(r"[^a-z]", name.lower(), maxsplit=1)[0] for name in names}
    found: dict[str, Look] = {}
    for name in sorted(names, key=lambda name: name.lower() not in ROLES):  # the exact words first
        look = ROLES.get(words[name])
        if look is not None and look not in found.values():
            found[name] = look
    free = [look for look in (*OTHERS, *ROLES.values()) if look not in found.values()] or [*OTHERS]
    rest = [name for name in names if name not in found]
    found.update({name: free[i % len(free)] for i, name in enumerate(rest)})
    return {name: found[name] for name in names}


def axes_or_new(ax: Axes | None, width: float = WIDTH, height: float = HEIGHT) -> Axes:
    """Return the axes given, or those of a new figure of width x height inches.

    Raises:
        TypeError: Something else than axes, such as the pair that plt.subplots returns.
    """
    if ax is None:
        return fixed(plt.subplots(figsize=(width, height), layout="constrained")[1])
    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be a matplotlib Axes, not {type(ax).__name__}: "
            "plt.subplots returns a figure and the axes; pass the axes, one at a time"
        )
    return ax


def fixed(ax: Axes) -> Axes:
    """Return the axes with the size of tick labels written down.

    How many ticks have room is decided when the figure is saved, by the settings of that moment
    unless the axes know better.
    """
    ax.tick_params(labelsize=STYLE["xtick.labelsize"])
    return ax


def percent(value: float, _: object = None) -> str:
    """Return the tick label of a fraction on an axis whose own label says %."""
    return f"{100 * value:.4g}"
