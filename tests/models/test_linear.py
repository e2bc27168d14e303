"""The linear probe is at the optimum of a stated function, whatever the scale of features."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from duokit.models import linear, linear_probe
from duokit.models.linear import Probe, nll

ONE = {"strengths": (0.1,), "tolerance": 1e-8}


def blobs(classes: int = 3, each: int = 30, width: int = 5, seed: int = 0, noise: float = 1.0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, width))
    labels = np.repeat(np.arange(classes), each)
    found = centres[labels] + noise * random.normal(size=(len(labels), width))
    return found.astype(np.float32), labels


def penalised(
    probe: Probe, features: np.ndarray, labels: np.ndarray, strength: float
) -> torch.Tensor:
    """Return the gradient of the stated function at the probe, written out slowly with autograd."""
    mean, std = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    scaled = torch.from_numpy((features - mean) / std)
    weight = torch.from_numpy(probe.weight * std[:, None]).requires_grad_()
    bias = torch.from_numpy(probe.bias + mean @ probe.weight).requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        scaled @ weight + bias, torch.from_numpy(labels), reduction="sum"
    )
    total = (loss + (weight**2).sum() / (2 * strength)) / len(labels)
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, (weight, bias))])


@pytest.mark.parametrize("strength", [0.01, 0.1, 1.0])
def test_the_gradient_of_the_stated_function_vanishes(strength):
    features, labels = blobs()
    probe = linear_probe(features, labels, strengths=(strength,), tolerance=1e-8)
    assert abs(penalised(probe, features, labels, strength)).max() < 1e-7
    assert probe.gradient < 1e-7
    assert probe.strength == strength
    assert probe.path == ()


def test_it_is_scikit_learns_answer_in_raw_features():
    features, labels = blobs(seed=1)
    features = features.astype(float)
    scaler = StandardScaler().fit(features)
    theirs = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(
        scaler.transform(features), labels
    )
    probe = linear_probe(features, labels, **ONE)
    expected = theirs.decision_function(scaler.transform(features))
    assert np.allclose(probe.logits(features), expected, atol=1e-4)
    assert probe.train_accuracy == theirs.score(scaler.transform(features), labels)
    assert probe.train_nll == pytest.approx(nll(expected, labels), abs=1e-6)


def test_two_classes_give_two_logits_and_their_gradient_is_reported_right():
    features, labels = blobs(classes=2)
    scaled = StandardScaler().fit_transform(features.astype(float))
    theirs = LogisticRegression(C=0.1, tol=1e-9, max_iter=5000).fit(scaled, labels)
    probe = linear_probe(features, labels, **ONE)
    logits = probe.logits(features)
    assert logits.shape == (60, 2)
    assert np.allclose(logits[:, 1] - logits[:, 0], theirs.decision_function(scaled), atol=1e-4)
    assert probe.gradient < 1e-7


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_scale_and_shift_of_features_have_no_part(seed):
    features, labels = blobs(seed=seed)
    random = np.random.default_rng(seed)
    moved = features * random.uniform(0.1, 10, size=5) + random.normal(size=5) * 3
    one, two = linear_probe(features, labels, **ONE), linear_probe(moved, labels, **ONE)
    assert np.allclose(one.logits(features), two.logits(moved), atol=1e-3)


def test_renumbered_classes_and_reordered_images_give_the_same():
    features, labels = blobs()
    probe = linear_probe(features, labels, **ONE)
    turn = np.array([2, 0, 1])
    turned = linear_probe(features, turn[labels], **ONE)
    assert np.allclose(turned.logits(features)[:, turn], probe.logits(features), atol=1e-4)
    order = np.random.default_rng(0).permutation(len(labels))
    mixed = linear_probe(features[order], labels[order], **ONE)
    assert np.allclose(mixed.weight, probe.weight, atol=1e-5)


def test_a_feature_that_never_changes_gets_no_weight():
    features, labels = blobs()
    constant = np.hstack([features, np.full((len(labels), 1), 7, dtype=np.float32)])
    probe = linear_probe(constant, labels, **ONE)
    assert np.all(probe.weight[5] == 0)
    assert np.allclose(
        probe.logits(constant), linear_probe(features, labels, **ONE).logits(features), atol=1e-4
    )


def test_val_nll_chooses_the_strength():
    features, labels = blobs(each=60, noise=2.0)
    train, val = slice(0, None, 2), slice(1, None, 2)
    given = {"val_features": features[val], "val_labels": labels[val]}
    probe = linear_probe(features[train], labels[train], **given)
    tried = dict(probe.path)
    assert probe.strength == min(tried, key=tried.get)
    for strength, value in probe.path:
        alone = linear_probe(features[train], labels[train], strengths=(strength,))
        assert value == pytest.approx(nll(alone.logits(features[val]), labels[val]), abs=1e-3)
    assert [s for s, _ in probe.path] == sorted(tried)
    assert len(probe.path) < len(linear.STRENGTHS)  # it stops once val NLL has risen twice
    assert probe.path[-1][1] > probe.path[-2][1] > probe.path[-3][1]


def test_a_best_strength_at_the_edge_is_reported():
    features, labels = blobs(each=60, noise=2.0)
    val = {"val_features": features[1::2], "val_labels": labels[1::2]}
    with pytest.warns(UserWarning, match=r"C = 0\.0003, is the weakest penalty of those tried"):
        linear_probe(features[::2], labels[::2], strengths=(1e-4, 3e-4), **val)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe(features[::2], labels[::2], **val)


def test_stronger_penalties_are_tried_if_the_strongest_is_best():
    features, labels = blobs(each=60, noise=2.0)
    val = {"val_features": features[1::2], "val_labels": labels[1::2]}
    best = linear_probe(features[::2], labels[::2], **val).strength
    probe = linear_probe(features[::2], labels[::2], strengths=(300 * best, 900 * best), **val)
    tried = dict(probe.path)
    assert probe.strength == min(tried, key=tried.get) < 300 * best
    assert [s for s, _ in probe.path] == sorted(tried)
    assert probe.path[0][1] > probe.path[1][1]  # it stops once val NLL rises
    noise = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = linear_probe(
            noise, np.arange(60) % 2, val_features=noise, val_labels=(np.arange(60) + 1) % 2
        )  # what it learns is wrong, so the less the better
    assert probe.strength < 2e-8


def test_a_fit_that_is_cut_short_is_an_error():
    features, labels = blobs()
    with pytest.raises(RuntimeError, match=r"C = 0\.1 did not reach its optimum in 2 steps"):
        linear_probe(features, labels, strengths=(0.1,), max_iterations=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": np.zeros((90, 5, 1))}, r"training features have shape \(90, 5, 1\)"),
        ({"labels": np.zeros(89, dtype=int)}, r"labels \(89,\)"),
        ({"features": np.full((90, 5), np.nan)}, "training features are not finite"),
        ({"classes": 4}, r"class 3 has no training image \(1 such"),
        ({"classes": 2}, r"labels go from 0 to 2; expected 0\.\.1"),
        ({"strengths": (0.0,)}, "expected numbers above 0"),
        ({"strengths": ()}, "expected numbers above 0"),
        ({"strengths": (0.1, 1.0)}, "val_features and val_labels are needed"),
        (
            {
                "strengths": (0.1, 1.0),
                "val_features": np.zeros((2, 5)),
                "val_labels": np.array([0, -1]),
            },
            "val labels go from -1",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, words):
    features, labels = blobs()
    given = {"features": features, "labels": labels, "strengths": (0.1,)} | change
    with pytest.raises(ValueError, match=words):
        linear_probe(given.pop("features"), given.pop("labels"), **given)


def test_nll_is_the_mean_of_minus_log_probability():
    logits = np.array([[0.0, np.log(3.0)], [1000.0, 0.0]])
    assert nll(logits, np.array([1, 1])) == pytest.approx((np.log(4 / 3) + 1000) / 2)
