"""The contract every metric keeps, and the tables made of them."""

import numpy as np
import pandas as pd
import pytest
import torch

import duokit.metrics
from duokit.metrics.calibration import ece, ece_debiased, ece_mass, mce
from duokit.metrics.classwise import ece_class
from duokit.metrics.proper import accuracy, brier, macro_f1, nll
from duokit.metrics.scores import score
from duokit.metrics.selective import (
    augrc,
    aurc,
    auroc,
    coverage_at_accuracy,
    e_aurc,
    risk_at_coverage,
)
from duokit.metrics.smooth import ece_smooth
from duokit.metrics.table import METRICS, Metric, compare_table, evaluate, table_row
from tests import oracles
from tests.metrics.samples import make_logits

CASES = {
    "plain": make_logits(120, 6, seed=0),
    "two classes": make_logits(80, 2, seed=1),
    "many classes": make_logits(40, 60, seed=2),
    "one image, right": (np.array([[3.0, 0.0]]), np.array([0])),
    "one image, wrong": (np.array([[3.0, 0.0]]), np.array([1])),
    "all right": (np.eye(5)[np.arange(30) % 5] * 4, np.arange(30) % 5),
    "all wrong": (np.eye(5)[np.arange(30) % 5] * 4, (np.arange(30) + 1) % 5),
    "all tied": (np.tile([2.0, 1.0, 0.0], (40, 1)), np.arange(40) % 3),
    "a right and a wrong one tied": (np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])),
    "constant logits": (np.zeros((20, 4)), np.arange(20) % 4),
    "huge logits": (np.eye(3)[np.arange(20) % 3] * 1e4, np.arange(20) % 2),
    "half precision": (make_logits(60, 8, seed=3)[0].astype(np.float16), np.arange(60) % 8),
}


def direct(logits, labels):
    """Return every metric by its own function."""
    s = score(logits, labels)
    calibrated, ranked = (s.confidence, s.hit), (s.uncertainty, s.correct)
    row = {
        "accuracy": accuracy(s.predictions, labels),
        "macro_f1": macro_f1(s.predictions, labels),
        "nll": nll(logits, labels),
        "brier": brier(logits, labels),
        "ece_class": ece_class(logits, labels),
    }
    row |= {f.__name__: f(*calibrated) for f in (ece, ece_mass, ece_debiased, ece_smooth, mce)}
    row |= {f.__name__: f(*ranked) for f in (auroc, aurc, e_aurc, augrc)}
    row |= {f"sac{p}": coverage_at_accuracy(*ranked, p / 100) for p in range(90, 100)}
    return row | {f"risk{p}": risk_at_coverage(*ranked, p / 100) for p in (80, 90, 95)}


@pytest.mark.parametrize("case", CASES)
def test_table_row_is_the_functions_one_by_one(case):
    logits, labels = CASES[case]
    row, expected = table_row(logits, labels), direct(logits, labels)
    assert list(row.index) == list(METRICS)
    assert set(expected) == set(METRICS)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(3))
def test_table_row_is_the_slow_loops(seed):
    logits, labels = make_logits(60, 4, seed=seed)
    row, expected = table_row(logits, labels), oracles.all_metrics(logits.tolist(), labels.tolist())
    assert set(expected) == set(METRICS)
    for name, value in expected.items():
        tolerance = 5e-3 if name == "ece_smooth" else 1e-10
        assert row[name] == pytest.approx(value, rel=tolerance, abs=1e-12), name


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_keeps_its_contract(name):
    metric = METRICS[name]
    assert metric.name == name
    assert metric.better in ("higher", "lower")
    assert metric.title
    assert len(metric.text) > 20
    assert metric.text.endswith(".")
    for case, (logits, labels) in CASES.items():
        value = evaluate(score(logits, labels), [name])[name]
        assert isinstance(value, float)
        undefined = (name == "auroc" and ("all" in case or "one" in case or "huge" in case)) or (
            name == "ece_debiased" and "one" in case
        )
        if not (undefined and np.isnan(value)):
            assert np.isfinite(value), (case, value)
            assert metric.low <= value <= metric.high, (case, value)
        order = np.random.default_rng(0).permutation(len(labels))
        again = evaluate(score(logits[order], labels[order]), [name])[name]
        assert again == pytest.approx(value, rel=1e-6, abs=1e-7, nan_ok=True), case


