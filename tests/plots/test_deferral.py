import numpy as np
import pytest

from duokit.cascade.deferral import deferral_curve
from duokit.plots.deferral import deferral_curves
from duokit.plots.style import MUTED, ROLES


@pytest.fixture
def curves():
    draw = np.random.default_rng(0)
    uncertainty = np.round(draw.random(200), 2)
    small = draw.random(200) > 0.8 * uncertainty
    answers = {name: draw.random(200) < p for name, p in (("cascade", 0.8), ("cascaded duo", 0.85))}
    return {name: deferral_curve(uncertainty, small, right) for name, right in answers.items()}


def named(ax):
    return {line.get_label(): line for line in ax.lines if line.get_label()[0] != "_"}


def test_lines_are_the_points_of_the_curves(curves):
    found = named(deferral_curves(curves))
    for name, curve in curves.items():
        np.testing.assert_array_equal(found[name].get_xdata(), curve.ratio)
        np.testing.assert_array_equal(found[name].get_ydata(), curve.accuracy)


def test_grey_lines_are_those_of_the_first_curve_or_of_the_one_named(curves):
    for of, expected in ((None, "cascade"), ("cascaded duo", "cascaded duo")):
        found = named(deferral_curves(curves, of=of))
        for line in ("oracle", "ideal", "random"):
            corners = getattr(curves[expected], line)
            drawn = found[f"{line} ({expected})"]
            np.testing.assert_array_equal(drawn.get_xdata(), corners.ratio)
            np.testing.assert_array_equal(drawn.get_ydata(), corners.accuracy)
            assert drawn.get_color() == MUTED


def test_only_the_lines_asked_for_and_the_curves_first_in_the_legend(curves):
    ax = deferral_curves(curves, lines=("random",))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["cascade", "cascaded duo", "random (cascade)"]
    assert list(named(deferral_curves({"a": curves["cascade"]}, lines=()))) == ["a"]
    assert set(named(deferral_curves({"a": curves["cascade"]}, lines=["ideal"]))) == {"ideal", "a"}


def test_the_end_is_marked_with_the_accuracy_of_deferring_all(curves):
    ax = deferral_curves({"duo": curves["cascaded duo"], "large": curves["cascade"]})
    marked = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    assert [line.get_marker() for line in marked] == [ROLES["duo"].marker, ROLES["large"].marker]
    for line, name in zip(marked, ("cascaded duo", "cascade"), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [[1.0, curves[name].deferred]])


def test_labels_and_ticks_in_percent(curves):
    ax = deferral_curves(curves)
    assert "%" in ax.get_xlabel()
    assert "%" in ax.get_ylabel()
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["0", "20", "40", "60", "80", "100"]


def test_one_image_and_a_small_model_that_is_always_right():
    deferral_curves({"a": deferral_curve([0.1], [True], [True])})
    deferral_curves({"a": deferral_curve([0.1, 0.2], [True, True], [False, True])})


def test_refuses_what_it_cannot_draw(curves):
    with pytest.raises(TypeError, match="must be a dict such as"):
        deferral_curves(curves["cascade"])
    with pytest.raises(TypeError, match=r"curves\['a'\] must come from .*deferral_curve"):
        deferral_curves({"a": (1, 2)})
    with pytest.raises(ValueError, match="curves is empty"):
        deferral_curves({})
    for lines in (["best"], "random"):
        with pytest.raises(ValueError, match="give a list of oracle, ideal, random"):
            deferral_curves(curves, lines=lines)
    with pytest.raises(ValueError, match="of is 'duo'; choose one of cascade"):
        deferral_curves(curves, of="duo")
