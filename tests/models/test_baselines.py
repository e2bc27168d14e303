"""Ensembles, dropout, views and an uncertain head average what they say they average."""

import copy
import dataclasses
import itertools
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from duokit.models import baselines, last_layer
from duokit.models.baselines import (
    View,
    dropout_layers,
    ensemble_logits,
    mc_dropout,
    standard_views,
)
from duokit.models.last_layer import PRECISIONS, LastLayerLaplace, last_layer_laplace

# pytest would collect it under its own name.
augmented = baselines.test_time_augmentation
HALF = np.log(np.array([[0.5, 0.5]]))
SURE = np.log(np.array([[0.9, 0.1]]))


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def softmax(logits: torch.Tensor) -> np.ndarray:
    return logits.detach().double().softmax(1).numpy()


# Ensembles


def test_mean_logits_by_hand():
    found = ensemble_logits([np.array([[1.0, 3.0]]), np.array([[3.0, -1.0]])])
    assert found.tolist() == [[2.0, 1.0]]


def test_mean_probabilities_by_hand():
    # The pool of probabilities is their mean whatever is added to a member's logits.
    found = ensemble_logits([HALF + 7, SURE - 3], pool="probs")
    np.testing.assert_allclose(np.exp(found), [[0.7, 0.3]], rtol=1e-12)


@pytest.mark.parametrize("pool", ["logits", "probs"])
def test_members_may_come_in_any_order(pool):
    random = np.random.default_rng(0)
    members = list(random.normal(size=(3, 6, 4)))
    expected = ensemble_logits(members, pool=pool)
    for order in itertools.permutations(members):
        np.testing.assert_allclose(ensemble_logits(order, pool=pool), expected, atol=1e-12)


@pytest.mark.parametrize("pool", ["logits", "probs"])
def test_an_ensemble_of_copies_says_what_one_says(pool):
    one = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    found = ensemble_logits([one] * 3, pool=pool)
    expected = one if pool == "logits" else one.log_softmax(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("given", "back"), [("float16", "float32"), ("float64", "float64")])
@pytest.mark.parametrize("pool", ["logits", "probs"])
def test_the_type_of_an_ensemble(given, back, pool):
    # The sum of two such logits does not fit in float16.
    one = np.array([[60000.0, 0.0]], dtype=given)
    found = ensemble_logits([one, one], pool=pool)
    assert isinstance(found, np.ndarray)
    assert found.dtype == back
    assert np.isfinite(found).all()
    assert isinstance(ensemble_logits([torch.from_numpy(one)] * 2, pool=pool), torch.Tensor)


@pytest.mark.parametrize("order", [1, -1])
def test_one_wide_member_makes_the_ensemble_wide(order):
    members = [HALF.astype(np.float32), SURE][::order]
    assert ensemble_logits(members).dtype == np.float64


def test_what_is_no_ensemble_is_refused():
    with pytest.raises(ValueError, match="pool is 'votes'"):
        ensemble_logits([HALF], pool="votes")
    with pytest.raises(ValueError, match="members is empty"):
        ensemble_logits([])
    with pytest.raises(ValueError, match=r"members\[1\] has shape"):
        ensemble_logits([HALF, np.zeros((2, 2))])


# Dropout


def test_dropout_layers_are_those_that_drop(tiny):
    tiny.off = nn.Dropout(0.0)
    assert dropout_layers(tiny) == {"drop": 0.5}


def exact_dropout(tiny, pictures: torch.Tensor, rate: float) -> np.ndarray:
    """Return the mean of the probabilities over all 16 masks of the four features."""
    with torch.no_grad():
        inner = tiny.stem(pictures).relu().mean(dim=(2, 3))
    total = np.zeros((len(pictures), 3))
    for mask in itertools.product([0.0, 1.0], repeat=4):
        kept = sum(mask)
        chance = (1 - rate) ** kept * rate ** (4 - kept)
        total += chance * softmax(tiny.fc(inner * torch.tensor(mask) / (1 - rate)))
    return total


