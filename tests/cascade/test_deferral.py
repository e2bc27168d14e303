"""Deferral curves: values by hand, slow loops over all orders, the lines, the limits."""

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch

from duokit.cascade.deferral import (
    confidence_overlap,
    defer_by_gain,
    deferral_curve,
    deferral_performance,
    expected_flops,
)
from duokit.metrics.selective import risk_coverage_curve
from tests.cascade.samples import make_cascade


def slow_accuracy(uncertainty, small, deferred, count):
    """Joint accuracy when `count` images are deferred, the mean over all orders of ties."""
    found = {}
    for order in permutations(range(len(uncertainty))):
        values = [uncertainty[i] for i in order]
        if values != sorted(values, reverse=True):
            continue
        chosen = set(order[:count])
        right = [deferred[i] if i in chosen else small[i] for i in range(len(order))]
        found[order] = sum(right) / len(right)
    return sum(found.values()) / len(found)


def slow_area(corners):
    total = 0.0
    for (r0, a0), (r1, a1) in pairwise(corners):
        total += (r1 - r0) * (a0 + a1) / 2
    return total


def test_four_images_by_hand():
    curve = deferral_curve([0.4, 0.1, 0.3, 0.2], [0, 1, 0, 1], [1, 1, 0, 0])
    # deferred first: .4 (mended), .3 (wrong either way), .2 (spoiled), .1 (right either way)
    assert curve.ratio.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve.accuracy.tolist() == [0.5, 0.75, 0.75, 0.5, 0.5]
    assert curve.threshold.tolist() == [0.4, 0.3, 0.2, 0.1, -math.inf]
    assert (curve.small, curve.deferred, curve.gained, curve.lost) == (0.5, 0.5, 0.25, 0.25)
    assert curve.line.area == pytest.approx((0.625 + 0.75 + 0.625 + 0.5) / 4)
    assert curve.oracle.accuracy.tolist() == [0.5, 0.75, 0.75, 0.5]
    assert deferral_performance(curve, ideal="oracle") == pytest.approx(0.125 / 0.1875)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("values", [1, 2, 3, None])
def test_equals_the_mean_over_all_orders_of_ties(seed, values):
    uncertainty, small, deferred = (a.tolist() for a in make_cascade(6, seed=seed, values=values))
    curve = deferral_curve(uncertainty, small, deferred)
    for count in range(7):
        expected = slow_accuracy(uncertainty, small, deferred, count)
        assert curve.line.at(count / 6) == pytest.approx(expected)
    expected = slow_area(
        [(c / 6, slow_accuracy(uncertainty, small, deferred, c)) for c in range(7)]
    )
    assert curve.line.area == pytest.approx(expected)


@pytest.mark.parametrize("values", [5, None])
def test_thresholds_reach_their_points(values):
    uncertainty, small, deferred = make_cascade(60, seed=1, values=values)
    curve = deferral_curve(uncertainty, small, deferred)
    assert len(curve.ratio) == len(set(uncertainty.tolist())) + 1
    for ratio, accuracy, threshold in zip(
        curve.ratio, curve.accuracy, curve.threshold, strict=True
    ):
        passed = uncertainty > threshold
        assert passed.mean() == pytest.approx(ratio)
        assert np.where(passed, deferred, small).mean() == pytest.approx(accuracy)


@pytest.mark.parametrize("values", [4, None])
def test_reordering_and_rescaling_change_nothing(values):
    uncertainty, small, deferred = make_cascade(80, seed=2, values=values)
    expected = deferral_curve(uncertainty, small, deferred)
    order = np.random.default_rng(0).permutation(80)
    for scores in (uncertainty, np.exp(3 * uncertainty) - 7):
        curve = deferral_curve(scores[order], small[order], deferred[order])
        np.testing.assert_array_equal(curve.ratio, expected.ratio)
        np.testing.assert_array_equal(curve.accuracy, expected.accuracy)
        assert deferral_performance(curve) == deferral_performance(expected)


def test_a_deferred_answer_that_is_never_wrong_makes_it_a_risk_coverage_curve():
    uncertainty, small, _ = make_cascade(70, seed=3)
    curve = deferral_curve(uncertainty, small, np.ones(70, bool))
    kept = risk_coverage_curve(uncertainty, small)
    joint_risk = kept.risk * kept.coverage
    np.testing.assert_allclose(1 - curve.accuracy[:-1][::-1], joint_risk, atol=1e-12)


# -------------------------------------------------------------------------------------- the lines


