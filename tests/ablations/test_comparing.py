"""p-values of paired differences, against SciPy, slow loops and simulated luck."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from duokit.ablations.comparing import paired_test, summary, verdicts
from duokit.metrics.scores import score
from tests.fusion.duos import make_duo


@pytest.fixture(scope="module")
def both():
    members, labels = make_duo(400, 5, seed=3, signal=(2.0, 1.5), scale=(1.0, 1.0))
    return [score(z, labels) for z in members]


def test_accuracy_is_compared_by_mcnemar(both):
    one, other = both
    table = [
        int((a & b).sum())
        for a in (one.correct, ~one.correct)
        for b in (other.correct, ~other.correct)
    ]
    b, c = table[1], table[2]
    p, name = paired_test("accuracy", one, other, np.zeros(3))
    assert name == "McNemar"
    below = stats.binom.cdf(min(b, c), b + c, 0.5)
    assert p == pytest.approx(min(1.0, 2 * below), rel=1e-12)


@pytest.mark.parametrize("metric", ["nll", "brier"])
def test_proper_scores_are_compared_image_by_image(both, metric):
    one, other = both
    d = getattr(one, metric) - getattr(other, metric)
    t = d.mean() / (d.std(ddof=1) / np.sqrt(len(d)))
    p, name = paired_test(metric, one, other, np.zeros(3))
    assert name == "paired t"
    assert p == pytest.approx(2 * stats.t.sf(abs(t), len(d) - 1), rel=1e-9)


def test_other_metrics_by_the_spread_of_the_resamples(both):
    from duokit.metrics.table import evaluate

    one, other = both
    difference = evaluate(one, ["aurc"])["aurc"] - evaluate(other, ["aurc"])["aurc"]
    resampled = np.random.default_rng(0).normal(difference, 0.02, 500)
    resampled[7] = np.nan
    p, name = paired_test("aurc", one, other, resampled)
    known = np.delete(resampled, 7)
    assert name == "bootstrap z"
    assert p == pytest.approx(2 * stats.norm.sf(abs(difference) / known.std(ddof=1)))


@pytest.mark.promise("intervals")
def test_no_test_is_made_where_none_keeps_its_level(both):
    one, other = both
    for metric in ("mce", "ece_debiased"):
        p, name = paired_test(metric, one, other, np.array([0.1, 0.2, 0.4]))
        assert (np.isnan(p), name) == (True, "none")
    few = [score(np.eye(3)[s.predictions[:60] % 3] * 2.0, s.predictions[:60] % 3) for s in both]
    assert paired_test("aurc", *few, np.array([0.1, 0.2, 0.4]))[1] == "none"  # no error at all


@pytest.mark.parametrize("metric", ["accuracy", "nll", "brier", "aurc", "mce", "ece_debiased"])
def test_a_predictor_does_not_differ_from_itself(both, metric):
    assert paired_test(metric, both[0], both[0], np.zeros(9))[0] == 1.0


def test_what_is_not_defined_has_no_p_value():
    right = score(np.eye(3) * 5, np.arange(3))  # no error: no AUROC
    assert np.isnan(paired_test("auroc", right, right, np.full(9, np.nan))[0])


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_luck_alone_is_called_a_difference_about_once_in_twenty(metric):
    random = np.random.default_rng(1)
    found = []
    for _ in range(400):
        labels = random.integers(0, 3, 300)
        common = random.normal(size=(300, 3)) + 2 * np.eye(3)[labels]
        pair = [score(common + random.normal(size=(300, 3)), labels) for _ in range(2)]
        found.append(paired_test(metric, *pair, np.zeros(2))[0] <= 0.05)
    assert np.mean(found) <= 0.08  # exact McNemar stays below its level, t near it
    assert np.mean(found) >= 0.01


def test_verdicts_and_their_counts():
    table = pd.DataFrame(
        {
            "metric": "nll",
            "gain": [0.1, -0.1, 0.1, np.nan],
            "p_bh": [0.01, 0.02, 0.2, np.nan],
            "p_holm": [0.01, 0.06, 0.4, np.nan],
        }
    )
    assert verdicts(table).tolist() == ["better", "worse", "open", "open"]
    row = summary(table).loc["nll"]
    assert row[["pairs", "better", "worse", "open", "sure"]].tolist() == [4, 1, 1, 2, 1]
    assert row["gain"] == pytest.approx(0.1 / 3)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\), not 5"):
        verdicts(pd.DataFrame({"gain": [1.0], "p_bh": [0.1]}), alpha=5)
