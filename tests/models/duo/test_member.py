"""A member: enough is known of a network to build it again."""

import pytest
import torch

from duokit.models import Preprocessing, build, preprocessing
from duokit.models.duo.member import Member


def test_a_member_sees_by_its_own_convention():
    found = Member.of("tf_efficientnet_lite0", 64)
    assert found == Member("tf_efficientnet_lite0", preprocessing("tf_efficientnet_lite0", 64))
    assert found.preprocessing.resolution == 64
    assert Member.of("tf_efficientnet_lite0").preprocessing.resolution == 224
    assert Member.from_dict(found.as_dict()) == found


def test_a_member_builds_its_network():
    random = Member.of("tf_efficientnet_lite0", 64).build(5)
    shipped = Member.of("tf_efficientnet_lite0", 64).build(5, pretrained="pip")
    assert random.classifier.out_features == shipped.classifier.out_features == 5
    expected = build("tf_efficientnet_lite0", classes=5, pretrained="pip")
    assert torch.equal(shipped.conv_stem.weight, expected.conv_stem.weight)
    assert not torch.equal(random.conv_stem.weight, expected.conv_stem.weight)


def test_torchvision_networks_are_not_taken_for_those_of_timm():
    theirs = build("torchvision:resnet18", classes=2, pretrained=None)
    size = Preprocessing(32, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    plain, prefixed = Member("resnet18", size), Member("torchvision:resnet18", size)
    with pytest.raises(ValueError, match=r"torchvision.ResNet and timm.ResNet differ"):
        plain.check(theirs, 2)
    prefixed.check(theirs, 2)
