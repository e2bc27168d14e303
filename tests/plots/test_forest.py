"""The forest plot shows every row where it belongs, and says which word it does not know."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from duokit.plots import forest

TABLE = pd.DataFrame(
    {
        "value": [0.3, -0.2, 0.0, 0.5],
        "low": [0.1, -0.4, -0.1, np.nan],
        "high": [0.5, -0.1, 0.1, np.nan],
        "says": ["holds", "fails", "open", "holds"],
    },
    index=["NLL", "AUROC", "ECE", "R squared"],
)


def test_points_bars_and_labels_are_those_of_the_table():
    ax = forest(TABLE)
    points = {}
    for line in ax.lines[1:]:
        points |= dict(zip(line.get_ydata(), line.get_xdata(), strict=True))
    assert points == dict(enumerate(TABLE["value"]))
    bars = [segment for each in ax.collections for segment in each.get_segments() if len(segment)]
    found = {segment[0, 1]: (segment[0, 0], segment[1, 0]) for segment in bars}
    assert {k: v for k, v in found.items() if k < 3} == {
        0: (0.1, 0.5), 1: (-0.4, -0.1), 2: (-0.1, 0.1)
    }  # fmt: skip
    assert [label.get_text() for label in ax.get_yticklabels()] == list(TABLE.index)
    top, bottom = (ax.transData.transform((0, row))[1] for row in (0, 3))
    assert top > bottom
    plt.close(ax.figure)


def test_what_is_said_can_be_told_apart_without_colour():
    ax = forest(TABLE)
    looks = {
        line.get_label(): (line.get_marker(), line.get_markerfacecolor()) for line in ax.lines[1:]
    }
    assert set(looks) == {"holds", "fails", "open"}
    assert looks["open"][1] == "white"
    assert looks["holds"][0] != looks["fails"][0]
    plt.close(ax.figure)


def test_the_line_stands_where_it_was_asked_for():
    ax = forest(TABLE, line=0.25)
    assert list(ax.lines[0].get_xdata()) == [0.25, 0.25]
    plt.close(ax.figure)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([1, 2], TypeError, "must be a DataFrame of findings, not list"),
        (TABLE.iloc[:0], ValueError, "table is empty"),
        (TABLE.drop(columns="low"), ValueError, "no column 'low': expected value, low, high, says"),
        (TABLE.replace("open", "maybe"), ValueError, "says is 'maybe'.*holds, open, fails"),
    ],
)
def test_what_cannot_be_drawn_is_said(table, error, message):
    with pytest.raises(error, match=message):
        forest(table)