def test_lines_as_published_and_the_area_of_the_triangle():
    curve = deferral_curve(*make_cascade(500, seed=4))
    for r in (0, 0.1, 0.3, 0.7, 1):
        by_lot = curve.small + (curve.deferred - curve.small) * r
        slope = (curve.deferred - curve.small) / (1 - curve.small)
        ideal = curve.small + slope * r if r <= 1 - curve.small else curve.deferred
        assert curve.random.at(r) == pytest.approx(by_lot)
        assert curve.ideal.at(r) == pytest.approx(ideal)
    triangle = (curve.deferred - curve.small) * curve.small / 2
    assert curve.ideal.area - curve.random.area == pytest.approx(triangle)
    between = curve.gained * (1 - curve.gained) + curve.lost * (1 - curve.lost)
    assert curve.oracle.area - curve.random.area == pytest.approx(between / 2)
    expected = (curve.line.area - curve.random.area) / triangle
    assert deferral_performance(curve) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_above_the_oracle_and_its_own_order_reaches_it(seed):
    uncertainty, small, deferred = make_cascade(40, seed=seed)
    curve = deferral_curve(uncertainty, small, deferred)
    counts = range(41)
    for c in counts:
        best = small.sum() + sum(sorted((deferred * 1 - small * 1).tolist(), reverse=True)[:c])
        assert curve.oracle.at(c / 40) == pytest.approx(best / 40)
        assert curve.line.at(c / 40) <= curve.oracle.at(c / 40) + 1e-12
    perfect = deferral_curve(deferred * 1.0 - small, small, deferred)
    assert deferral_performance(perfect, ideal="oracle") == pytest.approx(1)
    for c in counts:
        assert perfect.line.at(c / 40) == pytest.approx(perfect.oracle.at(c / 40))
    worst = deferral_curve(small * 1.0 - deferred, small, deferred)
    assert deferral_performance(worst, ideal="oracle") < 0


def test_the_published_ideal_is_no_upper_bound():
    # 1000 images: both right 696, small alone 53, large alone 138, none 113
    small = np.repeat([1, 1, 0, 0], [696, 53, 138, 113])
    large = np.repeat([1, 0, 1, 0], [696, 53, 138, 113])
    curve = deferral_curve(large - small, small, large)
    assert (curve.small, curve.deferred) == (0.749, 0.834)
    assert curve.oracle.accuracy.max() == pytest.approx(0.887)
    assert curve.line.at(0.138) > curve.ideal.at(0.138)
    assert deferral_performance(curve) == pytest.approx(2.657, abs=0.001)
    assert deferral_performance(curve, ideal="oracle") == pytest.approx(1)


def test_without_complement_and_with_a_perfect_large_model_both_ideals_agree():
    uncertainty, small, _ = make_cascade(100, seed=5)
    curve = deferral_curve(uncertainty, small, np.ones(100, bool))
    published, oracle = (deferral_performance(curve, ideal=i) for i in ("published", "oracle"))
    assert published == pytest.approx(oracle)
    assert 0 < published < 1


# -------------------------------------------------------------------------------- degenerate cases


def test_small_always_right():
    curve = deferral_curve([0.1, 0.2, 0.3], [1, 1, 1], [1, 0, 1])
    assert curve.ideal.ratio.tolist() == [0, 0, 1]
    assert curve.oracle.at(1 / 3) == 1
    assert math.isnan(deferral_performance(curve))  # the large model is worse
    assert curve.line.at(0) == 1
    both = deferral_curve([0.1, 0.2], [1, 1], [1, 1])
    assert both.line.area == 1
    assert math.isnan(deferral_performance(both))
    assert math.isnan(deferral_performance(both, ideal="oracle"))


def test_small_never_right():
    curve = deferral_curve([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0], [1, 0, 1, 0])
    assert curve.small == 0
    assert curve.ideal.at(0.5) == pytest.approx(curve.random.at(0.5))
    assert math.isnan(deferral_performance(curve))
    assert math.isfinite(deferral_performance(curve, ideal="oracle"))


def test_all_uncertainties_equal_is_deferring_by_lot():
    _, small, deferred = make_cascade(50, seed=6)
    curve = deferral_curve(np.full(50, 0.3), small, deferred)
    assert curve.ratio.tolist() == [0, 1]
    assert curve.line.area == pytest.approx(curve.random.area)
    assert deferral_performance(curve) == pytest.approx(0)
    assert deferral_performance(curve, ideal="oracle") == pytest.approx(0)


def test_large_worse_than_small():
    uncertainty, small, deferred = make_cascade(200, seed=7, complement=0.05)
    curve = deferral_curve(uncertainty, small, deferred & (np.arange(200) % 2 == 0))
    assert curve.deferred < curve.small
    assert math.isnan(deferral_performance(curve))
    assert math.isfinite(deferral_performance(curve, ideal="oracle"))


def test_one_image():
    curve = deferral_curve([0.5], [False], [True])
    assert curve.accuracy.tolist() == [0, 1]
    assert curve.oracle.ratio.tolist() == [0, 1, 1, 1]


