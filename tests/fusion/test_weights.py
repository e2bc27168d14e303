"""The fit of the weights: a slow oracle, what must not change, every degenerate case."""

import warnings
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import duokit.fusion.moments as module
from duokit.fusion.moments import moments
from duokit.fusion.newton import LARGEST, _bounds
from duokit.fusion.weights import fit_weights
from tests.fusion.duos import make_duo, slow_nll


def oracle(members, labels, lower=0.0):
    """Minimise the slow NLL with SciPy's bounded quasi-Newton method."""
    start = np.full(len(members), 0.5)
    bounds = [(lower, None)] * len(members)
    options = {"ftol": 1e-15, "gtol": 1e-9}
    loss = lambda w: slow_nll(members, labels, w)  # noqa: E731
    return minimize(loss, start, bounds=bounds, method="L-BFGS-B", options=options)


@pytest.mark.parametrize("m", [1, 2, 3])
def test_agrees_with_scipy(m):
    members, labels = make_duo(150, 5, signal=(2.0, 1.2, 0.8)[:m], scale=(1.5, 0.7, 3.0)[:m])
    fit, expected = fit_weights(members, labels, tolerance=1e-12), oracle(members, labels)
    assert fit.status == "optimal"
    assert fit.nll == pytest.approx(slow_nll(members, labels, fit.weights), abs=1e-12)
    assert fit.nll <= expected.fun + 1e-12
    assert fit.weights == pytest.approx(expected.x, rel=1e-3)


def test_gap_is_a_proof():
    members, labels = make_duo()
    coarse = fit_weights(members, labels, tolerance=0.05)
    fine = fit_weights(members, labels, tolerance=1e-12)
    assert 0 <= coarse.nll - fine.nll <= coarse.gap <= 0.05
    assert fine.gap <= 1e-12
    assert fine.projected_gradient < 1e-5


@pytest.mark.parametrize("lower", [0.0, -LARGEST])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_gap_is_never_too_small(m, lower):
    members, labels = make_duo(80, 4, signal=(2.0, 0.1, 0.8)[:m], scale=(1.5, 0.7, 1.0)[:m])
    best = fit_weights(members, labels, nonnegative=lower == 0, tolerance=1e-14)
    tensors, target = [torch.as_tensor(z) for z in members], torch.as_tensor(labels)
    width = float(np.linalg.norm([np.ptp(z, axis=1).max() for z in members]))
    proven = []
    for seed, far in product(range(20), (1e-4, 1e-3, 1e-2, 0.03, 0.1, 1.0)):
        shift = far * np.random.default_rng(seed).normal(size=m)
        w = np.maximum(best.weights + shift, max(lower, -10))
        at = moments(tensors, target, w)
        gap = _bounds(w, at, lower, width)[0]
        assert gap >= at.nll - best.nll - 1e-13
        proven.append(gap < 1e-4)
    assert sum(proven) >= 20  # near the minimum it is small as well


def test_moments_are_the_derivatives():
    members, labels = make_duo(60, 4)
    tensors, target = [torch.as_tensor(z) for z in members], torch.as_tensor(labels)
    w, step = np.array([0.7, 0.4]), 1e-5
    at = moments(tensors, target, w)
    assert at.nll == pytest.approx(slow_nll(members, labels, w), abs=1e-12)
    for j in range(2):
        up, down = w.copy(), w.copy()
        up[j] += step
        down[j] -= step
        high, low = moments(tensors, target, up), moments(tensors, target, down)
        assert at.gradient[j] == pytest.approx((high.nll - low.nll) / (2 * step), abs=1e-8)
        assert at.hessian[j] == pytest.approx((high.gradient - low.gradient) / (2 * step), abs=1e-7)


def test_blocks_do_not_matter(monkeypatch):
    members, labels = make_duo(300, 6)
    whole = fit_weights(members, labels)
    monkeypatch.setattr(
        module, "row_blocks", lambda rows, _, entries: [slice(i, i + 7) for i in range(0, rows, 7)]
    )
    assert fit_weights(members, labels).weights == pytest.approx(whole.weights, rel=1e-9)


def test_large_sets_start_from_a_sample():
    members, labels = make_duo(9000, 4)
    fit = fit_weights(members, labels)
    assert fit.status == "optimal"
    assert fit.passes <= 5
    assert np.abs(fit.path[0] - fit.weights).max() < 0.2


