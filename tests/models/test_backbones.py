"""The table of the paper's backbones against the libraries and the authors' files; no weights."""

from functools import lru_cache

import numpy as np
import pytest
import timm
import torch
from torchvision import models as theirs

from duokit.models import BACKBONES, Preprocessing, backbone, preprocessing, weights_tag
from duokit.models.build import head, replace_head, resolve
from duokit.models.cost import count, skeleton
from duokit.published import single_models

EFFICIENT = "tf_efficientnetv2_l.in21k_ft_in1k"
ALL = pytest.mark.parametrize("one", BACKBONES, ids=lambda one: one.name)
OF_TORCHVISION = pytest.mark.parametrize(
    "one", [one for one in BACKBONES if one.library == "torchvision"], ids=lambda one: one.name
)
OF_TIMM = pytest.mark.parametrize(
    "one", [one for one in BACKBONES if one.library == "timm"], ids=lambda one: one.name
)


def bare(one):
    return one.model.partition(":")[2]


@lru_cache(maxsize=2)
def config_of(name):
    return timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())


def test_the_table_is_the_papers():
    assert len(BACKBONES) == len({one.name for one in BACKBONES}) == 44
    charged = [one.charged_gflops for one in BACKBONES]
    assert charged == sorted(charged)
    large = {one.name for one in BACKBONES if "large" in one.roles}
    assert large == {
        "ConvNeXt_Base", "Swin_V2_B", EFFICIENT, "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
    }  # fmt: skip
    assert {one.name for one in BACKBONES if not one.roles} == {
        "EfficientNet_V2_S", "EfficientNet_V2_M", "EfficientNet_V2_L", "EfficientNet_B7",
    }  # fmt: skip
    assert not any("ResNet34" in one.name or "ResNet18" in one.name for one in BACKBONES)


def test_it_charges_what_the_authors_charge():
    table = single_models("imagenet")
    assert {one.name for one in BACKBONES} <= set(table.index)
    for one in BACKBONES:
        row = table.loc[one.name]
        assert row["flops"] == pytest.approx(one.charged_gflops * 1e9, abs=1)
        assert row["parameters"] == pytest.approx(one.params_millions * 1e6, abs=1)


@OF_TORCHVISION
def test_torchvision_says_the_same(one):
    weights = theirs.get_model_weights(bare(one)).DEFAULT
    assert one.weights == weights.name
    assert weights_tag(one.model) == one.tag == f"{weights.name}, torchvision"
    # The authors cut after two digits where the third is a five.
    assert one.charged_gflops == pytest.approx(weights.meta["_ops"], abs=0.0051)
    assert one.gflops == one.charged_gflops
    assert round(weights.meta["num_params"] / 1e6, 1) == one.params_millions


@OF_TORCHVISION
def test_its_transform_is_torchvisions(one, photograph):
    preset = theirs.get_model_weights(bare(one)).DEFAULT.transforms()
    found = preprocessing(one.model)
    assert [found.resolution] == preset.crop_size == [one.resolution]
    assert [found.resize] == preset.resize_size
    assert found.interpolation == preset.interpolation.value
    assert (found.mean, found.std) == (tuple(preset.mean), tuple(preset.std))
    assert found.crop_mode == "center"
    assert preset.antialias
    assert torch.equal(found.transform()(photograph), preset(photograph))


@OF_TIMM
def test_timm_says_the_same(one, photograph):
    known = timm.get_pretrained_cfg(bare(one))
    assert (known.tag, known.num_classes) == (one.weights, 1000)
    assert weights_tag(one.model) == one.tag == f"{known.tag}, timm"
    config = config_of(bare(one))
    found = preprocessing(one.model)
    assert found == Preprocessing(
        one.resolution, config["crop_pct"], config["interpolation"], config["mean"], config["std"],
        config["crop_mode"],
    )  # fmt: skip
    assert config["input_size"] == (3, one.resolution, one.resolution)
    theirs_does = timm.data.create_transform(**config)(photograph)
    assert torch.equal(found.transform()(photograph), theirs_does)


@ALL
def test_it_is_built_with_the_right_head_and_costs_what_the_table_says(one):
    assert resolve(one.model)[0] == one.library
    model = skeleton(one.model, resolution=one.resolution)
    assert not model.training
    assert {values.device.type for values in model.state_dict().values()} == {"meta"}
    assert head(model)[1].out_features == 1000
    price = count(model, torch.empty(1, 3, one.resolution, one.resolution, device="meta"))
    assert price.flops / 1e9 == pytest.approx(one.gflops, abs=0.006)
    assert round(price.parameters / 1e6, 1) == one.params_millions
    if one.library == "torchvision":  # as `build` does after loading weights
        replace_head(model, 257)
    else:
        model.reset_classifier(257)
    own = skeleton(one.model, classes=257, resolution=one.resolution)
    assert head(own)[1].out_features == head(model)[1].out_features == 257
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (own, model)]
    assert shapes[0] == shapes[1]


def test_one_network_is_charged_for_a_size_at_which_it_is_not_run():
    other = [one.name for one in BACKBONES if one.gflops != one.charged_gflops]
    assert other == [EFFICIENT]
    one = backbone(EFFICIENT)
    assert (one.resolution, one.charged_gflops, one.flops) == (384, 56.08, 35_900_000_000)
    config = timm.get_pretrained_cfg(bare(one))
    assert config.test_input_size == (3, 480, 480)
    assert one.charged_gflops / one.gflops == pytest.approx((480 / 384) ** 2, abs=0.001)


def test_a_backbone_is_found_by_either_name():
    found = backbone("ConvNeXt_Base")
    assert found is backbone("convnext_base") is backbone("torchvision:convnext_base")
    assert found.flops == 15_360_000_000
    assert np.isclose(found.params_millions, 88.6)
    with pytest.raises(ValueError, match=r"'ConvNext_Bas' is none of .*ConvNeXt_Base"):
        backbone("ConvNext_Bas")
    with pytest.raises(ValueError, match="44 backbones; BACKBONES lists them"):
        backbone("???")