def test_infinite_uncertainties_lists_and_tensors():
    curve = deferral_curve([math.inf, -math.inf, 0.0], [0, 1, 1], [1, 1, 1])
    assert curve.threshold.tolist() == [math.inf, 0, -math.inf, -math.inf]
    given = make_cascade(30, seed=8)
    expected = deferral_curve(*given).accuracy
    for cast in (torch.from_numpy, np.ndarray.tolist):
        np.testing.assert_array_equal(deferral_curve(*map(cast, given)).accuracy, expected)


# ---------------------------------------------------------------------------- overlap, rules, cost


def slow_overlap(confidence, correct, bandwidth, points):
    grid = [i / (points - 1) for i in range(points)]
    densities = []
    for flag in (True, False):
        heights = [
            sum(
                math.exp(-(((c - x) / bandwidth) ** 2) / 2)
                for c, r in zip(confidence, correct, strict=True)
                if r == flag
            )
            for x in grid
        ]
        area = slow_area(list(zip(grid, heights, strict=True)))
        densities.append([h / area for h in heights])
    lower = [min(pair) for pair in zip(*densities, strict=True)]
    return slow_area(list(zip(grid, lower, strict=True)))


@pytest.mark.parametrize("bandwidth", [0.05, 0.2])
def test_overlap_equals_the_slow_loop(bandwidth):
    uncertainty, small, _ = make_cascade(40, seed=9)
    found = confidence_overlap(1 - uncertainty, small, bandwidth=bandwidth, points=101)
    expected = slow_overlap((1 - uncertainty).tolist(), small.tolist(), bandwidth, 101)
    assert found == pytest.approx(expected, rel=1e-10)


def test_overlap_of_twins_of_strangers_and_of_nobody():
    c = np.array([0.2, 0.5, 0.9])
    twins = confidence_overlap(np.tile(c, 2), [1, 1, 1, 0, 0, 0])
    assert twins == pytest.approx(1)
    assert confidence_overlap([0.0, 0.01, 0.99, 1.0], [0, 0, 1, 1]) < 1e-6
    assert math.isnan(confidence_overlap(c, [1, 1, 1]))
    assert math.isnan(confidence_overlap(c, [0, 0, 0]))


def test_deferring_by_gain_is_the_best_rule_when_the_probabilities_are_true():
    draw = np.random.default_rng(1)
    small, large = draw.random(20), draw.random(20)
    for cost in (0, 0.1, 0.4):
        chosen = defer_by_gain(small, large, cost=cost)
        for i in range(20):  # expected mistakes + cost, image by image
            assert chosen[i] == ((1 - large[i]) + cost < (1 - small[i]))
    np.testing.assert_array_equal(
        defer_by_gain(small, 0.75, cost=0.25), small < 0.5
    )  # one number: a threshold
    assert not defer_by_gain([0.5], [0.75], cost=0.25)[0]


def test_flops():
    assert expected_flops(0, small=1e8, large=1e9) == 1e8
    assert expected_flops(0.25, small=1e8, large=1e9) == pytest.approx(3.5e8)
    assert expected_flops(1, small=1e8, large=1e9) == pytest.approx(1.1e9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0.1, np.nan], [1, 0], [1, 1]), r"uncertainty\[1\] is NaN"),
        (([0.1, 0.2], [1], [1, 1]), r"small_correct must have shape \(2,\)"),
        (([0.1, 0.2], [1, 0], [1, 2]), "deferred_correct.1. is 2"),
        (([], [], []), "n >= 1"),
    ],
)
def test_refuses_what_is_no_cascade(given, message):
    with pytest.raises(ValueError, match=message):
        deferral_curve(*given)


def test_refuses_other_options():
    curve = deferral_curve(*make_cascade(10, seed=0))
    with pytest.raises(ValueError, match="ideal must be"):
        deferral_performance(curve, ideal="theirs")
    with pytest.raises(ValueError, match=r"20 % is 0\.2"):
        curve.line.at(20)
    with pytest.raises(ValueError, match="points must be"):
        confidence_overlap([0.1, 0.2], [0, 1], points=1)
    with pytest.raises(ValueError, match="at least two steps"):
        confidence_overlap([0.1, 0.2], [0, 1], bandwidth=0)
    with pytest.raises(ValueError, match="outside 0"):
        confidence_overlap([1.1, 0.2], [0, 1])
    with pytest.raises(ValueError, match="cost is -1"):
        defer_by_gain([0.5], [0.5], cost=-1)
    with pytest.raises(ValueError, match="deferred_confidence has 1 images"):
        defer_by_gain([0.5, 0.5], [0.5], cost=0)
    with pytest.raises(ValueError, match="small is 0 FLOPs"):
        expected_flops(0.5, small=0, large=1)
    with pytest.raises(ValueError, match="large is inf FLOPs"):
        expected_flops(0.5, small=1, large=np.inf)
    with pytest.raises(ValueError, match="ratio must be"):
        expected_flops(1.5, small=1, large=1)
