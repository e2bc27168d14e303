"""The cascaded duo: it answers as the cascade does from cached logits, and runs what it must."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open

from duokit.cascade.cascaded import fit_cascade, gate_uncertainty
from duokit.cascade.thresholds import threshold_for_ratio
from duokit.models import Preprocessing, cost, predict
from duokit.models.duo.cascaded import CascadedDuo
from duokit.models.duo.module import AsymmetricDuo

ANSWERS = {"duo": "cascaded duo", "large": "cascade"}
VAL, TEST = range(40), range(40, 75)


class Mean(torch.nn.Module):
    """Scaled means of a few stripes as logits: the same bits whatever else is in the batch."""

    def __init__(self, scale):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.seen = []

    def forward(self, pictures):
        self.seen.append(len(pictures))
        side, exact = pictures.shape[2] // 3, pictures.contiguous().double()
        parts = [exact[:, :, i * side : (i + 1) * side].mean(dim=(1, 2, 3)) for i in range(3)]
        return torch.stack(parts, dim=1).to(self.scale.dtype) * self.scale


@pytest.fixture
def means(duo):
    """A duo of two such networks, which count what they are shown."""
    return AsymmetricDuo(Mean(7.0), Mean(3.0), (0.6, 0.9), members=duo.members, classes=3).eval()


def cached(duo, images, rows):
    """Return the logits of each network alone, by its own transform."""
    return [
        predict(network, images, transform=member.preprocessing.transform(), rows=rows,
                device="cpu", progress=False)
        for network, member in zip((duo.large, duo.small), duo.members, strict=True)
    ]  # fmt: skip


def fitted(duo, images, *, ratio=0.4, gate_weight=1.0, fitted_on="val"):
    large, small = cached(duo, images, VAL)
    gate = gate_uncertainty(small, weight=gate_weight)
    return fit_cascade(
        large, small, images.labels[list(VAL)], threshold=threshold_for_ratio(gate, ratio).value,
        gate_weight=gate_weight, fitted_on=fitted_on,
    )  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("gate_weight", "fitted_on"), [(1.0, "val"), (0.3, "deferred")])
def test_it_answers_as_the_cascade_of_cached_logits(means, stripes, answer, gate_weight, fitted_on):
    cascade = fitted(means, stripes, gate_weight=gate_weight, fitted_on=fitted_on)
    large, small = cached(means, stripes, TEST)
    expected, passed = cascade.logits(large, small)[ANSWERS[answer]], cascade.deferred(small)
    found = CascadedDuo.of(means, cascade, answer=answer).predict(stripes, rows=TEST, batch=8)
    assert 0 < passed.sum() < len(passed)
    np.testing.assert_array_equal(found.deferred, passed)
    np.testing.assert_array_equal(found.prediction.logits, expected)
    assert found.ratio == passed.mean()
    assert found.prediction.ids == stripes.ids[40:75]
    assert found.table()["deferred"].tolist() == passed.tolist()
    assert found.table()["confidence"].tolist() == found.prediction.confidence.tolist()


def test_real_networks_agree_up_to_the_rounding_of_batches(duo, stripes):
    cascade = fitted(duo, stripes)
    large, small = cached(duo, stripes, TEST)
    found = CascadedDuo.of(duo, cascade).predict(stripes, rows=TEST)
    expected = cascade.logits(large, small)["cascaded duo"]
    np.testing.assert_array_equal(found.deferred, cascade.deferred(small))
    np.testing.assert_allclose(found.prediction.logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weight", [1.0, 0.37, 40.0])
def test_the_gate_is_that_of_the_cascade_to_the_last_bit(means, weight):
    draw = torch.Generator().manual_seed(0)
    small = torch.randn(300, 3, generator=draw) * torch.logspace(-3, 1.5, 300)[:, None]
    small[::7] = small[::7].round()  # ties within a row
    for threshold in gate_uncertainty(small, weight=weight)[::9]:
        gated = CascadedDuo(means, threshold=float(threshold), gate_weight=weight)
        expected = gate_uncertainty(small, weight=weight) > threshold
        np.testing.assert_array_equal(gated._kept(small)[1].numpy(), expected)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_batch_is_answered_row_by_row(duo, stripes, inputs, answer):
    cascade = fitted(duo, stripes)
    with torch.no_grad():
        large, small = duo.large(inputs[0]), duo.small(inputs[1])
        middle = float(np.sort(gate_uncertainty(small))[2])  # two of five are above it
        gated = CascadedDuo.of(duo, cascade, answer=answer)
        gated.threshold = middle
        logits, deferred = gated(*inputs)
    assert logits.dtype == torch.float32
    assert deferred.tolist() == (gate_uncertainty(small) > middle).tolist()
    assert deferred.sum() == 2
    v, w = cascade.duo_deferred.weights if answer == "duo" else (cascade.large.weights[0], 0.0)
    for row, passed in enumerate(deferred):
        kept = cascade.small.weights[0] * small[row]
        expected = v * large[row] + w * small[row] if passed else kept
        torch.testing.assert_close(logits[row], expected.float(), rtol=1e-4, atol=1e-4)


def test_the_large_network_runs_on_deferred_pictures_alone(means, stripes, inputs):
    gated = CascadedDuo.of(means, fitted(means, stripes))
    means.large.seen.clear()
    found = gated.predict(stripes, batch=10)
    full, rest = divmod(int(found.deferred.sum()), 10)
    assert means.large.seen == [10] * full + [rest] * (rest > 0)  # full batches, of all the small
    means.large.seen.clear()
    with torch.no_grad():
        deferred = gated(*inputs).deferred
    assert means.large.seen == [int(deferred.sum())] * bool(deferred.any())


def test_only_deferred_pictures_are_prepared_for_the_large_network(means, stripes, monkeypatch):
    gated = CascadedDuo.of(means, fitted(means, stripes))
    opened, prepared, kind, real = [], [], type(stripes), Preprocessing.transform

    def counting(self):
        step = real(self)
        return lambda picture: (prepared.append(self.resolution), step(picture))[1]

    def counted(self, row, of=kind.open):
        opened.append(row)
        return of(self, row)

    monkeypatch.setattr(kind, "open", counted)
    monkeypatch.setattr(Preprocessing, "transform", counting)
    rows = [50, 3, 60, 3]
    found = gated.predict(stripes, rows=rows)
    again = np.array(rows)[found.deferred].tolist()
    assert 0 < len(again) < 4
    assert opened == rows + again
    assert prepared == [24] * 4 + [32] * len(again)


@pytest.mark.parametrize(("threshold", "ratio"), [(-math.inf, 1.0), (math.inf, 0.0)])
def test_all_or_none_may_be_deferred(means, stripes, inputs, threshold, ratio):
    gated = CascadedDuo(means, threshold=threshold, kept=1.7)
    means.large.seen.clear()
    found = gated.predict(stripes, rows=TEST)
    with torch.no_grad():
        batch = gated(*inputs)
    assert found.ratio == batch.deferred.double().mean() == ratio
    assert len(means.large.seen) == 3 * ratio  # 35 pictures in two batches, and one more batch
    large, small = cached(means, stripes, TEST)
    v, w = np.float32([0.6, 0.9])
    expected = v * large + w * small if ratio else np.float32(1.7) * small
    np.testing.assert_array_equal(found.prediction.logits, expected)
    with torch.no_grad():
        expected = means(*inputs) if ratio else 1.7 * means.small(inputs[1])
    assert torch.equal(batch.logits, expected)


def test_order_and_batches_do_not_matter(means, stripes):
    gated = CascadedDuo.of(means, fitted(means, stripes))
    first = gated.predict(stripes, batch=5)
    order = np.random.default_rng(0).permutation(96)
    second = gated.predict(stripes, rows=order, batch=32)
    np.testing.assert_array_equal(second.prediction.logits, first.prediction.logits[order])
    np.testing.assert_array_equal(second.deferred, first.deferred[order])
    one_shot = gated.predict(stripes.open(row) for row in range(96))  # can be read only once
    np.testing.assert_array_equal(one_shot.prediction.logits, first.prediction.logits)


def test_the_duo_given_stays_as_it_is_and_half_rounds_no_weight(means, stripes):
    before = means.weights.tolist()
    gated = CascadedDuo(means, threshold=0.1, kept=0.3, weights=[0.3, 0.7])
    assert gated.duo.large is means.large
    assert gated.duo.concurrent is means.concurrent is True
    means.concurrent = False
    assert not CascadedDuo(means, threshold=0.1).duo.concurrent
    assert means.weights.tolist() == before
    gated.to(torch.bfloat16)
    assert gated.duo.weights.tolist() == pytest.approx([0.3, 0.7], rel=1e-7)
    assert (gated.kept, gated.threshold) == (0.3, 0.1)
    assert gated.predict(stripes, rows=[0]).prediction.logits.dtype == np.float32


def test_gradients_reach_who_answered(means, inputs):
    with torch.no_grad():
        middle = float(np.median(gate_uncertainty(means.small(inputs[1]))))
    CascadedDuo(means, threshold=middle)(*inputs).logits.square().sum().backward()
    assert means.large.scale.grad != 0
    assert means.small.scale.grad != 0


def test_flops_are_small_plus_the_share_of_large(duo):
    large, small = (
        cost(each.model, each.preprocessing.resolution, 3).flops for each in duo.members
    )
    gated = CascadedDuo(duo, threshold=0.5)
    assert gated.flops(0) == small
    assert gated.flops(0.25) == small + 0.25 * large
    with pytest.raises(ValueError, match="ratio must be"):
        gated.flops(30)


@pytest.mark.parametrize("threshold", [0.123456789, -math.inf, math.inf])
def test_a_file_gives_back_the_same_cascaded_duo(duo, stripes, tmp_path, threshold):
    gated = CascadedDuo(duo, threshold=threshold, kept=0.7, weights=[1.2, 0], gate_weight=2.5)
    path = gated.save(tmp_path / "fast")
    again = CascadedDuo.load(path)
    found, expected = (each.predict(stripes, rows=TEST) for each in (again, gated))
    np.testing.assert_array_equal(found.prediction.logits, expected.prediction.logits)
    assert (again.threshold, again.kept, again.gate_weight) == (threshold, 0.7, 2.5)
    assert again.duo.class_names == ("top", "below", "none")
    assert not again.training
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["duokit"])["cascade"]["kept"] == 0.7
    with pytest.raises(FileExistsError):
        gated.save(path)


def test_a_duo_and_a_cascaded_duo_are_not_taken_for_each_other(duo, tmp_path):
    plain, gated = duo.save(tmp_path / "a"), CascadedDuo(duo, threshold=0.5).save(tmp_path / "b")
    with pytest.raises(ValueError, match=r"a\.safetensors .* load it by AsymmetricDuo\.load"):
        CascadedDuo.load(plain)
    with pytest.raises(ValueError, match=r"b\.safetensors .* load it by CascadedDuo\.load"):
        AsymmetricDuo.load(gated)


def test_refuses_what_cannot_gate(means, stripes, inputs):
    with pytest.raises(ValueError, match="threshold is NaN"):
        CascadedDuo(means, threshold=math.nan)
    with pytest.raises(ValueError, match="kept is inf"):
        CascadedDuo(means, threshold=0.5, kept=math.inf)
    with pytest.raises(ValueError, match="gate_weight is 0"):
        CascadedDuo(means, threshold=0.5, gate_weight=0)
    with pytest.raises(ValueError, match='answer must be "duo" or "large"'):
        CascadedDuo.of(means, fitted(means, stripes), answer="small")
    with pytest.raises(ValueError, match="given 5 pictures, the small one 4"):
        CascadedDuo(means, threshold=0.5)(inputs[0], inputs[1][:4])
    wide = AsymmetricDuo(means.large, means.small, (1, 1), members=means.members, classes=4)
    with pytest.raises(ValueError, match="the small member gives outputs"):
        CascadedDuo(wide, threshold=0.5).predict(stripes)


@pytest.mark.parametrize(("role", "threshold"), [("large", 0.0), ("small", 0.0), ("small", 1.0)])
def test_a_diverged_member_is_named_by_its_picture(means, stripes, role, threshold):
    with torch.no_grad():
        getattr(means, role).scale.fill_(math.nan)
    with pytest.raises(ValueError, match="picture 003 are not finite"):
        CascadedDuo(means, threshold=threshold).predict(stripes, rows=[3, 4])


def test_what_is_printed_says_when_it_defers(means):
    assert "threshold=0.25, kept=1, gate_weight=1" in repr(CascadedDuo(means, threshold=0.25))
