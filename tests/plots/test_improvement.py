import numpy as np
import pandas as pd
import pytest

from duokit.metrics.table import METRICS
from duokit.plots.improvement import BETTER, OPEN, WORSE, improvements

COLUMNS = ["value", "baseline", "difference", "difference_low", "difference_high"]


def rows(**given):
    return pd.DataFrame.from_dict(given, orient="index", columns=COLUMNS)


def bars(ax):
    """Return {row: (low, high, colour)} and {row: point}."""
    found, points = {}, {}
    for line in ax.lines:
        x, y = line.get_data()
        if line.get_marker() == "o":
            points[y[0]] = x[0]
        elif len(set(y)) == 1:
            found[y[0]] = (*x, line.get_color())
    return found, points


def test_right_is_better_for_every_metric():
    ax = improvements(rows(accuracy=[0.9, 0.8, 0.1, 0.05, 0.2], nll=[0.3, 0.5, -0.2, -0.3, -0.1]))
    found, points = bars(ax)
    assert points == {0: pytest.approx(12.5), 1: pytest.approx(40)}
    assert found[0] == (pytest.approx(6.25), pytest.approx(25), BETTER)
    assert found[1] == (pytest.approx(20), pytest.approx(60), BETTER)


def test_colour_says_whether_the_interval_holds_zero():
    ax = improvements(
        rows(
            nll=[0.3, 0.5, -0.2, -0.3, -0.1],
            ece=[0.06, 0.05, 0.01, 0.005, 0.02],
            brier=[0.2, 0.3, -0.1, -0.2, 0.1],
            sac90=[0.9, 0.9, 0.0, 0.0, 0.1],
        )
    )
    assert [bar[2] for bar in bars(ax)[0].values()] == [BETTER, WORSE, OPEN, OPEN]
    assert len({BETTER, WORSE, OPEN}) == 3
    hollow = [
        line.get_markerfacecolor() == "white" for line in ax.lines if line.get_marker() == "o"
    ]
    assert hollow == [False, False, True, True]


def test_draws_what_intervals_returned(table):
    ax = improvements(table)
    found, points = bars(ax)
    for row, (name, numbers) in enumerate(table.iterrows()):
        unit = (100 if METRICS[name].better == "higher" else -100) / numbers["baseline"]
        assert points[row] == pytest.approx(unit * numbers["difference"])
        ends = unit * numbers[["difference_low", "difference_high"]]
        assert found[row][:2] == (pytest.approx(min(ends)), pytest.approx(max(ends)))


def test_titles_from_the_top(table):
    ax = improvements(table)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        METRICS[name].title for name in table.index
    ]
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert "% of the baseline" in ax.get_xlabel()


def test_values_beside_the_rows():
    table = rows(accuracy=[0.9, 0.8, 0.1, 0.05, 0.2], ece=[0.0123, 0.02, -0.0077, -0.01, 0.0])
    (right,) = improvements(table).child_axes
    assert [label.get_text() for label in right.get_yticklabels()] == [
        "0.800 → 0.900",
        "0.0200 → 0.0123",
    ]
    assert not improvements(table, values=False).child_axes


def test_rows_without_a_ratio_say_why():
    nan = float("nan")
    ax = improvements(
        rows(
            risk80=[0.1, 0.0, 0.1, 0.0, 0.2],
            auroc=[nan, nan, nan, nan, nan],
            nll=[0.3, 0.5, -0.2, -0.3, -0.1],
        )
    )
    assert [text.get_text() for text in ax.texts] == ["the baseline is 0", "undefined"]
    assert [text.xy[1] for text in ax.texts] == [0, 1]
    assert list(bars(ax)[1]) == [2]


def test_ticks_carry_signs(table):
    ax = improvements(table)
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert "0" in labels
    assert all(text == "0" or text[0] in "+\N{MINUS SIGN}" for text in labels)


def test_figure_grows_with_the_rows(table):
    heights = [improvements(table.iloc[:n]).figure.get_size_inches()[1] for n in (1, 3, 5)]
    assert np.diff(heights, 2) == pytest.approx(0)
    assert heights[0] < heights[1]


def test_refuses_tables_of_another_kind(table):
    with pytest.raises(TypeError, match="not Series"):
        improvements(table["value"])
    with pytest.raises(ValueError, match=r"no column 'baseline'.*with a baseline"):
        improvements(table[["value", "low", "high"]])
    with pytest.raises(ValueError, match=r"each once, not \['speed'\]"):
        improvements(table.rename(index={"nll": "speed"}))
    with pytest.raises(ValueError, match=r"not \[\]"):
        improvements(table.iloc[:0])
    with pytest.raises(ValueError, match=r"not \['nll', 'nll'\]"):
        improvements(table.loc[["nll", "nll"]])
