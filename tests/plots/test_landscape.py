from dataclasses import replace

import numpy as np
import pytest

from duokit.fusion.landscape import Landscape
from duokit.fusion.weights import fit_weights
from duokit.plots.landscape import CONTOURS, nll_landscape


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.lines}


def test_path_and_optimum_are_those_of_the_fit(landscape, fits):
    drawn = lines(nll_landscape(landscape, fits[0]))
    np.testing.assert_array_equal(drawn["steps of the fit"], fits[0].path)
    np.testing.assert_array_equal(drawn["duo, the optimum"], [fits[0].weights])
    assert set(drawn) == {"steps of the fit", "duo, the optimum"}


def test_single_models_lie_on_the_edges(landscape, fits):
    duo, (large, small) = fits
    drawn = lines(nll_landscape(landscape, duo, alone=(large, small)))
    np.testing.assert_array_equal(drawn["large alone"], [[large.weights[0], 0]])
    np.testing.assert_array_equal(drawn["small alone"], [[0, small.weights[0]]])


def test_contours_span_the_grid_and_crowd_near_the_minimum(landscape, fits):
    ax = nll_landscape(landscape, fits[0])
    (contours,) = ax.collections
    levels = contours.levels
    assert len(levels) == CONTOURS + 1
    assert levels[0] == landscape.nll.min()
    assert levels[-1] == pytest.approx(landscape.nll.max())
    assert (np.diff(levels, 2) > 0).all()
    assert ax.get_xlim() == (0, 2.0)
    assert ax.get_ylim() == (0, 1.5)


def test_the_darkest_area_holds_the_lowest_nll():
    """Axes not swapped: a bowl with its minimum at large = 3, small = 1."""
    large, small = np.linspace(0, 4, 21), np.linspace(0, 2, 11)
    bowl = (large[None] - 3) ** 2 + (small[:, None] - 1) ** 2
    fit = fit_weights([np.eye(4), np.eye(4)[::-1] * 0.5], [0, 1, 2, 2])
    ax = nll_landscape(Landscape(large, small, bowl), fit)
    lowest = ax.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(lowest.mean(0), [3, 1], atol=0.1)


def test_scale_beside_the_map(landscape, fits):
    ax = nll_landscape(landscape, fits[0])
    (scale,) = [each for each in ax.figure.axes if each is not ax]
    assert scale.get_ylabel() == "NLL (nats)"
    assert ax.get_xlabel() == "weight of the large model"
    assert ax.get_ylabel() == "weight of the small model"


def test_refuses_a_grid_that_does_not_fit_its_sides(landscape, fits):
    with pytest.raises(ValueError, match=r"shape \(small, large\) = \(11, 10\)"):
        nll_landscape(replace(landscape, large=landscape.large[1:]), fits[0])


@pytest.mark.promise("any-records")
def test_a_flat_landscape_is_told_in_words(landscape, fits):
    ax = nll_landscape(replace(landscape, nll=np.full((11, 11), 0.5)), fits[0])
    assert ax.get_title(loc="left") == "the NLL is 0.500 nats for all weights"
    assert not ax.collections
    assert ax.figure.axes == [ax]


def test_refuses_fits_of_another_number_of_members(landscape, fits):
    duo, (large, small) = fits
    with pytest.raises(ValueError, match=r"fit must be a fit of 2 member\(s\), not of 1"):
        nll_landscape(landscape, large)
    with pytest.raises(ValueError, match=r"alone\[1\] must be a fit of 1 member\(s\), not of 2"):
        nll_landscape(landscape, duo, alone=(large, duo))
    with pytest.raises(TypeError, match=r"alone\[0\] must come from .*fit_weights, not float"):
        nll_landscape(landscape, duo, alone=(1.0, small))
    with pytest.raises(TypeError, match="landscape must come from"):
        nll_landscape(duo, duo)
