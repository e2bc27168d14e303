"""Weights from shifted images, and models that are calibrated before they are joined."""

import numpy as np
import pytest

from duokit.ablations.recalibration import ORDERS, calibration_orders, refit_under_shift
from duokit.evaluation import fit_duo
from duokit.fusion.weights import fit_weights
from duokit.metrics.scores import score
from tests import oracles
from tests.ablations.samples import record, records, split


@pytest.fixture(scope="module")
def data():
    """Return val and test of a pair, and a shifted set on which the sidekick has lost its wits."""
    found = records(1200)
    val, test = split({name: found[name] for name in ("large", "a")}, 400)
    lost = records(800, seed=9, knows=(0.8, 0.0))
    return [list(part.values()) for part in (val, test, lost)]


def slow_nll(members, labels, weights):
    fused = sum(w * z.astype(float) for w, z in zip(weights, members, strict=True))
    return oracles.nll(fused.tolist(), labels.tolist())


def test_the_bound_is_fitted_on_one_half_and_judged_on_the_other(data):
    val, _, shifted = data
    row = refit_under_shift(val, shifted, resamples=20, seed=3)
    half = np.random.default_rng(3).permutation(800) % 2
    val_weights = fit_duo(val).weights
    fixed = sum(w * r.logits for w, r in zip(val_weights, shifted, strict=True))
    scaled = [record(fixed, shifted[0].labels)]
    for column, some in (
        ("large_refitted", shifted[:1]),
        ("duo_refitted", shifted),
        ("duo_rescaled", scaled),
    ):
        total = 0.0
        for part in (0, 1):
            here, there = half != part, half == part
            fit = fit_weights([r.logits[here] for r in some], shifted[0].labels[here])
            members = [r.logits[there] for r in some]
            total += slow_nll(members, shifted[0].labels[there], fit.weights) / 2
        assert row[column] == pytest.approx(total, rel=1e-5)
    duo = fit_duo(val)
    assert row["duo"] == pytest.approx(
        slow_nll([r.logits for r in shifted], shifted[0].labels, duo.weights), rel=1e-5
    )
    assert row["lost"] == pytest.approx(row["duo"] - row["duo_refitted"])
    assert row["low"] < row["lost"] < row["high"]


def test_weights_that_trust_a_lost_sidekick_cost_something(data):
    val, _, shifted = data
    row = refit_under_shift(val, shifted, resamples=50)
    assert row["low"] > 0
    assert row["trust_small"] > 0.2
    assert row["weight_small_refitted"] < 0.1 * row["weight_small"]
    assert row["large"] < row["duo"]
    assert row["weight_small_refitted"] == pytest.approx(fit_duo(shifted).weights[1])


def test_without_a_shift_little_is_lost(data):
    val, test, _ = data
    row = refit_under_shift(val, test, resamples=50)
    assert abs(row["lost"]) < 0.01


def test_another_metric_may_judge(data):
    val, _, shifted = data
    row = refit_under_shift(val, shifted, metric="accuracy", resamples=20)
    found = fit_duo(val).answers(shifted)
    assert row["duo"] == found["duo"].correct.mean()
    with pytest.raises(ValueError, match="unknown metric"):
        refit_under_shift(val, shifted, metric="sharpness")


def test_each_way_to_calibrate_is_what_its_name_says(data):
    val, test, _ = data
    found = calibration_orders(val, test)
    assert list(found) == ["large", *ORDERS]
    y = val[0].labels
    own = [fit_weights([r.logits], y).weights[0] for r in val]
    joint = fit_weights([r.logits for r in val], y).weights
    weights = {
        "large": np.array([own[0], 0]),
        "joint fit": joint,
        "calibrate each, average": np.array(own) / 2,
        "average": np.array([0.5, 0.5]),
    }
    for name in ("calibrate each, average", "average"):
        mean = sum(w * r.logits for w, r in zip(weights[name], val, strict=True))
        weights[f"{name}, rescale"] = weights[name] * fit_weights([mean], y).weights[0]
    for name, w in weights.items():
        slow = slow_nll([r.logits for r in test], test[0].labels, w)
        assert found[name].nll.mean() == pytest.approx(slow, rel=1e-5), name


def test_a_joint_fit_of_calibrated_models_is_the_joint_fit(data):
    val, test, _ = data
    own = fit_duo(val).own_weights
    calibrated = [
        [record(w * r.logits, r.labels, split=r.split) for w, r in zip(own, some, strict=True)]
        for some in (val, test)
    ]
    ours, again = (
        calibration_orders(*some)["joint fit"].nll for some in ((val, test), tuple(calibrated))
    )
    np.testing.assert_allclose(ours, again, atol=1e-5)


def test_no_other_order_is_better_on_the_images_that_were_fitted(data):
    val, _, _ = data
    with pytest.warns(UserWarning, match="allowed: .* would flatter"):
        scores = calibration_orders(val, val, allow_mismatch=True)
    found = {name: s.nll.mean() for name, s in scores.items()}
    assert min(found, key=found.get) == "joint fit"
    assert found["calibrate each, average, rescale"] <= found["calibrate each, average"]
    assert found["average, rescale"] <= found["average"]
    assert found["large"] == pytest.approx(
        score(np.float32(fit_duo(val).own_weights[0]) * val[0].logits, val[0].labels).nll.mean()
    )
