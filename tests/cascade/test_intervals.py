"""Intervals of a cascade: every resample is the numbers of the drawn images, and what follows."""

import sys
from fractions import Fraction

import numpy as np
import pytest

from duokit.ablations.runs import over_runs
from duokit.cascade.cascaded import fit_cascade
from duokit.cascade.deferral import confidence_overlap, deferral_curve, deferral_performance
from duokit.cascade.intervals import (
    NAMES,
    Counted,
    Outcome,
    cascade_differences,
    cascade_intervals,
)
from duokit.metrics.chance import paired_interval, share_interval
from duokit.metrics.intervals import resample_counts
from tests.cascade.samples import make_cascade, make_pair

FLOPS = (10.0, 100.0)
BUDGETS = (10.0, 47.0, 110.0, 1e6)
RATIOS = (0.0, 0.37, 1.0, 1.0)
COLUMNS = ["value", "low", "high", "baseline", "difference", "difference_low", "difference_high"]


def flags(*values):
    return np.array(values, dtype=bool)


CASES = {
    "untied": make_cascade(60, seed=0),
    "tied": make_cascade(60, seed=1, values=5),
    "all tied": (np.full(30, 0.25), *make_cascade(30, seed=2)[1:]),
    "all right": (make_cascade(20, seed=3)[0], np.ones(20, bool), np.ones(20, bool)),
    "all wrong": (make_cascade(20, seed=4)[0], np.zeros(20, bool), np.ones(20, bool)),
    "large worse": (make_cascade(20, seed=5)[0], np.arange(20) > 4, np.arange(20) > 9),
    "one image": (np.array([0.5]), flags(1), flags(0)),
    "two images": (np.array([0.1, 0.9]), flags(1, 0), flags(1, 1)),
}


def auroc_by_pairs(uncertainty, right):
    """Return the share of (right, wrong) pairs with the wrong one less sure; a tie counts half."""
    pairs = [
        Fraction(int(wrong > own) * 2 + int(wrong == own), 2)
        for own in uncertainty[right]
        for wrong in uncertainty[~right]
    ]
    return float(sum(pairs) / len(pairs)) if pairs else np.nan


def direct(uncertainty, small, deferred, *, points=101):
    """Return every number, in order, by the functions of one sample."""
    curve = deferral_curve(uncertainty, small, deferred)
    return [
        small.mean(),
        deferred.mean(),
        auroc_by_pairs(uncertainty, small),
        curve.line.area,
        deferral_performance(curve),
        deferral_performance(curve, ideal="oracle"),
        confidence_overlap(1 - uncertainty, small, points=points),
        *(curve.line.at(ratio) for ratio in RATIOS),
    ]


@pytest.mark.parametrize("name", CASES)
def test_every_resample_is_each_number_of_the_drawn_images(name):
    case = CASES[name]
    counts = resample_counts(len(case[0]), 12, seed=3)
    found = Counted(Outcome(*case, FLOPS), NAMES, BUDGETS, 0.05, 101).values(counts)
    assert found.shape == (12, len(NAMES) + 4)
    for row, values in zip(counts, found, strict=True):
        drawn = np.repeat(np.arange(len(row)), row)
        expected = direct(*(part[drawn] for part in case))
        assert values.tolist() == pytest.approx(expected, abs=1e-10, nan_ok=True)


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_images_themselves(name):
    case = Outcome(*CASES[name], FLOPS)
    table = cascade_intervals(case, budgets=BUDGETS, points=101, resamples=3)
    assert list(table.index) == [*NAMES, *(f"accuracy@{budget:g}" for budget in BUDGETS)]
    assert table.index.name == "metric"
    assert list(table.columns) == COLUMNS[:3]
    expected = direct(*CASES[name])
    assert table["value"].tolist() == pytest.approx(expected, abs=1e-12, nan_ok=True)


def pair(n=200, *, seed=0, values=None):
    """Return two outcomes of one large model: the second small model errs elsewhere."""
    uncertainty, small, deferred = make_cascade(n, seed=seed, values=values)
    other, right, _ = make_cascade(n, seed=seed + 50)
    return Outcome(uncertainty, small, deferred, FLOPS), Outcome(other, right, deferred, FLOPS)