def test_standard_errors_match_repeated_samples():
    fits = [fit_weights(*make_duo(500, 4, seed=seed)) for seed in range(80)]
    observed = np.std([fit.weights for fit in fits], axis=0, ddof=1)
    claimed = np.mean([fit.standard_errors for fit in fits], axis=0)
    assert claimed == pytest.approx(observed, rel=0.25)  # the observed one is good to 8 %


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 6))
def test_what_must_not_change(seed, k):
    members, labels = make_duo(120, k, seed=seed)
    fit = fit_weights(members, labels)
    rng = np.random.default_rng(seed)

    order = rng.permutation(len(labels))
    shuffled = fit_weights([z[order] for z in members], labels[order])
    assert shuffled.weights == pytest.approx(fit.weights, abs=1e-5)

    names = rng.permutation(k)
    relabelled = fit_weights([z[:, np.argsort(names)] for z in members], names[labels])
    assert relabelled.weights == pytest.approx(fit.weights, abs=1e-5)

    shift = rng.normal(size=(len(labels), 1))
    moved = fit_weights([members[0].astype(float) + shift, members[1]], labels)
    assert moved.weights == pytest.approx(fit.weights, abs=1e-5)

    assert fit_weights(members[::-1], labels).weights[::-1] == pytest.approx(fit.weights, abs=1e-5)

    scaled = fit_weights([members[0] * 8, members[1]], labels)
    assert scaled.weights * [8, 1] == pytest.approx(fit.weights, abs=1e-5)

    double = fit_weights([np.repeat(z, 2, axis=0) for z in members], np.repeat(labels, 2))
    assert double.weights == pytest.approx(fit.weights, abs=1e-5)
    assert double.nll == pytest.approx(fit.nll, abs=1e-9)


def test_a_useless_sidekick_gets_exactly_zero():
    (large, _), labels = make_duo(300)
    noise = 50 * np.random.default_rng(3).standard_normal(large.shape)
    fit = fit_weights([large, -large + 0.01 * noise], labels)
    assert fit.weights[1] == 0.0
    assert np.isnan(fit.standard_errors[1])
    assert fit.weights[0] == pytest.approx(fit_weights([large], labels).weights[0], rel=1e-6)


def test_a_useless_large_model_gets_exactly_zero():
    (other, small), labels = make_duo(300)
    fit = fit_weights([-other, small], labels)
    assert fit.weights[0] == 0.0
    assert fit.nll == pytest.approx(fit_weights([small], labels).nll, abs=1e-9)


def test_two_useless_models_give_zero_and_uniform_probabilities():
    members, labels = make_duo(200, 5)
    fit = fit_weights([-z for z in members], labels)
    assert fit.weights.tolist() == [0.0, 0.0]
    assert fit.nll == pytest.approx(np.log(5))
    assert fit.gap == 0.0


def test_negative_weights_on_request():
    members, labels = make_duo(300)
    fit = fit_weights([-members[0], members[1]], labels, nonnegative=False)
    free = fit_weights(members, labels)
    assert fit.weights == pytest.approx(free.weights * [-1, 1], abs=1e-5)
    assert fit.gap <= 1e-10


def test_separable_data_stop_with_a_warning():
    labels = np.array([0, 1, 2, 0, 1, 2])
    with pytest.warns(UserWarning, match="no finite weights are best"):
        fit = fit_weights([np.eye(3)[labels], np.zeros((6, 3))], labels)
    assert fit.status == "separable"
    assert np.isfinite(fit.weights).all()
    assert fit.nll * 6 < np.log(2)
    assert np.isnan(fit.standard_errors).all()


def test_nearly_separable_data_stop_with_a_warning():
    logits = np.array([[1.0, 0.0], [0.0, 0.0]])  # the second image is undecided at any weight
    with pytest.warns(UserWarning, match="falls for ever"):
        fit = fit_weights([logits], np.array([0, 0]))
    assert fit.status == "unidentified"
    assert fit.nll == pytest.approx(np.log(2) / 2, abs=1e-9)
    assert fit.weights[0] > 5


