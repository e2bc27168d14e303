"""The duo as a module: the weighted sum of what its members say, kept in one file."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from duokit.models import Preprocessing, build, predict
from duokit.models.duo import AsymmetricDuo, Prediction
from duokit.models.member import Member

HALF = (0.5, 0.5, 0.5)
LARGE = Member("test_resnet", Preprocessing(32, 0.9, "bicubic", (0.4, 0.45, 0.5), (0.2, 0.3, 0.4)))
SMALL = Member("torchvision:shufflenet_v2_x0_5", Preprocessing(24, 1.0, "bilinear", HALF, HALF))
NAMES = ("top", "below", "none")
WEIGHTS = (0.75, 0.3)


def make_duo(weights=WEIGHTS, **options):
    """Members with random weights whose BatchNorm has seen something, so that answers differ."""
    networks = []
    for seed, member in enumerate((LARGE, SMALL)):
        size = member.preprocessing.resolution
        network = build(member.model, classes=3, pretrained=None, seed=seed).train()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            network(torch.randn(16, 3, size, size, generator=generator))
            network.fc.weight.mul_(20)
        networks.append(network.eval())
    options = {"members": (LARGE, SMALL), "classes": 3, "class_names": NAMES} | options
    return AsymmetricDuo(*networks, weights, **options).eval()


@pytest.fixture
def duo():
    return make_duo()


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(5, 3, side, side, generator=generator) for side in (32, 24))


def by_hand(duo, images, rows):
    """Return the weighted sum of what each member says alone, with its own transform."""
    parts = [
        predict(network, images, transform=member.preprocessing.transform(), rows=rows,
                device="cpu", progress=False)
        for network, member in zip((duo.large, duo.small), duo.members, strict=True)
    ]  # fmt: skip
    return duo.weights[0].item() * parts[0] + duo.weights[1].item() * parts[1]


def test_forward_is_the_weighted_sum(duo, inputs):
    with torch.no_grad():
        large, small = duo.large(inputs[0]), duo.small(inputs[1])
        found = duo(*inputs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, WEIGHTS[0] * large + WEIGHTS[1] * small)
    assert (found - WEIGHTS[0] * large).abs().max() > 0.01  # the small one counts


def test_each_member_sees_its_own_picture(duo, stripes):
    rows = [5, 0, 90, 5]
    expected = by_hand(duo, stripes, rows)
    assert np.allclose(duo.logits(stripes, rows=rows, batch=3), expected, atol=1e-5)
    pictures = (stripes.open(row) for row in rows)  # as they come, without an image set
    assert np.allclose(duo.logits(pictures, batch=3), expected, atol=1e-5)
    both = duo.logits(stripes, rows=rows, workers=1)
    assert np.allclose(both, expected, atol=1e-5)
    assert duo.logits(stripes).shape == (96, 3)


def test_the_answer_is_the_softmax_of_the_logits(duo, stripes):
    with torch.no_grad():  # no class ahead on average, so that each is answered somewhere
        duo.large.fc.bias -= torch.from_numpy(duo.logits(stripes).mean(axis=0)) / WEIGHTS[0]
    logits = duo.logits(stripes, rows=range(30)).astype(np.float64)
    found = duo.predict(stripes, rows=range(30))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(found.probs, shares, atol=1e-12)
    assert found.probs.dtype == found.confidence.dtype == np.float64
    assert found.classes.tolist() == logits.argmax(axis=1).tolist()
    assert len(set(found.classes.tolist())) > 1
    assert np.array_equal(found.confidence, found.probs.max(axis=1))
    assert found.names == [NAMES[row] for row in found.classes]


def test_classes_without_names_are_numbers():
    assert Prediction(np.array([2, 0]), np.eye(3)[:2], np.ones(2), None).names == ["2", "0"]


def test_one_picture_in_any_mode_of_eight_bits(duo, photograph):
    whole = duo.predict(photograph)
    assert whole.classes.shape == (1,)
    grey = photograph.convert("L")
    three = Image.merge("RGB", (grey, grey, grey))
    assert np.array_equal(duo.predict(grey).probs, duo.predict([three]).probs)
    assert not np.array_equal(duo.predict(grey).probs, whole.probs)


def test_prediction_puts_the_duo_in_eval_mode(duo, photograph):
    expected = duo.predict(photograph).probs
    duo.train()
    assert np.array_equal(duo.predict(photograph).probs, expected)
    assert not duo.training


@pytest.mark.parametrize(
    ("images", "options", "error", "words"),
    [
        ([], {}, ValueError, "there are no pictures"),
        ([np.zeros((8, 8, 3), np.uint8)], {}, TypeError, "picture 0 is a ndarray"),
        ([Image.new("I;16", (8, 8))], {}, ValueError, "more than 8 bits a channel"),
        ([Image.new("RGB", (8, 8))], {"rows": [0]}, ValueError, "rows and workers are for"),
        ([Image.new("RGB", (8, 8))], {"workers": 1}, ValueError, "rows and workers are for"),
    ],
)
def test_what_is_no_picture_is_refused(duo, images, options, error, words):
    with pytest.raises(error, match=words):
        duo.predict(images, **options)


@pytest.mark.parametrize("place", [0, 1])
def test_a_member_without_weight_does_not_run(inputs, stripes, place):
    weights = [2.0, 2.0]
    weights[place] = 0.0
    duo = make_duo(weights)
    idle, busy = (duo.large, duo.small) if place == 0 else (duo.small, duo.large)
    idle.forward = lambda _: pytest.fail("a member of weight 0 ran")
    given = [None if role == place else each for role, each in enumerate(inputs)]
    with torch.no_grad():
        torch.testing.assert_close(duo(*given), 2 * busy(inputs[1 - place]))
    assert duo.predict(stripes, rows=[0, 1]).probs.shape == (2, 3)


def test_new_weights_decide_again_who_runs(duo, inputs):
    with torch.no_grad():
        both = duo(*inputs)
        duo.set_weights([1.0, 0.0])
        torch.testing.assert_close(duo(inputs[0], None), duo.large(inputs[0]))
        duo.load_state_dict(make_duo().state_dict())
        torch.testing.assert_close(duo(*inputs), both)
    assert duo.runs == (True, True)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0], "expected two finite numbers"),
        ([1.0, 2.0, 3.0], "expected two finite numbers"),
        ([1.0, float("nan")], "expected two finite numbers"),
        ([1e300, 1.0], "expected two finite numbers"),
        ([0.0, -0.0], "both weights are 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        make_duo(weights)


def test_members_must_be_two_and_agree_on_the_classes(duo, inputs):
    with pytest.raises(ValueError, match="1 members"):
        make_duo(members=(LARGE,))
    with pytest.raises(ValueError, match="class names"):
        make_duo(class_names=("a", "b"))
    with pytest.raises(ValueError, match=r"large member gives outputs of shape \(5, 3\)"):
        make_duo(classes=4, class_names=None)(*inputs)
    with pytest.raises(ValueError, match="given 5 pictures, the small one 1"):
        duo(inputs[0], inputs[1][:1])  # broadcasting would answer without a word


def test_a_diverged_member_is_named_by_its_picture(duo, stripes):
    with torch.no_grad():
        duo.small.fc.bias[1] = float("nan")
    with pytest.raises(ValueError, match="picture 0 are not finite"):
        duo.predict(stripes, rows=[3, 4])


class Means(torch.nn.Module):
    """Each colour's mean as logits: no matrix product, which not every CPU has in bfloat16."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, pictures):
        return pictures.to(torch.bfloat16).mean(dim=(2, 3)) * self.scale.to(torch.bfloat16)


