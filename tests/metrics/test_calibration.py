"""Calibration errors: values by hand, slow loops, other libraries, the traps."""

import numpy as np
import pytest
import scipy.fft
import torch

from duokit.metrics import classwise, smooth
from duokit.metrics.calibration import (
    ece,
    ece_debiased,
    ece_mass,
    mce,
    reliability_curve,
    width_bins,
)
from duokit.metrics.classwise import ece_class
from duokit.metrics.scores import score
from duokit.metrics.smooth import ece_smooth
from duokit.metrics.table import evaluate
from tests import oracles
from tests.metrics.samples import make_logits

TOP = (ece, mce, ece_mass, ece_debiased, ece_smooth)


def make_confidences(n, *, seed, values=None, shift=0.1):
    rng = np.random.default_rng(seed)
    confidence = rng.beta(4, 1.5, n)
    if values is not None:
        confidence = np.round(confidence * values) / values
    return confidence, rng.random(n) < np.clip(confidence - shift, 0, 1)


def test_by_hand():
    confidence, right = [0.95, 0.95, 0.7, 0.7, 0.3], [True, False, True, True, False]
    # ten bins: (.9, 1] promised 1.9 and kept 1; (.6, .7] 1.4 and 2; (.2, .3] .3 and 0
    assert ece(confidence, right, bins=10) == pytest.approx((0.9 + 0.6 + 0.3) / 5)
    assert mce(confidence, right, bins=10) == pytest.approx(0.9 / 2)
    assert ece(confidence, right, bins=1) == pytest.approx(abs(3.6 - 3) / 5)
    # two equal masses of 2.5: .3, .7 and half of the second .7 | the rest
    low, high = 0.3 + 1.5 * 0.7 - 1.5, 0.5 * 0.7 + 1.9 - 1.5
    assert ece_mass(confidence, right, bins=2) == pytest.approx((abs(low) + abs(high)) / 5)
    square = sum(
        0.5 * ((gap / 2.5) ** 2 - (a / 2.5) * (1 - a / 2.5) / 1.5)
        for gap, a in ((low, 1.5), (high, 1.5))
    )
    assert square < 0  # less than its noise
    assert ece_debiased(confidence, right, bins=2) == 0
    wrong = [False] * 5  # no noise: sqrt of the mean squared confidence of the halves
    expected = np.sqrt((((0.3 + 1.05) / 2.5) ** 2 + ((0.35 + 1.9) / 2.5) ** 2) / 2)
    assert ece_debiased(confidence, wrong, bins=2) == pytest.approx(expected)


def test_reliability_curve_by_hand():
    curve = reliability_curve([0.05, 0.5, 0.45, 1.0], [False, True, False, True], bins=2)
    assert curve.lower.tolist() == [0, 0.5]
    assert curve.upper.tolist() == [0.5, 1]
    assert curve.count.tolist() == [3, 1]
    assert curve.confidence == pytest.approx([1 / 3, 1])
    assert curve.accuracy == pytest.approx([1 / 3, 1])
    # Wilson for 1 of 1, z = 1.96: (1 + z^2 / 2 -+ z sqrt(z^2 / 4)) / (1 + z^2) = 1 / (1 + z^2), 1
    assert curve.low[1] == pytest.approx(1 / (1 + 1.959964**2), abs=1e-6)
    assert curve.high[1] == pytest.approx(1)


def test_reliability_curve_gives_ece_and_mce():
    confidence, right = make_confidences(400, seed=0)
    curve = reliability_curve(confidence, right)
    gap = np.abs(curve.confidence - curve.accuracy)
    assert np.nansum(gap * curve.count) / 400 == pytest.approx(ece(confidence, right))
    assert np.nanmax(gap) == pytest.approx(mce(confidence, right))
    assert curve.count.sum() == 400
    empty = curve.count == 0
    for values in (curve.confidence, curve.accuracy, curve.low, curve.high):
        assert (np.isnan(values) == empty).all()
    kept = ~empty
    assert (curve.low[kept] >= 0).all()
    assert (curve.low[kept] <= curve.accuracy[kept] + 1e-12).all()
    assert (curve.accuracy[kept] <= curve.high[kept] + 1e-12).all()
    assert (curve.high[kept] <= 1).all()
    wide = reliability_curve(confidence, right, level=0.99)
    assert (wide.low[kept] <= curve.low[kept]).all()
    assert (wide.high[kept] - wide.low[kept] > curve.high[kept] - curve.low[kept]).all()