@pytest.mark.parametrize("name", METRICS)
def test_better_means_better(name):
    """A perfect, sure predictor reaches the good end of every metric; a worse one does not."""
    labels = np.arange(200) % 4
    flawed = np.eye(4)[labels] * np.linspace(1, 3, 200)[:, None]
    flawed[::5] = np.roll(flawed[::5], 1, axis=1)  # wrong, sure or not
    perfect = np.eye(4)[labels] * np.linspace(30, 40, 200)[:, None]
    if name == "auroc":  # which needs an error: the least sure one
        perfect[0] = np.roll(perfect[0], 1)
    best, worse = (evaluate(score(logits, labels), [name])[name] for logits in (perfect, flawed))
    good = METRICS[name].high if METRICS[name].better == "higher" else METRICS[name].low
    assert best == pytest.approx(good, abs=1e-9)
    assert abs(worse - good) > 1e-3


def test_undefined_only_where_said():
    for case, (logits, labels) in CASES.items():
        row = table_row(logits, labels)
        nans = set(row.index[row.isna()])
        one_sided = row["accuracy"] in (0, 1)
        assert nans == ({"auroc"} if one_sided else set()) | (
            {"ece_debiased"} if len(labels) == 1 else set()
        ), case


def test_given_predictions():
    logits, labels = CASES["plain"]
    answers = (logits.argmax(1) + (np.arange(120) % 3 == 0)) % 6
    row, plain = table_row(logits, labels, predictions=answers), table_row(logits, labels)
    right = answers == labels
    assert row["accuracy"] == right.mean()
    assert row["macro_f1"] == pytest.approx(macro_f1(answers, labels))
    assert row["aurc"] == pytest.approx(aurc(score(logits, labels).uncertainty, right))
    same = ["nll", "brier", "ece", "ece_mass", "ece_class", "ece_debiased", "ece_smooth", "mce"]
    assert row[same].tolist() == plain[same].tolist()


def test_confidence_of_another_class():
    logits, labels = CASES["plain"]
    chosen = np.arange(120) % 6
    s = score(logits, labels, confidence_class=chosen)
    row = table_row(logits, labels, confidence_class=chosen)
    assert row["ece"] == pytest.approx(ece(s.confidence, chosen == labels))
    assert row["auroc"] == pytest.approx(auroc(s.uncertainty, s.correct))


def test_compare_table():
    logits, labels = CASES["plain"]
    predictors = {"one": score(logits, labels), "other": score(logits / 3, labels)}
    table = compare_table(predictors)
    assert list(table.index) == ["one", "other"]
    assert list(table.columns) == list(METRICS)
    assert table.loc["other"].tolist() == table_row(logits / 3, labels).tolist()
    assert compare_table(predictors, ["nll", "ece_class"]).columns.tolist() == ["nll", "ece_class"]
    assert isinstance(table_row(logits, labels), pd.Series)


def test_a_metric_asked_for_alone_is_the_same():
    logits, labels = CASES["plain"]
    s = score(logits, labels)
    row = evaluate(s)
    for name in METRICS:
        assert evaluate(s, [name]) == {name: row[name]}


def test_refusals():
    logits, labels = CASES["plain"]
    s = score(logits, labels)
    with pytest.raises(ValueError, match=r"unknown metric \['AURC'\]: choose from accuracy, "):
        evaluate(s, ["AURC"])
    with pytest.raises(ValueError, match="unknown metric"):
        evaluate(s, "aurc")
    for call in (
        lambda: evaluate(s, ["nll", "ece", "nll"]),
        lambda: compare_table({"a": s}, ["nll"] * 2),
    ):
        with pytest.raises(
            ValueError, match="metric 'nll' is asked for twice: name each metric once"
        ):
            call()
    with pytest.raises(ValueError, match="no predictor"):
        compare_table({})
    with pytest.raises(TypeError, match=r"expected Scores, not ndarray: call score\("):
        compare_table({"logits": logits})
    with pytest.raises(ValueError, match="convention must be"):
        table_row(logits, labels, convention="theirs")


def test_all_public_names_exist_and_are_documented():
    for name in duokit.metrics.__all__:
        found = getattr(duokit.metrics, name)
        if name != "METRICS":
            assert found.__doc__, name
    assert all(isinstance(metric, Metric) for metric in METRICS.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees():
    logits, labels = CASES["plain"]
    here = table_row(logits, labels)
    there = table_row(torch.from_numpy(logits).cuda(), labels)
    assert there.to_numpy() == pytest.approx(here.to_numpy(), rel=1e-9)


def test_what_is_worst_and_best():
    """All but these three are fractions."""
    others = {"nll": (0, np.inf), "brier": (0, 2), "augrc": (0, 0.5)}
    found = {name: (metric.low, metric.high) for name, metric in METRICS.items()}
    assert found == dict.fromkeys(METRICS, (0, 1)) | others
