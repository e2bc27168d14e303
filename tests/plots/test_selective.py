import numpy as np
import pytest

from duokit.metrics.selective import RiskCoverageCurve, risk_coverage_curve
from duokit.plots.selective import risk_coverage
from duokit.plots.style import ROLES


@pytest.fixture
def curves():
    draw = np.random.default_rng(0)
    uncertainty = np.round(draw.random(200), 2)
    correct = draw.random(200) > uncertainty
    return {
        "small": risk_coverage_curve(-uncertainty, correct),
        "duo": risk_coverage_curve(uncertainty, correct),
    }


def steps(ax):
    return [line for line in ax.lines if line.get_drawstyle() == "steps-post"]


def test_lines_are_the_points_of_the_curves(curves):
    ax = risk_coverage(curves)
    assert [line.get_label() for line in steps(ax)] == ["small", "duo"]
    for line, curve in zip(steps(ax), curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), curve.coverage)
        np.testing.assert_array_equal(line.get_ydata(), curve.risk)


def test_the_risk_stays_until_the_next_coverage():
    curve = RiskCoverageCurve(np.array([0.5, 1.0]), np.array([0.0, 0.25]), np.array([0.1, 0.2]))
    ax = risk_coverage({"duo": curve})
    (line,) = steps(ax)
    np.testing.assert_array_equal(line.get_path().vertices, [[0.5, 0], [1, 0], [1, 0.25]])


def test_the_end_is_marked_with_the_risk_of_keeping_all(curves):
    ax = risk_coverage(curves)
    ends = [line for line in ax.lines if line not in steps(ax)]
    assert [line.get_marker() for line in ends] == [ROLES["small"].marker, ROLES["duo"].marker]
    for line, curve in zip(ends, curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), [[1.0, curve.risk[-1]]])


def test_labels_legend_and_ticks_in_percent(curves):
    ax = risk_coverage(curves)
    assert "%" in ax.get_xlabel()
    assert "%" in ax.get_ylabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["small", "duo"]
    ax.figure.draw_without_rendering()
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "0",
        "20",
        "40",
        "60",
        "80",
        "100",
    ]


def test_the_first_images_do_not_set_the_scale():
    coverage = np.array([0.01, 0.5, 1.0])
    curve = RiskCoverageCurve(coverage, np.array([1.0, 0.1, 0.2]), coverage)
    assert risk_coverage({"duo": curve}).get_ylim() == (0, pytest.approx(0.22))


def test_no_error_at_all():
    curve = risk_coverage_curve([0.1, 0.2], [True, True])
    for log in (False, True):
        ax = risk_coverage({"duo": curve}, log=log)
        assert ax.get_ylim() == (0, 1)
        assert ax.get_yscale() == "linear"


def test_all_wrong_fits_in_the_frame():
    ax = risk_coverage({"duo": risk_coverage_curve([0.1, 0.2], [False, False])})
    assert ax.get_ylim() == (0, 1)


def test_log_axis_begins_below_the_smallest_risk_above_zero(curves):
    ax = risk_coverage(curves, log=True)
    assert ax.get_yscale() == "log"
    risks = np.concatenate([c.risk[c.coverage >= 0.05] for c in curves.values()])
    low, high = ax.get_ylim()
    assert 0 < low < risks[risks > 0].min()
    assert risks.max() <= high <= 1


def test_refuses_curves_without_names(curves):
    with pytest.raises(TypeError, match="must be a dict such as"):
        risk_coverage(curves["duo"])
    with pytest.raises(TypeError, match=r"curves\['duo'\] must come from .*risk_coverage_curve"):
        risk_coverage({"duo": (1, 2)})
    with pytest.raises(ValueError, match="curves is empty"):
        risk_coverage({})
