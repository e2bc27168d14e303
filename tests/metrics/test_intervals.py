"""Bootstrap: every resample's numbers are the metrics of the resampled data, and what follows."""

import sys

import numpy as np
import pytest

from duokit.metrics import weighted
from duokit.metrics.chance import paired_interval, share_interval
from duokit.metrics.ends import BIASED, Measured, interval_ends, why_none
from duokit.metrics.intervals import intervals, resample_counts, resampled
from duokit.metrics.scores import score
from duokit.metrics.table import METRICS, evaluate
from duokit.metrics.weighted import NAMES, Weighted
from tests import oracles
from tests.metrics.samples import make_logits
from tests.metrics.test_table import CASES, direct

NAMED = list(METRICS)


def tied_logits(n, k, *, seed):
    """Return logits of few distinct rows, so that many images tie."""
    logits, labels = make_logits(n, k, seed=seed)
    return np.round(logits / 2) * 2 + np.eye(k)[0] * 0.25, labels


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        make_logits(50, 4, seed=0),
        make_logits(30, 25, seed=1),
        tied_logits(60, 3, seed=2),
        *(CASES[name] for name in ("all right", "all wrong", "all tied", "huge logits")),
    ],
)
def test_every_resample_is_each_metric_of_the_drawn_images(logits, labels):
    s = score(logits, labels)
    counts = resample_counts(len(labels), 6, seed=3)
    found = Weighted(s).metrics(counts)
    assert list(found) == NAMED
    for r, row in enumerate(counts):
        drawn = np.repeat(np.arange(len(labels)), row)
        expected = direct(logits[drawn], labels[drawn])
        for name in NAMED:
            assert found[name][r] == pytest.approx(
                expected[name], rel=1e-9, abs=1e-9, nan_ok=True
            ), (r, name)


def test_every_resample_is_the_slow_loops():
    logits, labels = make_logits(14, 3, seed=4)  # small: the loops try every order of a tie
    found = Weighted(score(logits, labels)).metrics(resample_counts(14, 4, seed=5))
    for r, row in enumerate(resample_counts(14, 4, seed=5)):
        drawn = np.repeat(np.arange(14), row)
        expected = oracles.all_metrics(logits[drawn].tolist(), labels[drawn].tolist(), smooth=False)
        for name, value in expected.items():
            assert found[name][r] == pytest.approx(value, abs=1e-9, nan_ok=True), (r, name)


def test_given_predictions_and_confidence_classes_are_resampled_too():
    logits, labels = make_logits(60, 5, seed=6)
    answers, chosen = (logits.argmax(1) + np.arange(60) % 2) % 5, np.arange(60) % 5
    s = score(logits, labels, predictions=answers, confidence_class=chosen)
    counts = resample_counts(60, 4, seed=7)
    found = Weighted(s).metrics(counts)
    for r, row in enumerate(counts):
        d = np.repeat(np.arange(60), row)
        again = score(logits[d], labels[d], predictions=answers[d], confidence_class=chosen[d])
        for name, value in evaluate(again).items():
            assert found[name][r] == pytest.approx(value, abs=1e-9), (r, name)


def test_float32_resamples_agree_closely():
    logits, labels = make_logits(200, 30, seed=8)
    s = score(logits.astype(np.float32), labels)
    exact = score(logits.astype(np.float32).astype(np.float64), labels)
    counts = resample_counts(200, 5, seed=0)
    found, expected = Weighted(s).metrics(counts), Weighted(exact).metrics(counts)
    for name in NAMED:
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-7), name


def test_counts_are_draws_with_replacement_and_reproducible():
    counts = resample_counts(40, 300, seed=1)
    assert (counts.sum(1) == 40).all()
    assert counts.mean() == 1
    assert counts.var(1).mean() == pytest.approx(1 - 1 / 40, abs=0.06)  # binomial(n, 1 / n)
    assert (resample_counts(40, 300, seed=1) == counts).all()
    assert (resample_counts(40, 3, seed=1, first=100) == counts[100:103]).all()
    assert (resample_counts(40, 300, seed=2) != counts).any()
    assert len(np.unique(counts, axis=0)) == 300


