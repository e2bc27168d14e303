import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from duokit.plots.style import ROLES
from duokit.plots.tradeoff import flops_tradeoff


@pytest.fixture
def table():
    rows = [
        ("small", 0.1e9, 0.80, 0.78, 0.82, "member"),
        ("large", 0.5e9, 0.90, 0.88, 0.92, "member"),
        ("large + small", 0.6e9, 0.93, 0.91, 0.95, "duo"),
        ("larger + small", 0.62e9, 0.93, np.nan, np.nan, "duo"),
    ]
    return pd.DataFrame(rows, columns=["name", "flops", "value", "low", "high", "kind"])


def names(ax):
    return {text.get_text(): text for text in ax.texts if text.get_text()}


def test_points_stand_at_billions_of_flops(table):
    member, duo = flops_tradeoff(table, metric="accuracy").lines
    np.testing.assert_allclose(member.get_xydata(), [[0.1, 0.8], [0.5, 0.9]])
    np.testing.assert_allclose(duo.get_xydata(), [[0.6, 0.93], [0.62, 0.93]])


def test_seconds_may_stand_in_place_of_flops(table):
    timed = table.drop(columns="flops").assign(seconds=[0.002, 0.01, 0.012, 0.013])
    ax = flops_tradeoff(timed, metric="accuracy", cost="seconds")
    member, duo = ax.lines
    np.testing.assert_allclose(member.get_xdata(), [2, 10])
    np.testing.assert_allclose(duo.get_xdata(), [12, 13])
    assert "milliseconds" in ax.get_xlabel()
    assert names(ax)["large"].xy == pytest.approx((10, 0.9))
    with pytest.raises(ValueError, match="missing: seconds"):
        flops_tradeoff(table, metric="accuracy", cost="seconds")
    with pytest.raises(ValueError, match=r"'large' has 0\.0 seconds: measure"):
        flops_tradeoff(timed.replace({"seconds": {0.01: 0}}), metric="accuracy", cost="seconds")
    with pytest.raises(ValueError, match="unknown cost 'money'"):
        flops_tradeoff(timed, metric="accuracy", cost="money")


def test_kinds_have_their_looks_and_a_legend(table):
    ax = flops_tradeoff(table, metric="accuracy")
    assert [line.get_color() for line in ax.lines] == [ROLES["member"].colour, ROLES["duo"].colour]
    assert [line.get_marker() for line in ax.lines] == [ROLES["member"].marker, ROLES["duo"].marker]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["member", "duo"]
    assert flops_tradeoff(table[:2], metric="accuracy").get_legend() is None


def test_bars_are_the_intervals(table):
    member, duo = flops_tradeoff(table, metric="accuracy").collections
    ends = [segment[:, 1] for segment in member.get_segments()]
    np.testing.assert_allclose(ends, [[0.78, 0.82], [0.88, 0.92]])
    np.testing.assert_allclose(duo.get_segments()[0], [[0.6, 0.91], [0.6, 0.95]])


def test_every_name_stands_once_at_its_own_point(table):
    found = names(flops_tradeoff(table, metric="accuracy"))
    assert set(found) == set(table["name"])
    for _, row in table.iterrows():
        assert found[row["name"]].xy == pytest.approx((row["flops"] / 1e9, row["value"]))
        assert found[row["name"]].get_color() == ROLES[row["kind"]].colour


def test_names_overlap_neither_one_another_nor_a_point_nor_the_frame(table):
    ax = flops_tradeoff(table, metric="accuracy")
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in names(ax).values()]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    dots = ax.transData.transform(np.column_stack([table["flops"] / 1e9, table["value"]]))
    assert not any(box.contains(*dot) for box in boxes for dot in dots)
    frame = ax.get_window_extent()
    assert all(frame.contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_a_name_that_is_far_away_has_a_line_to_its_point(table):
    crowd = pd.concat(
        [
            table.assign(name=table["name"] + f" {i}", flops=table["flops"] * (1 + i / 50))
            for i in range(4)
        ]
    )
    ax = flops_tradeoff(crowd, metric="accuracy")
    lines = [text for text in ax.texts if isinstance(text, Annotation) and text.arrow_patch]
    far = [text for text in names(ax).values() if np.hypot(*text.xyann) > 12]
    assert far
    assert [line.xyann for line in lines] == [text.xyann for text in far]
    assert [line.xy for line in lines] == [text.xy for text in far]


@pytest.mark.parametrize(
    ("metric", "label"), [("accuracy", "Accuracy (↑ better)"), ("nll", "NLL (↓ better)")]
)
def test_axes(table, metric, label):
    ax = flops_tradeoff(table, metric=metric)
    assert ax.get_ylabel() == label
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "billion multiply-adds for one image"
    ax.figure.draw_without_rendering()
    assert {"0.1", "0.2", "0.5"} <= {text.get_text() for text in ax.get_xticklabels()}


def test_rows_may_have_any_index(table):
    ax = flops_tradeoff(table.set_axis([7, 7, 7, 7]), metric="accuracy")
    assert set(names(ax)) == set(table["name"])


def test_refuses_tables_of_another_kind(table):
    with pytest.raises(ValueError, match="missing: flops, kind"):
        flops_tradeoff(table.drop(columns=["kind", "flops"]), metric="nll")
    with pytest.raises(ValueError, match="it is empty"):
        flops_tradeoff(table[:0], metric="nll")
    with pytest.raises(ValueError, match="unknown metric 'speed': choose from accuracy"):
        flops_tradeoff(table, metric="speed")
    with pytest.raises(ValueError, match=r"'large' has 0.0 FLOPs"):
        flops_tradeoff(table.assign(flops=[1e9, 0.0, 1e9, 1e9]), metric="nll")
    assert not plt.get_fignums()


@pytest.mark.promise("any-records")
@pytest.mark.parametrize("unknown", [np.nan, None])
def test_unknown_costs_are_said(table, unknown):
    ax = flops_tradeoff(table.assign(flops=unknown), metric="nll")
    assert ax.get_xlabel() == "FLOPs unknown: no cost axis"
    assert set(names(ax)) == set(table["name"])
    assert ax.get_xscale() == "linear"
    assert not len(ax.get_xticks())
    ax = flops_tradeoff(table.assign(flops=[1e9, unknown, 1e9, 2e9]), metric="nll")
    assert ax.get_xlabel().endswith("(FLOPs unknown: large)")
    assert set(names(ax)) == set(table["name"]) - {"large"}
