"""The Gatekeeper loss against slow loops and numerical gradients."""

import math

import numpy as np
import pytest
import torch

from duokit.cascade.gatekeeper import (
    gatekeeper_loss,
    gatekeeper_parts,
    gatekeeper_sequence_loss,
    sequence_score,
)
from tests import oracles

OPTIONS = [(d, m) for d in ("to_uniform", "from_uniform") for m in ("batch", "subset")]
options = pytest.mark.parametrize(("divergence", "mean"), OPTIONS)


def batch(n=12, k=5, *, seed=0, dtype=torch.float64):
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, k, n)
    logits = draw.normal(size=(n, k)) * 2
    logits[np.arange(n), labels] += 1.5
    return torch.from_numpy(logits).to(dtype), torch.from_numpy(labels)


def slow(logits, labels, alpha, divergence="to_uniform", mean="batch"):
    """The loss image by image, in plain Python."""
    right, wrong = [], []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        (p,) = oracles.softmax([z])
        k = len(p)
        if max(range(k), key=lambda c: z[c]) == y:
            right.append(-math.log(p[y]))
        elif divergence == "to_uniform":
            wrong.append(sum(v * math.log(v * k) for v in p))
        else:
            wrong.append(sum(math.log(1 / k / v) / k for v in p))
    n = len(labels)
    sizes = (n, n) if mean == "batch" else (max(1, len(right)), max(1, len(wrong)))
    return alpha * sum(right) / sizes[0] + (1 - alpha) * sum(wrong) / sizes[1]


@options
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_equals_the_slow_loop(alpha, divergence, mean):
    for seed in range(5):
        logits, labels = batch(seed=seed)
        found = gatekeeper_loss(logits, labels, alpha=alpha, divergence=divergence, mean=mean)
        expected = slow(logits, labels, alpha, divergence, mean)
        assert float(found) == pytest.approx(expected, rel=1e-12)


def test_two_images_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]], dtype=torch.float64))
    parts = gatekeeper_parts(logits, torch.tensor([0, 1]))
    assert parts.answered.tolist() == [True, False]
    assert float(parts.correct) == pytest.approx(math.log(2) / 2)
    kl = 0.8 * math.log(2.4) + 0.2 * math.log(0.3)
    assert float(parts.wrong) == pytest.approx(kl / 2)
    subset = gatekeeper_parts(logits, torch.tensor([0, 1]), mean="subset")
    assert float(subset.wrong) == pytest.approx(kl)


@options
def test_gradient_is_the_numerical_one(divergence, mean):
    logits, labels = batch(seed=3)
    logits.requires_grad_()

    def loss(z):
        return gatekeeper_loss(z, labels, alpha=0.3, divergence=divergence, mean=mean)

    assert torch.autograd.gradcheck(loss, (logits,))


def test_the_mask_carries_no_gradient():
    logits, labels = batch(seed=4)
    logits.requires_grad_()
    parts = gatekeeper_parts(logits, labels)
    assert not parts.answered.requires_grad
    (0.3 * parts.correct + 0.7 * parts.wrong).backward()
    p = logits.detach().softmax(1)
    entropy = -(p * p.log()).sum(1, keepdim=True)
    right = p - torch.nn.functional.one_hot(labels, p.shape[1])
    wrong = p * (p.log() + entropy)
    expected = torch.where(parts.answered[:, None], 0.3 * right, 0.7 * wrong) / len(labels)
    torch.testing.assert_close(logits.grad, expected)


def test_a_confident_mistake_is_pushed_by_the_reversed_divergence_only():
    gradients = {}
    for divergence in ("to_uniform", "from_uniform"):
        z = torch.full((1, 10), math.log(1e-4 / 9), dtype=torch.float64)
        z[0, 0] = math.log(0.9999)
        z.requires_grad_()
        gatekeeper_parts(z, torch.tensor([1]), divergence=divergence).wrong.backward()
        gradients[divergence] = float(z.grad[0, 0])
    assert gradients["to_uniform"] == pytest.approx(0.0011, abs=1e-4)
    assert gradients["from_uniform"] == pytest.approx(0.9, abs=1e-3)


