"""Answers of a cascade from cached logits: row by row, at the ends, and what must not matter."""

import math

import numpy as np
import pytest
import torch

from duokit.cascade.cascaded import fit_cascade, gate_uncertainty
from duokit.cascade.thresholds import threshold_for_ratio
from duokit.fusion.weights import fit_weights
from duokit.metrics.table import evaluate
from tests import oracles
from tests.cascade.samples import make_pair

LARGE, SMALL, LABELS = make_pair(seed=0)
TEST = make_pair(seed=1)
NAMES = ["large", "small", "duo", "cascade", "cascaded duo"]
both = pytest.mark.parametrize("fitted_on", ["val", "deferred"])


def fitted(fitted_on="val", **options):
    threshold = threshold_for_ratio(gate_uncertainty(SMALL), 0.4).value
    return fit_cascade(LARGE, SMALL, LABELS, threshold=threshold, fitted_on=fitted_on, **options)


def test_the_gate_is_one_minus_the_largest_probability():
    found = gate_uncertainty(SMALL[:20].astype(np.float64))
    expected = [1 - max(p) for p in oracles.softmax(SMALL[:20].tolist())]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)
    cooler = gate_uncertainty(SMALL[:20], weight=2.0)
    assert (cooler < found).all()


@both
def test_each_row_is_answered_by_who_should(fitted_on):
    cascade = fitted(fitted_on)
    large, small, _ = TEST
    found = cascade.logits(large, small)
    assert list(found) == NAMES
    passed = cascade.deferred(small)
    assert 0 < passed.sum() < len(passed)
    (a,), (b,) = cascade.large_deferred.weights, cascade.small.weights
    v, w = cascade.duo_deferred.weights
    for i, deferred in enumerate(passed):
        kept = b * small[i]
        np.testing.assert_allclose(found["cascade"][i], a * large[i] if deferred else kept, 1e-5)
        duo = v * large[i] + w * small[i] if deferred else kept
        np.testing.assert_allclose(found["cascaded duo"][i], duo, rtol=1e-4, atol=1e-5)


def test_weights_come_from_where_they_should():
    on_val, on_deferred = fitted("val"), fitted("deferred")
    assert on_val.val_ratio == on_deferred.val_ratio == 0.4
    np.testing.assert_array_equal(on_val.duo_deferred.weights, on_val.duo.weights)
    np.testing.assert_array_equal(on_val.large_deferred.weights, on_val.large.weights)
    passed = on_deferred.deferred(SMALL)
    expected = fit_weights([LARGE[passed], SMALL[passed]], LABELS[passed])
    np.testing.assert_allclose(on_deferred.duo_deferred.weights, expected.weights)
    assert on_deferred.duo_deferred.images == passed.sum() == 160
    np.testing.assert_array_equal(on_deferred.duo.weights, on_val.duo.weights)
    alone = fit_weights([LARGE[passed]], LABELS[passed])
    np.testing.assert_allclose(on_deferred.large_deferred.weights, alone.weights)


def test_weights_of_the_deferred_part_are_the_best_there():
    """On val itself the weights fitted on deferred images cannot have a higher NLL on them."""
    on_val, on_deferred = (
        fitted(name).answers(LARGE, SMALL, LABELS) for name in ("val", "deferred")
    )
    for name in ("cascade", "cascaded duo"):
        assert on_deferred[name].nll.mean() <= on_val[name].nll.mean() + 1e-9


@both
def test_scores_feed_every_metric_and_agree_with_the_curve(fitted_on):
    cascade = fitted(fitted_on)
    scores, curves = cascade.answers(*TEST), cascade.curves(*TEST)
    passed = cascade.deferred(TEST[1])
    assert list(scores) == NAMES
    for name, curve in curves.items():
        assert set(evaluate(scores[name])) >= {"accuracy", "nll", "aurc"}
        assert scores[name].correct.mean() == pytest.approx(curve.line.at(passed.mean()))
        assert curve.small == scores["small"].correct.mean()
    assert curves["cascade"].deferred == scores["large"].correct.mean()
    if fitted_on == "val":
        assert curves["cascaded duo"].deferred == scores["duo"].correct.mean()


