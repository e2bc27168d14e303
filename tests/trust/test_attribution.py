"""Explainers: against closed forms and slow loops; the same seed gives the same map."""

import builtins
from itertools import combinations
from math import comb

import numpy as np
import pytest
import torch
from torch import nn

from duokit.trust.attribution import explain
from duokit.trust.explainers import OPTIONS, Explainer, attribute, seed_of
from duokit.trust.regions import grid_regions, replacement

captum = pytest.importorskip("captum")
PARTS = 5
SLOPES = torch.tensor([3.0, -2.0, 0.5, 0.0, 1.0])
MANY = {"lime": 400, "kernel_shap": 400, "gradient_shap": 400, "integrated_gradients": 40}


def additive(z):
    return z @ SLOPES + 7


def curved(z):
    """Parts 0 and 1 count together, part 2 by its square; smooth, so that all explainers apply."""
    return 4 * z[:, 0] * z[:, 1] + z[:, 2] ** 2 - z[:, 3]


def how(name, **options):
    return Explainer(name, **({"samples": MANY[name]} if name in MANY else {}), **options)


def states():
    """The global generators of torch and NumPy, as bytes."""
    return torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()  # noqa: NPY002


def shapley(function):
    """Shapley values by their definition: all subsets of the other parts."""
    values = np.zeros(PARTS)
    for part in range(PARTS):
        others = [p for p in range(PARTS) if p != part]
        for size in range(PARTS):
            for subset in combinations(others, size):
                z = torch.zeros(1, PARTS)
                z[0, list(subset)] = 1
                with_part = z.clone()
                with_part[0, part] = 1
                gain = float(function(with_part) - function(z))
                values[part] += gain / (PARTS * comb(PARTS - 1, size))
    return values


@pytest.mark.parametrize("name", OPTIONS)
def test_of_an_additive_function_all_find_the_slopes(name):
    options = {"penalty": 1e-4} if name == "lime" else {"noise": 0.0} if "shap" in name else {}
    found = attribute(additive, PARTS, explainer=how(name, **options))
    assert found == pytest.approx(SLOPES.numpy(), abs=1e-3)
    assert found.dtype == np.float32


def test_occlusion_is_the_drop_of_each_part():
    found = attribute(curved, PARTS, explainer=Explainer("occlusion"), batch=2)
    expected = []
    for part in range(PARTS):
        z = torch.ones(1, PARTS)
        z[0, part] = 0
        expected.append(float(curved(torch.ones(1, PARTS)) - curved(z)))
    assert found == pytest.approx(expected)
    assert found.tolist() == [4, 4, 1, -1, 0]


def test_kernel_shap_gives_shapley_values():
    found = attribute(curved, PARTS, explainer=how("kernel_shap"))
    assert found == pytest.approx(shapley(curved), abs=0.15)
    assert found.sum() == pytest.approx(4.0, abs=1e-3)


def test_integrated_gradients_by_a_riemann_sum():
    found = attribute(curved, PARTS, explainer=how("integrated_gradients"))
    total = torch.zeros(1, PARTS)
    for step in range(2000):
        z = torch.full((1, PARTS), (step + 0.5) / 2000, requires_grad=True)
        total += torch.autograd.grad(curved(z).sum(), z)[0] / 2000
    assert found == pytest.approx(total[0].numpy(), abs=1e-4)
    near = attribute(curved, PARTS, explainer=how("gradient_shap"), batch=7)
    assert near == pytest.approx(total[0].numpy(), abs=0.35)


def test_lime_is_a_weighted_ridge_regression():
    asked = []

    def listening(z):
        asked.append(z)
        return curved(z)

    found = attribute(listening, PARTS, explainer=Explainer("lime", samples=60), batch=16)
    z = torch.cat(asked).double().numpy()
    assert len(z) == 60
    assert (z[0] == 1).all()
    distance = 1 - np.sqrt(z.mean(axis=1))
    weight = np.exp(-(distance**2) / (2 * 0.25**2))
    y = curved(torch.from_numpy(z)).numpy()
    z_mean, y_mean = np.average(z, axis=0, weights=weight), np.average(y, weights=weight)
    centred = z - z_mean
    gram = (centred * weight[:, None]).T @ centred + np.eye(PARTS)
    expected = np.linalg.solve(gram, (centred * weight[:, None]).T @ (y - y_mean))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", OPTIONS)