def test_half_precision_leaves_the_sum_in_float32(inputs, photograph):
    large, small = Means(), Means()
    duo = AsymmetricDuo(large, small, WEIGHTS, members=(LARGE, SMALL), classes=3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        parts = large(inputs[0]), small(inputs[1])
        found = duo(*inputs)
    assert parts[0].dtype == torch.bfloat16
    assert found.dtype == torch.float32
    exact = WEIGHTS[0] * parts[0].double() + WEIGHTS[1] * parts[1].double()
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-7)
    before = duo.predict(photograph).probs
    duo.to(torch.bfloat16)
    assert duo.large.scale.dtype == torch.bfloat16
    assert duo.weights.dtype == torch.float32
    assert duo.weights.tolist() == pytest.approx(WEIGHTS, rel=1e-7)  # 0.3 is 0.30078 in bfloat16
    assert np.abs(duo.predict(photograph).probs - before).max() < 0.02


def test_a_file_gives_back_the_same_duo(duo, stripes, tmp_path):
    path = duo.save(tmp_path / "duo")
    assert path == tmp_path / "duo.safetensors"
    again = AsymmetricDuo.load(path)
    assert np.array_equal(again.logits(stripes), duo.logits(stripes))
    assert again.members == duo.members
    assert again.class_names == NAMES
    assert again.weights.tolist() == duo.weights.tolist()
    assert not again.training
    assert [each.name for each in tmp_path.iterdir()] == ["duo.safetensors"]
    tensors = load_file(path)
    assert {name.split(".")[0] for name in tensors} == {"large", "small", "weights"}
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["duokit"])
    assert about["members"][0]["model"] == "test_resnet"
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]


