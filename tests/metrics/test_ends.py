"""Which interval each metric gets, by hand, and none where too little is known."""

import dataclasses

import numpy as np
import pytest
import torch

from duokit.metrics.ends import (
    BIASED,
    LEAST,
    Measured,
    changed,
    difference_ends,
    few_answers,
    interval_ends,
    own_ends,
    same_predictor,
    why_none,
    widened_ends,
)
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import score
from duokit.metrics.table import METRICS, evaluate
from tests.metrics.samples import make_logits

pytestmark = pytest.mark.promise("intervals")


def measured(wrong, n, *, seed=0, metrics=METRICS, last=True):
    """Return n images of which so many are wrong: the least sure ones, or the surest."""
    random = np.random.default_rng(seed)
    lead = np.sort(random.uniform(0.1, 5, n))[:: 1 if last else -1]
    logits = np.column_stack([lead, np.zeros((n, 2))])
    labels = (np.arange(n) < wrong).astype(int)
    scores = score(logits, labels)
    assert (~scores.correct).sum() == wrong
    return Measured(scores, evaluate(scores, metrics))


def test_only_accuracy_is_known_from_few_errors():
    asked = [name for name in METRICS if not name.startswith("sac")]  # asks for accepted images
    for wrong, n in ((0, 1), (3, 3), (LEAST - 1, 500), (500 - LEAST + 1, 500)):
        given = measured(wrong, n)
        for name in asked:
            assert bool(why_none(name, given)) == (name != "accuracy"), (name, wrong)
    enough = measured(LEAST, 500, last=False)
    assert [name for name in asked if why_none(name, enough)] == ["ece_class", "mce"]
    assert why_none("ece_class", enough, enough) == ""
    assert few_answers(np.arange(20) < 10) == ""
    reason = "9 of 20 answers are wrong; it takes 10 wrong and 10 right"
    assert few_answers(np.arange(20) < 11) == reason
    assert few_answers(np.arange(20) < 9).startswith("11 of 20 answers are wrong")


@pytest.mark.parametrize(("name", "accepted"), [("sac90", 100), ("sac98", 500), ("sac99", 1000)])
def test_sac_takes_so_many_accepted_images(name, accepted):
    """Ten errors at the target: 100 images at 90 %, 1,000 at 99 %; round-off must not count."""
    scores = measured(20, 2000).scores
    for count in (accepted, accepted - 1, 1):
        reason = why_none(name, Measured(scores, {name: count / 2000}))
        assert (reason != "") == (count < accepted)
    assert reason.startswith("1 images are accepted")


def test_risk_takes_so_many_wrong_answers_among_the_kept():
    """Nine or ten among the surest 80 of 100, all others right."""
    for wrong in (9, 10):
        given = measured(wrong, 100, last=False)
        assert given.values["risk80"] == pytest.approx(wrong / 80)
        assert bool(why_none("risk80", given)) == (wrong < 10)
    assert why_none("risk80", measured(9, 100, last=False)) == (
        "9 of the kept answers are wrong; it takes 10"
    )
    late = measured(20, 100)  # all among the 20 that are not kept
    assert late.values["risk80"] == 0
    assert why_none("risk80", late).startswith("0 of the kept")