def test_opposites_cancel_to_one():
    (_, small), labels = make_duo(300)
    with pytest.warns(UserWarning, match="copies or mixtures"):
        fit = fit_weights([-small, small], labels)
    assert fit.weights[0] == 0.0
    assert fit.weights[1] == pytest.approx(fit_weights([small], labels).weights[0], rel=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_copies_share_the_weight(factor):
    (large, _), labels = make_duo(300)
    alone = fit_weights([large], labels)
    with pytest.warns(UserWarning, match="copies or mixtures"):
        fit = fit_weights([large, factor * large], labels)
    assert fit.status == "unidentified"
    assert fit.weights[0] == pytest.approx(factor * fit.weights[1], rel=1e-4)
    assert fit.weights @ [1, factor] == pytest.approx(alone.weights[0], rel=1e-6)
    assert fit.nll == pytest.approx(alone.nll, abs=1e-9)
    assert np.isnan(fit.standard_errors).all()


def test_constant_logits_get_weight_zero():
    (large, _), labels = make_duo(300)
    with pytest.warns(UserWarning, match="constant"):
        fit = fit_weights([large, np.full_like(large, 4.0)], labels)
    assert fit.weights[1] == 0.0
    assert fit.weights[0] == pytest.approx(fit_weights([large], labels).weights[0], rel=1e-6)


def test_out_of_passes_warns():
    members, labels = make_duo()
    with pytest.warns(UserWarning, match="after 2 passes"):
        fit = fit_weights(members, labels, max_passes=2)
    assert fit.status == "unfinished"
    assert fit.gap > 1e-10
    assert slow_nll(members, labels, fit.weights) - fit_weights(members, labels).nll <= fit.gap


def test_classes_without_an_image_are_fine():
    members, labels = make_duo(200, 9)
    keep = labels < 4
    fit = fit_weights([z[keep] for z in members], labels[keep])
    assert fit.status == "optimal"
    assert fit.images == keep.sum()


def test_a_single_label_in_val():
    members, _ = make_duo(300, 5, signal=(0.5, 0.2))
    fit = fit_weights(members, np.zeros(300, dtype=int))
    assert fit.status == "optimal"


def test_large_and_tiny_logits():
    members, labels = make_duo(200)
    for factor in (1e-4, 1e4):
        fit = fit_weights([factor * z.astype(float) for z in members], labels)
        assert fit.status == "optimal"
        assert fit.weights * factor == pytest.approx(fit_weights(members, labels).weights, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_float_type(dtype):
    members, labels = make_duo(200)
    tensors = [torch.as_tensor(z).to(dtype) for z in members]
    fit = fit_weights(tensors, torch.as_tensor(labels))
    exact = fit_weights([z.double().numpy() for z in tensors], labels)
    assert fit.weights == pytest.approx(exact.weights, rel=1e-9)


def test_inputs_are_not_changed_and_no_warning_is_raised():
    members, labels = make_duo(100)
    before = [z.copy() for z in members]
    for z in members:
        z.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_weights(members, list(labels))
    assert all((a == b).all() for a, b in zip(before, members, strict=True))


def test_threads_are_as_before():
    before = torch.get_num_threads()
    fit_weights(*make_duo(50))
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu():
    members, labels = make_duo()
    tensors = [torch.as_tensor(z).cuda() for z in members]
    fit = fit_weights(tensors, labels)
    assert fit.weights == pytest.approx(fit_weights(members, labels).weights, rel=1e-9)


NEAR = {
    "float16": lambda z, rng: z.astype(np.float16),
    "bfloat16": lambda z, rng: torch.as_tensor(z).bfloat16(),
    "a thousandth": lambda z, rng: z + np.float32(1e-3) * rng.standard_normal(z.shape, np.float32),
    "three times": lambda z, rng: np.float32(3) * z,
    "shifted rows": lambda z, rng: z + rng.standard_normal((len(z), 1), np.float32),
}


@pytest.mark.promise("weights")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("n", [300, 4500])
@pytest.mark.parametrize("near", NEAR)
def test_near_copies_share_the_weight(near, n, nonnegative):
    (large, _), labels = make_duo(n)
    other = NEAR[near](large, np.random.default_rng(1))
    other = other if isinstance(other, np.ndarray) else other.float().numpy()
    fit = fit_weights([large, other], labels, nonnegative=nonnegative)
    factor = 3.0 if near == "three times" else 1.0
    alone = fit_weights([large], labels)
    assert fit.status == "unidentified"
    assert fit.weights[0] == pytest.approx(factor * fit.weights[1], rel=0.02)
    assert fit.weights @ [1, factor] == pytest.approx(alone.weights[0], rel=0.01)
    assert fit.nll <= alone.nll + 1e-4
    assert np.isfinite(fit.gap)


@pytest.mark.promise("weights")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_gap_bounds_every_status():
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 7))
        z = [rng.integers(-2, 3, (n, 3)).astype(float) for _ in range(2)]
        y = (z[0] + z[1] + rng.gumbel(size=(n, 3)) * (seed % 3)).argmax(1)
        few = 2 if seed % 10 == 0 else 100
        fit = fit_weights(z, y, max_passes=few)
        ahead = [[a[i, y[i]] - a[i, c] for a in z] for i in range(n) for c in range(3) if c != y[i]]
        grid = np.array(list(product(np.geomspace(1e-2, 1e3, 5), repeat=2)))
        least = min(
            oracle(z, y).fun,
            *(slow_nll(z, y, w) for w in grid if (np.array(ahead) @ w > -1e-9).all()),
            slow_nll(z, y, fit.weights),
        )
        assert fit.gap >= fit.nll - least - 1e-9, (seed, fit.status)
        if fit.status == "separable":
            assert fit.gap == fit.nll
        seen.add(fit.status)
    assert seen == {"optimal", "separable", "unidentified", "unfinished"}