def test_intervals_are_the_quantiles_of_paired_resamples(monkeypatch):
    first, second = pair(80, values=20)
    options = {"budgets": [47.0], "points": 101, "resamples": 60, "seed": 3, "level": 0.8}
    table = cascade_intervals(first, second, **options)
    assert list(table.columns) == COLUMNS
    drawn = []
    for row in resample_counts(80, 60, seed=3):
        d = np.repeat(np.arange(80), row)
        drawn.append([direct(*(part[d] for part in each[:3])) for each in (first, second)])
    ours, theirs = np.array(drawn)[:, :, [*range(7), 8]].transpose(1, 0, 2)
    counted = np.array(first[1:3]), np.array(second[1:3])
    more, fewer = ((a & ~b).sum(1) for a, b in (counted, counted[::-1]))
    shares = {
        "low": np.transpose(share_interval(counted[0].sum(1), 80, level=0.8)),
        "difference_low": np.transpose(paired_interval(more, fewer, 80, level=0.8)),
    }
    shares["difference_low"][1] = 0  # one large model
    for columns, values in ((["low", "high"], ours), (COLUMNS[5:], ours - theirs)):
        expected = np.nanquantile(values, [0.1, 0.9], axis=0).T
        expected[:2] = shares[columns[0]]
        np.testing.assert_allclose(table[columns], expected, atol=1e-10)
    assert (table["difference"] == table["value"] - table["baseline"]).all()
    alone = cascade_intervals(first, **options)
    assert alone.equals(table[COLUMNS[:3]])
    # memory decides how many resamples are held at a time, and nothing else
    module = sys.modules["duokit.cascade.intervals"]
    monkeypatch.setattr(module, "MOST_BYTES", 7 * (2 * 80 + 16 * 101))
    monkeypatch.setattr(module, "BLOCK", 3 * 80)
    np.testing.assert_allclose(cascade_intervals(first, second, **options), table, atol=1e-12)


def test_undefined_resamples_are_left_out():
    wrong_once = Outcome(np.linspace(0, 0.9, 10), np.arange(10) < 9, np.ones(10, bool))
    table = cascade_intervals(wrong_once, points=101, resamples=200)
    counts = resample_counts(10, 200, seed=0)
    assert (counts[:, 9] == 0).any()  # then no answer is wrong
    assert table["value"].notna().all()
    # one error is too few for an interval of all that is resampled
    assert table["low"].notna().tolist() == [name in ("small", "deferred") for name in NAMES]
    twice = Outcome(np.linspace(0, 0.9, 20), np.arange(20) % 2 > 0, np.ones(20, bool))
    assert cascade_intervals(twice, points=101, resamples=20).notna().all(axis=None)
    never = Outcome(np.linspace(0, 0.9, 10), np.ones(10, bool), np.ones(10, bool))
    table = cascade_intervals(never, wrong_once, points=101, resamples=20)
    assert table.loc["auroc", ["value", "low", "high", "difference_low"]].isna().all()
    assert table.loc["small", "difference"] == pytest.approx(0.1)


