"""Thresholds for a target: slow searches, exact budgets, and what a guarantee is worth."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from duokit.cascade.deferral import deferral_curve
from duokit.cascade.thresholds import (
    GRID,
    Threshold,
    check_threshold,
    threshold_for_accuracy,
    threshold_for_cost,
    threshold_for_flops,
    threshold_for_ratio,
)
from tests.cascade.samples import make_cascade

both = pytest.mark.parametrize("values", [6, None])


def slow_points(uncertainty, small, deferred):
    """(share deferred, joint accuracy) as counts, at every threshold, in plain Python."""
    points = []
    for t in (-math.inf, *sorted(set(uncertainty.tolist()))):
        passed = [u > t for u in uncertainty.tolist()]
        right = [d if p else s for p, s, d in zip(passed, small, deferred, strict=True)]
        points.append((sum(passed), int(sum(right))))
    return points


@both
@pytest.mark.parametrize("asked", [0.3, 0.6, 0.7, 0.75, 0.8, 1])
def test_accuracy_equals_the_slow_search(values, asked):
    for seed in range(5):
        given = make_cascade(50, seed=seed, values=values)
        found = threshold_for_accuracy(*given, asked)
        points = slow_points(*given)
        enough = [passed for passed, right in points if right >= round(asked * 50, 6)]
        assert found.met == bool(enough)
        best = max(right for _, right in points)
        wanted = enough or [passed for passed, right in points if right == best]
        assert found.ratio == pytest.approx(min(wanted) / 50)
        check = check_threshold(found, *given)
        assert check.met == found.met
        assert check.ratio == found.ratio


def test_an_accuracy_met_exactly_counts():
    uncertainty, small = np.arange(10) / 10, np.arange(10) < 9
    found = threshold_for_accuracy(uncertainty, small, ~small, 0.9)
    assert (found.met, found.ratio) == (True, 0)
    assert check_threshold(found, uncertainty, small, ~small).met


@both
@pytest.mark.parametrize("asked", [0, 0.01, 0.1, 0.3, 0.5, 0.99, 1])
def test_ratio_defers_as_much_as_it_may(values, asked):
    uncertainty, small, deferred = make_cascade(70, seed=1, values=values)
    found = threshold_for_ratio(uncertainty, asked)
    counts = [passed for passed, _ in slow_points(uncertainty, small, deferred)]
    assert found.ratio == max(c for c in counts if c <= asked * 70 + 1e-9) / 70
    assert (uncertainty > found.value).mean() == found.ratio
    assert check_threshold(found, uncertainty, small, deferred).met


def test_flops_are_kept_exactly():
    uncertainty, small, deferred = make_cascade(10, seed=2)
    found = threshold_for_flops(uncertainty, 1.3, small=1, large=1)  # 1.3 - 1 < .3 in floats
    assert found.ratio == 0.3
    check = check_threshold(found, uncertainty, small, deferred)
    assert (check.flops, check.met) == (1.3, True)
    assert threshold_for_flops(uncertainty, 1, small=1, large=3).ratio == 0
    assert threshold_for_flops(uncertainty, 99, small=1, large=3).value == -math.inf
    tight = Threshold(found.value, "flops", 1.29, True, 10, 0.3, None, (1.0, 1.0))
    assert not check_threshold(tight, uncertainty, small, deferred).met


@both
@pytest.mark.parametrize("cost", [0, 0.05, 0.3, 1])
def test_cost_equals_the_slow_search(values, cost):
    for seed in range(5):
        given = make_cascade(60, seed=seed, values=values)
        found = threshold_for_cost(deferral_curve(*given), cost)
        least = min((60 - right + cost * passed, passed) for passed, right in slow_points(*given))
        assert found.ratio == pytest.approx(least[1] / 60)
        assert check_threshold(found, *given).met
        assert (given[0] > found.value).mean() == found.ratio


def test_cost_at_its_ends():
    uncertainty, small, _ = make_cascade(60, seed=3)
    assert threshold_for_cost(deferral_curve(uncertainty, small, ~small), 1).ratio == 0
    every = threshold_for_cost(deferral_curve(uncertainty, np.zeros(60), np.ones(60)), 0.5)
    assert every.value == -math.inf
    never = Threshold(-math.inf, "cost", 0.5, True, 60, 1.0)
    assert not check_threshold(never, uncertainty, np.ones(60), np.ones(60)).met


def test_intervals_are_scipys():
    found = Threshold(0.5, "ratio", 0.5, True, 10, 0.5)
    uncertainty, small, deferred = make_cascade(40, seed=4)
    check = check_threshold(found, uncertainty, small, deferred, level=0.9)
    passed = uncertainty > 0.5
    for count, low, high in (
        (passed.sum(), check.ratio_low, check.ratio_high),
        (np.where(passed, deferred, small).sum(), check.accuracy_low, check.accuracy_high),
    ):
        exact = binomtest(int(count), 40).proportion_ci(0.9, method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))


# ---------------------------------------------------------------------------------- the guarantee


def population(n, seed):
    """A cascade whose true joint accuracy and ratio are known at every threshold."""
    draw = np.random.default_rng(seed)
    u = draw.random(n)
    return u, draw.random(n) > 0.6 * u, draw.random(n) < 0.9


def true_accuracy(t):
    t = min(max(t, 0.0), 1.0)
    return t - 0.3 * t**2 + (1 - t) * 0.9


def test_a_certain_accuracy_fails_no_more_often_than_it_may():
    missed, plain = 0, 0
    for seed in range(300):
        given = population(200, seed)
        certain = threshold_for_accuracy(*given, 0.85, certainty=0.9)
        if certain.met:
            missed += true_accuracy(certain.value) < 0.85
        plain += true_accuracy(threshold_for_accuracy(*given, 0.85).value) < 0.85
    assert missed / 300 <= 0.1
    assert plain / 300 > 0.3  # why anyone would want the guarantee


def test_a_certain_ratio_fails_no_more_often_than_it_may_and_about_as_often():
    missed = 0
    for seed in range(1000):
        u = np.random.default_rng(seed).random(100)
        missed += 1 - threshold_for_ratio(u, 0.3, certainty=0.9).value > 0.3
    assert 0.04 < missed / 1000 <= 0.115  # at most .1, and .1 +- .01 by chance


def test_more_certainty_defers_more_for_accuracy_and_less_for_a_ratio():
    given = population(3000, 0)
    plain = threshold_for_accuracy(*given, 0.85).ratio
    ratios = [threshold_for_accuracy(*given, 0.85, certainty=c).ratio for c in (0.8, 0.99)]
    assert plain <= ratios[0] <= ratios[1]
    budget = [threshold_for_ratio(given[0], 0.3, certainty=c).ratio for c in (0.8, 0.99)]
    assert 0.3 >= budget[0] >= budget[1] > 0.2


def test_fixed_sequence_stops_at_the_first_failure():
    # all wrong at thresholds between .2 and .5, right again above: the test must not jump the gap
    u = np.repeat([0.1, 0.3, 0.9], [100, 100, 100])
    small = np.repeat([1, 0, 1], 100)
    deferred = np.ones(300, bool)
    found = threshold_for_accuracy(
        u, small, deferred, 0.9, certainty=0.95, grid=[0.05, 0.2, 0.5, 1]
    )
    assert found.value == 0.2
    assert found.met


def test_too_few_images_to_be_certain_defers_all_or_nothing():
    given = population(10, 1)
    found = threshold_for_accuracy(*given, 0.99, certainty=0.95)
    assert (found.value, found.ratio, found.met) == (-math.inf, 1, False)
    small = threshold_for_ratio(given[0], 0.01, certainty=0.95)
    assert (small.value, small.ratio) == (math.inf, 0)
    assert threshold_for_ratio(given[0], 1, certainty=0.95).ratio == 1
    with_flops = threshold_for_flops(given[0], 1.01, small=1, large=1, certainty=0.95)
    assert (with_flops.value, with_flops.certainty) == (math.inf, 0.95)


def test_the_grid_runs_over_all_uncertainties():
    assert GRID[0] == pytest.approx(1e-6)
    assert GRID[-1] == 1
    assert (np.diff(GRID) > 0).all()
    perfect = threshold_for_accuracy([0.2] * 500, [1] * 500, [1] * 500, 0.9, certainty=0.95)
    assert (perfect.ratio, perfect.value) == (0, 1)


@pytest.mark.parametrize("values", [3, None])
def test_reordering_changes_nothing(values):
    u, small, deferred = make_cascade(80, seed=5, values=values)
    order = np.random.default_rng(1).permutation(80)
    for certainty in (None, 0.8):
        first = threshold_for_accuracy(u, small, deferred, 0.6, certainty=certainty)
        again = threshold_for_accuracy(
            u[order], small[order], deferred[order], 0.6, certainty=certainty
        )
        assert first == again
        assert threshold_for_ratio(u, 0.4, certainty=certainty) == threshold_for_ratio(
            u[order], 0.4, certainty=certainty
        )


def test_refuses_targets_that_make_no_sense():
    given = make_cascade(20, seed=6)
    for asked in (0, 1.2, 90):
        with pytest.raises(ValueError, match="accuracy must be a fraction"):
            threshold_for_accuracy(*given, asked)
    for certainty in (0, 1, 95):
        with pytest.raises(ValueError, match=r"95 % is 0\.95"):
            threshold_for_accuracy(*given, 0.9, certainty=certainty)
        with pytest.raises(ValueError, match=r"95 % is 0\.95"):
            threshold_for_ratio(given[0], 0.5, certainty=certainty)
    with pytest.raises(ValueError, match="ratio must be"):
        threshold_for_ratio(given[0], 20)
    with pytest.raises(ValueError, match="budget is 1 FLOPs"):
        threshold_for_flops(given[0], 1, small=2, large=3)
    with pytest.raises(ValueError, match="cost is -1"):
        threshold_for_cost(deferral_curve(*given), -1)
    with pytest.raises(ValueError, match="grid must rise"):
        threshold_for_accuracy(*given, 0.5, certainty=0.9, grid=[0.5, 0.5])
    with pytest.raises(ValueError, match="grid is for a threshold with certainty"):
        threshold_for_accuracy(*given, 0.5, grid=[0.5])
    for outside in (given[0] * 1.5 / given[0].max(), given[0] - given[0].min() - 0.1):
        with pytest.raises(ValueError, match="the default grid from 0 to 1"):
            threshold_for_accuracy(outside, *given[1:], 0.5, certainty=0.9)
    with pytest.raises(ValueError, match="must lie in"):
        check_threshold(threshold_for_ratio(given[0], 0.5), *given, level=1)
