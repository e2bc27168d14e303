"""Accuracy, F1, NLL and Brier: values by hand, scikit-learn, torchmetrics, torch-uncertainty."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss

from duokit.metrics.proper import accuracy, brier, macro_f1, nll
from tests import oracles
from tests.metrics.samples import make_logits


def test_by_hand():
    predictions, labels = [0, 0, 1, 2, 2], [0, 1, 1, 1, 4]
    assert accuracy(predictions, labels) == 2 / 5
    # class 0: 1 hit, 2 predicted, 1 true; 1: 1, 1, 3; 2: 0, 2, 0; 4: 0, 0, 1; class 3 never seen
    assert macro_f1(predictions, labels) == pytest.approx((2 / 3 + 2 / 4 + 0 + 0) / 4)
    logits = np.log([[3.0, 1.0], [1.0, 3.0]])
    assert nll(logits, [0, 0]) == pytest.approx((np.log(4 / 3) + np.log(4)) / 2)
    assert brier(logits, [0, 0]) == pytest.approx((2 / 16 + 18 / 16) / 2)
    assert brier(logits, [0, 0], convention="paper") == pytest.approx((2 / 16 + 18 / 16) / 4)


@pytest.mark.parametrize("k", [2, 5, 30])
def test_equals_the_slow_loops_and_scikit_learn(k):
    logits, labels = make_logits(150, k, seed=k)
    predictions = logits.argmax(1)
    probs = np.array(oracles.softmax(logits.tolist()))
    assert accuracy(predictions, labels) == accuracy_score(labels, predictions)
    assert macro_f1(predictions, labels) == pytest.approx(
        f1_score(labels, predictions, average="macro"), rel=1e-12
    )
    assert macro_f1(predictions, labels) == pytest.approx(
        oracles.macro_f1(predictions.tolist(), labels.tolist())
    )
    assert nll(logits, labels) == pytest.approx(log_loss(labels, probs, labels=range(k)))
    assert nll(logits, labels) == pytest.approx(oracles.nll(logits.tolist(), labels.tolist()))
    assert brier(logits, labels) == pytest.approx(oracles.brier(probs.tolist(), labels.tolist()))
    assert brier(logits, labels) == pytest.approx(
        brier_score_loss(labels, probs, labels=range(k), scale_by_half=False)
    )
    flat = brier_score_loss(np.eye(k)[labels].ravel(), probs.ravel())
    assert brier(logits, labels, convention="paper") == pytest.approx(flat)


def test_torchmetrics_and_torch_uncertainty():
    theirs = pytest.importorskip("torch_uncertainty.metrics.classification")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    logits, labels = make_logits(200, 4, seed=0)  # every class occurs
    probs, y = torch.softmax(torch.from_numpy(logits), 1), torch.from_numpy(labels)
    metric = theirs.BrierScore(num_classes=4)
    metric.update(probs, y)
    assert brier(logits, labels) == pytest.approx(float(metric.compute()))
    metric = theirs.CategoricalNLL()
    metric.update(probs, y)
    assert nll(logits, labels) == pytest.approx(float(metric.compute()))
    f1 = functional.multiclass_f1_score(torch.from_numpy(logits), y, 4, average="macro")
    assert macro_f1(logits.argmax(1), labels) == pytest.approx(float(f1))


def test_nll_is_not_clipped_where_scikit_learn_clips():
    logits = np.array([[60.0, 0.0]], np.float32)
    assert nll(logits, [1]) == pytest.approx(60)
    probs = torch.softmax(torch.from_numpy(logits), 1).numpy()
    assert log_loss([1], probs, labels=[0, 1]) == pytest.approx(15.9, abs=0.1)


def test_refusals():
    for function in (accuracy, macro_f1):
        with pytest.raises(ValueError, match=r"shape \(1,\), one per image, not \(2,\)"):
            function([0, 1], [0])
        with pytest.raises(ValueError, match=r"shape \(images,\)"):
            function([], [])
    with pytest.raises(ValueError, match=r"predictions\[1\] is -1"):
        macro_f1([0, -1], [0, 1])
    with pytest.raises(ValueError, match="convention must be"):
        brier([[0.0, 1.0]], [0], convention="sum")
