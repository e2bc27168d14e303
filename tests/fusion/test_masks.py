"""Classes masked out by a very low logit: the answer is that of the problem without them."""

import warnings

import numpy as np
import pytest
import torch

from duokit.fusion.combine import MODES, combine, weighted
from duokit.fusion.landscape import nll_landscape
from duokit.fusion.masks import check_labels_kept, extent, masked
from duokit.fusion.sidekick import sidekick_test
from duokit.fusion.weights import fit_weights
from tests.fusion.duos import make_duo, masked_duo

pytestmark = pytest.mark.promise("weights")

F32, F64 = float(np.finfo(np.float32).min), float(np.finfo(np.float64).min)
LOWS = [-1e3, -1e4, -1e7, -1e12, F32]


def same(found, want):
    assert found.status == want.status
    assert found.weights == pytest.approx(want.weights, rel=1e-6, abs=1e-9)
    assert found.standard_errors == pytest.approx(want.standard_errors, rel=1e-6, nan_ok=True)
    assert found.nll == pytest.approx(want.nll, abs=1e-9)
    assert found.gap == pytest.approx(want.gap, abs=1e-11)


@pytest.mark.parametrize("where", ["column", "first", "second", "mixed"])
@pytest.mark.parametrize("low", LOWS)
def test_weights_are_those_without_the_classes(where, low):
    members, plain, labels = masked_duo(200, low, where=where)
    same(fit_weights(members, labels), fit_weights(plain, labels))


@pytest.mark.parametrize("where", ["column", "mixed"])
@pytest.mark.parametrize("low", [-1e4, -1e200, F64])
def test_in_float64(where, low):
    members, plain, labels = masked_duo(200, low, where=where, dtype=np.float64)
    same(fit_weights(members, labels), fit_weights(plain, labels))


@pytest.mark.parametrize("low", [-1e4, F32])
def test_above_4096_images(low):
    members, plain, labels = masked_duo(5000, low, where="mixed")
    same(fit_weights(members, labels), fit_weights(plain, labels))


def test_a_model_alone_and_halves():
    members, plain, labels = masked_duo(200, -65504.0)
    halves = [torch.as_tensor(z).half() for z in members]
    for one, other in zip(halves, plain, strict=True):
        found = fit_weights([one], labels)
        same(found, fit_weights([torch.as_tensor(other).half()], labels))


def test_logits_of_any_size():
    members, plain, labels = masked_duo(200, F32)
    want = fit_weights(plain, labels).weights
    for factor in (1e-3, 1e3, 1e20, 1e-20):
        scaled = [np.where(z == F32, z, factor * z.astype(np.float64)) for z in members]
        assert fit_weights(scaled, labels).weights * factor == pytest.approx(want, rel=1e-6)


