"""Selective classification: values by hand, slow loops, other libraries, the limits."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from duokit.metrics.selective import (
    augrc,
    aurc,
    auroc,
    coverage_at_accuracy,
    e_aurc,
    risk_at_coverage,
    risk_coverage_curve,
)
from tests import oracles
from tests.metrics.samples import make_ranked

RANKING = (auroc, aurc, e_aurc, augrc)
SURE_TO_UNSURE = [0.1, 0.2, 0.3, 0.4]


def by_percent(function, percent):
    return lambda uncertainty, correct: function(uncertainty, correct, percent / 100)


def test_four_images_by_hand():
    correct = [True, False, True, False]
    # risks of the prefixes: 0/1, 1/2, 1/3, 2/4
    assert aurc(SURE_TO_UNSURE, correct) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    # the best order, right right wrong wrong, has 0, 0, 1/3, 2/4
    best = (1 / 3 + 1 / 2) / 4
    assert e_aurc(SURE_TO_UNSURE, correct) == pytest.approx(1 / 3 - best)
    # pairs (right, wrong) by place: (1, 2) (1, 4) (3, 4) in order, (3, 2) not
    assert auroc(SURE_TO_UNSURE, correct) == pytest.approx(3 / 4)
    # accepted and wrong: 0, 0, 1, 1, 2 of 4; trapezoids 0 + 1/2 + 1 + 3/2 = 3, over 4 * 4
    assert augrc(SURE_TO_UNSURE, correct) == pytest.approx(3 / 16)
    # prefixes 1 ... 4 are 1, 1/2, 2/3, 1/2 accurate
    assert coverage_at_accuracy(SURE_TO_UNSURE, correct, 0.5) == 1
    assert coverage_at_accuracy(SURE_TO_UNSURE, correct, 0.5, convention="paper") == 1
    assert coverage_at_accuracy(SURE_TO_UNSURE, correct, 0.6) == 3 / 4  # prefix 2 fails, 3 passes
    assert coverage_at_accuracy(SURE_TO_UNSURE, correct, 0.9) == 1 / 4
    assert risk_at_coverage(SURE_TO_UNSURE, correct, 0.5) == 1 / 2
    assert risk_at_coverage(SURE_TO_UNSURE, correct, 0.51) == pytest.approx(1 / 3)  # three images


def test_a_tie_by_hand():
    uncertainty, correct = [0, 1, 1, 2], [True, True, False, False]
    # places 2 and 3 hold the tie: risks 0, then 0 or 1/2, then 1/3, then 2/4
    assert aurc(uncertainty, correct) == pytest.approx((0 + 1 / 4 + 1 / 3 + 1 / 2) / 4)
    assert auroc(uncertainty, correct) == pytest.approx(3.5 / 4)
    # joint risk runs straight from (1/4, 0) to (3/4, 1/4), then to (1, 1/2)
    assert augrc(uncertainty, correct) == pytest.approx(1 / 2 * 1 / 8 + 1 / 4 * 3 / 8)
    assert coverage_at_accuracy(uncertainty, correct, 0.7) == 1 / 4  # not half of the tie
    assert risk_at_coverage(uncertainty, correct, 0.5) == pytest.approx(0.5 / 2)
    curve = risk_coverage_curve(uncertainty, correct)
    assert curve.coverage.tolist() == [1 / 4, 3 / 4, 1]
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 1 / 2])
    assert curve.threshold.tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("values", [2, 3, 5, None])
def test_equals_the_slow_loops(seed, values):
    uncertainty, correct = make_ranked(6 if values else 40, seed=seed, values=values)
    args, lists = (uncertainty, correct), (uncertainty.tolist(), correct.tolist())
    for function in RANKING:
        expected = getattr(oracles, function.__name__)(*lists)
        assert function(*args) == pytest.approx(expected, abs=1e-13, nan_ok=True)
    for percent in (1, 20, 50, 75, 80, 90, 95, 99, 100):
        for function in (coverage_at_accuracy, risk_at_coverage):
            expected = getattr(oracles, function.__name__)(*lists, percent)
            assert function(*args, percent / 100) == pytest.approx(expected, abs=1e-13)


def test_ties_in_a_large_sample_are_the_mean_over_shuffles():
    uncertainty, correct = make_ranked(60, seed=3, values=4)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(4000):
        order = np.lexsort([rng.random(60), uncertainty])
        drawn.append(oracles.mean_risk(correct[order].tolist()))
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert aurc(uncertainty, correct) == pytest.approx(np.mean(drawn), abs=4 * error)


@pytest.mark.parametrize("values", [3, 20, None])
def test_auroc_is_scikit_learns(values):
    uncertainty, correct = make_ranked(500, seed=1, values=values)
    assert auroc(uncertainty, correct) == pytest.approx(roc_auc_score(correct, -uncertainty))


@pytest.mark.parametrize("values", [3, 20, None])
def test_augrc_is_accuracy_and_auroc(values):
    uncertainty, correct = make_ranked(500, seed=2, values=values)
    a = correct.mean()
    expected = (1 - auroc(uncertainty, correct)) * a * (1 - a) + (1 - a) ** 2 / 2
    assert augrc(uncertainty, correct) == pytest.approx(expected, rel=1e-12)


def test_augrc_is_the_trapezoid_and_less_than_the_mean_form():
    uncertainty, correct = make_ranked(200, seed=4)
    joint = np.cumsum(~correct[np.argsort(uncertainty)]) / 200
    trapezoid = np.trapezoid(np.append(0, joint), np.arange(201) / 200)
    assert augrc(uncertainty, correct) == pytest.approx(trapezoid)
    assert joint.mean() - augrc(uncertainty, correct) == pytest.approx((~correct).mean() / 400)


def test_best_order_tends_to_its_closed_form():
    wrong = 0.2
    correct = np.arange(50_000) >= wrong * 50_000
    found = aurc(-np.arange(50_000.0), correct)
    assert found == pytest.approx(wrong + (1 - wrong) * np.log(1 - wrong), abs=1e-5)
    assert e_aurc(-np.arange(50_000.0), correct) == pytest.approx(0, abs=1e-12)


def test_torch_uncertainty_where_the_conventions_agree():
    selective = pytest.importorskip("torch_uncertainty.metrics.classification")
    uncertainty, correct = make_ranked(400, seed=5)
    confidence = torch.from_numpy(1 - uncertainty / 2)  # above 1/2: the first of two classes
    probs = torch.stack([confidence, 1 - confidence], 1)
    labels = torch.from_numpy(np.where(correct, 0, 1))

    def theirs(metric):
        metric.update(probs, labels)
        return float(metric.compute())

    for percent in (5, 10, 20):  # theirs takes the risk, ours the accuracy
        expected = theirs(selective.CovAtxRisk(percent / 100))
        found = coverage_at_accuracy(uncertainty, correct, 1 - Fraction(percent, 100))
        assert found == pytest.approx(expected, abs=1e-6)
    for percent in (50, 80, 95):
        expected = theirs(selective.RiskAtxCov(percent / 100))
        assert risk_at_coverage(uncertainty, correct, percent / 100) == pytest.approx(expected)
    # Theirs is the trapezoid over coverages 1/n ... 1, divided by the length 1 - 1/n of that range.
    risks = np.cumsum(~correct[np.argsort(uncertainty)]) / np.arange(1, 401)
    ends = (risks[0] + risks[-1]) / 2
    converted = (aurc(uncertainty, correct) * 400 - ends) / 399
    assert theirs(selective.AURC()) == pytest.approx(converted, rel=1e-5)
    assert theirs(selective.AURC()) != pytest.approx(aurc(uncertainty, correct), rel=1e-5)
    joint = risks * np.arange(1, 401) / 400
    converted = (augrc(uncertainty, correct) * 400 - joint[0] / 2) / 399
    assert theirs(selective.AUGRC()) == pytest.approx(converted, rel=1e-5)


def test_one_error_in_ten_is_ninety_percent():
    uncertainty, correct = np.arange(10.0), np.arange(10) != 9
    assert 1 - 0.9 < 0.1  # the trap
    assert coverage_at_accuracy(uncertainty, correct, 0.9) == 1
    assert coverage_at_accuracy(uncertainty, correct, 0.9, convention="paper") == 0.9


@pytest.mark.parametrize("percent", range(1, 101))
def test_an_accuracy_met_exactly_counts(percent):
    for n in (100, 300, 700):
        correct = np.arange(n) >= n * (100 - percent) / 100  # the errors are the surest
        assert coverage_at_accuracy(np.arange(float(n)), correct, percent / 100) == 1


def test_paper_convention_takes_ties_in_file_order():
    uncertainty, correct = [0.0] * 4, [False, True, True, True]
    assert aurc(uncertainty, correct, convention="paper") == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    )
    assert aurc(uncertainty, correct) == pytest.approx(1 / 4)  # every prefix, on average
    many, right = make_ranked(1000, seed=0, values=3)  # enough for a sort to disturb their order
    risks = np.cumsum(~right[np.lexsort([np.arange(1000), many])]) / np.arange(1, 1001)
    assert aurc(many, right, convention="paper") == pytest.approx(risks.mean(), rel=1e-12)
    best = 1 / 4 / 4
    assert e_aurc(uncertainty, correct) == pytest.approx(1 / 4 - best)
    assert e_aurc(uncertainty, correct, convention="paper") == pytest.approx(25 / 48 - best)
    assert coverage_at_accuracy(uncertainty, correct[::-1], 0.9) == 0
    assert coverage_at_accuracy(uncertainty, correct[::-1], 0.9, convention="paper") == 3 / 4
    assert coverage_at_accuracy([0], [False], 0.9, convention="paper") == 0


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("tied", [True, False])
def test_all_right_and_all_wrong(n, tied):
    uncertainty = np.zeros(n) if tied else np.arange(float(n))
    right, wrong = np.ones(n, bool), np.zeros(n, bool)
    assert [f(uncertainty, right) for f in RANKING[1:]] == pytest.approx([0, 0, 0])
    assert [f(uncertainty, wrong) for f in RANKING[1:]] == pytest.approx([1, 0, 1 / 2])
    assert np.isnan(auroc(uncertainty, right))
    assert np.isnan(auroc(uncertainty, wrong))
    for share in (0.5, 0.99, 1):
        assert coverage_at_accuracy(uncertainty, right, share) == 1
        assert coverage_at_accuracy(uncertainty, wrong, share) == 0
        assert risk_at_coverage(uncertainty, right, share) == 0
        assert risk_at_coverage(uncertainty, wrong, share) == 1


def test_all_tied_says_nothing_but_the_error_rate():
    correct = np.arange(20) % 4 > 0
    assert auroc(np.zeros(20), correct) == 0.5
    assert aurc(np.zeros(20), correct) == pytest.approx(1 / 4)
    assert risk_at_coverage(np.zeros(20), correct, 0.3) == pytest.approx(1 / 4)
    assert coverage_at_accuracy(np.zeros(20), correct, 0.75) == 1
    assert coverage_at_accuracy(np.zeros(20), correct, 0.76) == 0
    assert risk_coverage_curve(np.zeros(20), correct).coverage.tolist() == [1]


def test_infinite_uncertainties_are_ranked_last_and_first():
    uncertainty, correct = [-np.inf, 0.5, np.inf], [True, True, False]
    assert auroc(uncertainty, correct) == 1


def test_curve_ends_at_the_error_rate_and_integrates_to_aurc():
    uncertainty, correct = make_ranked(300, seed=6)
    curve = risk_coverage_curve(uncertainty, correct)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx((~correct).mean())
    assert curve.risk.mean() == pytest.approx(aurc(uncertainty, correct))  # no ties here
    kept = uncertainty <= curve.threshold[99]
    assert kept.mean() == pytest.approx(curve.coverage[99])
    assert (~correct)[kept].mean() == pytest.approx(curve.risk[99])


def test_lists_arrays_and_tensors_give_the_same():
    uncertainty, correct = make_ranked(50, seed=7)
    expected = aurc(uncertainty, correct)
    assert aurc(uncertainty.tolist(), correct.tolist()) == expected
    assert aurc(torch.from_numpy(uncertainty), torch.from_numpy(correct)) == expected
    assert aurc(uncertainty, correct.astype(int)) == expected


@pytest.mark.parametrize(
    ("uncertainty", "correct", "message"),
    [
        ([0.1, np.nan], [True, False], r"uncertainty\[1\] is NaN"),
        ([0.1, 0.2], [True], r"correct must have shape \(2,\)"),
        ([], [], "n >= 1"),
        ([[0.1]], [True], r"shape \(images,\)"),
        ([0.1, 0.2], [True, 2], "True/False or 0/1"),
        ([0.1, 0.2], ["a", "b"], "True/False or 0/1"),
    ],
)
def test_refuses_what_cannot_be_ranked(uncertainty, correct, message):
    for function in (*RANKING, by_percent(coverage_at_accuracy, 90), risk_coverage_curve):
        with pytest.raises(ValueError, match=message):
            function(uncertainty, correct)


def test_refuses_other_types_shares_and_conventions():
    with pytest.raises(TypeError, match="real numbers"):
        aurc(["sure", "unsure"], [True, False])
    for share in (0, -0.1, 98):
        with pytest.raises(ValueError, match=r"98 % is 0\.98"):
            coverage_at_accuracy([0.1], [True], share)
        with pytest.raises(ValueError, match=r"98 % is 0\.98"):
            risk_at_coverage([0.1], [True], share)
    for function in (aurc, e_aurc):
        with pytest.raises(ValueError, match="convention must be"):
            function([0.1], [True], convention="theirs")


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for correct in ([True, True], [False, False], [True, False]):
            for function in RANKING:
                function([0.0, 0.0], correct)