def test_wilson_interval_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        curve = reliability_curve(np.full(50, 0.7), rng.random(50) < 0.7, bins=1, level=0.9)
        covered.append(curve.low[0] <= 0.7 <= curve.high[0])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("n", [2, 3, 16, 31, 200])
@pytest.mark.parametrize("values", [None, 4, 15])
def test_equals_the_slow_loops(n, values):
    confidence, right = make_confidences(n, seed=n, values=values)
    for function in TOP[:-1]:
        for bins in (1, 5, 15):
            expected = getattr(oracles, function.__name__)(
                confidence.tolist(), right.tolist(), bins
            )
            # a mean that should cancel may leave 1e-17, and its root 1e-8
            assert function(confidence, right, bins=bins) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.02, 0.2])
def test_smooth_error_equals_the_slow_loop(shift):
    confidence, right = make_confidences(25, seed=3, shift=shift)
    expected = oracles.ece_smooth(confidence.tolist(), right.tolist())
    assert ece_smooth(confidence, right) == pytest.approx(expected, rel=5e-3, abs=2e-4)


def test_smooth_error_is_a_width_that_equals_its_error():
    confidence, right = make_confidences(80, seed=4)
    width = ece_smooth(confidence, right)
    error = oracles.smooth_error(confidence.tolist(), right.tolist(), width)
    assert error == pytest.approx(width, rel=2e-3)


@pytest.mark.parametrize("scale", [0.001, 0.01, 0.1, 0.5])
def test_the_width_is_found_in_few_steps(scale, monkeypatch):
    gaps = np.random.default_rng(0).normal(size=(6, smooth.CELLS)) * scale / 30
    looks, real = [], smooth.error_at
    monkeypatch.setattr(smooth, "error_at", lambda *given: looks.append(1) or real(*given))
    found = []
    for each in gaps:
        found.append(smooth.fixed_width(each[None])[0])
        assert len(looks) <= 15
        looks.clear()
    assert smooth.fixed_width(gaps) == pytest.approx(found, abs=1e-9)
    assert real(np.array(found), scipy.fft.dct(gaps, axis=1)) == pytest.approx(found, abs=1e-9)


def test_smooth_error_of_one_gap_everywhere():
    # always .8 sure and always wrong: spreading changes nothing, the error is .8 at every width
    assert ece_smooth(np.full(10, 0.8), np.zeros(10, bool)) == pytest.approx(0.8)
    assert ece_smooth([1.0, 1.0], [False, False]) == pytest.approx(1)
    assert ece_smooth([0.0], [True]) == pytest.approx(1)
    assert ece_smooth([1.0, 0.0], [True, False]) == 0


def test_smooth_error_near_torch_uncertaintys():
    theirs = pytest.importorskip("torch_uncertainty.metrics.classification.calibration")
    logits, labels = make_logits(500, 4, seed=5)
    metric = theirs.SmoothCalibrationError(kernel_type="reflected")  # by default in log-odds
    metric.update(torch.softmax(torch.from_numpy(logits), 1).float(), torch.from_numpy(labels))
    s = score(logits, labels)
    # they stop after ten halvings and divide by a density sum
    assert ece_smooth(s.confidence, s.hit) == pytest.approx(float(metric.compute()), abs=2e-3)


@pytest.mark.parametrize(("n", "k"), [(40, 2), (60, 3), (50, 20)])
@pytest.mark.parametrize("bins", [2, 10, 15, 30])
def test_class_wise_equals_the_slow_loop(n, k, bins):
    logits, labels = make_logits(n, k, seed=k)
    expected = oracles.ece_class(oracles.softmax(logits.tolist()), labels.tolist(), bins)
    assert ece_class(logits, labels, bins=bins) == pytest.approx(expected, rel=1e-9)


def test_class_wise_by_hand():
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.02, 0.98]])
    # 15 bins. Class 0: .9, .9 promised, one kept; .02 in the first bin, none. Class 1: .1, .1
    # promised in (1/15, 2/15], one kept; .98 promised, one kept.
    expected = ((0.8 + 0.02) + (0.8 + 0.02)) / 3 / 2
    assert ece_class(logits, [0, 1, 1]) == pytest.approx(expected)


