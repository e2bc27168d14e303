"""Regions lie at the same place of the picture for every model; a view is the eval transform."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from duokit.models.transforms import Preprocessing
from duokit.trust.attribution import explain
from duokit.trust.regions import (
    View,
    as_pictures,
    as_regions,
    base_pictures,
    grid_regions,
    prepare,
    replacement,
)

pytest.importorskip("torchvision")
HALF = (0.5, 0.5, 0.5)


def smooth(width=60, height=40):
    """A picture without sharp edges, so that resizing it twice changes little."""
    x, y = np.meshgrid(np.linspace(0, 3, width), np.linspace(0, 2, height))
    waves = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=2)
    return Image.fromarray((127 * (1 + waves)).astype(np.uint8))


@pytest.fixture
def photos():
    return [smooth(), smooth(40, 60), smooth(50, 50)]


@pytest.mark.parametrize(("cells", "side"), [(1, 4), (2, 4), (7, 224), (7, 96), (3, 10), (5, 5)])
def test_a_grid_by_a_loop(cells, side):
    found = grid_regions(cells, side)
    for row in range(side):
        for column in range(side):
            assert found[row, column] == (row * cells // side) * cells + column * cells // side
    sizes = torch.bincount(found.flatten())
    assert len(sizes) == cells**2
    assert sizes.max() <= (side // cells + 1) ** 2


def test_a_grid_covers_the_same_places_at_any_resolution():
    fine, coarse = grid_regions(7, 224), grid_regions(7, 112)
    assert torch.equal(fine[::2, ::2], coarse)


@pytest.mark.parametrize("cells", [0, 9])
def test_a_grid_that_does_not_fit(cells):
    with pytest.raises(ValueError, match="does not fit 8 x 8 pixels"):
        grid_regions(cells, 8)


def test_regions_given_as_numbers_or_maps():
    assert as_regions(2, 5, 8).shape == (1, 8, 8)
    assert as_regions(np.zeros((5, 8, 8), dtype=np.int32), 5, 8).shape == (5, 8, 8)
    with pytest.raises(TypeError, match="whole numbers"):
        as_regions(np.zeros((8, 8)), 5, 8)
    with pytest.raises(ValueError, match="expected \\(8, 8\\) or \\(5, 8, 8\\)"):
        as_regions(np.zeros((4, 8, 8), dtype=int), 5, 8)
    with pytest.raises(ValueError, match="numbers from 0 on"):
        as_regions(np.full((8, 8), -1), 5, 8)


def test_pictures_are_bytes_or_fractions():
    values = torch.tensor([0, 51, 255], dtype=torch.uint8).repeat(4).reshape(1, 3, 2, 2)
    assert torch.equal(as_pictures(values), values / 255)
    with pytest.raises(ValueError, match="normalise for themselves"):
        as_pictures(torch.randn(1, 3, 4, 4))
    with pytest.raises(ValueError, match="expected \\(n, 3, side, side\\)"):
        as_pictures(torch.zeros(1, 3, 4, 5))
    with pytest.raises(TypeError, match="bytes, or floats"):
        as_pictures(torch.zeros(1, 3, 4, 4, dtype=torch.int64))


def test_replacements():
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean = replacement(picture, "mean")
    assert torch.allclose(mean[:, 0, 0], picture.mean(dim=(1, 2)))
    assert (mean.std(dim=(1, 2)) < 1e-6).all()
    blur = replacement(picture, "blur")
    assert blur.shape == picture.shape
    assert torch.allclose(blur.mean(), picture.mean(), atol=0.02)
    assert blur.std() < 0.5 * picture.std()
    assert torch.allclose(replacement(torch.full((3, 16, 16), 0.3), "blur"), torch.tensor(0.3))
    assert (replacement(picture, 0.25) == 0.25).all()
    with pytest.raises(ValueError, match="baseline is 2"):
        replacement(picture, 2)


def test_base_pictures_are_the_middle_square(photos):
    base = base_pictures([photos[2], photos[0]], side=20)
    assert (base.shape, base.dtype) == ((2, 3, 20, 20), torch.uint8)
    wide = smooth().crop((10, 0, 50, 40)).resize((20, 20), Image.Resampling.BICUBIC)
    off = np.abs(base[1].permute(1, 2, 0).numpy().astype(int) - np.asarray(wide).astype(int))
    assert off.max() <= 6
    assert off.mean() < 1.5
    with pytest.raises(ValueError, match="no pictures"):
        base_pictures([])
    with pytest.raises(ValueError, match=r"crop 1\.2"):
        base_pictures(photos, crop=1.2)


@pytest.mark.parametrize("crop", [0.8, 0.9, 1.0])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_a_view_is_nearly_the_eval_transform(photos, crop, interpolation):
    how = Preprocessing(16, 0.8, interpolation, HALF, (0.25, 0.5, 0.5))
    base = as_pictures(base_pictures(photos, side=64, crop=crop))
    found = prepare(base, how, crop=crop)
    expected = torch.stack([how.transform()(photos[row]) for row in range(3)])
    assert found.shape == (3, 3, 16, 16)
    assert (found - expected).abs().mean() < 0.03
    assert (found - expected).abs().max() < 0.25


def test_at_its_own_size_a_view_only_normalises(photos):
    how = Preprocessing(32, 0.8, "bicubic", HALF, (0.25, 0.5, 0.5))
    base = base_pictures(photos, side=32, crop=0.8)
    expected = torch.stack([how.transform()(photos[row]) for row in range(3)])
    assert torch.allclose(prepare(as_pictures(base), how, crop=0.8), expected, atol=1e-6)


def test_sharp_edges_do_not_leave_the_range_of_colours():
    edge = torch.zeros(1, 3, 40, 40)
    edge[..., 20:] = 1
    found = prepare(edge, Preprocessing(28, 1.0, "bicubic", HALF, HALF))
    assert (found.min(), found.max()) == (-1, 1)


class Sum(nn.Module):
    """Logits (n, 2) of two inputs of any size: mean red of the first, mean blue of the second."""

    def forward(self, large, small):
        return torch.stack([large[:, 0].mean(dim=(1, 2)), small[:, 2].mean(dim=(1, 2))], dim=1)


def test_a_view_of_two_inputs_is_differentiable_and_in_eval_mode(photos):
    hows = [Preprocessing(size, 1.0, "bicubic", HALF, HALF) for size in (24, 12)]
    view = View(Sum(), *hows)
    assert not view.training
    assert not view.network.training
    base = as_pictures(base_pictures(photos, side=36)).requires_grad_()
    view(base)[:, 1].sum().backward()
    assert (base.grad[:, 2] != 0).all()
    assert (base.grad[:, 0] == 0).all()


def test_a_changed_region_is_the_same_place_for_every_resolution():
    """Networks that look at one corner find it in the same cell, whatever their resolution."""

    class Corner(nn.Module):
        def forward(self, inputs):
            part = inputs[..., -inputs.shape[-1] // 4 :, -inputs.shape[-1] // 4 :]
            return torch.stack([part.mean(dim=(1, 2, 3)), 0 * part.sum(dim=(1, 2, 3))], dim=1)

    pytest.importorskip("captum")
    base = torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    for size in (12, 40, 56, 80):
        view = View(Corner(), Preprocessing(size, 1.0, "bicubic", HALF, HALF))
        found = explain(view, base, [0, 0], regions=4, baseline=0.0)
        assert found.argmax(axis=1).tolist() == [15, 15]
        assert np.abs(found[:, :15]).max() < 0.1 * found[:, 15].min()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"crop_pct": 0.95}, "give a crop of 0.95 or more"),
        ({"crop_mode": "squash"}, "squash"),
        ({"interpolation": "nearest"}, "a view knows bicubic, bilinear"),
    ],
)
def test_networks_that_see_otherwise_are_refused(options, text):
    given = {"resolution": 8, "crop_pct": 0.8, "interpolation": "bicubic", "mean": HALF,
             "std": HALF} | options  # fmt: skip
    with pytest.raises(ValueError, match=text):
        View(nn.Identity(), Preprocessing(**given), crop=0.9)