@options
def test_order_and_constants_change_nothing(divergence, mean):
    logits, labels = batch(seed=5)
    names = {"alpha": 0.4, "divergence": divergence, "mean": mean}
    expected = gatekeeper_loss(logits, labels, **names)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gatekeeper_loss(logits[order], labels[order], **names), expected)
    shift = torch.linspace(-50, 50, len(labels), dtype=torch.float64)[:, None]
    torch.testing.assert_close(gatekeeper_loss(logits + shift, labels, **names), expected)
    classes = torch.tensor([3, 1, 4, 0, 2])  # a relabelling
    place = classes.argsort()
    renamed = gatekeeper_loss(logits[:, classes], place[labels], **names)
    torch.testing.assert_close(renamed, expected)


@options
def test_all_right_and_all_wrong(divergence, mean):
    logits, _ = batch(seed=6)
    answers = logits.argmax(1)
    right = gatekeeper_parts(logits, answers, divergence=divergence, mean=mean)
    assert right.answered.all()
    assert float(right.wrong) == 0
    expected = torch.nn.functional.cross_entropy(logits, answers)
    torch.testing.assert_close(right.correct, expected)
    wrong = gatekeeper_parts(logits, (answers + 1) % 5, divergence=divergence, mean=mean)
    assert float(wrong.correct) == 0
    assert float(wrong.wrong) > 0


def test_uniform_logits_cost_nothing_where_they_are_wrong():
    parts = gatekeeper_parts(torch.zeros(4, 3), torch.tensor([1, 2, 1, 2]))  # the answer is 0
    assert float(parts.wrong) == pytest.approx(0, abs=1e-6)
    first = gatekeeper_parts(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))
    assert first.answered.all()


