"""Attribution maps side by side over their pictures: where does each model look?"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from .style import ROLES, axes_or_new, styled

GAP = 0.06  # between pictures, in sides of a picture
FOR, AGAINST = ROLES["large"].colour, ROLES["duo"].colour  # orange and blue


@styled
def attribution_maps(
    maps: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    *,
    pictures: np.ndarray | None = None,
    regions: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
) -> Axes:
    """Return axes with a column for each model and a row for each picture.

    Orange cells speak for the class that was asked about, blue ones against it; the stronger the
    colour, the more. Each map has its own scale, its largest absolute value, because logits of
    different models have none in common.

    Args:
        maps: Name -> (n, parts) values, one a region; NaN for a region that a picture lacks.
        ax: Axes to draw in; default: a new figure.
        pictures: (n, 3, side, side) bytes, or floats in [0, 1]; shown in grey below the maps, and
            in colour in a first column. Default: maps alone.
        regions: (side, side) or (n, side, side) region of each pixel; default: a square grid, row
            by row, for which parts must be a square number.
        titles: n names of the rows; default: 1, 2, ...

    Raises:
        TypeError: Not a mapping of names to arrays, or ax is not an Axes.
        ValueError: No map, maps of different shapes, or another number of pictures or titles.
    """
    values = _checked(maps)
    n, parts = next(iter(values.values())).shape
    shown = None if pictures is None else _colours(pictures, n)
    names = [str(row + 1) for row in range(n)] if titles is None else list(titles)
    if len(names) != n:
        raise ValueError(f"{len(names)} titles for {n} pictures")
    columns = ([] if shown is None else ["picture"]) + list(values)
    width = min(7.0, 1.0 + 1.5 * len(columns))
    ax = axes_or_new(ax, width, min(12.0, 0.4 + (width - 0.8) / len(columns) * n))
    for row in range(n):
        area = _area(regions, row, parts)
        if shown is not None:
            _tile(ax, shown[row], row, 0)
        for column, each in enumerate(values.values(), start=len(columns) - len(values)):
            if shown is not None:
                grey = shown[row].mean(axis=2, keepdims=True).repeat(3, axis=2)
                _tile(ax, 0.5 + 0.5 * grey, row, column)
            _tile(ax, _overlay(each[row], solid=shown is None)[area], row, column)
    ax.set(xlim=(0, len(columns) - GAP), ylim=(n - GAP, 0), aspect="equal")
    ax.set_xticks(np.arange(len(columns)) + (1 - GAP) / 2, columns)
    ax.set_yticks(np.arange(n) + (1 - GAP) / 2, names)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    ax.set_xlabel("orange: for the class, blue: against it")
    ax.xaxis.set_label_position("bottom")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return ax


def _tile(ax: Axes, colours: np.ndarray, row: int, column: int) -> None:
    extent = (column, column + 1 - GAP, row + 1 - GAP, row)
    ax.imshow(colours, extent=extent, interpolation="nearest", zorder=1)


def _overlay(values: np.ndarray, *, solid: bool) -> np.ndarray:
    """Return (parts, 4) red, green, blue and opacity; of a region without a value, none."""
    known = np.nan_to_num(values)
    largest = np.abs(known).max()
    strength = np.abs(known) / largest if largest > 0 else np.zeros(len(known))
    colours = np.where(known[:, None] >= 0, to_rgb(FOR), to_rgb(AGAINST))
    if solid:
        colours = 1 - strength[:, None] * (1 - colours)
        return np.concatenate([colours, np.ones((len(known), 1))], axis=1)
    return np.concatenate([colours, 0.8 * strength[:, None]], axis=1)


def _area(regions: np.ndarray | None, row: int, parts: int) -> np.ndarray:
    """Return the region of each pixel of a picture, or of each cell of the grid."""
    if regions is None:
        side = round(parts**0.5)
        if side * side != parts:
            raise ValueError(f"{parts} regions are no square grid: give regions")
        return np.arange(parts).reshape(side, side)
    found = np.asarray(regions)
    found = found if found.ndim == 2 else found[row]
    if found.min() < 0 or found.max() >= parts:
        raise ValueError(
            f"regions go from {found.min()} to {found.max()}, the maps have {parts} of them"
        )
    return found


def _colours(pictures: np.ndarray, n: int) -> np.ndarray:
    """Return (n, side, side, 3) in [0, 1]."""
    found = np.asarray(pictures)
    if found.ndim != 4 or found.shape[:2] != (n, 3):
        raise ValueError(f"pictures have shape {found.shape}; expected ({n}, 3, side, side)")
    found = found / 255 if found.dtype == np.uint8 else found
    return np.moveaxis(found, 1, -1)


def _checked(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not isinstance(maps, Mapping):
        raise TypeError(f'maps must be a dict such as {{"large": values}}, not {maps!r:.40}')
    if not maps:
        raise ValueError("maps is empty: give at least one, by name")
    found = {name: np.asarray(each, dtype=np.float64) for name, each in maps.items()}
    shapes = {name: each.shape for name, each in found.items()}
    if any(len(shape) != 2 or not all(shape) for shape in shapes.values()):
        raise ValueError(f"maps have shapes {shapes}; expected (pictures, parts)")
    if len(set(shapes.values())) > 1:
        raise ValueError(f"maps have different shapes: {shapes}")
    return found