def test_the_same_duo_makes_the_same_file(duo, tmp_path):
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
    with pytest.raises(ValueError, match="does not end in"):
        duo.save(tmp_path / "duo.pt")


def test_one_network_at_two_resolutions_can_be_saved(tmp_path, photograph):
    network = make_duo().large
    near = replace(LARGE, preprocessing=replace(LARGE.preprocessing, resolution=48))
    duo = AsymmetricDuo(network, network, [1.0, 0.5], members=(LARGE, near), classes=3)
    again = AsymmetricDuo.load(duo.save(tmp_path / "duo"))
    assert np.array_equal(again.predict(photograph).probs, duo.predict(photograph).probs)
    assert again.class_names is None


@pytest.mark.parametrize("model", ["test_resnet2", "shufflenet_v2_x1_0", "test_efficientnet"])
def test_what_could_not_be_loaded_is_not_saved(tmp_path, model):
    if model == "test_resnet2":
        with pytest.raises(ValueError, match="know no classifier"):
            make_duo(members=(replace(LARGE, model=model), SMALL)).save(tmp_path / "duo")
        return
    duo = make_duo(members=(LARGE, replace(SMALL, model=model)))
    with pytest.raises(ValueError, match=r"the small member cannot be saved: .* differ"):
        duo.save(tmp_path / "duo")
    assert not list(tmp_path.iterdir())


def test_torchvision_networks_are_not_taken_for_those_of_timm(tmp_path):
    theirs = build("torchvision:resnet18", classes=2, pretrained=None)
    size = Preprocessing(32, 1.0, "bilinear", HALF, HALF)
    plain, prefixed = Member("resnet18", size), Member("torchvision:resnet18", size)
    with pytest.raises(ValueError, match=r"torchvision.ResNet and timm.ResNet differ"):
        plain.check(theirs, 2)
    prefixed.check(theirs, 2)


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


def test_what_is_printed_says_what_the_duo_is(duo):
    assert "test_resnet @ 32 px, torchvision:shufflenet_v2_x0_5 @ 24 px" in repr(duo)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_streams_give_what_one_gives(inputs):
    duo = make_duo().cuda()
    there = [each.cuda() for each in inputs]
    with torch.inference_mode():
        here = make_duo()(*inputs)
        for _ in range(20):  # a missing wait would show sooner or later
            torch.testing.assert_close(duo(*there).cpu(), here, rtol=1e-3, atol=1e-3)
        duo.concurrent = False
        torch.testing.assert_close(duo(*there).cpu(), here, rtol=1e-3, atol=1e-3)