def test_intervals_are_the_quantiles(monkeypatch):
    logits, labels = make_logits(80, 4, seed=9)
    s, b = score(logits, labels), score(logits * 0.4, labels)
    table = intervals(s, b, resamples=50, seed=3, level=0.8)
    assert list(table.index) == NAMED
    assert table.index.name == "metric"
    columns = "value low high baseline difference difference_low difference_high"
    assert list(table.columns) == columns.split()
    drawn = []
    for row in resample_counts(80, 50, seed=3):
        d = np.repeat(np.arange(80), row)
        drawn.append([evaluate(score(z[d], labels[d])) for z in (logits, logits * 0.4)])
    for name in NAMED:
        ours, theirs = (np.array([pair[i][name] for pair in drawn]) for i in (0, 1))
        expected = [*np.quantile(ours, [0.1, 0.9]), *np.quantile(ours - theirs, [0.1, 0.9])]
        if name in BIASED:
            own = [(s, "value"), (b, "baseline")]
            values = [evaluate(each)[name] for each, _ in own]
            back = 5 * (ours.mean() - values[0])
            expected[:2] = (
                max(0, min(values[0], expected[0], expected[0] - back)),
                min(1, max(values[0], expected[1], expected[1] - back)),
            )
            gap, less = values[0] - values[1], ours - theirs
            back = 5 * (less.mean() - gap)
            expected[2:] = (
                min(gap, expected[2], expected[2] - back),
                max(gap, expected[3], expected[3] - back),
            )
        pair = Measured(s, evaluate(s)), Measured(b, evaluate(b))
        if why_none(name, pair[0]):
            expected[:2] = [np.nan, np.nan]
        if why_none(name, *pair):
            expected[2:] = [np.nan, np.nan]
        if name == "accuracy":  # of these very counts: no resample tells of an error never met
            right = s.correct.sum()
            expected[:2] = np.ravel(share_interval(right, 80, level=0.8))
            expected[2:] = [0, 0]  # a multiple of the same logits
        found = table.loc[name, ["low", "high", "difference_low", "difference_high"]]
        assert found.tolist() == pytest.approx(expected, abs=1e-9, nan_ok=True), name
    assert (~s.correct).sum() >= 10  # so that most have an interval
    assert table.notna().all(axis=1).sum() >= 11
    assert table["value"].to_dict() == evaluate(s)
    assert table["baseline"].to_dict() == evaluate(b)
    assert table["difference"].tolist() == (table["value"] - table["baseline"]).tolist()
    alone = intervals(s, resamples=50, seed=3, level=0.8)
    assert list(alone.columns) == ["value", "low", "high"]
    assert alone.equals(table[["value", "low", "high"]])
    # memory decides how many resamples are held at a time, and nothing else
    monkeypatch.setattr(
        sys.modules["duokit.metrics.intervals"], "MOST_BYTES", 7 * (2 * 80 + 8 * 1004)
    )
    assert intervals(s, b, resamples=50, seed=3, level=0.8).to_numpy() == pytest.approx(
        table.to_numpy(), abs=1e-9, nan_ok=True
    )


def test_a_thousand_resamples_from_seed_0_at_95_percent():
    s = score(*make_logits(60, 3, seed=4))
    given = intervals(s, metrics=["brier"], resamples=1000, seed=0, level=0.95)
    assert intervals(s, metrics=["brier"]).equals(given)


def test_pairing_narrows_the_difference():
    logits, labels = make_logits(400, 5, seed=10)
    noise = np.random.default_rng(0).normal(size=logits.shape) * 0.1
    table = intervals(score(logits, labels), score(logits + noise, labels), metrics=["nll", "aurc"])
    own = table["high"] - table["low"]
    difference = table["difference_high"] - table["difference_low"]
    assert (difference < own / 3).all()


