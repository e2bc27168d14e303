"""The duo as a module: the weighted sum of what its members say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from duokit.models import predict
from duokit.models.duo.module import AsymmetricDuo

WEIGHTS = (0.75, 0.3)


def by_hand(duo, images, rows):
    """Return the weighted sum of what each member says alone, with its own transform."""
    parts = [
        predict(network, images, transform=member.preprocessing.transform(), rows=rows,
                device="cpu", progress=False)
        for network, member in zip((duo.large, duo.small), duo.members, strict=True)
    ]  # fmt: skip
    return duo.weights[0].item() * parts[0] + duo.weights[1].item() * parts[1]


def test_forward_is_the_weighted_sum(duo, inputs):
    with torch.no_grad():
        large, small = duo.large(inputs[0]), duo.small(inputs[1])
        found = duo(*inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, WEIGHTS[0] * large + WEIGHTS[1] * small)
    assert (found - WEIGHTS[0] * large).abs().max() > 0.01  # the small one counts


def test_each_member_sees_its_own_picture(duo, stripes):
    rows = [5, 0, 90, 5]
    found = duo.predict(stripes, rows=rows, batch=3).logits
    assert np.allclose(found, by_hand(duo, stripes, rows), atol=1e-5)
    assert duo.predict(stripes).logits.shape == (96, 3)


def test_the_answer_is_the_softmax_of_the_logits(duo, stripes):
    with torch.no_grad():  # no class ahead on average, so that each is answered somewhere
        duo.large.fc.bias -= torch.from_numpy(duo.predict(stripes).logits.mean(0)) / WEIGHTS[0]
    found = duo.predict(stripes, rows=range(30))
    logits = found.logits.astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(found.probs, shares, atol=1e-12)
    assert found.classes.tolist() == logits.argmax(axis=1).tolist()
    assert len(set(found.classes.tolist())) > 1
    assert found.ids == stripes.ids[:30]
    assert found.names == [stripes.class_names[row] for row in found.classes]


def test_prediction_puts_the_duo_in_eval_mode(duo, photograph):
    expected = duo.predict(photograph).probs
    duo.train()
    assert np.array_equal(duo.predict(photograph).probs, expected)
    assert not duo.training


def test_prediction_needs_no_layout_of_the_weights(make_duo, photograph):
    plain, last = make_duo(), make_duo().to(memory_format=torch.channels_last)
    assert np.array_equal(plain.predict(photograph).logits, last.predict(photograph).logits)
    weight = plain.large.conv1[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)  # as `predict` of one network


@pytest.mark.parametrize("place", [0, 1])
def test_a_member_without_weight_does_not_run(make_duo, inputs, stripes, place):
    weights = [2.0, 2.0]
    weights[place] = 0.0
    duo = make_duo(weights)
    idle, busy = (duo.large, duo.small) if place == 0 else (duo.small, duo.large)
    idle.forward = lambda _: pytest.fail("a member of weight 0 ran")
    given = [None if role == place else each for role, each in enumerate(inputs)]
    with torch.no_grad():
        torch.testing.assert_close(duo(*given), 2 * busy(inputs[1 - place]))
    assert duo.predict(stripes, rows=[0, 1]).probs.shape == (2, 3)


def test_new_weights_decide_again_who_runs(make_duo, duo, inputs):
    with torch.no_grad():
        both = duo(*inputs)
        duo.set_weights([1.0, 0.0])
        torch.testing.assert_close(duo(inputs[0], None), duo.large(inputs[0]))
        duo.load_state_dict(make_duo().state_dict())
        torch.testing.assert_close(duo(*inputs), both)
    assert duo.runs == (True, True)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0], "expected two finite numbers"),
        ([1.0, 2.0, 3.0], "expected two finite numbers"),
        ([1.0, float("nan")], "expected two finite numbers"),
        ([1e300, 1.0], "expected two finite numbers"),
        ([0.0, -0.0], "both weights are 0"),
    ],
)
def test_weights_that_are_none_are_refused(duo, weights, words):
    with pytest.raises(ValueError, match=words):
        duo.set_weights(weights)


def test_members_must_be_two_and_agree_on_the_classes(make_duo, duo, inputs):
    with pytest.raises(ValueError, match="1 members"):
        make_duo(members=duo.members[:1])
    with pytest.raises(ValueError, match="class names"):
        make_duo(class_names=("a", "b"))
    with pytest.raises(ValueError, match=r"large member gives outputs of shape \(5, 3\)"):
        make_duo(classes=4, class_names=None)(*inputs)
    with pytest.raises(ValueError, match="given 5 pictures, the small one 1"):
        duo(inputs[0], inputs[1][:1])  # broadcasting would answer without a word
    with pytest.raises(ValueError, match="an input is None, and both members run"):
        duo(inputs[0], None)


def test_a_diverged_member_is_named_by_its_picture(duo, stripes):
    with torch.no_grad():
        duo.small.fc.bias[1] = float("nan")
    with pytest.raises(ValueError, match="picture 003 are not finite"):
        duo.predict(stripes, rows=[3, 4])


class Means(torch.nn.Module):
    """Each colour's mean as logits: no matrix product, which not every CPU has in bfloat16."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pictures):
        return pictures.to(torch.bfloat16).mean(dim=(2, 3)) * self.scale.to(torch.bfloat16)


def test_half_precision_leaves_the_sum_in_float32(duo, inputs, photograph):
    large, small = Means(), Means()
    duo = AsymmetricDuo(large, small, WEIGHTS, members=duo.members, classes=3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        parts = large(inputs[0]), small(inputs[1])
        found = duo(*inputs)
    assert parts[0].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    exact = WEIGHTS[0] * parts[0].double() + WEIGHTS[1] * parts[1].double()
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-7)
    before = duo.predict(photograph).probs
    duo.to(torch.bfloat16)
    assert duo.large.scale.dtype == torch.bfloat16
    assert duo.weights.dtype == torch.float32
    assert duo.weights.tolist() == pytest.approx(WEIGHTS, rel=1e-7)  # 0.3 is 0.30078 in bfloat16
    assert np.abs(duo.predict(photograph).probs - before).max() < 0.02


def test_examples_fit_each_member_and_follow_the_seed(duo):
    large, small = duo.example_inputs(2)
    assert (large.shape, small.shape) == ((2, 3, 32, 32), (2, 3, 24, 24))
    assert torch.equal(large, duo.example_inputs(2)[0])
    assert not torch.equal(large, duo.example_inputs(2, seed=1)[0])
    assert duo.to(torch.bfloat16).example_inputs(1)[1].dtype == torch.bfloat16


def test_what_is_printed_says_what_the_duo_is(duo):
    assert "test_resnet @ 32 px, torchvision:shufflenet_v2_x0_5 @ 24 px" in repr(duo)


def test_one_network_in_both_places_never_runs_beside_itself(duo):
    near = replace(duo.members[0], model="test_resnet2")
    members = (duo.members[0], near)
    assert duo.concurrent
    assert not AsymmetricDuo(duo.large, duo.large, WEIGHTS, members=members, classes=3).concurrent