def test_negative_weights_on_request():
    members, plain, labels = masked_duo(300, F32)
    flip = np.where(members[0] == F32, members[0], -members[0])
    with pytest.warns(UserWarning, match=r"members \[0\] mask classes .* keep nonnegative=True"):
        found = fit_weights([flip, members[1]], labels, nonnegative=False)
    same(found, fit_weights([-plain[0], plain[1]], labels, nonnegative=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_weights(members, labels, nonnegative=False)


def test_logits_that_are_far_apart_are_no_masks():
    rng = np.random.default_rng(0)
    far = 1e4 * rng.standard_normal((100, 6))  # a naive Bayes model of a long text
    assert extent(torch.as_tensor(far)).depth == np.inf
    labels = np.where(rng.random(100) < 0.8, far.argmax(1), far.argmin(1))
    near = fit_weights([far / 1e4], labels)
    assert fit_weights([far], labels).weights * 1e4 == pytest.approx(near.weights, rel=1e-6)


def test_what_counts_as_a_mask():
    row = torch.tensor([[0.0, -40.0, -3.0], [5.0, 1.0, 0.0]])
    for low, depth in ((-300.0, np.inf), (-400.0, np.inf), (-510.0, 40.0)):
        found = extent(torch.cat([row, torch.full((2, 1), low)], 1))
        if np.isinf(depth):
            assert found == (5 - low, np.inf)
        else:
            assert found.width == depth
            assert 2 * depth < found.depth < -low
    wide = extent(torch.cat([10 * row, torch.full((2, 1), -1e5)], 1))
    assert (wide.width, masked([10 * row], [wide.depth]).any()) == (400.0, False)
    assert extent(torch.cat([10 * row, torch.full((2, 1), -3500.0)], 1)).depth == np.inf
    assert masked([row, row], [np.inf, np.inf]) is None
    either = masked([row, row.flip(1)], [30.0, 30.0])
    assert either.tolist() == [[False, True, False], [False, False, False]]
    assert masked([row], [40.0]).sum() == 1  # at the depth itself


@pytest.mark.parametrize("work", [fit_weights, lambda m, y: sidekick_test(*m, y)])
def test_a_label_that_is_masked_is_refused(work):
    members, _, labels = masked_duo(50, -1e4)
    labels[7] = 6
    with pytest.raises(ValueError, match=r"labels\[7\] is 6, a class that members\[0\] masks"):
        work(members, labels)
    with pytest.raises(ValueError, match=r"logit -1e\+04 lies 1e\+04 below the highest"):
        nll_landscape(*members, labels, up_to=(1.0, 1.0), points=2)


@pytest.mark.parametrize(
    ("real", "mask", "depth"),
    [
        (10, 354, 10**1.8),  # 10 and 25 decibels: 25 is the least that a mask needs
        (10, 282, np.inf),  # 24
        (0.5, 1e4, 10**2.05),  # below 1: 0 decibels
        (20, 354, 10**1.95),  # 13 and 25: a gap of eleven
        (32, 398, np.inf),  # 15 and 25: of nine
    ],
)
def test_a_mask_begins_in_the_middle_of_the_empty_stretch(real, mask, depth):
    assert extent(torch.tensor([[0.0, -real, -mask]] * 4)).depth == pytest.approx(depth)


@pytest.mark.parametrize(("rows", "is_mask"), [(1, False), (2, False), (3, True)])
def test_half_the_images_have_a_logit_that_is_no_mask(rows, is_mask):
    logits = torch.tensor([[0.0, -1, -1000]] * rows + [[0.0, -1000, -1000]] * (6 - rows))
    assert np.isfinite(extent(logits).depth) == is_mask


def test_a_label_is_compared_with_the_highest_of_its_own_image():
    logits = torch.tensor([[0.0, -1.0, -1e6], [-1e7, -1e7 - 1, -2e7]], dtype=torch.float64)
    check_labels_kept([logits], torch.tensor([1, 1]), [1e5])
    with pytest.raises(ValueError, match=r"labels\[0\] is 2"):
        check_labels_kept([logits], torch.tensor([2, 1]), [1e6])
    with pytest.raises(ValueError, match=r"labels\[1\] is 2, a class that members\[0\] masks"):
        check_labels_kept([logits], torch.tensor([1, 2]), [1e5])


def test_images_with_one_class_left():
    (large, small), labels = make_duo(100, 3)
    for z in (large, small):
        only = labels[:20, None] != np.arange(3)
        z[:20][only] = F32
    found = fit_weights([large, small], labels)
    rest = fit_weights([large[20:], small[20:]], labels[20:])
    assert found.weights == pytest.approx(rest.weights, rel=1e-5)
    assert found.nll == pytest.approx(0.8 * rest.nll, abs=1e-9)


@pytest.mark.parametrize("where", ["column", "first", "mixed"])
def test_the_score_test(where):
    members, plain, labels = masked_duo(200, F32, where=where)
    found, want = sidekick_test(*members, labels), sidekick_test(*plain, labels)
    assert found.t == pytest.approx(want.t, rel=1e-6)
    assert found.gain == pytest.approx(want.gain, rel=1e-6)


def test_the_landscape():
    members, plain, labels = masked_duo(100, F32, where="mixed")
    found = nll_landscape(*members, labels, up_to=(2.0, 2.0), points=3)
    want = nll_landscape(*plain, labels, up_to=(2.0, 2.0), points=3)
    assert found.nll == pytest.approx(want.nll, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("low", "dtype"), [(F32, np.float32), (F64, np.float64)])
def test_fused_logits_are_finite_and_the_masks_still_masks(mode, low, dtype):
    members, plain, _ = masked_duo(50, low, dtype=dtype)
    given = {"weights": [1.4, 0.9], "own_weights": [2.5, 1.7]}
    found, want = combine(mode, members, **given), combine(mode, plain, **given)
    assert np.isfinite(found.logits).all()
    assert found.logits[:, :5] == pytest.approx(want.logits, abs=1e-6)
    assert (found.logits[:, 5:] < low / 3).all()
    assert (found.predictions == want.predictions).all()


def test_opposite_extremes_cancel():
    large = np.array([[-F32, 0.0, F32]], np.float32)
    assert weighted([large, -large], [3.0, 3.0]).tolist() == [[0.0, 0.0, 0.0]]
    assert weighted([large], [3.0]).tolist() == large.tolist()