def test_same_predictor_differs_by_nothing():
    logits, labels = make_logits(50, 3, seed=11)
    table = intervals(score(logits, labels), score(logits, labels), resamples=20)
    assert (table[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)


def test_accuracy_is_counted_not_resampled():
    logits, labels = make_logits(60, 3, seed=20)
    other, _ = make_logits(60, 3, seed=21)
    other[np.arange(60), labels] += 3
    s, b = score(logits, labels), score(other, labels)
    row = intervals(s, b, metrics=["accuracy"], resamples=1, level=0.9).loc["accuracy"]
    more, fewer = ((x & ~y).sum() for x, y in ((s.correct, b.correct), (b.correct, s.correct)))
    assert more != fewer
    assert (row["low"], row["high"]) == share_interval(s.correct.sum(), 60, level=0.9)
    ends = paired_interval(more, fewer, 60, level=0.9)
    assert (row["difference_low"], row["difference_high"]) == ends


def test_all_right_is_not_sure_to_be_always_right():
    logits = np.eye(3)[np.zeros(50, int)] * 4
    row = intervals(score(logits, np.zeros(50, int)), metrics=["accuracy"]).loc["accuracy"]
    assert row.tolist() == pytest.approx([1, 0.025 ** (1 / 50), 1])


@pytest.mark.parametrize("n", [1, 2, 40])
def test_two_models_that_agree_so_far_may_differ_on_the_next_image(n):
    logits, labels = make_logits(n, 3, seed=22)
    noise = np.random.default_rng(0).normal(size=logits.shape) * 1e-3
    s, b = score(logits, labels), score(logits + noise, labels)
    assert (s.predictions == b.predictions).all()
    row = intervals(s, b, metrics=["accuracy"], resamples=5).loc["accuracy"]
    half = min(1, 1.959964 * 2**0.5 / (n + 2))
    assert [row["difference_low"], row["difference_high"]] == pytest.approx([-half, half])


def test_one_classifier_does_not_differ_from_itself():
    logits, labels = make_logits(40, 3, seed=23)
    other, _ = make_logits(40, 3, seed=24)
    same = {
        "a multiple": score(np.float32(logits) * np.float32(0.37), labels),
        "its own answers, another's confidence": score(other, labels, predictions=logits.argmax(1)),
    }
    for name, b in same.items():
        row = intervals(score(logits, labels), b, metrics=["accuracy"], resamples=5).iloc[0]
        assert row[["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0], name


def test_interval_of_a_mean_is_the_known_one():
    logits, labels = make_logits(500, 4, seed=12)
    s = score(logits, labels)
    row = intervals(s, metrics=["nll"], resamples=2000, seed=1).loc["nll"]
    half = 1.96 * s.nll.std() / np.sqrt(500)
    assert row["high"] - row["value"] == pytest.approx(half, rel=0.12)
    assert row["value"] - row["low"] == pytest.approx(half, rel=0.12)


def test_undefined_resamples_are_left_out():
    logits, labels = make_logits(30, 3, seed=13, lift=20)
    labels = logits.argmax(1)
    labels[0] = (labels[0] + 1) % 3  # one error: a third of the resamples have none
    s = score(logits, labels)
    (drawn,) = resampled([Weighted(s, ["auroc"])], ["auroc"], resamples=60, seed=0)
    assert 0 < np.isnan(drawn).mean() < 0.7
    row = intervals(s, metrics=["auroc"], resamples=60).loc["auroc"]
    assert row.isna().tolist() == [False, True, True]  # one error is too few for an interval
    low, high = interval_ends(drawn, 0.95)
    known = drawn[~np.isnan(drawn)]
    assert [low[0], high[0]] == pytest.approx(np.quantile(known, [0.025, 0.975]).tolist())
    right = score(logits, logits.argmax(1))
    assert intervals(right, metrics=["auroc"], resamples=10).isna().all(axis=None)


def test_some_metrics_only():
    logits, labels = make_logits(40, 3, seed=14)
    s = score(logits, labels)
    whole = intervals(s, resamples=10)
    for name in NAMED:
        alone = intervals(s, metrics=[name], resamples=10)
        expected = whole.loc[[name]].to_numpy()
        assert alone.to_numpy() == pytest.approx(expected, rel=1e-12, nan_ok=True), name


def test_names_are_the_same_everywhere():
    assert tuple(METRICS) == NAMES
    assert len(set(weighted.NAMES)) == len(METRICS)


def test_refusals():
    logits, labels = make_logits(10, 3, seed=15)
    s = score(logits, labels)
    with pytest.raises(ValueError, match="metric 'aurc' is asked for twice"):
        intervals(s, metrics=["aurc", "aurc"])
    with pytest.raises(ValueError, match="unknown metric"):
        intervals(s, metrics=["aurc", "sac42"])
    for count in (0, -1, 1.5):
        with pytest.raises(ValueError, match="resamples must be a whole number"):
            intervals(s, resamples=count)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match=r"95 % is 0\.95"):
            intervals(s, level=level)
    with pytest.raises(ValueError, match="scores has 10 images, baseline 9"):
        intervals(s, score(logits[:9], labels[:9]))
    other = labels.copy()
    other[4] = (other[4] + 1) % 3
    with pytest.raises(ValueError, match="image 4 has label"):
        intervals(s, score(logits, other))
