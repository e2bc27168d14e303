"""Every sentence of ours about another library, held against the version that is pinned.

The words are those of book/metrics_reference.md and of the docstrings in duokit.metrics.
"""

import importlib.metadata
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score

from duokit.fusion.weights import fit_weights
from duokit.metrics.calibration import ece, ece_mass
from duokit.metrics.classwise import ece_class
from duokit.metrics.paper import paper_row
from duokit.metrics.proper import brier, macro_f1, nll
from duokit.metrics.selective import aurc, auroc, coverage_at_accuracy, risk_at_coverage
from duokit.metrics.smooth import ece_smooth
from tests.metrics.samples import make_logits

functional = pytest.importorskip("torchmetrics.functional.classification")
tu = pytest.importorskip("torch_uncertainty.metrics.classification")
tu_calibration = pytest.importorskip("torch_uncertainty.metrics.classification.calibration")
pytestmark = pytest.mark.promise("peers")

PAGE = Path(__file__).parents[2] / "book" / "metrics_reference.md"
UNTESTED = ("probmetrics", "relplot", "fortuna", "probly", "fd-shifts")


def test_the_page_names_the_versions_that_are_tested():
    text = PAGE.read_text(encoding="utf-8")
    for name, digits in (("torch-uncertainty", 3), ("torchmetrics", 3), ("scikit-learn", 2)):
        said = re.search(rf"{name} ([\d.]+\d)", text).group(1)
        assert said == ".".join(importlib.metadata.version(name).split(".")[:digits])
    assert "netcal 1.4.0" in text
    assert not [name for name in UNTESTED if name in text]


def two_classes(confidence):
    """Return probabilities whose largest is the confidence, which is 1/2 or more."""
    values = torch.as_tensor(confidence, dtype=torch.float64)
    return torch.stack([values, 1 - values], 1)


def computed(metric, probs, labels):
    metric.update(probs, torch.as_tensor(labels))
    return float(metric.compute())


# --- answers


def test_macro_f1_leaves_absent_classes_out_everywhere():
    labels, found = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0])
    ours = macro_f1(found, labels)
    assert ours == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert f1_score(labels, found, average="macro") == pytest.approx(ours)
    for k in (2, 5):
        theirs = functional.multiclass_f1_score(found, labels, k, average="macro")
        assert float(theirs) == pytest.approx(ours)
    each = functional.multiclass_f1_score(found, labels, 5, average="none")
    assert float(each.mean()) == pytest.approx(ours * 2 / 5)


# --- proper scores


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_log_loss_clips_at_the_step_of_the_float_and_leaves_rows_alone(k):
    random = np.random.default_rng(k)
    z = (6 * random.normal(size=(300, k))).astype(np.float32)
    labels = random.integers(0, k, 300)
    labels[:200] = z.argmax(1)[:200]
    probs = torch.from_numpy(z).softmax(1).numpy()
    theirs = log_loss(labels, probs, labels=np.arange(k))
    assert paper_row(z, labels)["nll"] == pytest.approx(theirs, rel=1e-6)
    eps = np.finfo(np.float32).eps
    clipped = np.clip(probs.astype(float), eps, 1 - eps)
    again = -np.log((clipped / clipped.sum(1, keepdims=True))[np.arange(300), labels]).mean()
    if k == 1000:
        assert again != pytest.approx(theirs, rel=1e-5)
        assert nll(z, labels) > theirs


def test_no_image_costs_more_than_sixteen_nats_in_float32():
    z = np.array([[60.0, 0.0]], np.float32)
    probs = torch.from_numpy(z).softmax(1).numpy()
    assert log_loss([1], probs, labels=[0, 1]) == pytest.approx(15.94, abs=0.01)
    assert nll(z, [1]) == 60


def test_brier_is_a_sum_and_for_two_classes_half_of_it_by_default():
    logits, labels = make_logits(80, 4, seed=0)
    probs = torch.softmax(torch.from_numpy(logits), 1)
    assert brier_score_loss(labels, probs.numpy(), labels=range(4)) == pytest.approx(
        brier(logits, labels)
    )
    assert computed(tu.BrierScore(num_classes=4), probs, labels) == pytest.approx(
        brier(logits, labels)
    )
    logits, labels = make_logits(80, 2, seed=0)
    upper = torch.softmax(torch.from_numpy(logits), 1).numpy()[:, 1]
    assert brier_score_loss(labels, upper) == pytest.approx(brier(logits, labels) / 2)