@pytest.mark.parametrize("rate", [None, 0.5, 0.2])
def test_many_masks_come_near_the_exact_mean(tiny, pictures, rate):
    tiny.fc.weight.data *= 20  # so that masks matter
    found = np.exp(mc_dropout(tiny, pictures, samples=2000, rate=rate))
    expected = exact_dropout(tiny, pictures, 0.5 if rate is None else rate)
    # Standard error of a probability with 2,000 masks: 0.011 at most.
    np.testing.assert_allclose(found, expected, atol=0.04)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert abs(found - softmax(tiny.eval()(pictures))).max() > 0.05


@pytest.mark.parametrize("rate", [None, 0.3])
def test_dropout_leaves_everything_as_it_was(tiny, pictures, rate):
    tiny.train()
    tiny.stem.eval()
    before = copy.deepcopy(tiny.state_dict())
    state = torch.random.get_rng_state()
    found = mc_dropout(tiny, list(pictures.split(2)), samples=4, rate=rate, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (tiny.training, tiny.stem.training, tiny.drop.training) == (True, False, True)
    assert all(torch.equal(tiny.state_dict()[key], before[key]) for key in before)
    assert not tiny.fc._forward_pre_hooks
    assert (found.shape, found.dtype) == ((5, 3), np.float32)


@pytest.mark.parametrize("rate", [None, 0.3])
def test_the_seed_decides(tiny, pictures, rate):
    first, again, other = (
        mc_dropout(tiny, pictures, samples=3, rate=rate, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_empty_batch_adds_nothing(tiny, pictures):
    whole = augmented(tiny, pictures, [View()])
    parts = augmented(tiny, [pictures[:2], pictures[:0], pictures[2:]], [View()])
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_only_dropout_is_in_training_mode(pictures):
    model = nn.Sequential(
        nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)
    ).train()
    before = model[0].running_mean.clone()
    mc_dropout(model, pictures, samples=2)
    assert torch.equal(model[0].running_mean, before)


def test_a_rate_runs_the_network_once_and_leaves_its_own_dropout_off(tiny, pictures):
    runs = []
    tiny.stem.register_forward_hook(lambda *_: runs.append(1))
    tiny.drop.p = 1.0  # would drop everything
    found = mc_dropout(tiny, pictures, samples=50, rate=0.01)
    assert len(runs) == 1
    np.testing.assert_allclose(np.exp(found), softmax(tiny.eval()(pictures)), atol=0.05)


def test_what_gives_no_dropout_is_refused(tiny, pictures):
    for samples, rate, text in ((0, None, "samples is 0"), (2, 1.0, "rate is 1"), (2, 0.0, "rate")):
        with pytest.raises(ValueError, match=text):
            mc_dropout(tiny, pictures, samples=samples, rate=rate)
    tiny.drop.p = 0.0
    with pytest.raises(ValueError, match="Tiny has no dropout layer"):
        mc_dropout(tiny, pictures)
    with pytest.raises(ValueError, match="no linear head"):
        mc_dropout(nn.Sequential(nn.Flatten()), pictures, rate=0.1)
    with pytest.raises(ValueError, match="batches is empty"):
        mc_dropout(tiny, [], rate=0.1)
    with pytest.raises(ValueError, match=r"gave \(5, 8, 8, 3\); expected \(5, classes\)"):
        augmented(lambda images: images.movedim(1, 3), pictures, [View()])


# Views


def test_a_moved_picture_by_hand():
    picture = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert View()(picture) is picture
    assert View(flip=True)(picture)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert View(down=1)(picture)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert View(down=-1)(picture)[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]
    assert View(right=1)(picture)[0, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]
    assert View(right=-2)(picture)[0, 0].tolist() == [[2, 2, 2], [5, 5, 5], [8, 8, 8]]
    assert View(flip=True, right=1)(picture)[0, 0].tolist() == [[2, 2, 1], [5, 5, 4], [8, 8, 7]]


def test_the_standard_views():
    assert standard_views() == (View(), View(flip=True))
    assert standard_views(flip=False) == (View(),)
    views = standard_views(shift=2)
    assert len(set(views)) == len(views) == 10
    assert views[0] == View()
    assert sum(view.flip for view in views) == 5
    assert {(view.down, view.right) for view in views} == {(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)}
    with pytest.raises(ValueError, match="shift is -1"):
        standard_views(shift=-1)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 4, 8), (1, 3, 8, 4)])
