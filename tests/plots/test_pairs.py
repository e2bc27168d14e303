import numpy as np
import pandas as pd
import pytest

from duokit.plots.pairs import OPEN, pair_gains


@pytest.fixture
def table():
    rows = [
        (0.02, 0.01, -0.02, 0.04, "open", "same family"),
        (0.1, 0.05, 0.03, 0.07, "better", "other family"),
        (0.4, -0.04, -0.06, -0.02, "worse", "other family"),
    ]
    columns = ["flops_balance", "gain", "gain_low", "gain_high", "verdict", "relation"]
    return pd.DataFrame(rows, columns=columns)


def points(ax, *, hollow):
    lines = [line for line in ax.lines if line.get_marker() != "None" and len(line.get_xdata())]
    chosen = [line for line in lines if (line.get_markerfacecolor() == "white") == hollow]
    return np.concatenate([line.get_xydata() for line in chosen])


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_what_is_open_is_hollow(table):
    ax = pair_gains(table, metric="nll")
    np.testing.assert_allclose(points(ax, hollow=True), [[0.02, 0.01]])
    np.testing.assert_allclose(points(ax, hollow=False), [[0.1, 0.05], [0.4, -0.04]])
    assert names(ax) == ["same family", "other family", OPEN]


def test_intervals_stand_at_their_points(table):
    ax = pair_gains(table, metric="nll")
    ends = np.concatenate([lines.get_segments() for lines in ax.collections])
    np.testing.assert_allclose(ends[:, :, 0], np.repeat(table[["flops_balance"]], 2, axis=1))
    np.testing.assert_allclose(ends[:, :, 1], table[["gain_low", "gain_high"]])


def test_points_alone_will_do(table):
    ax = pair_gains(table[["flops_balance", "gain", "relation"]], metric="nll", title="Theirs")
    assert len(points(ax, hollow=False)) == 3
    assert not ax.collections
    assert names(ax) == ["same family", "other family"]
    assert ax.get_title(loc="left") == "Theirs"
    assert ax.get_ylabel() == "NLL: gain, %"


def test_a_word_keeps_its_look(table):
    order = ["other resolution", "same family", "other family"]
    both, one = pair_gains(table, metric="nll", order=order), table.iloc[1:]
    alone = pair_gains(one, metric="nll", order=order)
    first, second = (
        ax.get_legend().legend_handles[-1 if ax is alone else 1] for ax in (both, alone)
    )
    assert (first.get_marker(), first.get_color()) == (second.get_marker(), second.get_color())


def test_other_columns_can_be_told_apart(table):
    ax = pair_gains(table.assign(data=["a", "b", "b"]), metric="nll", by="data")
    assert names(ax)[:2] == ["a", "b"]


@pytest.mark.promise("any-records")
def test_pairs_of_unknown_cost_stand_side_by_side(table):
    ax = pair_gains(table.assign(flops_balance=np.nan), metric="nll")
    assert sorted(np.concatenate([points(ax, hollow=h) for h in (True, False)])[:, 0]) == [0, 1, 2]
    assert ax.get_xlabel() == "FLOPs unknown: no cost axis"
    assert ax.get_xscale() == "linear"
    assert not len(ax.get_xticks())
    some = pair_gains(table.assign(flops_balance=[0.02, np.nan, 0.4]), metric="nll")
    assert some.get_xlabel().endswith("(unknown for 1 of 3 pairs)")
    assert some.get_xscale() == "log"


@pytest.mark.promise("any-records")
def test_no_pair_is_said(table):
    ax = pair_gains(table.iloc[:0], metric="nll")
    assert ax.get_xlabel() == "no pair to draw"
    assert ax.get_legend() is None


def test_errors_say_what_to_do(table):
    with pytest.raises(TypeError, match="must be a pandas DataFrame, not list"):
        pair_gains([1], metric="nll")
    with pytest.raises(ValueError, match="unknown metric 'f2'"):
        pair_gains(table, metric="f2")
    with pytest.raises(ValueError, match="missing: gain"):
        pair_gains(table.drop(columns="gain"), metric="nll")
    with pytest.raises(ValueError, match="rows of ece too: choose those of nll"):
        pair_gains(table.assign(metric=["nll", "ece", "nll"]), metric="nll")
    with pytest.raises(ValueError, match="a FLOPs balance of 0"):
        pair_gains(table.assign(flops_balance=0), metric="nll")


def test_pairs_without_a_gain_are_counted(table):
    perfect = table.assign(gain=float("nan"))
    assert "nothing is left to gain" in drawn(pair_gains(perfect, metric="nll")).get_xlabel()
    some = table.assign(gain=[float("nan"), *table["gain"][1:]])
    label = drawn(pair_gains(some, metric="nll")).get_xlabel()
    assert f"no gain for 1 of {len(table)} pairs" in label


def drawn(ax):
    ax.figure.draw_without_rendering()
    return ax
