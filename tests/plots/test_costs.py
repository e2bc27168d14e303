"""Accuracy against cost lies where the table says."""

import numpy as np
import pandas as pd
import pytest

from duokit.plots import cost_curves
from duokit.plots.style import ROLES

ROWS = {
    (0.5, "small"): (0.8, np.nan, np.nan),
    (0.5, "cascade"): (0.85, 0.84, 0.86),
    (1.0, "small"): (0.8, np.nan, np.nan),
    (1.0, "large"): (0.9, np.nan, np.nan),
    (1.0, "cascade"): (0.9, 0.89, 0.92),
}


@pytest.fixture
def table():
    index = pd.MultiIndex.from_tuples(ROWS, names=["budget", "answer"])
    return pd.DataFrame(list(ROWS.values()), index, ["accuracy", "low", "high"])


def named(ax):
    return {line.get_label(): line for line in ax.lines if line.get_label()[0] != "_"}


def test_points_stand_at_the_first_budget_and_lines_go_through_all(table):
    found = named(cost_curves(table[::-1]))  # the order of the rows does not matter
    assert found["small"].get_xydata().tolist() == [[0.5, 0.8]]
    assert found["large"].get_xydata().tolist() == [[1.0, 0.9]]
    assert found["cascade"].get_xydata().tolist() == [[0.5, 0.85], [1.0, 0.9]]
    assert found["large"].get_color() == ROLES["large"].colour
    assert found["small"].get_linestyle() == "None"


def test_bands_are_those_of_the_table(table):
    ax = cost_curves(table)
    (band,) = ax.collections
    corners = {tuple(p) for p in band.get_paths()[0].vertices.round(9)}
    assert {(0.5, 0.84), (0.5, 0.86), (1.0, 0.89), (1.0, 0.92)} <= corners
    assert not cost_curves(table[["accuracy"]]).collections


def test_the_axis_can_be_cut(table):
    assert cost_curves(table, budgets=(0.4, 1.2)).get_xlim() == (0.4, 1.2)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.reset_index(), ValueError, r"the index \(budget, answer\)"),
        (lambda t: t[["low"]], ValueError, "a column accuracy"),
        (lambda t: t[:0], ValueError, "must have rows"),
        (lambda t: {"a": 1}, TypeError, "must be a pandas DataFrame, not dict"),
    ],
)
def test_what_cannot_be_drawn_is_said(table, change, error, message):
    with pytest.raises(error, match=message):
        cost_curves(change(table))