def test_a_move_out_of_the_picture_is_refused(shape):
    with pytest.raises(ValueError, match="larger than the move"):
        View(down=4)(torch.zeros(shape))


def test_the_mean_over_views_by_hand(tiny, pictures):
    views = standard_views(shift=1)
    tiny.eval()
    expected = np.mean([softmax(tiny(view(pictures))) for view in views], axis=0)
    tiny.train()
    found = augmented(tiny, list(pictures.split(2)), views)
    np.testing.assert_allclose(np.exp(found), expected, rtol=1e-5)
    assert found.dtype == np.float32
    assert all(module.training for module in tiny.modules())


def test_a_symmetric_function_gains_nothing_from_a_mirror(pictures):
    def predict(images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) * 30

    found = augmented(predict, pictures, standard_views())
    np.testing.assert_allclose(found, predict(pictures).log_softmax(1), atol=1e-4)


def test_no_view_and_bad_logits_are_refused(tiny, pictures):
    with pytest.raises(ValueError, match="views is empty"):
        augmented(tiny, pictures, [])
    with pytest.raises(ValueError, match="what the network gave"):
        augmented(lambda images: images.mean(dim=(2, 3)) / 0, pictures, [View()])
    tiny.train()
    with pytest.raises(ValueError, match="larger than the move"):
        augmented(tiny, pictures, [View(down=9)])
    assert tiny.training


# Last-layer Laplace


@dataclasses.dataclass(frozen=True)
class Task:
    """Features of three classes and a head that is somewhat trained."""

    features: torch.Tensor
    labels: torch.Tensor
    val: torch.Tensor
    val_labels: torch.Tensor
    head: nn.Linear


