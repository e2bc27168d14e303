"""The released code's numbers, from its formulas written anew (benchmarks/metrics.py)."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.metrics import masked_ece, released_way
from duokit.metrics.table import table_row
from tests.metrics.samples import make_logits

SAC = [f"sac{percent}" for percent in range(90, 100)]


def distinct(n, k, *, seed):
    """Return float32 logits with float32 confidences that all differ: sorting has one answer."""
    for attempt in range(seed, seed + 100):
        logits, labels = make_logits(n, k, seed=attempt, lift=1.0)
        logits = torch.from_numpy(logits).float()
        top = torch.softmax(logits, 1).max(1).values
        if len(top.unique()) == n:
            return logits, torch.from_numpy(labels)
    raise AssertionError("no sample without ties")


@pytest.mark.parametrize(("n", "k"), [(50, 2), (300, 5), (400, 40)])
def test_every_number_without_ties(n, k):
    logits, labels = distinct(n, k, seed=k)
    theirs = released_way(logits, labels)
    ours = table_row(logits, labels, convention="paper")
    assert set(ours.index) == set(theirs)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=2e-6, abs=1e-7), name
    for name in ("accuracy", *SAC):
        assert ours[name] == theirs[name], name
    for name in ("aurc", "e_aurc"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-14), name


def test_sure_images_tie_there_and_not_here():
    logits = torch.zeros(6, 3)
    logits[:, 0] = torch.tensor([40.0, 50, 60, 70, 80, 90])
    labels = torch.tensor([1, 0, 0, 0, 0, 0])  # the least sure of them is wrong
    ours, theirs = (table_row(logits, labels, convention=c) for c in ("standard", "paper"))
    assert ours["auroc"] == 1
    assert theirs["auroc"] == 0.5
    assert ours["aurc"] == pytest.approx(1 / 36)
    assert theirs["aurc"] == pytest.approx(sum(1 / j for j in range(1, 7)) / 6)  # file order


def test_the_two_surest_float32_probabilities_do_not_tie():
    logits, labels = torch.tensor([[16.6, 0.0], [40.0, 0.0]]), torch.tensor([1, 0])
    assert table_row(logits, labels, convention="paper")["auroc"] == 1


def test_the_lowest_bin_counts():
    logits, labels = torch.zeros(10, 40), torch.zeros(10, dtype=torch.int64)
    assert table_row(logits, labels, convention="paper")["ece"] == pytest.approx(1 - 1 / 40)


def test_nll_is_clipped():
    logits, labels = torch.tensor([[60.0, 0.0]]), torch.tensor([1])
    expected = -np.log(np.finfo(np.float32).eps)
    assert table_row(logits, labels, convention="paper")["nll"] == pytest.approx(expected)
    probs = torch.softmax(logits, 1).numpy()
    assert log_loss(labels.numpy(), probs, labels=[0, 1]) == pytest.approx(expected)
    assert table_row(logits, labels)["nll"] == pytest.approx(60)


def test_sac_refuses_what_floats_refuse():
    # 100 images, two errors, the last: .98 accurate, but 1 - .9800000000000001 < .02
    logits = torch.stack([torch.linspace(2, 1, 100), torch.zeros(100)], 1)
    labels = torch.zeros(100, dtype=torch.int64)
    labels[-2:] = 1
    ours, theirs = (table_row(logits, labels, convention=c) for c in ("standard", "paper"))
    assert ours["sac98"] == 1
    assert theirs["sac98"] == 0.99  # one error among 99
    assert theirs["sac98"] == released_way(logits, labels)["sac98"]


def test_a_duo_scored_at_the_large_models_class():
    logits, labels = distinct(300, 4, seed=50)
    large, _ = distinct(300, 4, seed=90)
    chosen = large.argmax(1)
    row = table_row(logits, labels, predictions=chosen, confidence_class=chosen, convention="paper")
    probs = torch.softmax(logits, 1)
    certain = probs.gather(1, chosen[:, None])[:, 0].numpy()
    right = (chosen == labels).numpy()
    assert row["accuracy"] == right.mean()
    assert row["auroc"] == pytest.approx(roc_auc_score(right, certain))
    risks = np.cumsum(~right[np.argsort(1 - certain)]) / np.arange(1, 301)
    assert row["aurc"] == pytest.approx(risks.mean())
    # ECE, NLL and Brier stay those of the duo's own probabilities
    assert row["ece"] == pytest.approx(masked_ece(probs, labels), rel=1e-5)
    plain = table_row(logits, labels, convention="paper")
    assert row[["ece", "nll", "brier"]].tolist() == plain[["ece", "nll", "brier"]].tolist()
    standard = table_row(logits, labels, predictions=chosen, confidence_class=chosen)
    assert standard["auroc"] == pytest.approx(row["auroc"], abs=1e-5)


def test_no_prefix_accurate_enough_is_zero():
    row = table_row(np.array([[1.0, 0.0]]), [1], convention="paper")
    assert row[SAC].tolist() == [0] * 10
    assert np.isnan(row["auroc"])
