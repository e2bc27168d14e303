"""What two members have in common, read from their records."""

import pytest

from duokit.ablations.relation import RELATIONS, family, relation
from duokit.models.backbones import BACKBONES


@pytest.mark.parametrize(
    ("large", "small", "expected"),
    [
        (("net50", 96, 0), ("net50", 96, 1), "other initialisation"),
        (("net50", 96, 0), ("net50", 96, 0), "other training"),
        (("net50", 96, 0), ("net50", 64, 1), "other resolution"),
        (("net50", 96, 0), ("net18", 64, 1), "same family"),
        (("net50", 96, 0), ("lcnet_050", 96, 0), "other family"),
    ],
)
def test_the_nearest_relation_counts(large, small, expected):
    assert relation(large, small) == relation(small, large) == expected
    assert expected in RELATIONS


def test_families_that_are_given_count_before_the_names():
    one, other = ("a", 96, 0), ("b", 96, 0)
    assert relation(one, other) == "other family"
    assert relation(one, other, families={"a": "X", "b": "X"}) == "same family"
    assert relation(("net50", 9, 0), ("net18", 9, 0), families={"net50": "X"}) == "other family"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("resnet18", "resnet"),
        ("torchvision:resnext50_32x4d", "resnext"),
        ("tf_efficientnet_lite0", "tf_efficientnet_lite"),
        ("torchvision:efficientnet_b2", "efficientnet"),
        ("timm:tf_efficientnetv2_l.in21k_ft_in1k", "tf_efficientnetv2"),
        ("lcnet_035", "lcnet"),
        ("mobilenetv3_small_050", "mobilenetv3"),
        ("shufflenet_v2_x2_0", "shufflenet_v2"),
        ("regnet_x_16gf", "regnet_x"),
        ("ConvNeXt_Base", "convnext"),
        ("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", "vit"),
        ("net", "net"),
        ("7b", "7b"),
    ],
)
def test_families_of_names(model, expected):
    assert family(model) == expected


def test_one_family_of_the_paper_has_few_names():
    """Names may split a family of the paper by versions, but never join two families."""
    groups = {}
    for each in BACKBONES:
        groups.setdefault(family(each.model), set()).add(each.family)
    assert all(len(names) == 1 for names in groups.values()), groups
