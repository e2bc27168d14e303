import matplotlib.pyplot as plt
import numpy as np
import pytest

from duokit.metrics.calibration import reliability_curve
from duokit.plots.reliability import BELOW_ONE, reliability_diagram
from duokit.plots.style import ROLES

CONFIDENCE = np.array([0.15, 0.55, 0.58, 0.95, 0.97, 0.99, 0.99, 0.92])
CORRECT = np.array([0, 1, 0, 1, 1, 1, 0, 1])


@pytest.fixture
def curve():
    return reliability_curve(CONFIDENCE, CORRECT, bins=10, level=0.9)


def points(ax):
    return [line for line in ax.lines if line.get_marker() not in ("None", None, "")]


def strip(ax):
    (lower,) = [each for each in ax.figure.axes if each is not ax]
    return lower


def test_points_are_the_bins_that_hold_images(curve):
    ax = reliability_diagram(curve)
    (line,) = points(ax)
    full = [1, 5, 9]
    np.testing.assert_array_equal(line.get_xdata(), curve.confidence[full])
    np.testing.assert_array_equal(line.get_ydata(), curve.accuracy[full])
    np.testing.assert_allclose(line.get_ydata(), [0, 0.5, 0.8])


def test_bars_are_the_intervals_of_the_curve(curve):
    ax = reliability_diagram(curve)
    _, _, bars = ax.lines  # diagonal, points, bars
    x, y = bars.get_xdata().reshape(-1, 3), bars.get_ydata().reshape(-1, 3)
    full = curve.count > 0
    np.testing.assert_array_equal(x, np.repeat(curve.confidence[full], 3).reshape(-1, 3))
    np.testing.assert_array_equal(y[:, 0], curve.low[full])
    np.testing.assert_array_equal(y[:, 1], curve.high[full])
    assert np.isnan(y[:, 2]).all()
    assert ax.get_legend().get_title().get_text() == "bars: 90 % interval"


def test_bins_with_few_images_may_be_left_out_of_the_diagram_alone(curve):
    ax = reliability_diagram(curve, fewest=3, start=0.4)
    np.testing.assert_allclose(points(ax)[0].get_ydata(), [0.8])
    assert len(ax.lines[2].get_xdata()) == 3
    assert ax.get_ylim()[0] == 0.4 < curve.low[9]  # the bar of the bin of two is no reason
    np.testing.assert_array_equal(strip(ax).patches[0].get_data().values, curve.count)
    assert len(points(reliability_diagram(curve, fewest=2))[0].get_xdata()) == 2
    with pytest.raises(ValueError, match="fewest must be 1 image or more, not 0"):
        reliability_diagram(curve, fewest=0)


def test_diagonal(curve):
    diagonal = reliability_diagram(curve).lines[0]
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])


def test_strip_counts_the_images(curve):
    ax = reliability_diagram(curve)
    below = strip(ax)
    assert below.get_yscale() == "log"
    assert below.get_xlim() == ax.get_xlim()
    outline, filled = below.patches
    assert (outline.get_fill(), filled.get_fill()) == (False, True)
    for drawn in (outline, filled):
        counts, edges, _ = drawn.get_data()
        np.testing.assert_array_equal(counts, [0, 1, 0, 0, 0, 2, 0, 0, 0, 5])
        np.testing.assert_allclose(edges, np.arange(11) / 10)
    bottom, top = below.get_ylim()
    assert bottom == BELOW_ONE < 1  # so that one image can be seen
    assert top > 5
    assert (below.get_xlabel(), below.get_ylabel()) == ("confidence (%)", "images")
    assert ax.get_xlabel() == ""


def test_without_strip(curve):
    ax = reliability_diagram(curve, counts=False)
    assert ax.figure.axes == [ax]
    assert ax.get_xlabel() == "confidence (%)"


def test_axes_shrink_to_make_room(curve):
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    reliability_diagram(curve, ax)
    upper, lower = ax.get_position(), strip(ax).get_position()
    assert lower.y0 == pytest.approx(0.1)
    assert upper.y1 == pytest.approx(0.9)
    assert lower.y1 < upper.y0


def test_several_predictors(curve):
    other = reliability_curve(CONFIDENCE, ~CORRECT.astype(bool), bins=5, level=0.95)
    ax = reliability_diagram({"large": curve, "duo": other})
    assert [line.get_label() for line in points(ax)] == ["large", "duo"]
    assert [line.get_color() for line in points(ax)] == [
        ROLES["large"].colour,
        ROLES["duo"].colour,
    ]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["large", "duo"]
    assert ax.get_legend().get_title().get_text() == "bars: 90 % and 95 % interval"
    assert [len(patch.get_data().values) for patch in strip(ax).patches] == [10, 5]


def test_start_cuts_both_axes_but_no_bar(curve):
    ax = reliability_diagram(curve, start=0.5)
    assert ax.get_xlim()[0] == 0.5
    shown = curve.low[(curve.count > 0) & (curve.confidence >= 0.5)]
    assert shown.min() - 0.02 < ax.get_ylim()[0] < shown.min() < 0.5
    narrow = reliability_diagram(reliability_curve(np.full(9999, 0.97), np.ones(9999)), start=0.9)
    assert narrow.get_ylim()[0] == 0.9


def test_start_beyond_all_points(curve):
    assert reliability_diagram(curve, start=0.98).get_ylim()[0] == 0.98


def test_a_marker_at_100_percent_is_whole():
    ax = reliability_diagram(reliability_curve([0.999, 0.2], [1, 1]))
    assert ax.get_xlim()[1] > 1
    assert ax.get_ylim()[1] > 1
    ax.figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_yticklabels()][-1] in ("100", "120")
    shown = [tick for tick in ax.get_yticks() if tick <= ax.get_ylim()[1]]
    assert max(shown) == pytest.approx(1)


@pytest.mark.parametrize("start", [-0.1, 1, 80])
def test_refuses_a_start_that_is_no_confidence(curve, start):
    with pytest.raises(ValueError, match=r"80 % is 0.8"):
        reliability_diagram(curve, start=start)
    assert not plt.get_fignums()


def test_refuses_no_curve_and_other_things(curve):
    with pytest.raises(ValueError, match="curves is empty"):
        reliability_diagram({})
    with pytest.raises(TypeError, match="'duo' must be a curve"):
        reliability_diagram({"large": curve, "duo": (1, 2)})