def make_task(bias: bool) -> Task:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    centres = torch.randn(3, 6, generator=random)
    features = centres[labels] + 2 * torch.randn(90, 6, generator=random)
    head = nn.Linear(6, 3, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(head(features[:45]), labels[:45])
        value.backward()
        return value

    optimiser.step(loss)
    return Task(features[:45], labels[:45], features[45:], labels[45:], head.requires_grad_(False))


@pytest.fixture(scope="module", params=[True, False], ids=["bias", "no bias"])
def task(request) -> Task:
    pytest.importorskip("laplace")
    return make_task(request.param)


def fit(task: Task, **options: object) -> LastLayerLaplace:
    given = {"val_features": task.val, "val_labels": task.val_labels} | options
    return last_layer_laplace(given.pop("features", task.features), task.head, **given)


def val_logits(task: Task) -> torch.Tensor:
    """Return what the head says of val, in float64: its logits go to hundreds."""
    return copy.deepcopy(task.head).double()(task.val.double())


def by_laplace_torch(task: Task, precision: float) -> np.ndarray:
    """Return what laplace-torch itself predicts for val, from its Jacobians."""
    from laplace import Laplace

    head = copy.deepcopy(task.head).double().requires_grad_(True)
    posterior = Laplace(
        nn.Sequential(head),
        "classification",
        subset_of_weights="last_layer",
        hessian_structure="kron",
        prior_precision=precision,
        last_layer_name="0",
    )
    data = torch.utils.data.TensorDataset(task.features.double(), task.labels)
    posterior.fit(torch.utils.data.DataLoader(data, batch_size=16))
    return posterior(task.val.double(), pred_type="glm", link_approx="probit").numpy()


@pytest.mark.parametrize("precision", [0.01, 1.0, 50.0])
def test_the_closed_form_is_what_laplace_torch_predicts(task, precision):
    found = np.exp(fit(task, precisions=[precision]).log_probs(task.val))
    np.testing.assert_allclose(found, by_laplace_torch(task, precision), atol=1e-6)


def test_the_variance_by_a_dense_inverse(task):
    found = fit(task, precisions=[2.0])
    probs = softmax(task.head(task.features))
    g = sum(np.diag(row) - np.outer(row, row) for row in probs)
    x = task.features.double().numpy()
    covariance = np.linalg.inv(np.kron(g, x.T @ x / len(x)) + 2 * np.eye(18))
    bias = np.zeros((3, 3)) if task.head.bias is None else np.linalg.inv(g + 2 * np.eye(3))
    expected = []
    for row in task.val.double().numpy():
        jacobian = np.kron(np.eye(3), row)
        expected.append(np.diag(jacobian @ covariance @ jacobian.T + bias))
    scale = np.sqrt(1 + np.pi / 8 * np.array(expected))
    logits = val_logits(task).numpy() / scale
    np.testing.assert_allclose(
        found.log_probs(task.val), torch.from_numpy(logits).log_softmax(1), rtol=1e-6, atol=1e-5
    )


def test_the_precision_has_the_lowest_val_nll(task):
    found = fit(task)
    assert [precision for precision, _ in found.path] == sorted(PRECISIONS)
    assert min(nll for _, nll in found.path) == dict(found.path)[found.precision]
    for precision, nll in (found.path[0], found.path[20], found.path[-1]):
        direct = fit(task, precisions=[precision]).log_probs(task.val)
        assert nll == pytest.approx(-direct[np.arange(45), task.val_labels].mean(), rel=1e-5)
    expected = float(functional.cross_entropy(val_logits(task), task.val_labels))
    assert found.head_nll == pytest.approx(expected, rel=1e-5)
    # This head is far too sure (it fits 45 images of 6 features): to be less so must help.
    assert dict(found.path)[found.precision] < found.head_nll


def test_without_doubt_about_the_head_laplace_is_the_head(task):
    found = fit(task, precisions=[1e12]).log_probs(task.val.numpy())
    np.testing.assert_allclose(found, val_logits(task).log_softmax(1), rtol=1e-6, atol=1e-5)
    assert found.dtype == np.float32


def test_the_head_and_the_random_state_stay(task):
    before = copy.deepcopy(task.head.state_dict())
    state = torch.random.get_rng_state()
    fit(task)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(task.head.state_dict()[key], before[key]) for key in before)
    assert task.head.weight.dtype == torch.float32
    assert not task.head.weight.requires_grad


def test_precisions_may_come_in_any_order(task):
    found = fit(task, precisions=PRECISIONS[::-1])
    assert found.path == fit(task).path


def test_fewer_images_than_features(task):
    """Eigenvalues that rounding pushes below 0 would make a variance negative."""
    found = fit(task, features=task.features[:2], precisions=[1e-20]).log_probs(task.val)
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)


def test_the_edge_of_the_search_is_told(task):
    with pytest.warns(UserWarning, match="at the edge of those tried"):
        fit(task, precisions=[1e6, 1e7])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"precisions": []}, ValueError, "precisions are"),
        ({"precisions": [1.0, 0.0]}, ValueError, "precisions are"),
        ({"features": np.ones((4, 5))}, ValueError, r"features must have shape \(images, 6\)"),
        ({"features": np.ones((0, 6))}, ValueError, "features must have shape"),
        ({"features": np.ones((4, 6), dtype=int)}, TypeError, "features must be"),
        ({"val_features": np.full((45, 6), np.nan)}, ValueError, "val_features are not finite"),
        ({"val_features": np.diag([np.inf] + [1.0] * 5)}, ValueError, "val_features are not"),
        ({"val_labels": np.full(45, 3)}, ValueError, "val_labels"),
    ],
)
def test_what_laplace_cannot_use_is_named(options, error, text):
    with pytest.raises(error, match=text):
        fit(make_task(True), **options)


def test_a_missing_laplace_torch_says_what_to_install(monkeypatch):
    assert not hasattr(last_layer, "Laplace")  # it is imported where it is used
    monkeypatch.setitem(sys.modules, "laplace", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install duokit\[laplace\]"):
        fit(make_task(True))
