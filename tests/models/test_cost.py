"""Multiply-adds against counts by hand, attention included."""

import pytest
import torch

from duokit.models import Cost, build, cost, count


def test_a_small_network_by_hand(tiny):
    found = count(tiny.eval(), torch.zeros(1, 3, 8, 8))
    stem = 4 * 4 * 4 * (3 * 3 * 3)  # 4 x 4 places, 4 channels, 27 multiply-adds each
    assert found == Cost(stem + 4 * 3, 4 * 27 + 4 + 15, 4 * 3, 15)
    assert count(tiny, torch.zeros(5, 3, 8, 8)).flops == 5 * found.flops


@pytest.mark.parametrize("size", [224, 160])
def test_a_vision_transformer_by_hand(size):
    """12 blocks of width 192 with 3 heads; queries times keys and weights times values count."""
    width, depth, patches = 192, 12, (size // 16) ** 2
    tokens = patches + 1
    embed = patches * width * 3 * 16 * 16
    linear = tokens * width * (3 * width + width + 4 * width + 4 * width)
    attention = 2 * tokens * tokens * width
    expected = embed + depth * (linear + attention) + width * 1000
    found = cost("vit_tiny_patch16_224", size)
    assert found.flops == expected
    assert found.head_flops == width * 1000


@pytest.mark.parametrize(
    ("name", "size", "billions", "millions"),
    [  # the tables of EfficientNet-Lite, timm and torchvision
        ("tf_efficientnet_lite0", 224, 0.385, 4.652),
        ("tf_efficientnet_lite1", 240, 0.600, 5.417),
        ("tf_efficientnet_lite2", 260, 0.860, 6.092),
        ("torchvision:resnet18", 224, 1.814, 11.690),
        ("torchvision:vit_b_16", 224, 17.564, 86.568),
        ("torchvision:regnet_x_400mf", 224, 0.414, 5.496),  # computes its widths when it is built
    ],
)
def test_published_costs(name, size, billions, millions):
    found = cost(name, size)
    assert found.flops / 1e9 == pytest.approx(billions, abs=6e-4)
    assert found.parameters / 1e6 == pytest.approx(millions, abs=6e-4)


def test_the_head_and_the_size_are_counted():
    small, large = cost("tf_efficientnet_lite0", 96, 101), cost("tf_efficientnet_lite0", 192, 101)
    assert small.head_flops == large.head_flops == 1280 * 101
    assert small.head_parameters == 1280 * 101 + 101
    assert large.parameters == small.parameters
    body = [each.flops - each.head_flops for each in (small, large)]
    assert body[1] == 4 * body[0]
    full = cost("tf_efficientnet_lite0", 96)
    assert full.flops - full.head_flops == body[0]


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="resolution is 0 pixels"):
        cost("tf_efficientnet_lite0", 0)
    with pytest.raises(ValueError, match="vit_b_16 cannot be built for 225 pixels"):
        cost("torchvision:vit_b_16", 225)
    model = build("vit_tiny_patch16_224", pretrained=None)
    with pytest.raises(ValueError, match=r"VisionTransformer cannot take \(64, 64\) pixels"):
        count(model, torch.zeros(1, 3, 64, 64))
