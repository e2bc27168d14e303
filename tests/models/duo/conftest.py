"""One duo for all its tests: two small networks that can be built again by their names."""

from collections.abc import Callable

import pytest
import torch

from duokit.models import Preprocessing, build
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo

HALF = (0.5, 0.5, 0.5)
LARGE = Member("test_resnet", Preprocessing(32, 0.9, "bicubic", (0.4, 0.45, 0.5), (0.2, 0.3, 0.4)))
SMALL = Member("torchvision:shufflenet_v2_x0_5", Preprocessing(24, 1.0, "bilinear", HALF, HALF))


@pytest.fixture
def make_duo() -> Callable[..., AsymmetricDuo]:
    """Members with random weights whose BatchNorm has seen something, so that answers differ."""

    def make(weights=(0.75, 0.3), **options) -> AsymmetricDuo:
        networks = []
        for seed, member in enumerate((LARGE, SMALL)):
            size = member.preprocessing.resolution
            network = build(member.model, classes=3, pretrained=None, seed=seed).train()
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                network(torch.randn(16, 3, size, size, generator=generator))
                network.fc.weight.mul_(20)
            networks.append(network.eval())
        names = ("top", "below", "none")
        options = {"members": (LARGE, SMALL), "classes": 3, "class_names": names} | options
        return AsymmetricDuo(*networks, weights, **options).eval()

    return make


@pytest.fixture
def duo(make_duo) -> AsymmetricDuo:
    return make_duo()


@pytest.fixture
def inputs(duo) -> tuple[torch.Tensor, torch.Tensor]:
    """Five pictures, prepared for both members."""
    return duo.example_inputs(5, seed=3)