@options
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_stay_finite(dtype, divergence, mean):
    logits = torch.tensor([[6e4, -6e4, 0], [-6e4, 6e4, 0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([0, 0])
    loss = gatekeeper_loss(logits, labels, alpha=0.5, divergence=divergence, mean=mean)
    assert loss.dtype == torch.float32
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_float32_is_float64():
    logits, labels = batch(300, 50, seed=7)
    expected = float(gatekeeper_loss(logits, labels, alpha=0.5))
    assert float(gatekeeper_loss(logits.float(), labels, alpha=0.5)) == pytest.approx(
        expected, rel=1e-5
    )


@options
def test_a_step_downhill_makes_right_answers_surer_and_wrong_ones_less_sure(divergence, mean):
    logits, labels = batch(60, seed=9)
    logits.requires_grad_()
    names = {"divergence": divergence, "mean": mean}
    gatekeeper_loss(logits, labels, alpha=0.5, **names).backward()
    before, after = (z.detach().softmax(1).amax(1) for z in (logits, logits - 0.1 * logits.grad))
    right = gatekeeper_parts(logits, labels).answered
    assert 0 < right.sum() < 60
    assert (after[right] > before[right]).all()
    assert (after[~right] < before[~right]).all()


# ------------------------------------------------------------------------------------- sequences


def sequences():
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 6, dtype=torch.float64, generator=draw) * 2
    labels = torch.randint(0, 6, (3, 4), generator=draw)
    labels[0, :2] = logits[0, :2].argmax(1)  # some right ones
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    labels[~mask] = -100
    return logits, labels, mask


@options
def test_sequence_loss_equals_the_slow_loop_over_tokens(divergence, mean):
    logits, labels, mask = sequences()
    found = gatekeeper_sequence_loss(
        logits, labels, mask, alpha=0.3, divergence=divergence, mean=mean
    )
    rows = [(i, t) for i in range(3) for t in range(4) if mask[i, t]]
    z = torch.stack([logits[i, t] for i, t in rows])
    y = torch.stack([labels[i, t] for i, t in rows])
    assert float(found) == pytest.approx(slow(z, y, 0.3, divergence, mean), rel=1e-12)


def test_padding_changes_nothing_and_gets_no_gradient():
    logits, labels, mask = sequences()
    logits.requires_grad_()
    loss = gatekeeper_sequence_loss(logits, labels, mask, alpha=0.3)
    loss.backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).all()
    other = logits.detach().clone()
    other[~mask] = 1e4
    torch.testing.assert_close(gatekeeper_sequence_loss(other, labels, mask, alpha=0.3), loss)
    torch.testing.assert_close(sequence_score(other, mask), sequence_score(logits, mask))


def test_one_token_a_sequence_is_the_loss_of_images():
    logits, labels = batch(seed=8)
    found = gatekeeper_sequence_loss(
        logits[:, None], labels[:, None], torch.ones(len(labels), 1, dtype=torch.bool), alpha=0.6
    )
    torch.testing.assert_close(found, gatekeeper_loss(logits, labels, alpha=0.6))


def test_sequence_score_equals_the_slow_loop_and_its_ends():
    logits, _, mask = sequences()
    for i, found in enumerate(sequence_score(logits, mask).tolist()):
        tokens = oracles.softmax(logits[i][mask[i]].tolist())
        expected = sum(sum(v * math.log(v) for v in p) for p in tokens) / len(tokens)
        assert found == pytest.approx(expected, rel=1e-12)
    ones = torch.ones(1, 2, dtype=torch.bool)
    assert float(sequence_score(torch.zeros(1, 2, 6), ones)) == pytest.approx(-math.log(6))
    sure = torch.tensor([[[1e4, 0.0], [0.0, 1e4]]])
    assert float(sequence_score(sure, ones)) == 0


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 2, math.nan])
def test_refuses_alpha_outside(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\)"):
        gatekeeper_loss(*batch(), alpha=alpha)


def test_refuses_what_is_no_batch():
    logits, labels = batch()
    for name in ("divergence", "mean"):
        with pytest.raises(ValueError, match=f"{name} is 'theirs'; choose one of"):
            gatekeeper_loss(logits, labels, alpha=0.5, **{name: "theirs"})
    with pytest.raises(TypeError, match="must be a tensor of floats, not"):
        gatekeeper_loss(logits.numpy(), labels, alpha=0.5)
    with pytest.raises(TypeError, match=r"not torch\.int64"):
        gatekeeper_loss(labels[:, None], labels, alpha=0.5)
    for wrong in (logits[0], logits[:, :1], logits[:0]):
        with pytest.raises(ValueError, match=r"shape \(images, classes\)"):
            gatekeeper_loss(wrong, labels, alpha=0.5)
    with pytest.raises(ValueError, match=r"outside 0 \.\.\. 4"):
        gatekeeper_loss(logits, labels + 1, alpha=0.5)


def test_refuses_what_is_no_batch_of_sequences():
    logits, labels, mask = sequences()
    with pytest.raises(TypeError, match="bool tensor"):
        sequence_score(logits, mask.long())
    with pytest.raises(ValueError, match=r"mask must have shape \(3, 4\)"):
        sequence_score(logits, mask[:, :2])
    with pytest.raises(ValueError, match="vocabulary"):
        sequence_score(logits[0], mask)
    with pytest.raises(ValueError, match="labels have shape"):
        gatekeeper_sequence_loss(logits, labels[:2], mask, alpha=0.5)
    with pytest.raises(ValueError, match="nothing but padding"):
        gatekeeper_sequence_loss(logits, labels, mask & False, alpha=0.5)
    mask[1] = False
    with pytest.raises(ValueError, match="sequence 1 has no real token"):
        sequence_score(logits, mask)
