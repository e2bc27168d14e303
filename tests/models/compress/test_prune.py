"""The smallest weights of all layers become zeros, and training leaves them there."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from duokit.models import build, cost
from duokit.models.compress.prune import prunable, prune_weights, zeros_kept
from duokit.models.compress.size import (
    dense_file,
    load_sparse,
    nonzero_flops,
    sparse_file,
    sparsity,
)


def weights(model) -> torch.Tensor:
    return torch.cat([layer.weight.detach().flatten() for layer in prunable(model)])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.7, 0.9])
def test_the_smallest_weights_of_all_layers_become_zeros(tiny, share):
    before = weights(tiny)
    kept = {name: each.clone() for name, each in tiny.state_dict().items()}
    prune_weights(tiny, share)
    order = before.abs().argsort()
    expected = before.clone()
    expected[order[: round(share * len(before))]] = 0
    assert torch.equal(weights(tiny), expected)
    assert sparsity(tiny) == pytest.approx(share, abs=1 / len(before))
    after = tiny.state_dict()
    assert set(after) == set(kept)  # permanent: no masks, no weight_orig
    assert all(torch.equal(after[name], kept[name]) for name in kept if name.endswith("bias"))
    assert all(each.requires_grad for each in tiny.parameters())


def test_the_order_of_memory_does_not_matter(tiny):
    other = copy.deepcopy(tiny).to(memory_format=torch.channels_last)
    for model in (tiny, other):
        prune_weights(model, 0.7)
    assert torch.equal(weights(tiny), weights(other))


def test_the_head_stays_whole(tiny):
    with torch.no_grad():
        tiny.fc.weight.mul_(1e-3)
    before = tiny.fc.weight.detach().clone()
    prune_weights(tiny, 0.9)
    assert torch.equal(tiny.fc.weight, before)
    assert sparsity(tiny) == pytest.approx(0.9, abs=0.01)
    headless = nn.Sequential(nn.Conv2d(3, 2, 3))
    assert prunable(headless) == [headless[0]]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_out_of_range_is_refused(tiny, share):
    with pytest.raises(ValueError, match="sparsity is"):
        prune_weights(tiny, share)


def test_a_network_without_weights_to_prune_is_refused():
    with pytest.raises(ValueError, match="0 layers"):
        prune_weights(nn.BatchNorm2d(3), 0.5)


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_training_keeps_zeros_and_changes_the_rest(tiny, kind):
    options = {"lr": 0.1, "weight_decay": 0.1}
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.SGD
    optimiser = make(tiny.parameters(), **options)
    prune_weights(tiny, 0.5)
    optimiser = make(tiny.parameters(), **options)
    before = weights(tiny)
    pictures = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with zeros_kept(tiny):
        for _ in range(5):
            tiny(pictures).square().sum().backward()
            nn.utils.clip_grad_norm_(tiny.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
    after = weights(tiny)
    assert torch.equal(after == 0, before == 0)
    assert (after != before)[before != 0].all()
    tiny(pictures).square().sum().backward()  # outside, zeros learn again
    assert tiny.stem.weight.grad[tiny.stem.weight == 0].abs().sum() > 0


def test_weights_that_are_loaded_later_keep_their_own_zeros(tiny):
    state = tiny.state_dict()
    state = {name: each.clone() for name, each in state.items()}
    state["stem.weight"][0] = 0
    with zeros_kept(tiny):
        tiny.load_state_dict(state)
        tiny.eval()(torch.randn(8, 3, 8, 8)).square().sum().backward()
    assert not tiny.stem.weight.grad[0].any()
    assert tiny.stem.weight.grad[1:].any()


# Size


def test_a_sparse_file_gives_every_value_back_and_is_as_short_as_it_says():
    model = build("test_efficientnet", classes=3, pretrained=None)
    dense = len(dense_file(model))
    assert len(sparse_file(model)) <= dense  # nothing to save: written as it is, but for zeros
    prune_weights(model, 0.9)
    raw = sparse_file(model)
    state = load_sparse(raw)
    expected = model.state_dict()
    assert set(state) == set(expected)
    for name, each in expected.items():
        assert torch.equal(state[name], each), name
        assert state[name].dtype == each.dtype
        assert state[name].shape == each.shape
    zeros = int(0.9 * len(weights(model)))
    assert len(raw) >= 4 * (len(weights(model)) - zeros)
    assert len(raw) < 0.5 * dense


def test_odd_tensors_survive_a_sparse_file():
    model = nn.Module()
    random = np.random.default_rng(0)
    odd = np.where(random.random((7, 13)) < 0.9, 0.0, -1.5)
    model.register_buffer("odd", torch.from_numpy(odd))
    model.register_buffer("zeros", torch.zeros(300, dtype=torch.float16))
    model.register_buffer("scalar", torch.tensor(0))
    model.register_buffer("none", torch.zeros(0, 3))
    state = load_sparse(sparse_file(model))
    for name, each in model.state_dict().items():
        assert torch.equal(state[name], each)
        assert state[name].dtype == each.dtype


def test_multiply_adds_of_a_network_without_zeros_are_its_cost():
    model = build("test_efficientnet", classes=3, pretrained=None).train()
    assert nonzero_flops(model, 32) == cost("test_efficientnet", 32, classes=3).flops


def test_multiply_adds_that_are_left_are_counted_place_by_place(tiny):
    with torch.no_grad():
        tiny.stem.weight[0] = 0
        tiny.fc.weight[:, :3] = 0
    rows = 4 * 4  # places of the output, with stride 2
    assert nonzero_flops(tiny, 8) == 3 * 27 * rows + 3 * 1
    assert not any(layer._forward_hooks for layer in tiny.modules())