# --- calibration


@pytest.mark.parametrize("tu_or_tm", ["torchmetrics", "torch-uncertainty"])
def test_closed_below_with_one_in_a_bin_of_its_own(tu_or_tm):
    def theirs(confidence, right, bins):
        probs, labels = two_classes(confidence), 1 - np.asarray(right)
        if tu_or_tm == "torchmetrics":
            labels = torch.as_tensor(labels)
            return float(functional.multiclass_calibration_error(probs, labels, 2, n_bins=bins))
        metric = tu.CalibrationError(task="multiclass", num_bins=bins, num_classes=2)
        return computed(metric, probs, labels)

    assert theirs([0.5, 0.9], [1, 0], 2) == pytest.approx(0.2)  # one bin: |1.4 - 1| / 2
    assert ece([0.5, 0.9], [1, 0], bins=2) == pytest.approx(0.7)  # two: (.5 + .9) / 2
    assert theirs([1.0, 0.95], [0, 1], 10) == pytest.approx((1 + 0.05) / 2)
    assert ece([1.0, 0.95], [0, 1], bins=10) == pytest.approx(0.95 / 2)
    away, right = [0.55, 0.72, 0.98, 0.91], [1, 0, 1, 1]
    assert theirs(away, right, 10) == pytest.approx(ece(away, right, bins=10))


def netcal_ece(confidence, right, bins):
    """The rule of netcal 1.4.0: bins closed below, 1.0 in the last."""
    at = np.minimum((np.digitize(confidence, np.linspace(0, 1, bins + 1)) - 1), bins - 1)
    gaps = np.bincount(at, np.subtract(confidence, right), minlength=bins)
    return np.abs(gaps).sum() / len(confidence)


def test_netcal_by_its_rule():
    """The two numbers were printed by netcal 1.4.0 itself."""
    assert netcal_ece([0.5, 0.9], [1, 0], 2) == pytest.approx(0.2)
    assert netcal_ece([1.0, 0.95], [0, 1], 10) == pytest.approx(0.475)
    random = np.random.default_rng(0)
    confidence = random.uniform(size=300)
    right = random.uniform(size=300) < confidence
    assert netcal_ece(confidence, right, 15) == pytest.approx(ece(confidence, right))


def test_equal_mass_splits_a_list_into_whole_images_ties_where_they_fall():
    confidence, right = np.full(8, 0.75), np.arange(8) < 4
    found = set()
    for order in (np.arange(8), np.argsort(np.arange(8) % 4)):
        metric = tu.AdaptiveCalibrationError(task="multiclass", num_bins=2, num_classes=2)
        probs = two_classes(confidence[order])
        found.add(round(computed(metric, probs, 1 - right[order].astype(int)), 6))
        assert ece_mass(confidence[order], right[order], bins=2) == pytest.approx(0.25)
    assert len(found) == 2  # theirs depends on the order of the file


def test_class_wise_but_for_the_edges():
    logits, labels = make_logits(90, 3, seed=1)
    probs = torch.softmax(torch.from_numpy(logits), 1)
    metric = tu_calibration.ClasswiseCalibrationError(num_classes=3, num_bins=15)
    assert computed(metric, probs, labels) == pytest.approx(ece_class(logits, labels), rel=1e-6)
    edge = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]], dtype=torch.float64)
    metric = tu_calibration.ClasswiseCalibrationError(num_classes=3, num_bins=2)
    found = computed(metric, edge, [0, 1])
    assert found == pytest.approx((0.2 + abs(0.35 - 1) / 2 + 0.25 / 2) / 3)
    ours = ece_class(edge.log(), [0, 1], bins=2)
    assert ours == pytest.approx((0.7 + abs(0.35 - 1) / 2 + 0.25 / 2) / 3)


def test_smooth_error_is_in_log_odds_unless_told():
    logits, labels = make_logits(500, 4, seed=5)
    probs = torch.softmax(torch.from_numpy(logits), 1)
    ours = ece_smooth(probs.max(1).values, probs.argmax(1).numpy() == labels)
    kind = tu_calibration.SmoothCalibrationError
    reflected = computed(kind(kernel_type="reflected"), probs.float(), labels)
    assert ours == pytest.approx(reflected, abs=2e-3)
    assert computed(kind(), probs.float(), labels) != pytest.approx(reflected, abs=1e-4)