@pytest.mark.parametrize(
    ("threshold", "ends"), [(-math.inf, ("large", "duo")), (math.inf, ("small", "small"))]
)
def test_ends_are_the_members_and_the_duo(threshold, ends):
    found = fit_cascade(LARGE, SMALL, LABELS, threshold=threshold).logits(*TEST[:2])
    for name, end in zip(("cascade", "cascaded duo"), ends, strict=True):
        np.testing.assert_array_equal(found[name], found[end])


@both
def test_the_large_models_logits_of_kept_images_do_not_matter(fitted_on):
    cascade = fitted(fitted_on)
    large, small, labels = TEST
    other = large.copy()
    other[~cascade.deferred(small)] = 7 * np.roll(other[~cascade.deferred(small)], 1, axis=1)
    first, second = (cascade.answers(z, small, labels) for z in (large, other))
    for name in ("cascade", "cascaded duo"):
        np.testing.assert_array_equal(first[name].nll, second[name].nll)
    assert (first["large"].nll != second["large"].nll).any()


@both
def test_reordering_and_constants_change_nothing(fitted_on):
    expected = fitted(fitted_on)
    order = np.random.default_rng(0).permutation(len(LABELS))
    shift = np.linspace(-3, 3, len(LABELS))[:, None]
    large, small = (z.astype(np.float64)[order] + c * shift for z, c in ((LARGE, 1), (SMALL, -2)))
    again = fit_cascade(
        large, small, LABELS[order], threshold=expected.threshold + 1e-6, fitted_on=fitted_on
    )  # the threshold is the uncertainty of an image, which a shift changes in its last digit
    for name in ("large", "small", "duo", "large_deferred", "duo_deferred"):
        one, other = getattr(expected, name).weights, getattr(again, name).weights
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-6)
    first, second = (
        expected.answers(LARGE, SMALL, LABELS),
        again.answers(large, small, LABELS[order]),
    )
    for name in NAMES:
        np.testing.assert_allclose(second[name].nll, first[name].nll[order], rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(second[name].predictions, first[name].predictions[order])


def test_tensors_give_what_arrays_give():
    arrays = fitted().logits(*TEST[:2])
    tensors = fitted().logits(*(torch.from_numpy(z) for z in TEST[:2]))
    for name in NAMES:
        assert isinstance(tensors[name], torch.Tensor)
        np.testing.assert_array_equal(tensors[name].numpy(), arrays[name])


def test_a_small_model_whose_rows_tie_is_kept_or_deferred_as_a_whole():
    level = np.zeros_like(SMALL)
    gate = gate_uncertainty(level)
    assert (gate == gate[0]).all()
    assert gate[0] == pytest.approx(5 / 6)
    with pytest.warns(
        UserWarning, match="do not determine every weight"
    ):  # its weight is not determined
        cascade = fit_cascade(LARGE, level, LABELS, threshold=0.5)
    assert cascade.val_ratio == 1
    found = cascade.logits(LARGE, level)
    np.testing.assert_array_equal(found["cascade"], found["large"])


def test_refuses_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="fitted_on must be"):
        fit_cascade(LARGE, SMALL, LABELS, threshold=0.5, fitted_on="test")
    with pytest.raises(ValueError, match="threshold is NaN"):
        fit_cascade(LARGE, SMALL, LABELS, threshold=math.nan)
    with pytest.raises(ValueError, match="no val image has an uncertainty above 1"):
        fit_cascade(LARGE, SMALL, LABELS, threshold=1, fitted_on="deferred")
    with pytest.raises(ValueError, match="weight is 0"):
        fit_cascade(LARGE, SMALL, LABELS, threshold=0.5, gate_weight=0)
    with pytest.raises(ValueError, match=r"members\[1\] has shape"):
        fitted().logits(LARGE, SMALL[:5])
    with pytest.raises(ValueError, match=r"labels must have shape"):
        fitted().answers(LARGE, SMALL, LABELS[:5])