def test_a_difference_of_risks_takes_so_many_changed_answers():
    given = measured(30, 100, last=False)
    for count in (9, 10):
        labels = given.scores.labels.copy()
        flipped = np.concatenate([np.arange(count // 2), 50 + np.arange(count - count // 2)])
        right = given.scores.correct.copy()
        right[flipped] = ~right[flipped]
        other = Measured(dataclasses.replace(given.scores, correct=right), given.values)
        assert sum(changed(right, given.scores.correct)) == count
        assert bool(why_none("risk80", given, other)) == (count < 10)
        assert bool(why_none("macro_f1", given, other)) == (count < 10)
        assert not why_none("auroc", given, other)
    assert changed(np.array([True, True, False]), np.array([False, False, True])) == (2, 1)
    assert len(labels) == 100


def test_either_predictor_may_have_too_few_errors():
    few, many = measured(3, 100), measured(30, 100)
    for pair in ((few, many), (many, few)):
        assert why_none("nll", *pair).startswith("3 of 100 answers are wrong")
    assert why_none("nll", many, many) == ""
    assert why_none("accuracy", few, many) == ""
    assert "lie above it" in why_none("mce", many)


def test_the_widened_end_is_the_one_that_the_truth_lies_beyond():
    drawn = np.array([0.2, 0.3, 0.4, np.nan])
    assert widened_ends(0.2, drawn, 0.5) == pytest.approx((0.25 - 5 * 0.1, 0.35))
    assert widened_ends(0.4, drawn, 0.5) == pytest.approx((0.25, 0.35 + 5 * 0.1))
    assert widened_ends(0.3, drawn, 0.5) == pytest.approx((0.25, 0.35))  # nothing was added
    assert widened_ends(0.26, drawn[:1], 0.5) == pytest.approx((0.2, 0.2 + 5 * 0.06))
    assert np.isnan(widened_ends(0.2, drawn[3:], 0.5)).all()


@pytest.mark.parametrize("name", BIASED)
def test_errors_of_calibration_hold_their_value_and_stay_in_their_range(name):
    logits, labels = make_logits(150, 4, seed=30)
    given = score(logits, labels), score(logits * 3, labels)
    row = intervals(*given, metrics=[name], resamples=60).loc[name]
    if name == "ece_class":
        assert row[["low", "high"]].isna().all()
    else:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert row["difference_high"] < 0  # the one is overconfident beyond doubt


def test_ends_of_a_difference_to_the_mean_of_several():
    logits, labels = make_logits(120, 3, seed=31)
    scores = [score(logits * w, labels) for w in (1.0, 0.5, 2.0)]
    names = ["accuracy", "nll", "ece", "mce"]
    ours, *rivals = (Measured(s, evaluate(s, names)) for s in scores)
    drawn = np.random.default_rng(0).normal(size=(50, 4))
    low, high = difference_ends(ours, rivals, drawn, 0.8)
    expected = np.quantile(drawn, [0.1, 0.9], axis=0)
    assert (low[0], high[0]) == tuple(expected[:, 0])  # no share, so resampled
    assert (low[1], high[1]) == tuple(expected[:, 1])
    gap = ours.values["ece"] - np.mean([each.values["ece"] for each in rivals])
    assert (low[2], high[2]) == widened_ends(gap, drawn[:, 2], 0.8)
    assert np.isnan([low[3], high[3]]).all()


def test_one_predictor_has_no_difference_however_few_its_errors():
    given = measured(1, 30)
    twin = Measured(dataclasses.replace(given.scores), given.values)
    assert same_predictor(given.scores, twin.scores)
    ends = difference_ends(given, [twin], np.zeros((5, len(METRICS))), 0.95)
    assert (np.array(ends) == 0).all()
    other = dataclasses.replace(given.scores, nll=given.scores.nll + 1e-9)
    assert not same_predictor(given.scores, other)
    twin, zeros = Measured(other, given.values), np.zeros((5, len(METRICS)))
    low, _ = difference_ends(given, [twin], zeros, 0.95)
    assert np.isnan(low).tolist() == [bool(why_none(name, given, twin)) for name in METRICS]
    assert np.isnan(low).sum() > 20


def test_without_their_logits_two_models_are_two():
    """As in a sweep over pairs, which does not keep the logits."""
    given = measured(15, 60, metrics=["accuracy"])
    bare = dataclasses.replace(given.scores, logits=torch.empty(0), nll=given.scores.nll * 2)
    for ours, theirs in ((given.scores, bare), (bare, given.scores)):
        low, high = difference_ends(
            Measured(ours, given.values), [Measured(theirs, given.values)], np.zeros((3, 1)), 0.95
        )
        half = 1.959964 * 2**0.5 / 62
        assert [low[0], high[0]] == pytest.approx([-half, half])


def test_ends_of_a_metric_that_no_resample_has():
    drawn = np.array([[np.nan, 1.0], [np.nan, 3.0]])
    low, high = interval_ends(drawn, 0.5)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (1.5, 2.5)
    given = measured(15, 60, metrics=["nll", "accuracy"])
    low, high = own_ends(given, drawn[:, ::-1], 0.5)
    assert (low[0], high[0]) == (1.5, 2.5)
    assert 0.5 < low[1] < 0.75 < high[1] < 1
