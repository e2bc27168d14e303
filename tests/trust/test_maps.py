"""Map files: what goes in comes out, every changed byte is found, and duos by their members."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from duokit.logits import StoreError
from duokit.logits import load as load_record
from duokit.trust.attribution import explain
from duokit.trust.explainers import OPTIONS, Explainer
from duokit.trust.maps import AttributionMaps, duo_maps, load_maps, save_maps


def made(**more):
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    values[1, 3] = np.nan
    given = {
        "values": values, "targets": np.array([2, 0, 1]), "ids": ("a/1.png", "b", "ü"),
        "model": "net@96", "dataset": "toy", "explainer": Explainer("lime").as_dict(), "seed": 3,
        "regions": {"grid": 2, "side": 32, "crop": 0.875},
        "question": {"output": "centred", "baseline": "blur", "target": "label"},
        "checkpoints": ("ab" * 32,), "config": {"command": "duokit explain RUN"},
    }  # fmt: skip
    return AttributionMaps(**given | more)


def assert_equal(one, other):
    for item in dataclasses.fields(AttributionMaps):
        a, b = getattr(one, item.name), getattr(other, item.name)
        if item.name in ("values", "targets"):
            assert np.array_equal(a, b, equal_nan=item.name == "values")
            assert a.dtype == b.dtype
        else:
            assert a == b, item.name


def test_a_file_gives_back_what_was_kept(tmp_path):
    maps = made(weights=(0.5, 0.25), checkpoints=("a", "b"))
    path = save_maps(maps, tmp_path / "folder" / "maps")
    assert path.name == "maps.safetensors"
    assert_equal(load_maps(path), maps)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_same_maps_make_the_same_bytes(tmp_path):
    one, other = (save_maps(made(), tmp_path / name).read_bytes() for name in "ab")
    assert one == other


def test_files_are_not_replaced(tmp_path):
    path = save_maps(made(), tmp_path / "maps")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_maps(made(seed=4), path)
    assert load_maps(path).seed == 3
    save_maps(made(seed=4), path, overwrite=True)
    assert load_maps(path).seed == 4
    with pytest.raises(ValueError, match=r"does not end in \.safetensors"):
        save_maps(made(), tmp_path / "maps.npz")


def test_every_changed_byte_is_found(tmp_path):
    path = save_maps(made(), tmp_path / "maps")
    raw = path.read_bytes()
    for place in range(0, len(raw), 3):
        changed = bytearray(raw)
        changed[place] ^= 1
        path.write_bytes(changed)
        try:
            found = load_maps(path)
        except ValueError:
            continue
        assert_equal(found, made())  # a changed blank between words of JSON


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_file_cut_short_is_refused(tmp_path, cut):
    path = save_maps(made(), tmp_path / "maps")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match="cannot be loaded as attribution maps"):
        load_maps(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_maps(tmp_path / "none.safetensors")
    save_file({"values": np.zeros((2, 2), np.float32)}, tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="holds no attribution maps"):
        load_maps(tmp_path / "plain.safetensors")
    path = save_maps(made(), tmp_path / "maps")
    with pytest.raises(StoreError, match="no duokit record"):  # nor is it one of logits
        load_record(path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"targets": np.array([1, 2])}, "one target an image"),
        ({"ids": ("a", "a", "b")}, "a"),
        ({"values": np.full((3, 4), np.inf, np.float32)}, "infinite"),
        ({"values": np.full((3, 4), np.nan, np.float32)}, "an image has none"),
        ({"values": np.zeros(3, np.float32)}, "expected \\(images, parts\\)"),
    ],
)
def test_wrong_maps_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        made(**change)


@pytest.mark.parametrize(
    "change",
    [{"values": np.zeros((3, 4))}, {"targets": np.zeros(3)}, {"config": {"a": object()}}],
)
def test_wrong_types_are_refused(change):
    with pytest.raises(TypeError):
        made(**change)


def test_rows_by_id():
    maps = made()
    found = maps.rows(["ü", "a/1.png"])
    assert found.ids == ("ü", "a/1.png")
    assert found.targets.tolist() == [1, 2]
    assert np.array_equal(found.values, maps.values[[2, 0]])
    with pytest.raises(ValueError, match="no image 'c'"):
        maps.rows(["c"])


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    layers = [
        nn.Sequential(nn.Conv2d(3, 4, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                      nn.Linear(16, 3)).eval()
        for _ in range(2)
    ]  # fmt: skip
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return (*layers, pictures)


@pytest.mark.parametrize("output", ["centred", "logits"])
@pytest.mark.parametrize("name", OPTIONS)
def test_maps_of_a_duo_are_weighted_sums(networks, name, output):
    large, small, pictures = networks
    how = Explainer(name) if name == "occlusion" else Explainer(name, samples=30)
    weights = (0.7, -0.2)

    def duo(base):
        return weights[0] * large(base) + weights[1] * small(base)

    options = {"explainer": how, "regions": 3, "output": output, "seed": 2}
    about = {
        "targets": np.array([0, 2]), "ids": ("a", "b"), "explainer": how.as_dict(),
        "question": {"output": output},
    }  # fmt: skip
    kept = [
        made(values=explain(each, pictures, [0, 2], **options), model=model, **about)
        for each, model in ((large, "L"), (small, "S"))
    ]
    found = duo_maps(*kept, weights)
    assert found.values == pytest.approx(explain(duo, pictures, [0, 2], **options), abs=2e-5)
    assert (found.model, found.weights) == ("L + S", weights)
    assert len(found.checkpoints) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"seed": 4}, "another seed"),
        ({"explainer": {"explainer": "occlusion"}}, "another explainer"),
        ({"question": {"output": "logits"}}, "another question"),
        ({"regions": {"grid": 3}}, "differ in regions"),
        ({"ids": ("a/1.png", "ü", "b")}, "differ in ids"),
        ({"targets": np.array([2, 0, 0])}, "--target label"),
    ],
)
def test_members_that_do_not_fit_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        duo_maps(made(), made(**change), (1, 1))


def test_outputs_and_weights_that_do_not_fit_are_refused():
    probs = made(question={"output": "probs"})
    with pytest.raises(ValueError, match="explain the duo itself"):
        duo_maps(probs, probs, (1, 1))
    for weights in [(0, 0), (1, float("nan"))]:
        with pytest.raises(ValueError, match="two finite numbers"):
            duo_maps(made(), made(), weights)
