"""One pass over the logits: by hand, against plain softmax, and at the limits of precision."""

import numpy as np
import pandas as pd
import pytest
import torch

from duokit.fusion.combine import weighted
from duokit.metrics import scores as module
from duokit.metrics.scores import confidences, score
from tests import oracles
from tests.metrics.samples import make_logits

ARRAYS = ("uncertainty", "confidence", "nll", "brier")
LN2 = np.log(2)


def test_two_images_by_hand():
    # probabilities 3/4, 1/4 and 1/3, 2/3
    s = score(np.log([[3.0, 1.0], [1.0, 2.0]]), [0, 0])
    assert s.predictions.tolist() == [0, 1]
    assert s.correct.tolist() == s.hit.tolist() == [True, False]
    assert s.confidence == pytest.approx([3 / 4, 2 / 3])
    assert s.uncertainty == pytest.approx([1 / 4, 1 / 3])
    assert s.nll == pytest.approx([np.log(4 / 3), np.log(3)])
    assert s.brier == pytest.approx([2 / 16, 8 / 9])
    assert s.classes == len(s) == 2
    assert s.entries.totals == pytest.approx([3 / 4 + 1 / 3, 1 / 4 + 2 / 3])
    assert s.entries.rows.tolist() == [0, 0, 1, 1]
    assert s.entries.classes.tolist() == [0, 1, 0, 1]
    assert s.entries.probs == pytest.approx([3 / 4, 1 / 4, 1 / 3, 2 / 3])


@pytest.mark.parametrize("k", [2, 3, 10, 300])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_the_slow_loops(k, dtype):
    logits, labels = make_logits(40, k, seed=k)
    logits = logits.astype(dtype)
    s = score(logits, labels)
    probs = np.array(oracles.softmax(logits.astype(float).tolist()))
    rel = 1e-12 if dtype is np.float64 else 2e-6
    assert s.confidence == pytest.approx(probs.max(1), rel=rel)
    assert s.uncertainty == pytest.approx(np.sort(probs, 1)[:, :-1].sum(1), rel=rel)
    assert s.nll == pytest.approx(-np.log(probs[np.arange(40), labels]), rel=rel)
    assert s.brier == pytest.approx(((probs - np.eye(k)[labels]) ** 2).sum(1), rel=rel)
    assert s.predictions.tolist() == probs.argmax(1).tolist()
    assert all(getattr(s, name).dtype == np.float64 for name in ARRAYS)
    high = probs > 1 / 15
    assert list(zip(s.entries.rows, s.entries.classes, strict=True)) == list(
        zip(*high.nonzero(), strict=True)
    )
    assert s.entries.probs == pytest.approx(probs[high], rel=rel)
    assert s.entries.totals == pytest.approx(probs.sum(0), rel=10 * rel)


def test_sure_images_do_not_tie_in_float32():
    leads = np.linspace(17, 80, 64)  # 1 - exp(-17) is 1 in float32
    logits = np.zeros((64, 3), np.float32)
    logits[:, 1] = leads
    plain = torch.softmax(torch.from_numpy(logits), 1)[:, 1]
    assert (plain == 1).all()
    s = score(logits, np.ones(64, int))
    assert (np.diff(s.uncertainty) < 0).all()
    expected = 2 * np.exp(-logits[:, 1].astype(float))
    assert s.uncertainty == pytest.approx(expected, rel=1e-6, abs=0)
    assert s.nll == pytest.approx(expected, rel=1e-6, abs=0)
    small = s.brier[leads < 40]  # float32 squares nothing below e^-43
    assert small == pytest.approx(
        expected[leads < 40] ** 2 * 3 / 2, rel=1e-5, abs=0
    )  # (2 e)^2 + 2 e^2 of e each


