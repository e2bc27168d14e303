import numpy as np
import pandas as pd
import pytest

from duokit import published
from duokit.plots.balance import gains_by_balance
from duokit.plots.style import ROLES


@pytest.fixture
def table():
    rows = [("A", 0.01, 0.02, -0.3), ("B", 0.1, 0.05, 0.1), ("A", 0.5, -0.01, np.nan)]
    return pd.DataFrame(rows, columns=["large", "flops_balance", "nll", "ece"])


@pytest.fixture
def live():
    rows = [("here", 0.2, 0.11), ("here", 0.4, -0.02)]
    return pd.DataFrame(rows, columns=["name", "flops_balance", "nll"])


def drawn(ax):
    """Return label -> line of the series of points; the line at 0 is none."""
    return {line.get_label(): line for line in ax.lines if line.get_linestyle() == "None"}


def test_each_large_model_is_one_series_in_its_own_look(table):
    ax = gains_by_balance(table, metric="nll")
    found = drawn(ax)
    assert list(found) == ["A", "B"]
    np.testing.assert_allclose(found["A"].get_xydata(), [[0.01, 0.02], [0.5, -0.01]])
    np.testing.assert_allclose(found["B"].get_xydata(), [[0.1, 0.05]])
    first, second = found.values()
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["A", "B"]
    assert gains_by_balance(table, metric="nll", legend=False).get_legend() is None


def test_a_model_keeps_its_look_where_another_is_missing(table):
    order = ["A", "B"]
    both = drawn(gains_by_balance(table, metric="nll", order=order))
    alone = drawn(gains_by_balance(table[table["large"] == "B"], metric="nll", order=order))
    assert list(alone) == ["B"]
    assert alone["B"].get_marker() == both["B"].get_marker()


def test_live_duos_are_rings_of_their_own(table, live):
    ax = gains_by_balance(table, metric="nll", live=live)
    ring = drawn(ax)["here"]
    np.testing.assert_allclose(ring.get_xydata(), [[0.2, 0.11], [0.4, -0.02]])
    assert ring.get_color() == ROLES["duo"].colour
    assert ring.get_markerfacecolor() == "none"
    published_looks = {line.get_color() for name, line in drawn(ax).items() if name != "here"}
    assert ROLES["duo"].colour not in published_looks


def test_axes_are_in_per_cent_and_have_a_line_at_no_gain(table):
    ax = gains_by_balance(table, metric="nll", title="Whose numbers")
    ax.figure.draw_without_rendering()
    assert ax.get_xscale() == "log"
    assert {"1", "10"} <= {text.get_text() for text in ax.get_xticklabels()}
    assert ax.get_ylabel() == "NLL: gain, %"
    assert ax.get_title("left") == "Whose numbers"
    assert [0, 0] in [list(line.get_ydata()) for line in ax.lines]


def test_a_metric_without_a_value_has_no_point(table):
    found = drawn(gains_by_balance(table, metric="ece"))
    assert np.isfinite(found["A"].get_ydata()).sum() == 1


@pytest.mark.parametrize("benchmark", published.BENCHMARKS)
def test_the_published_gains_can_be_drawn(benchmark):
    table = published.gains(benchmark)
    found = drawn(gains_by_balance(table, metric="nll"))
    assert sum(len(line.get_xdata()) for line in found.values()) == len(table)
    assert len({line.get_marker() for line in found.values()}) == len(found)


def test_refuses_tables_of_another_kind(table, live):
    with pytest.raises(ValueError, match=r"gains must have rows.*missing: large"):
        gains_by_balance(table.drop(columns="large"), metric="nll")
    with pytest.raises(ValueError, match="it is empty"):
        gains_by_balance(table[:0], metric="nll")
    with pytest.raises(ValueError, match="missing: aurc"):
        gains_by_balance(table, metric="aurc")
    with pytest.raises(ValueError, match="unknown metric 'speed'"):
        gains_by_balance(table, metric="speed")
    with pytest.raises(ValueError, match=r"gains has a FLOPs balance of 0\.0"):
        gains_by_balance(table.assign(flops_balance=0.0), metric="nll")
    with pytest.raises(ValueError, match=r"live must have rows.*missing: name"):
        gains_by_balance(table, metric="nll", live=live.drop(columns="name"))
    with pytest.raises(TypeError, match="live must be a pandas DataFrame"):
        gains_by_balance(table, metric="nll", live=[1])