def test_same_seed_same_map_and_the_global_generators_stay(name):
    few = Explainer(name) if name == "occlusion" else Explainer(name, samples=20)
    before = states()
    maps = [attribute(curved, PARTS, explainer=few, seed=seed) for seed in (3, 3, 4)]
    assert states() == before
    assert np.array_equal(maps[0], maps[1])
    random = name not in ("occlusion", "integrated_gradients")
    assert np.array_equal(maps[0], maps[2]) != random


@pytest.mark.parametrize("name", OPTIONS)
def test_every_explainer_is_linear_in_the_function(name):
    few = Explainer(name) if name == "occlusion" else Explainer(name, samples=20)
    one, other = (attribute(f, PARTS, explainer=few, seed=2) for f in (additive, curved))
    both = attribute(lambda z: 2 * additive(z) - 3 * curved(z), PARTS, explainer=few, seed=2)
    assert both == pytest.approx(2 * one - 3 * other, abs=1e-3)


@pytest.mark.parametrize("name", OPTIONS)
def test_passes_counts_what_is_run(name):
    count = 0

    def counting(z):
        nonlocal count
        count += len(z)
        return curved(z)

    few = Explainer(name) if name == "occlusion" else Explainer(name, samples=20)
    attribute(counting, PARTS, explainer=few, batch=3)
    assert count == few.passes(PARTS)


@pytest.mark.parametrize("name", ["occlusion", "kernel_shap", "integrated_gradients"])
def test_one_part_has_the_whole_difference(name):
    found = attribute(lambda z: 5 * z[:, 0] + 1, 1, explainer=Explainer(name))
    assert found == pytest.approx([5.0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "saliency"}, "expected one of occlusion, lime"),
        ({"name": "occlusion", "samples": 9}, "leave samples out"),
        ({"name": "lime", "samples": 1}, "expected 2 or more"),
        ({"name": "lime", "width": 0}, "width above 0"),
    ],
)
def test_explainers_out_of_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Explainer(**options)


def test_an_explainer_describes_itself():
    assert Explainer("lime").as_dict() == {
        "explainer": "lime", "samples": 200, "width": 0.25, "penalty": 1.0,
    }  # fmt: skip
    assert Explainer().as_dict() == {"explainer": "occlusion"}
    assert [Explainer(name).gradients for name in OPTIONS] == [False, False, False, True, True]


def test_outputs_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        attribute(lambda z: z.sum(1) / 0, PARTS, explainer=Explainer())
    with pytest.raises(ValueError, match="expected 1 or more of both"):
        attribute(additive, 0, explainer=Explainer())


def test_without_captum_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *more):
        if name.split(".")[0] == "captum":
            raise ModuleNotFoundError("No module named 'captum'", name="captum")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'duokit\[trust\]'"):
        attribute(additive, PARTS, explainer=Explainer())


class Corners(nn.Module):
    """Logits (n, 3): mean of the upper left quarter, of the lower right quarter, and 0."""

    def forward(self, base):
        half = base.shape[-1] // 2
        upper = base[:, :, :half, :half].mean(dim=(1, 2, 3))
        lower = base[:, :, half:, half:].mean(dim=(1, 2, 3))
        return torch.stack([upper, lower, torch.zeros_like(upper)], dim=1)


@pytest.fixture
def pictures():
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 3, 16, 16), generator=draw, dtype=torch.uint8)


@pytest.mark.parametrize("name", OPTIONS)
def test_only_the_quarter_that_is_looked_at_counts(pictures, name):
    found = explain(
        Corners().eval(), pictures, [0, 1, 0], explainer=name, regions=2, baseline=0.0,
        output="logits",
    )  # fmt: skip
    assert found.shape == (3, 4)
    assert found.argmax(axis=1).tolist() == [0, 3, 0]
    whole = Corners()(pictures.float() / 255)[range(3), [0, 1, 0]].numpy()
    assert np.abs(np.delete(found[0], 0)).max() < 0.05 * whole[0] + 1e-6
    if name != "gradient_shap":  # noise does not cancel there
        assert found.max(axis=1) == pytest.approx(whole, rel=0.1)