def test_class_wise_counts_a_label_of_tiny_probability():
    logits = np.log([[0.99, 0.01]])
    assert ece_class(logits, [1]) == pytest.approx(((0.99) + (0.99)) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_first_bins_of_resamples(dtype, monkeypatch):
    logits, labels = make_logits(80, 20, seed=6)
    s = score(logits.astype(dtype), labels)
    counts = np.random.default_rng(0).integers(0, 4, (3, 80))
    probs = np.array(oracles.softmax(logits.tolist()))
    gaps = np.where(probs <= 1 / 15, probs - np.eye(20)[labels], 0)
    monkeypatch.setattr(classwise, "BLOCK", 20 * 32)  # several blocks
    found = classwise.low_gaps(s, counts)
    assert found == pytest.approx(counts @ gaps, abs=1e-12 if dtype is np.float64 else 1e-4)


def test_edges_belong_to_the_bin_below():
    edges = np.arange(16) / 15
    inside = np.concatenate([[0.01], edges[1:] - 0.01])  # the same bins, away from the edges
    for right in (np.zeros(16, bool), np.ones(16, bool), np.arange(16) % 2 == 0):
        expected = reliability_curve(inside, right).count
        assert reliability_curve(edges, right).count.tolist() == expected.tolist()
    assert reliability_curve(edges, right).count.tolist() == [2] + [1] * 14


def nominal_bins(numerators, denominator, bins):
    """Return the bins of c / denominator, by whole numbers alone: the first with c <= its end."""
    return [max(0, -(-c * bins // denominator) - 1) for c in numerators]


@pytest.mark.promise("inputs")
@pytest.mark.parametrize("digits", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("votes", "bins"), [(10, 10), (20, 10), (15, 15), (30, 15), (7, 7), (3, 15)]
)
def test_a_confidence_on_an_edge_in_every_float_type(digits, votes, bins):
    """A vote of 20 gives c / 20; which bin that is in must not depend on who rounded it."""
    numerators = np.arange(votes + 1)
    values = torch.from_numpy(numerators / votes).to(getattr(torch, digits))
    right = np.arange(votes + 1) % 3 == 0
    expected = np.bincount(nominal_bins(numerators.tolist(), votes, bins), minlength=bins)
    assert reliability_curve(values, right, bins=bins).count.tolist() == expected.tolist()
    if digits != "bfloat16":
        given = values.numpy()
        assert reliability_curve(given, right, bins=bins).count.tolist() == expected.tolist()
    if digits in ("float64", "float32"):  # converted later, or written to a list
        for given in (values.double().numpy(), values.tolist()):
            assert reliability_curve(given, right, bins=bins).count.tolist() == expected.tolist()


@pytest.mark.promise("inputs")
def test_float64_beside_an_edge_is_beside_it():
    edges = np.arange(1, 15) / 15
    for side, low in ((2, 1), (-1, 0)):
        beside = np.nextafter(edges, side)
        assert width_bins(beside, 15, digits="float32").tolist() == [*range(low, 14 + low)]
        assert width_bins(beside, 15).tolist() == [*range(low, 14 + low)]
    assert width_bins(edges, 15).tolist() == [*range(14)]
    assert width_bins(np.array([0.0, 1.0]), 15).tolist() == [0, 14]


@pytest.mark.promise("inputs")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [3, 5, 15])
def test_uniform_rows_lie_on_an_edge(k, dtype):
    """1 - 2/3 in floats is more than 1/3."""
    sure = np.log(np.array([1 / k + 0.02] + [(1 - 1 / k - 0.02) / (k - 1)] * (k - 1)))
    logits = np.stack([np.zeros(k)] * 4 + [sure] * 4).astype(dtype)
    labels = np.arange(8) % k
    s = score(logits, labels)
    assert s.confidence[:4].tolist() == [1 / k] * 4
    expected = oracles.ece([1 / k] * 4 + s.confidence[4:].tolist(), s.hit.tolist())
    assert ece(s.confidence, s.hit) == pytest.approx(expected)
    assert evaluate(s, ["ece"])["ece"] == pytest.approx(expected)
    probs = [[1 / k] * k] * 4 + oracles.softmax(logits[4:].astype(float).tolist())
    assert ece_class(logits, labels) == pytest.approx(oracles.ece_class(probs, labels.tolist()))


def test_confidence_one_is_in_the_last_bin():
    confidence, right = [1.0, 0.95], [True, False]
    assert ece(confidence, right) == pytest.approx(0.95 / 2)
    functional = pytest.importorskip("torchmetrics.functional.classification")
    probs = torch.tensor([[1.0, 0.0], [0.95, 0.05]])
    theirs = functional.multiclass_calibration_error(probs, torch.tensor([0, 1]), 2, n_bins=15)
    assert float(theirs) == pytest.approx(0.95 / 2)  # here the sum of two bins happens to agree
    confidence, right = [1.0, 0.95], [False, True]
    assert ece(confidence, right) == pytest.approx(0.95 / 2)
    theirs = functional.multiclass_calibration_error(probs, torch.tensor([1, 0]), 2, n_bins=15)
    assert float(theirs) == pytest.approx((1 + 0.05) / 2)  # 1.0 sits in a bin of its own


def test_torchmetrics_and_torch_uncertainty_away_from_the_edges():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    calibration = pytest.importorskip("torch_uncertainty.metrics.classification.calibration")
    logits, labels = make_logits(450, 3, seed=7)
    probs, y = torch.softmax(torch.from_numpy(logits), 1), torch.from_numpy(labels)
    s = score(logits, labels)
    for norm, function in (("l1", ece), ("max", mce)):
        theirs = functional.multiclass_calibration_error(probs, y, 3, n_bins=15, norm=norm)
        assert function(s.confidence, s.hit) == pytest.approx(float(theirs), rel=1e-5)  # float32
    # 450 / 15 images a bin is whole and no confidence repeats
    adaptive = calibration.AdaptiveCalibrationError(task="multiclass", num_bins=15, num_classes=3)
    adaptive.update(probs, y)
    assert ece_mass(s.confidence, s.hit) == pytest.approx(float(adaptive.compute()), rel=1e-6)
    per_class = calibration.ClasswiseCalibrationError(num_classes=3, num_bins=15)
    per_class.update(probs, y)
    assert ece_class(logits, labels) == pytest.approx(float(per_class.compute()), rel=1e-6)


def test_debiasing_takes_the_noise_away():
    plain, debiased = [], []
    for seed in range(60):  # calibrated exactly: the plain error is all noise
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.4, 1, 600)
        right = rng.random(600) < confidence
        plain.append(ece_mass(confidence, right) ** 2)
        debiased.append(ece_debiased(confidence, right) ** 2)
    assert np.mean(debiased) < np.mean(plain) / 2


def test_debiased_finds_an_error_that_is_there():
    rng = np.random.default_rng(8)
    confidence = rng.uniform(0.5, 0.9, 20_000)
    right = rng.random(20_000) < confidence - 0.2
    assert ece_debiased(confidence, right) == pytest.approx(0.2, abs=0.02)
    assert ece_smooth(confidence, right) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("function", TOP)
def test_all_right_all_wrong_and_one_image(function):
    if function is not ece_debiased:
        assert function([0.7], [True]) == pytest.approx(0.3)
        assert function([0.7], [False]) == pytest.approx(0.7)
    else:
        assert np.isnan(function([0.7], [True]))
    assert function(np.ones(50), np.ones(50, bool)) == pytest.approx(0, abs=1e-12)
    assert function(np.ones(50), np.zeros(50, bool)) == pytest.approx(1)
    assert function(np.zeros(50), np.zeros(50, bool)) == pytest.approx(0, abs=1e-12)
    assert function(np.zeros(50), np.ones(50, bool)) == pytest.approx(1)
    tied = function(np.full(400, 0.75), np.arange(400) % 2 == 0)  # half are right
    assert tied == pytest.approx(0.25, abs=0.03 if function is ece_debiased else 1e-9)


@pytest.mark.parametrize("function", [*TOP, reliability_curve])
def test_refusals(function):
    with pytest.raises(ValueError, match=r"confidence\[1\] is 3, outside 0 \.\.\. 1"):
        function([0.5, 3.0], [True, False])
    with pytest.raises(ValueError, match=r"confidence\[0\] is NaN"):
        function([np.nan], [True])
    with pytest.raises(ValueError, match="correct must have shape"):
        function([0.5], [True, False])
    if function is not ece_smooth:
        for bins in (0, -1, 1.5):
            with pytest.raises(ValueError, match="bins must be a whole number"):
                function([0.5], [True], bins=bins)


def test_refuses_a_level_of_one():
    with pytest.raises(ValueError, match="level must be below 1"):
        reliability_curve([0.5], [True], level=1)
    with pytest.raises(ValueError, match=r"level must be a fraction"):
        reliability_curve([0.5], [True], level=95)
