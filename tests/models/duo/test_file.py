"""A duo in one file: what is loaded answers as what was saved, or the file is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from duokit.models import build
from duokit.models.duo.file import with_suffix
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_file_gives_back_the_same_duo(duo, stripes, tmp_path, layout):
    duo.to(memory_format=layout)  # that of the weights, as training may leave it
    path = duo.save(tmp_path / "duo")
    assert path == tmp_path / "duo.safetensors"
    again = AsymmetricDuo.load(path)
    assert np.array_equal(again.predict(stripes).logits, duo.predict(stripes).logits)
    assert again.members == duo.members
    assert again.class_names == duo.class_names == ("top", "below", "none")
    assert again.weights.tolist() == duo.weights.tolist()
    assert not again.training
    assert [each.name for each in tmp_path.iterdir()] == ["duo.safetensors"]
    tensors = load_file(path)
    assert {name.split(".")[0] for name in tensors} == {"large", "small", "weights"}
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["duokit"])
    assert about["members"][0]["model"] == "test_resnet"
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]


def test_the_same_duo_makes_the_same_file(make_duo, duo, tmp_path):
    first, second = duo.save(tmp_path / "a"), make_duo().save(tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_a_file_is_replaced_only_when_told(duo, tmp_path):
    path = duo.save(tmp_path / "duo")
    duo.set_weights([1.0, 0.0])
    with pytest.raises(FileExistsError, match=r"duo\.safetensors exists"):
        duo.save(path)
    assert AsymmetricDuo.load(path).runs == (True, True)
    duo.save(path, overwrite=True)
    assert AsymmetricDuo.load(path).runs == (True, False)


@pytest.mark.parametrize("name", ["duo", "duo.pt2"])
def test_a_suffix_is_added_once(tmp_path, name):
    assert with_suffix(tmp_path / name, ".pt2") == tmp_path / "duo.pt2"
    with pytest.raises(ValueError, match=r"duo\.pt does not end in \.pt2"):
        with_suffix(tmp_path / "duo.pt", ".pt2")


def test_one_network_at_two_resolutions_can_be_saved(duo, tmp_path, photograph):
    network, member = duo.large, duo.members[0]
    near = replace(member, preprocessing=replace(member.preprocessing, resolution=48))
    duo = AsymmetricDuo(network, network, [1.0, 0.5], members=(member, near), classes=3)
    again = AsymmetricDuo.load(duo.save(tmp_path / "duo"))
    assert np.array_equal(again.predict(photograph).probs, duo.predict(photograph).probs)
    assert again.class_names is None


@pytest.mark.parametrize(
    ("role", "model", "words"),
    [
        ("large", "test_resnet2", "know no classifier"),
        ("small", "shufflenet_v2_x1_0", "differ"),
        ("small", "test_efficientnet", "differ"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(make_duo, duo, tmp_path, role, model, words):
    large, small = (
        replace(member, model=model) if each == role else member
        for each, member in zip(("large", "small"), duo.members, strict=True)
    )
    with pytest.raises(ValueError, match=rf"the {role} member cannot be saved: .*{words}"):
        make_duo(members=(large, small)).save(tmp_path / "duo")
    assert not list(tmp_path.iterdir())


def rewritten(path, change):
    """Write the file anew after `change(tensors, metadata)`, without a new checksum."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["duokit"])
    change(tensors, about)
    save_file(tensors, path, metadata={"duokit": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, about: tensors["large.fc.bias"].add_(1), "is damaged: its checksum"),
        (lambda tensors, about: about.update(classes=4), "is damaged: its checksum"),
        (lambda tensors, about: about.pop("sha256"), "is damaged: its checksum"),
        (lambda tensors, about: tensors.pop("small.fc.bias"), "is damaged: its checksum"),
        (lambda tensors, about: about.update(format=2), "its format is 2, not 1"),
        (lambda tensors, about: about.update(kind="Record"), "it is no duo"),
    ],
    ids=["tensor", "classes", "checksum", "missing", "format", "kind"],
)
def test_a_changed_file_is_refused(duo, tmp_path, change, words):
    path = duo.save(tmp_path / "duo")
    rewritten(path, change)
    with pytest.raises(ValueError, match=words) as caught:
        AsymmetricDuo.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_cut_short_is_refused(duo, tmp_path, keep):
    path = duo.save(tmp_path / "duo")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cannot be loaded as a duo") as caught:
        AsymmetricDuo.load(path)
    assert str(path) in str(caught.value)


def test_other_files_are_refused(duo, tmp_path):
    path = tmp_path / "net.safetensors"
    save_file({"fc.bias": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"net.safetensors .*it is no duo"):
        AsymmetricDuo.load(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors does not exist"):
        AsymmetricDuo.load(tmp_path / "nothing.safetensors")


def test_networks_that_are_built_otherwise_today_are_reported(duo, tmp_path, monkeypatch):
    path = duo.save(tmp_path / "duo")
    wider = build("test_resnet", classes=5, pretrained=None)
    monkeypatch.setattr(Member, "build", lambda self, classes: wider)
    with pytest.raises(
        ValueError, match=r"made with .*timm.* does not fit the networks it names"
    ) as caught:
        AsymmetricDuo.load(path)
    assert str(path) in str(caught.value)
