"""The six modes: each against its formula, and what they must have in common."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from duokit.fusion.combine import MODES, combine, weighted
from duokit.fusion.landscape import nll_landscape
from duokit.fusion.weights import fit_weights
from tests.fusion.duos import make_duo

W, V = np.array([0.9, 0.6]), np.array([1.3, 0.8])


@pytest.fixture
def members():
    return make_duo(200, 6)[0]


def slow(mode, members, i):
    a, b = (z[i].astype(np.float64) for z in members)
    if mode in ("weighted", "uq_only"):
        return 0.9 * a + 0.6 * b
    if mode == "unweighted":
        return (1.3 * a + 0.8 * b) / 2
    if mode == "raw_mean":
        return (a + b) / 2
    if mode == "probability_average":
        return np.log((softmax(1.3 * a) + softmax(0.8 * b)) / 2)
    return 1.3 * a if softmax(1.3 * a).max() >= softmax(0.8 * b).max() else 0.8 * b


@pytest.mark.parametrize("mode", MODES)
def test_formula(mode, members):
    fitted = {} if mode == "raw_mean" else {"weights": W, "own_weights": V}
    fused = combine(mode, members, **fitted)
    expected = np.array([slow(mode, members, i) for i in range(len(members[0]))])
    assert fused.logits == pytest.approx(expected, abs=1e-5)
    answering = members[0] if mode == "uq_only" else expected
    assert (fused.predictions == answering.argmax(1)).all()


@pytest.mark.parametrize("mode", MODES)
def test_one_member_alone_keeps_its_class(mode, members):
    fused = combine(mode, members[:1], weights=[2.0], own_weights=[2.0])
    assert (fused.predictions == members[0].argmax(1)).all()
    if mode == "raw_mean":
        assert (fused.logits == members[0]).all()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "raw_mean"])
def test_without_any_weight_the_first_member_answers(mode, members):
    fused = combine(mode, members, weights=[0.0, 0.0], own_weights=[0.0, 0.0])
    assert (fused.logits == fused.logits[:, :1]).all()
    assert (fused.predictions == members[0].argmax(1)).all()


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "uq_only"])
def test_swapping_members_changes_nothing(mode, members):
    one = combine(mode, members, weights=W, own_weights=V)
    other = combine(mode, members[::-1], weights=W[::-1], own_weights=V[::-1])
    assert other.logits == pytest.approx(one.logits, abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_constants_added_to_logits_do_not_move_probabilities(mode, members):
    one = combine(mode, members, weights=W, own_weights=V).logits
    moved = [z + 3.0 for z in members]
    other = combine(mode, moved, weights=W, own_weights=V).logits
    assert log_softmax(other, axis=1) == pytest.approx(log_softmax(one, axis=1), abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_kind_and_precision_follow_the_input(mode, members):
    kw = {"weights": W, "own_weights": V}
    assert combine(mode, members, **kw).logits.dtype == np.float32
    assert combine(mode, [z.astype(np.float16) for z in members], **kw).logits.dtype == np.float32
    assert combine(mode, [z.astype(np.float64) for z in members], **kw).logits.dtype == np.float64
    tensors = combine(mode, [torch.as_tensor(z) for z in members], **kw)
    assert isinstance(tensors.logits, torch.Tensor)
    assert isinstance(tensors.predictions, torch.Tensor)


def test_probability_average_is_a_distribution(members):
    logits = combine("probability_average", members, own_weights=V).logits
    assert np.exp(logits).sum(1) == pytest.approx(np.ones(len(logits)), abs=1e-5)


def test_inputs_stay_as_they_were(members):
    before = [z.copy() for z in members]
    for mode in MODES:
        combine(mode, members, weights=W, own_weights=V)
    assert all((a == b).all() for a, b in zip(before, members, strict=True))


def test_the_fitted_weights_are_the_best_of_the_landscape():
    (large, small), labels = make_duo(300)
    fit = fit_weights([large, small], labels)
    grid = nll_landscape(large, small, labels, up_to=(2 * fit.weights[0], 2 * fit.weights[1]))
    assert grid.nll.shape == (31, 31)
    assert fit.nll <= grid.nll.min() + 1e-6
    assert grid.nll[15, 15] == pytest.approx(fit.nll, abs=1e-5)  # the middle is the optimum
    assert grid.nll[0, 0] == pytest.approx(np.log(large.shape[1]))


@pytest.mark.promise("any-records")
def test_a_landscape_has_a_side_for_a_model_without_weight():
    (large, small), labels = make_duo(300)
    grid = nll_landscape(large, 10 * small, labels, up_to=(2.0, 0.0))
    assert grid.large[-1] == 2
    spreads = [z.std(axis=1).mean() for z in (large, 10 * small)]
    assert grid.small[-1] == pytest.approx(2 * spreads[0] / spreads[1], rel=1e-4)
    none = nll_landscape(large, np.zeros_like(small), labels, up_to=(0.0, 0.0))
    assert none.large[-1] == pytest.approx(1 / spreads[0], rel=1e-4)
    assert none.small[-1] == pytest.approx(1)


@pytest.mark.parametrize(("images", "stride"), [(300, 1), (299, 2), (100, 3), (1, 300)])
def test_a_landscape_takes_evenly_spaced_images(images, stride):
    (large, small), labels = make_duo(300)
    given = {"up_to": (2.0, 1.0), "points": 2}
    some = nll_landscape(large, small, labels, images=images, **given)
    fewer = nll_landscape(large[::stride], small[::stride], labels[::stride], **given)
    assert (some.nll == fewer.nll).all()


def test_a_landscape_takes_two_thousand_images_at_most():
    (large, small), labels = make_duo(4001)
    given = {"up_to": (2.0, 1.0), "points": 2}
    some = nll_landscape(large, small, labels, **given)
    assert (some.nll == nll_landscape(large, small, labels, images=2000, **given).nll).all()
    assert (some.nll != nll_landscape(large, small, labels, images=2001, **given).nll).any()


@pytest.mark.parametrize(
    "grid", [{"up_to": (1.0, -0.1)}, {"up_to": (np.inf, 1.0)}, {"points": 1}, {"images": 0}]
)
def test_an_empty_landscape_is_refused(members, grid):
    grid = {"up_to": (1.0, 1.0), **grid}
    with pytest.raises(ValueError, match="a grid needs up_to >= 0, points >= 2 and images >= 1"):
        nll_landscape(*members, np.zeros(200, dtype=int), **grid)


def test_refusals(members):
    with pytest.raises(ValueError, match="mode is 'mean'; choose one of weighted"):
        combine("mean", members)
    with pytest.raises(ValueError, match="needs weights="):
        combine("weighted", members, own_weights=V)
    with pytest.raises(ValueError, match="needs own_weights="):
        combine("unweighted", members, weights=W)
    with pytest.raises(ValueError, match="2 finite numbers"):
        weighted(members, [1.0])
    with pytest.raises(ValueError, match="2 finite numbers"):
        weighted(members, [1.0, np.nan])
    with pytest.raises(ValueError, match="members is empty"):
        combine("raw_mean", [])
