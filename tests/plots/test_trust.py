"""Shares of the trust: one point a pair, in the look of its large model."""

import numpy as np
import pandas as pd
import pytest

from duokit.plots import trust_shares
from duokit.plots.style import ROLES

TABLE = pd.DataFrame(
    [("A", 0.01, 0.2, 0.1), ("B", 0.1, 0.05, 0.3), ("A", 0.5, -0.01, 0.55)],
    columns=["large", "flops_balance", "accuracy_gap", "trust_small"],
)
LIVE = pd.DataFrame(
    [("here", 0.2, 0.1, 0.4)], columns=["name", "flops_balance", "accuracy_gap", "trust_small"]
)


def points(ax):
    return {line.get_label(): line for line in ax.lines if line.get_linestyle() == "None"}


@pytest.mark.parametrize("x", ["flops_balance", "accuracy_gap"])
def test_points_are_those_of_the_table(x):
    ax = trust_shares(TABLE, x=x, live=LIVE, title="Whose")
    found = points(ax)
    for name, rows in [*TABLE.groupby("large"), ("here", LIVE)]:
        np.testing.assert_allclose(found[name].get_xydata(), rows[[x, "trust_small"]])
    assert found["A"].get_marker() != found["B"].get_marker()
    assert found["here"].get_markerfacecolor() == "none"
    assert found["here"].get_color() == ROLES["duo"].colour
    assert ax.get_xscale() == ("log" if x == "flops_balance" else "linear")
    assert [0.5, 0.5] in [list(line.get_ydata()) for line in ax.lines]
    assert ax.get_title("left") == "Whose"


def test_a_model_keeps_its_look_where_another_is_missing():
    both = points(trust_shares(TABLE, order=["A", "B"]))
    alone = points(trust_shares(TABLE[1:2], order=["A", "B"], legend=False))
    assert alone["B"].get_marker() == both["B"].get_marker()


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (TABLE, {"x": "size"}, "x is 'size'; expected one of flops_balance, accuracy_gap"),
        (TABLE[:0], {}, "it is empty"),
        (TABLE.drop(columns="large"), {}, "table must have rows.*missing: large"),
        (TABLE, {"live": LIVE.drop(columns="name")}, "live must have rows.*missing: name"),
        (TABLE.assign(flops_balance=0.0), {}, r"table has a FLOPs balance of 0\.0"),
    ],
)
def test_what_cannot_be_drawn_is_said(table, options, message):
    with pytest.raises(ValueError, match=message):
        trust_shares(table, **options)