def test_sure_and_wrong_costs_its_lead():
    s = score(np.array([[1e4, 0.0, 0.0]], np.float32), [2])
    assert s.nll.tolist() == [1e4]
    assert s.brier.tolist() == [2]
    assert s.uncertainty.tolist() == [0]
    assert s.confidence.tolist() == [1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_huge_logits_stay_finite(dtype):
    logits = np.array([[1e4, -1e4], [1e4, 1e4], [-1e4, 1e4]], dtype)
    s = score(logits, [0, 1, 0])
    for name in ARRAYS:
        assert np.isfinite(getattr(s, name)).all()
    assert s.nll == pytest.approx([0, LN2, 2e4])
    assert s.predictions.tolist() == [0, 0, 1]  # the first of equal logits


def test_given_predictions_change_what_is_right_and_nothing_else():
    logits, labels = make_logits(60, 5, seed=0)
    plain = score(logits, labels)
    other = (plain.predictions + 1) % 5
    s = score(logits, labels, predictions=other)
    assert s.predictions.tolist() == other.tolist()
    assert s.correct.tolist() == (other == labels).tolist()
    assert s.hit.tolist() == plain.hit.tolist() == plain.correct.tolist()
    for name in ARRAYS:
        assert getattr(s, name).tolist() == getattr(plain, name).tolist()


def test_confidence_of_another_class():
    logits, labels = make_logits(60, 4, seed=1)
    probs = np.array(oracles.softmax(logits.tolist()))
    for chosen in (np.arange(60) % 4, labels, probs.argmax(1)):
        s = score(logits, labels, confidence_class=chosen)
        expected = probs[np.arange(60), chosen]
        assert s.confidence == pytest.approx(expected, rel=1e-12)
        assert s.uncertainty == pytest.approx(1 - expected, rel=1e-9)
        assert s.hit.tolist() == (chosen == labels).tolist()
        assert s.correct.tolist() == (probs.argmax(1) == labels).tolist()
        assert s.nll == pytest.approx(score(logits, labels).nll, rel=1e-12)
        assert s.brier == pytest.approx(score(logits, labels).brier, rel=1e-12)
        found = confidences(logits, confidence_class=chosen)
        assert found.uncertainty == pytest.approx(s.uncertainty, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [2, 3, 17, 200])
def test_equal_rows_tie_whatever_their_labels(k, dtype):
    row = make_logits(1, k, seed=k)[0].astype(dtype)
    s = score(np.repeat(row, k, axis=0), np.arange(k))
    assert len(set(s.uncertainty)) == 1
    assert len(set(s.nll)) == k


def layouts(row, n):
    """Return n equal rows in every way that memory can hold them."""
    k = row.shape[1]
    rows = np.repeat(row, n, axis=0)
    flat = torch.from_numpy(np.concatenate([[0], rows.ravel()]).astype(row.dtype))
    return {
        "rows": torch.from_numpy(rows),
        "one row": torch.from_numpy(row),
        "columns": torch.from_numpy(np.ascontiguousarray(rows.T)).T,
        "Fortran": np.asfortranarray(rows),
        "frame": pd.DataFrame(rows),
        "every second": torch.from_numpy(np.repeat(row, 2 * n, axis=0))[::2],
        "backwards": rows[::-1],
        "part of the columns": torch.from_numpy(np.concatenate([rows, rows], axis=1))[:, :k],
        "not aligned": flat[1:].view(n, k),
        "one row, expanded": torch.from_numpy(row).expand(n, k),
    }


@pytest.mark.promise("inputs")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [2, 3, 7, 8, 9, 17, 31, 100, 257])
def test_equal_rows_tie_whatever_holds_them(k, dtype, monkeypatch):
    """Sums over columns that stand apart in memory are rounded by their place; over rows, not."""
    monkeypatch.setattr(module, "CPU_ENTRIES", 11 * k)  # the last block is a smaller one
    row = 4 * make_logits(1, k, seed=k)[0].astype(dtype)
    found = {"sure": set(), "nll": set(), "brier": set(), "fused": set()}
    for z in layouts(row, 35).values():
        s = score(z, np.full(len(z), k - 1))
        found["sure"] |= {*s.uncertainty, *confidences(z).uncertainty}
        found["nll"] |= {*s.nll}
        found["brier"] |= {*s.brier}
        fused = weighted([z, z], [0.7, 0.4])
        found["fused"] |= {*confidences(fused).uncertainty}
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, 1)


def test_confidences_need_no_labels():
    logits, labels = make_logits(30, 6, seed=2)
    s, found = score(logits, labels), confidences(logits)
    assert found.predictions.tolist() == s.predictions.tolist()
    assert found.confidence == pytest.approx(s.confidence, rel=1e-15)
    assert found.uncertainty == pytest.approx(s.uncertainty, rel=1e-15)


def test_blocks_do_not_show(monkeypatch):
    logits, labels = make_logits(101, 7, seed=3)
    whole = score(logits, labels)
    monkeypatch.setattr(module, "CPU_ENTRIES", 7 * 4)
    parts = score(logits, labels)
    for name in (*ARRAYS, "predictions", "correct"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()
    for name in ("rows", "classes", "probs"):
        assert getattr(parts.entries, name).tolist() == getattr(whole.entries, name).tolist()
    assert parts.entries.totals == pytest.approx(whole.entries.totals, rel=1e-14)


def test_logits_are_kept_and_left_alone():
    logits, labels = make_logits(20, 3, seed=4)
    tensor = torch.from_numpy(logits.copy())
    s = score(tensor, torch.from_numpy(labels))
    assert s.logits.data_ptr() == tensor.data_ptr()
    assert (tensor.numpy() == logits).all()


def test_all_number_types_agree():
    logits, labels = make_logits(50, 4, seed=5)
    logits = torch.from_numpy(logits).to(torch.bfloat16)  # numbers that every type holds
    expected = score(logits.double(), labels)
    for dtype in (torch.bfloat16, torch.float32):
        s = score(logits.to(dtype), labels)
        for name in ARRAYS:
            assert getattr(s, name) == pytest.approx(getattr(expected, name), rel=2e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees():
    logits, labels = make_logits(500, 20, seed=6)
    for dtype in (torch.float32, torch.float64):
        tensor = torch.from_numpy(logits).to(dtype)
        here, there = score(tensor, labels), score(tensor.cuda(), labels)
        for name in ARRAYS:
            assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-5)
        assert there.entries.totals == pytest.approx(here.entries.totals, rel=1e-5)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    logits, labels = make_logits(20, 3, seed=7)
    try:
        torch.set_num_threads(2)
        score(logits, labels)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_refusals():
    logits, labels = make_logits(4, 3, seed=8)
    with pytest.raises(ValueError, match=r"labels\[1\] is -1"):
        score(logits, [0, -1, 1, 2])
    with pytest.raises(ValueError, match=r"labels\[0\] is 3"):
        score(logits, [3, 0, 1, 2])
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\)"):
        score(logits, [0, 1])
    with pytest.raises(TypeError, match="labels must be integers"):
        score(logits, labels.astype(float))
    with pytest.raises(TypeError, match="logits must be an array or a tensor of floats"):
        score(labels[:, None], labels)
    with pytest.raises(ValueError, match=r"predictions\[2\] is 7"):
        score(logits, labels, predictions=[0, 1, 7, 2])
    with pytest.raises(ValueError, match="confidence_class must have shape"):
        score(logits, labels, confidence_class=[0])
    with pytest.raises(ValueError, match="class_bins must be 2 or more"):
        score(logits, labels, class_bins=1)
    logits[2, 1] = np.nan
    for function in (lambda z: score(z, labels), confidences):
        with pytest.raises(ValueError, match=r"logits\[2, 1\] is nan"):
            function(logits)
