"""Maps side by side: a column a model, a row a picture, orange for and blue against."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from duokit.plots.attribution import AGAINST, FOR, attribution_maps

MAPS = {
    "large": np.array([[4.0, -2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]),
    "small": np.array([[-1.0, np.nan, 0.5, 0.0], [0.1, 0.2, 0.3, 0.4]]),
}
PICTURES = np.random.default_rng(0).integers(0, 256, size=(2, 3, 8, 8), dtype=np.uint8)


def tiles(ax):
    """Colours by (row, column), later tiles of a place on top."""
    found = {}
    for image in ax.images:
        left, _, _, top = image.get_extent()
        found.setdefault((int(top), int(left)), []).append(np.asarray(image.get_array()))
    return found


def labels(axis):
    return [each.get_text() for each in axis.get_ticklabels()]


def test_columns_are_models_and_rows_pictures():
    ax = attribution_maps(MAPS, titles=["cat", "dog"])
    assert labels(ax.xaxis) == ["large", "small"]
    assert labels(ax.yaxis) == ["cat", "dog"]
    assert sorted(tiles(ax)) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert labels(attribution_maps(MAPS).yaxis) == ["1", "2"]


def test_colours_say_sign_and_strength_by_each_maps_own_scale():
    found = tiles(attribution_maps(MAPS))
    large = found[0, 0][0].reshape(4, 4)
    assert large[0, :3] == pytest.approx(to_rgb(FOR))
    assert large[1, :3] == pytest.approx(1 - 0.5 * (1 - np.array(to_rgb(AGAINST))))
    assert large[2, :3].tolist() == [1, 1, 1]
    small = found[0, 1][0].reshape(4, 4)
    assert small[0, :3] == pytest.approx(to_rgb(AGAINST))  # its own largest
    assert small[1, :3].tolist() == [1, 1, 1]  # a region that is not there
    assert (found[1, 0][0][..., :3] == 1).all()  # a map of zeros


def test_pictures_stand_in_front_and_below():
    found = tiles(attribution_maps(MAPS, pictures=PICTURES))
    assert sorted({column for _, column in found}) == [0, 1, 2]
    assert found[1, 0][0] == pytest.approx(np.moveaxis(PICTURES[1], 0, -1) / 255)
    grey, over = found[1, 2]
    assert np.ptp(grey, axis=2).max() == 0
    assert over[..., 3] == pytest.approx(0.8 * np.array([[0.25, 0.5], [0.75, 1.0]]))
    floats = tiles(attribution_maps(MAPS, pictures=PICTURES / 255))
    assert floats[1, 0][0] == pytest.approx(found[1, 0][0])


def test_regions_of_any_form():
    areas = np.zeros((2, 4, 4), dtype=int)
    areas[0, :2], areas[1, :, :1] = 3, 2
    found = tiles(attribution_maps(MAPS, regions=areas, pictures=PICTURES))
    assert found[0, 1][1][..., 3] == pytest.approx(np.where(areas[0] == 3, 0.2, 0.8))
    grid = tiles(attribution_maps(MAPS, regions=np.arange(4).reshape(2, 2)))
    assert np.array_equal(grid[0, 0][0], tiles(attribution_maps(MAPS))[0, 0][0])


@pytest.mark.parametrize(
    ("maps", "options", "text"),
    [
        ({}, {}, "maps is empty"),
        ({"a": np.ones((1, 4)), "b": np.ones((1, 9))}, {}, "different shapes"),
        ({"a": np.ones(4)}, {}, "expected \\(pictures, parts\\)"),
        ({"a": np.ones((1, 5))}, {}, "no square grid"),
        ({"a": np.ones((1, 4))}, {"pictures": PICTURES}, r"expected \(1, 3, side, side\)"),
        ({"a": np.ones((1, 4))}, {"titles": ["x", "y"]}, "2 titles for 1 pictures"),
        ({"a": np.ones((1, 4))}, {"regions": np.full((2, 2), 4)}, "the maps have 4"),
    ],
)
def test_what_cannot_be_drawn_is_refused(maps, options, text):
    with pytest.raises(ValueError, match=text):
        attribution_maps(maps, **options)