def test_occlusion_of_a_picture_by_hand(pictures):
    model = Corners().eval()
    found = explain(model, pictures, [2, 0, 1], regions=4, baseline="mean")
    x = pictures.float() / 255
    cells = grid_regions(4, 16)
    for row, label in enumerate([2, 0, 1]):
        for cell in range(16):
            changed = torch.where(cells == cell, replacement(x[row], "mean"), x[row])
            before, after = model(x[row : row + 1])[0], model(changed[None])[0]
            drop = (before[label] - before.mean()) - (after[label] - after.mean())
            assert found[row, cell] == pytest.approx(float(drop), abs=1e-6)


def test_a_map_does_not_hang_on_the_other_pictures(pictures):
    given = {"explainer": Explainer("kernel_shap", samples=30), "regions": 3, "seed": 4}
    model = Corners().eval()
    together = explain(model, pictures, [0, 1, 2], **given)
    turned = explain(model, pictures.flip(0), [2, 1, 0], **given)
    assert np.array_equal(together, turned[::-1])
    floats = explain(model, pictures.float() / 255, [0, 1, 2], **given)
    assert np.array_equal(together, floats)
    assert explain(model, pictures, [0, 1, 2], batch=7, **given) == pytest.approx(
        together, abs=1e-5
    )


def test_outputs(pictures):
    model = Corners().eval()

    def shifted(base):
        return model(base) + 3 * base.mean(dim=(1, 2, 3))[:, None]

    same = ("centred", "log_probs", "probs")
    for output in (*same, "logits"):
        plain, moved = (explain(m, pictures, [0] * 3, output=output) for m in (model, shifted))
        assert np.allclose(plain, moved, atol=1e-5) == (output in same)
    logits = explain(model, pictures, [0] * 3, output="logits")
    mean = np.mean([explain(model, pictures, [k] * 3, output="logits") for k in range(3)], axis=0)
    assert explain(model, pictures, [0] * 3) == pytest.approx(logits - mean, abs=1e-6)


def test_superpixels_and_regions_that_a_picture_lacks(pictures):
    model = Corners().eval()
    cells = grid_regions(2, 16)
    own = torch.stack([cells, cells + 1, cells])
    found = explain(model, pictures, [0, 0, 0], regions=own)
    plain = explain(model, pictures, [0, 0, 0], regions=cells.numpy())
    assert found.shape == (3, 5)
    assert np.isnan(found).tolist() == [
        [False] * 4 + [True], [True] + [False] * 4, [False] * 4 + [True],
    ]  # fmt: skip
    assert np.array_equal(found[1, 1:], plain[1])
    assert np.array_equal(found[0, :4], plain[0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"targets": [0, 1]}, "expected 3 whole numbers"),
        ({"targets": [0.0, 1.0, 1.0]}, "expected 3 whole numbers"),
        ({"targets": [0, 3, 0]}, "class 3 is asked about"),
        ({"targets": [0, -1, 0]}, "class -1 is asked about"),
        ({"output": "odds"}, "output is 'odds'"),
        ({"baseline": "noise"}, "expected 'blur', 'mean' or a grey"),
        ({"model": Corners()}, "training mode"),
        ({"model": lambda base: base.mean(dim=(1, 2, 3))}, "expected \\(pictures, classes\\)"),
    ],
)
def test_wrong_questions_are_refused(pictures, options, text):
    given = {"model": Corners().eval(), "pictures": pictures, "targets": [0, 1, 2]} | options
    with pytest.raises(ValueError, match=text):
        explain(given.pop("model"), given.pop("pictures"), given.pop("targets"), **given)


def test_seeds_differ_by_picture_and_by_run():
    one, other = np.zeros(4, dtype=np.uint8), np.ones(4, dtype=np.uint8)
    assert len({seed_of(0, one), seed_of(1, one), seed_of(0, other)}) == 3
    assert seed_of(0, one) == seed_of(0, one.tobytes())