def test_a_cascade_does_not_differ_from_itself():
    first, _ = pair()
    table = cascade_intervals(first, first, budgets=[47.0], points=101, resamples=30)
    assert (table[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_pairing_narrows_the_difference():
    uncertainty, small, deferred = make_cascade(500, seed=7)
    near = uncertainty + np.random.default_rng(0).normal(size=500) * 0.01
    table = cascade_intervals(
        Outcome(uncertainty, small, deferred), Outcome(near, small, deferred),
        metrics=["area", "auroc", "s_d"], resamples=300,
    )  # fmt: skip
    own, paired = table["high"] - table["low"], table["difference_high"] - table["difference_low"]
    assert (paired < own / 3).all()


def test_the_interval_of_an_accuracy_is_the_known_one():
    case = Outcome(*make_cascade(600, seed=8))
    row = cascade_intervals(case, metrics=["small"], resamples=2000, seed=1).loc["small"]
    half = 1.96 * np.sqrt(row["value"] * (1 - row["value"]) / 600)
    assert row["high"] - row["value"] == pytest.approx(half, rel=0.1)
    assert row["value"] - row["low"] == pytest.approx(half, rel=0.1)


def test_a_cascade_that_is_only_ever_better_has_the_paired_interval():
    uncertainty, small, deferred = make_cascade(200, seed=8)
    better = small | (np.arange(200) < 30)
    both = Outcome(uncertainty, better, deferred), Outcome(uncertainty, small, deferred)
    row = cascade_intervals(*both, metrics=["small"], resamples=20).loc["small"]
    known = paired_interval(better.sum() - small.sum(), 0, 200)
    assert row[["difference_low", "difference_high"]].tolist() == pytest.approx(known)


def test_order_and_what_keeps_the_order_change_no_value():
    first, second = pair(values=9)
    options = {"points": 101, "resamples": 1, "budgets": [47.0]}
    expected = cascade_intervals(first, second, **options)[["value", "baseline"]]
    order = np.random.default_rng(1).permutation(200)
    moved = [Outcome(*(part[order] for part in each[:3]), FLOPS) for each in (first, second)]
    found = cascade_intervals(*moved, **options)[["value", "baseline"]]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    cubed = Outcome(np.asarray(first[0]) ** 3 - 7, *first[1:])
    ranked = [name for name in NAMES if name != "s_o"]
    found = cascade_intervals(cubed, metrics=ranked, budgets=[47.0], resamples=20)
    expected = cascade_intervals(first, metrics=ranked, budgets=[47.0], resamples=20)
    assert found.equals(expected)


def test_resamples_follow_the_seed():
    first, second = pair()
    options = {"metrics": ["area", "s_o"], "points": 101, "resamples": 20}
    tables = [cascade_intervals(first, second, seed=seed, **options) for seed in (1, 1, 2)]
    assert tables[0].equals(tables[1])
    assert (tables[0]["low"] != tables[2]["low"]).any()


def test_differences_have_the_defaults_of_intervals():
    runs = [pair(40, seed=1)]
    given = cascade_differences(runs, metrics=["s_o"], bandwidth=0.05, points=1000)
    assert cascade_differences(runs, metrics=["s_o"]).equals(given)
    once = cascade_intervals(*runs[0], metrics=["s_o"], resamples=1)
    assert once.loc["s_o", "difference"] == pytest.approx(given.loc[0, "s_o"])


def test_differences_hold_one_run_a_row():
    runs = [pair(150, seed=seed) for seed in range(4)]
    table = cascade_differences(runs, budgets=[47.0], points=101)
    assert list(table.columns) == [*NAMES, "accuracy@47"]
    for row, (ours, theirs) in zip(table.to_numpy(), runs, strict=True):
        expected = np.subtract(*(direct(*each[:3]) for each in (ours, theirs)))[[*range(7), 8]]
        np.testing.assert_allclose(row, expected, atol=1e-12)
    summary = table.apply(over_runs).T
    np.testing.assert_allclose(summary["mean"], table.mean())
    assert (summary["runs"] == 4).all()


def test_outcomes_of_a_cascade_are_who_is_right():
    large, small, labels = make_pair(seed=0)
    cascade = fit_cascade(large, small, labels, threshold=0.3)
    found = cascade.outcomes(large, small, labels, flops=FLOPS)
    scores = cascade.answers(large, small, labels)
    for name, end in (("cascade", "large"), ("cascaded duo", "duo")):
        np.testing.assert_array_equal(found[name].small_correct, scores["small"].correct)
        np.testing.assert_array_equal(found[name].deferred_correct, scores[end].correct)
        assert found[name].flops == FLOPS
        curve, expected = found[name].curve, cascade.curves(large, small, labels)[name]
        np.testing.assert_array_equal(curve.accuracy, expected.accuracy)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["s_d", "s_d"]}, "metric 's_d' is asked for twice"),
        ({"metrics": ["sd"]}, r"unknown metrics \['sd'\]"),
        ({"resamples": 0}, "resamples must be"),
        ({"level": 95}, "level must lie"),
        ({"budgets": [9.0]}, "the small model alone takes 10"),
        ({"budgets": [float("nan")]}, "budget is nan"),
        ({"points": 1}, "points must be"),
        ({"bandwidth": 0}, "bandwidth is 0"),
        ({"baseline": Outcome([0.1], [True], [True], FLOPS)}, "outcome has 200 images, baseline 1"),
    ],
)
def test_refuses_what_cannot_be_counted(change, words):
    first, _ = pair()
    with pytest.raises(ValueError, match=words):
        cascade_intervals(first, **{"points": 101, "resamples": 2} | change)


def test_refuses_a_budget_without_flops_no_pairs_and_no_confidence():
    first, _ = pair()
    with pytest.raises(ValueError, match="budgets need the FLOPs of both models"):
        cascade_intervals(Outcome(*first[:3]), budgets=[47.0])
    with pytest.raises(ValueError, match=r"large is 0\.0 FLOPs"):
        cascade_intervals(Outcome(*first[:3], (10.0, 0.0)), budgets=[47.0])
    with pytest.raises(ValueError, match="pairs is empty"):
        cascade_differences([])
    with pytest.raises(ValueError, match=r"1 - uncertainty\[0\] is -1"):
        cascade_intervals(Outcome([2.0], [True], [True]))
