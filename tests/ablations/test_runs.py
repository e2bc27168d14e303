"""Intervals over runs, against scipy's own tests."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from duokit.ablations.runs import over_runs

VALUES = [0.031, 0.039, 0.035, -0.002, 0.020]


def test_the_interval_is_that_of_a_t_test():
    found = over_runs(VALUES)
    low, high = ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["mean"] == pytest.approx(np.mean(VALUES))
    assert found["sd"] == pytest.approx(np.std(VALUES, ddof=1))


@pytest.mark.parametrize("values", [VALUES, [1.0, 2.0], [-1.0, -2.0, -3.0]])
def test_the_share_of_wins_has_the_exact_interval(values):
    found = over_runs(values)
    won = sum(v > 0 for v in values)
    exact = binomtest(won, len(values)).proportion_ci(0.95, method="exact")
    assert found["wins"] == pytest.approx(won / len(values))
    assert (found["wins_low"], found["wins_high"]) == pytest.approx((exact.low, exact.high))


def test_signs_and_order():
    found, turned = over_runs(VALUES), over_runs([-v for v in reversed(VALUES)])
    assert (turned["low"], turned["high"]) == pytest.approx((-found["high"], -found["low"]))


def test_one_run_has_no_interval():
    found = over_runs([0.1])
    assert found["runs"] == 1
    assert np.isnan(found[["sd", "low", "high"]].to_numpy(float)).all()


def test_a_tie_is_no_win():
    assert over_runs([0.0, 0.1])["wins"] == 0.5


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [
        ([], 0.95, "one finite number a run"),
        ([0.1, np.nan], 0.95, "nan.*one finite number a run"),
        ([0.1, 0.2], 1.0, "level is 1.0"),
    ],
)
def test_what_is_no_run_is_said(values, level, message):
    with pytest.raises(ValueError, match=message):
        over_runs(values, level=level)
