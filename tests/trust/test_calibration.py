"""Calibration side by side, CCRC, usable regions: the core, SciPy and slow loops as oracles."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, spearmanr, ttest_rel

from duokit.fusion.weights import fit_weights
from duokit.metrics.calibration import ece_mass
from duokit.metrics.scores import score
from duokit.metrics.selective import auroc
from duokit.plots import reliability_diagram
from duokit.trust import (
    calibration_similarity,
    ccrc,
    own_weights,
    published_measures,
    reliability_bins,
    usable_region,
)
from tests.cascade.samples import make_pair
from tests.metrics.samples import make_ranked

MEASURES = ["ece", "mce", "brier", "log_loss"]


@pytest.fixture(scope="module")
def pair():
    return make_pair(400, 5, seed=4)


def slow_gaps(confidence, hit, bins=10):
    """Mean gap of each tenth of the sorted images; their number must be a multiple of ten."""
    order = np.argsort(confidence)
    parts = np.split(order, bins)
    return [abs(np.mean(confidence[part]) - np.mean(hit[part])) for part in parts]


def test_published_measures_by_a_slow_loop(pair):
    large, _, labels = pair
    scores = score(large, labels)
    found = published_measures(scores)
    gaps = slow_gaps(scores.confidence, scores.hit)
    assert found.index.tolist() == MEASURES
    assert found["ece"] == pytest.approx(np.mean(gaps))
    assert found["ece"] == pytest.approx(ece_mass(scores.confidence, scores.hit, bins=10))
    assert found["mce"] == pytest.approx(max(gaps))
    assert found["brier"] == pytest.approx(scores.brier.mean())
    assert found["log_loss"] == pytest.approx(scores.nll.mean())
    other = published_measures(scores, bins=4)
    assert other["mce"] == pytest.approx(max(slow_gaps(scores.confidence, scores.hit, 4)))


def test_images_of_equal_confidence_may_stand_in_any_order(pair):
    few = 4 * np.round(pair[0] / 4)  # many rows are alike
    scores, back = (score(few[way], pair[2][way]) for way in (slice(None), slice(None, None, -1)))
    found = published_measures(scores)
    assert len(np.unique(scores.confidence)) < 100
    assert found["ece"] == pytest.approx(ece_mass(scores.confidence, scores.hit, bins=10))
    assert found.tolist() == pytest.approx(published_measures(back).tolist())


def test_tempered_rows_are_the_raw_rows_of_scaled_logits(pair):
    large, small, labels = pair
    models = {"large": large, "small": small}
    table = calibration_similarity(
        models, labels, weights={"large": 0.5, "small": 2.0}, resamples=9
    )
    scaled = {"large": 0.5 * large, "small": 2 * small}
    plain = calibration_similarity(scaled, labels, resamples=9)
    tempered, raw = (t.xs(form, level="form") for t, form in ((table, "tempered"), (plain, "raw")))
    np.testing.assert_allclose(tempered, raw)
    assert table.index.names == ["model", "form", "measure"]
    assert len(table) == 16
    assert len(plain) == 8


def test_intervals_are_those_of_slow_resampling(pair):
    models = dict(zip(("large", "small"), (z[:60] for z in pair[:2]), strict=True))
    labels = pair[2][:60]
    found = calibration_similarity(models, labels, resamples=40, seed=3)
    draws = []
    for row in range(40):
        child = np.random.SeedSequence(3, spawn_key=(row,))
        at = np.random.default_rng(child).integers(0, 60, 60)
        values = [published_measures(score(z[at], labels[at])) for z in models.values()]
        draws.append([values[1], values[1] - values[0]])
    ends = np.quantile(np.array(draws), [0.025, 0.975], axis=0)
    ends[:, :, 1] = np.nan  # no interval of a maximum
    own = [published_measures(score(z, labels))["ece"] for z in models.values()]
    for kind, value in enumerate((own[1], own[1] - own[0])):
        added = np.mean([draw[kind]["ece"] for draw in draws]) - value
        low, high = ends[:, kind, 0]
        ends[:, kind, 0] = min(value, low, low - 5 * added), max(value, high, high - 5 * added)
    ends[0, 0, 0] = max(0, ends[0, 0, 0])
    mine = found.loc["small", "raw"]
    np.testing.assert_allclose(mine[["low", "high"]].to_numpy().T, ends[:, 0])
    columns = ["difference_low", "difference_high"]
    np.testing.assert_allclose(mine[columns].to_numpy().T, ends[:, 1])


def test_differences_are_tested_image_by_image_or_by_spread(pair):
    large, small, labels = pair
    found = calibration_similarity({"large": large, "small": small}, labels, resamples=200)
    one, other = score(large, labels), score(small, labels)
    mine = found.loc["small", "raw"]
    values = published_measures(other) - published_measures(one)
    np.testing.assert_allclose(mine["difference"], values)
    assert mine.loc["brier", "p_value"] == pytest.approx(ttest_rel(one.brier, other.brier).pvalue)
    assert mine.loc["log_loss", "p_value"] == pytest.approx(ttest_rel(one.nll, other.nll).pvalue)
    assert 0 < mine.loc["ece", "p_value"] < 1
    assert found.loc["large", "raw"][["difference", "p_value"]].isna().all(axis=None)


def test_a_difference_that_is_one_temperature_goes_with_it(pair):
    large, labels = 4 / 3 * pair[0], pair[2]  # nearly calibrated as it is
    val, test = np.arange(400) < 200, np.arange(400) >= 200
    models = {"model": large, "too sure": 4 * large}
    weights = own_weights({name: z[val] for name, z in models.items()}, labels[val])
    assert weights["too sure"] == pytest.approx(weights["model"] / 4)
    assert weights["model"] == pytest.approx(fit_weights([large[val]], labels[val]).weights[0])
    table = calibration_similarity(
        {name: z[test] for name, z in models.items()}, labels[test], weights=weights, resamples=99
    )
    found = table.loc["too sure"]
    assert found.loc["raw", "difference"]["ece"] > 0.05
    assert found.loc["raw", "p_value"]["log_loss"] < 0.05
    np.testing.assert_allclose(found.loc["tempered", "difference"], 0, atol=1e-6)


def test_a_model_does_not_differ_from_itself(pair):
    large, _, labels = pair
    found = calibration_similarity({"a": large, "b": large}, labels, resamples=9).loc["b"]
    assert found["difference"].tolist() == [0] * 4
    assert found["p_value"].drop("mce", level="measure").tolist() == [1] * 3
    assert found["p_value"].xs("mce", level="measure").isna().all()


def test_reliability_bins_by_a_slow_loop(pair):
    large, _, labels = pair
    scores = score(large, labels)
    curve = reliability_bins(scores.confidence, scores.hit, level=0.9)
    for place, part in enumerate(np.split(np.argsort(scores.confidence), 10)):
        right = int(scores.hit[part].sum())
        exact = binomtest(right, 40).proportion_ci(0.9, method="exact")
        assert curve.count[place] == 40
        assert curve.accuracy[place] == right / 40
        assert curve.confidence[place] == pytest.approx(scores.confidence[part].mean())
        assert (curve.low[place], curve.high[place]) == pytest.approx((exact.low, exact.high))
        assert curve.upper[place] == scores.confidence[part].max()
    gaps = np.abs(curve.accuracy - curve.confidence)
    assert published_measures(scores)[["ece", "mce"]].tolist() == pytest.approx(
        [gaps.mean(), gaps.max()]
    )
    assert reliability_diagram(curve) is not None


def test_equal_confidences_share_a_bin_and_none_is_lost():
    curve = reliability_bins([0.2, 1.0, 1.0, 1.0, 1.0, 0.5], [0, 1, 1, 0, 1, 1], bins=3)
    assert curve.count.tolist() == [2, 4]  # confidence 1 is in a bin as well
    assert curve.accuracy.tolist() == [0.5, 0.75]
    assert reliability_bins([0.7, 0.7], [1, 0]).count.tolist() == [2]


# ------------------------------------------------------------------------------------------- CCRC


@pytest.mark.parametrize("values", [2, 4, 30, None])
def test_ccrc_is_spearman_and_auroc_seen_through_the_accuracy(values):
    uncertainty, correct = make_ranked(200, seed=1, values=values)
    found = ccrc(uncertainty, correct)
    assert found == pytest.approx(spearmanr(-uncertainty, correct).statistic)
    shares = np.unique(uncertainty, return_counts=True)[1] / 200
    a, ties = correct.mean(), 1 - (shares**3).sum()
    factor = np.sqrt(12 * a * (1 - a) / ties)
    assert found == pytest.approx(factor * (auroc(uncertainty, correct) - 0.5))
    if values is None:
        assert ties == pytest.approx(1 - 1 / 200**2)


def test_ccrc_punishes_accuracy_where_auroc_does_not():
    order = np.arange(100.0)
    few, many = order < 90, order < 60  # both order their errors perfectly
    assert auroc(order, few) == auroc(order, many) == 1
    assert ccrc(order, few) < ccrc(order, many)


def test_ccrc_is_not_defined_without_two_kinds():
    for uncertainty, correct in (([1, 2], [1, 1]), ([1, 2], [0, 0]), ([1, 1], [0, 1])):
        assert np.isnan(ccrc(uncertainty, correct))


# ---------------------------------------------------------------------------------- usable region


def test_usable_region_by_a_slow_search():
    draw = np.random.default_rng(0)
    confidence = draw.random(2000)
    correct = draw.random(2000) < 0.6 + 0.4 * confidence
    grid = (0.25, 0.5, 0.75, 0.9)
    found = usable_region(confidence, correct, 0.85, certainty=0.9, grid=grid)
    passed = []
    for threshold in grid:
        kept = confidence >= threshold
        right, images = int(correct[kept].sum()), int(kept.sum())
        # the limit reaches the target if so many rights are rare for a share at the target
        if binom.sf(right - 1, images, 0.85) <= 0.1 / 4:
            passed.append(threshold)
    assert found.threshold == min(passed)
    assert 0.25 < found.threshold < 0.9
    kept = confidence >= found.threshold
    assert (found.kept, found.accuracy) == pytest.approx((kept.mean(), correct[kept].mean()))
    right = int(correct[kept].sum())
    exact = binomtest(right, int(kept.sum()), alternative="greater").proportion_ci(
        1 - 0.1 / 4, method="exact"
    )
    assert found.low == pytest.approx(exact.low)
    assert usable_region(confidence, correct, 0.85, certainty=0.9, grid=grid[::-1]) == found


def test_the_certainty_holds_for_a_threshold_chosen_by_looking():
    draw = np.random.default_rng(1)
    grid, missed = (0.0, 0.2, 0.4, 0.6, 0.8), 0
    for _ in range(400):
        confidence = draw.random(150)
        correct = draw.random(150) < 0.8  # at every threshold just below the target
        missed += usable_region(confidence, correct, 0.8001, certainty=0.8, grid=grid).kept > 0
    assert 10 <= missed <= 80  # promised: at most 20 %; one threshold alone at 20 % would miss more


def test_a_region_may_be_everything_or_nothing():
    every = usable_region(np.full(50, 0.4), np.ones(50), 0.5)
    assert (every.threshold, every.kept, every.accuracy) == (0, 1, 1)
    edge = usable_region(np.repeat([0.3, 0.4], 50), np.repeat([0, 1], 50), 0.5, grid=(0.4, 0.5))
    assert (edge.threshold, edge.kept) == (0.4, 0.5)  # the threshold itself is inside
    none = usable_region(np.full(50, 0.4), np.ones(50), 1.0)  # no sample proves certainty
    assert (none.threshold, none.kept) == (np.inf, 0)
    assert np.isnan(none.accuracy)
    assert np.isnan(none.low)


def test_errors_say_what_to_do(pair):
    large, _, labels = pair
    with pytest.raises(ValueError, match="models is empty"):
        calibration_similarity({}, labels)
    with pytest.raises(ValueError, match="weight of 'duo', but models are large"):
        calibration_similarity({"large": large}, labels, weights={"duo": 1.0})
    with pytest.raises(ValueError, match="resamples must be a whole number, 2 or more, not 1"):
        calibration_similarity({"large": large}, labels, resamples=1)
    with pytest.raises(ValueError, match=r"95 % is 0\.95"):
        calibration_similarity({"large": large}, labels, level=95)
    with pytest.raises(ValueError, match="bins must be a whole number, 1 or more, not 0"):
        reliability_bins([0.5], [1], bins=0)
    with pytest.raises(ValueError, match=r"target must be a fraction in \(0, 1\]"):
        usable_region([0.5], [1], 98)
    with pytest.raises(ValueError, match=r"certainty must lie in \(0, 1\), not 95"):
        usable_region([0.5], [1], 0.9, certainty=95)
    with pytest.raises(ValueError, match="grid is empty"):
        usable_region([0.5], [1], 0.9, grid=())
