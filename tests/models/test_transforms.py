"""The eval transform is what timm and torchvision do themselves."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import models as theirs

from duokit.models import eval_transform, preprocessing


@pytest.mark.parametrize(
    "name",
    [
        "tf_efficientnet_lite0",
        "tf_efficientnet_lite2",
        "resnet50",
        "convnext_tiny",
        "vit_tiny_patch16_224",
        "dm_nfnet_f0",
    ],
)
@pytest.mark.parametrize("size", [None, 64, 97])
def test_it_is_timms(name, size, photograph):
    config = timm.data.resolve_data_config(
        pretrained_cfg=timm.get_pretrained_cfg(name).to_dict(),
        args={} if size is None else {"input_size": (3, size, size)},
    )
    expected = timm.data.create_transform(**config)(photograph)
    found = eval_transform(name, size)(photograph)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b1", "swin_t"])
def test_it_is_torchvisions(name, photograph):
    expected = theirs.get_model_weights(name).DEFAULT.transforms()(photograph)
    assert torch.equal(eval_transform(f"torchvision:{name}")(photograph), expected)


def test_the_shorter_side_is_resized_then_the_middle_is_cut():
    numbers = preprocessing("tf_efficientnet_lite0", 96)
    assert (numbers.resize, numbers.resolution, numbers.crop_pct) == (109, 96, 0.875)
    assert numbers.as_dict()["resize"] == 109
    assert preprocessing("tf_efficientnet_lite2", 192).resize == 215  # timm's crop_pct here is .89
    half = Image.new("RGB", (200, 100))
    half.paste((255, 255, 255), (100, 0, 200, 100))
    out = eval_transform("tf_efficientnet_lite0", 64)(half)
    assert out.shape == (3, 64, 64)
    assert out[0, 32, 0] == pytest.approx(-1, abs=0.02)
    assert out[0, 32, -1] == pytest.approx(1, abs=0.02)


def test_sizes_and_ways_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="resolution is 0 pixels"):
        preprocessing("tf_efficientnet_lite0", 0)
    border = next(
        name
        for name in timm.list_models()
        if (c := timm.get_pretrained_cfg(name)) and c.crop_mode == "border"
    )
    with pytest.raises(ValueError, match="crops in the mode 'border'"):
        preprocessing(border)


@pytest.mark.parametrize("name", ["lcnet_050", "torchvision:mobilenet_v3_small"])
def test_random_weights_see_the_whole_picture(name):
    """28 pixels at 28 pixels: a crop would throw away the border, and resizing would blur."""
    how = preprocessing(name, 28, pretrained=None)
    values = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    assert np.array_equal(np.asarray(how.crop()(Image.fromarray(values))), values)