# --- ranking


def test_auroc_of_scikit_learn_and_the_sigmoid_of_torchmetrics():
    uncertainty, right = np.array([-30.0, -25.0, -20.0, 1.0]), np.array([True, True, False, False])
    assert auroc(uncertainty, right) == roc_auc_score(right, -uncertainty) == 1
    scores, target = torch.tensor(-uncertainty, dtype=torch.float32), torch.tensor(right)
    theirs = functional.binary_auroc(scores, target.int())
    assert float(theirs) == 0.75  # 20, 25 and 30 all become 1
    with pytest.warns(match="Only one class"):
        assert np.isnan(roc_auc_score([True, True], [0.1, 0.2]))
    assert np.isnan(auroc([0.1, 0.2], [True, True]))


def ranked(right):
    """Return what torch-uncertainty takes: the surest first, all of two classes."""
    confidence = 0.99 - 0.4 * np.arange(len(right)) / len(right)
    return two_classes(confidence), 1 - np.asarray(right, int), 1 - confidence


def test_coverage_at_a_risk_is_the_largest_prefix_and_nan_for_none():
    probs, labels, uncertainty = ranked([0, *[1] * 30, 0, 1, 0, 0])
    theirs = computed(tu.CovAtxRisk(0.1), probs, labels)
    assert theirs == pytest.approx(coverage_at_accuracy(uncertainty, labels == 0, 0.9))
    probs, labels, uncertainty = ranked([0, 0, 1])
    assert np.isnan(computed(tu.CovAtxRisk(0.1), probs, labels))
    assert coverage_at_accuracy(uncertainty, labels == 0, 0.9) == 0


@pytest.mark.parametrize("percent", [50, 80, 90, 95])
def test_risk_at_a_coverage_cuts_at_the_same_place(percent):
    probs, labels, uncertainty = ranked(np.arange(23) % 3 > 0)
    theirs = computed(tu.RiskAtxCov(percent / 100), probs, labels)
    assert theirs == pytest.approx(risk_at_coverage(uncertainty, labels == 0, percent / 100))


def test_aurc_is_a_trapezoid_with_ties_in_sort_order():
    right = np.arange(40) % 4 > 0
    probs, labels, _ = ranked(right)
    risks = np.cumsum(~right) / np.arange(1, 41)
    trapezoid = (risks[1:] + risks[:-1]).sum() / 2 / 39
    assert computed(tu.AURC(), probs, labels) == pytest.approx(trapezoid, rel=1e-5)
    joint = risks * np.arange(1, 41) / 40
    trapezoid = (joint[1:] + joint[:-1]).sum() / 2 / 39
    assert computed(tu.AUGRC(), probs, labels) == pytest.approx(trapezoid, rel=1e-5)
    tied, found = two_classes(np.full(8, 0.75)), set()
    for order in (np.arange(8), np.arange(8)[::-1]):
        wrong = (np.arange(8) < 4).astype(int)[order]
        found.add(round(computed(tu.AURC(), tied, wrong), 6))
        assert aurc(np.full(8, 0.25), wrong == 0) == pytest.approx(0.5)
    assert len(found) == 2


# --- the fit


def test_the_temperature_of_torch_uncertainty_where_logits_are_far_too_large():
    """Its scaler, as it comes, ends far from the best temperature, without a word."""
    scaling = pytest.importorskip("torch_uncertainty.post_processing")
    from torch.utils.data import DataLoader, TensorDataset

    random = np.random.default_rng(1)
    labels = random.integers(0, 10, 1000)
    plain = random.normal(size=(1000, 10))
    plain[np.arange(1000), labels] += np.sqrt(2 * np.log(10))
    own = float(fit_weights([plain], labels).weights[0])
    for scale, sound in ((3, True), (100, False)):
        z = (plain * scale).astype(np.float32)
        scaler = scaling.TemperatureScaler()
        data = TensorDataset(torch.tensor(z), torch.tensor(labels))
        scaler.fit(DataLoader(data, batch_size=500), progress=False)
        weight = float(fit_weights([z], labels).weights[0])
        assert weight * scale == pytest.approx(own, rel=1e-4)  # ours undoes the scale
        theirs = 1 / float(scaler.temperature[0].detach())
        lost = nll(theirs * z.astype(float), labels) - nll(weight * z, labels)
        assert (lost < 0.01) == sound
