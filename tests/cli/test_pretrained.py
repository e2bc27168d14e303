"""`duokit predict --model`: a pretrained network needs no run; what is there is kept."""

import argparse
import shlex

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from duokit.cli import predict, pretrained
from duokit.images import ImageSet, Splits, load_splits, save_splits
from duokit.images.wnids import imagenet_wnids
from duokit.logits import load, save
from duokit.models import pretrained as library

LITE = "tf_efficientnet_lite0"
PALACE, DAISY = (imagenet_wnids().index(wnid) for wnid in ("n03877845", "n11939491"))


def images(name, labels=(PALACE, DAISY)):
    pictures = [Image.fromarray(values) for values in load_sample_images().images]
    ids = tuple(f"{name}-{row}.jpg" for row in range(2))
    return ImageSet(name, ids, np.array(labels), imagenet_wnids(), lambda row: pictures[row])


def splits_of(image_set, *, seed=0):
    first, second = image_set.ids
    if image_set.name == "imagenet_v2":
        return Splits(image_set.name, "all", seed, {"shifted": image_set.ids})
    return Splits(image_set.name, "one each", seed, {"val": (second,), "test": (first,)})


@pytest.fixture(autouse=True)
def sets(monkeypatch):
    """Two photographs instead of 50,000, through the names the command looks them up by."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(pretrained, "load", lambda name, root, download: images(name))
    monkeypatch.setattr(pretrained, "default_splits", splits_of)
    monkeypatch.setattr(predict, "NAMES", ("imagenet", "imagenet_v2", "digits"))


def run(*words):
    parser = argparse.ArgumentParser()
    predict.register(parser.add_subparsers())
    arguments = parser.parse_args(["predict", *(str(word) for word in words)])
    return arguments.run(arguments)


@pytest.fixture
def words(tmp_path):
    return ["--model", LITE, "--out", tmp_path / "out", "--device", "cpu", "--quiet"]


def test_val_test_and_shifted_lie_side_by_side(words, tmp_path, capsys):
    assert run(*words, "--data", "imagenet", "--batch", 1) == 0
    assert run(*words, "--data", "imagenet_v2") == 0
    folder = tmp_path / "out" / f"{LITE}-224"
    assert sorted(path.stem for path in folder.iterdir()) == ["shifted", "test", "val"]
    shifted = load(folder / "shifted.safetensors")
    assert (shifted.dataset, shifted.split) == ("imagenet_v2", "shifted")
    assert shifted.ids == ("imagenet_v2-0.jpg", "imagenet_v2-1.jpg")
    assert shifted.logits.argmax(axis=1).tolist() == [PALACE, DAISY]
    test = load(folder / "test.safetensors")
    assert test.logits.dtype == np.float16
    np.testing.assert_allclose(test.logits, shifted.logits[:1], atol=0.02)
    kept = load_splits(tmp_path / "out" / "splits-imagenet.json")
    assert test.split_checksum == kept.checksum
    assert (tmp_path / "out" / "splits-imagenet_v2.json").is_file()
    assert "shifted.safetensors: 2 images, accuracy 1.0000" in capsys.readouterr().out


def test_a_second_call_makes_what_is_missing_alone(words, tmp_path, monkeypatch):
    run(*words, "--data", "imagenet")
    folder = tmp_path / "out" / f"{LITE}-224"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    stamp = (folder / "val.safetensors").stat().st_mtime_ns
    (folder / "test.safetensors").unlink()
    assert run(*words, "--data", "imagenet") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert (folder / "val.safetensors").stat().st_mtime_ns == stamp
    monkeypatch.setattr(library, "build", None)  # nothing is missing: no network is made
    assert run(*words, "--data", "imagenet") == 0


def test_a_part_that_is_done_is_kept_when_the_next_one_fails(words, tmp_path, monkeypatch):
    real, calls = library.predict, []

    def second_fails(*args, **options):
        calls.append(options)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(library, "predict", second_fails)
    with pytest.raises(KeyboardInterrupt):
        run(*words, "--data", "imagenet", "--batch", 7)
    folder = tmp_path / "out" / f"{LITE}-224"
    assert [path.name for path in folder.iterdir()] == ["val.safetensors"]
    assert run(*words, "--data", "imagenet") == 0
    assert len(calls) == 3  # val was not asked again
    assert (calls[0]["batch"], calls[2]["batch"], calls[0]["workers"]) == (7, 32, 0)


def test_its_command_makes_the_record_again(words, tmp_path):
    options = ["--resolution", 64, "--parts", "test", "--dtype", "float32", "--pretrained", "pip"]
    run(*words, "--data", "imagenet", "--root", tmp_path, *options)
    found = load(tmp_path / "out" / f"{LITE}-64" / "test.safetensors")
    said = shlex.split(found.config["command"])
    places = {"DATA": tmp_path, "OUT": tmp_path / "again"}
    again = [places.get(word, word) for word in said[2:]]
    assert run(*again, "--device", "cpu", "--quiet") == 0
    other = load(tmp_path / "again" / f"{LITE}-64" / "test.safetensors")
    assert np.array_equal(other.logits, found.logits)
    assert other.config["command"] == found.config["command"]
    assert str(tmp_path) not in found.config["command"]


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("split_checksum", "0" * 64, "other splits"),
        ("weights", "in1k, timm", "other weights"),
        ("config", {"method": "linear probe"}, "other method"),
    ],
)
def test_other_records_in_the_same_place_are_refused(words, tmp_path, field, value, text):
    run(*words, "--data", "imagenet")
    path = tmp_path / "out" / f"{LITE}-224" / "val.safetensors"
    record = load(path)
    object.__setattr__(record, field, value)
    save(record, path, overwrite=True)
    with pytest.raises(ValueError, match=f"{text} .*choose another --out"):
        run(*words, "--data", "imagenet")
    with pytest.raises(ValueError, match="other dtype|" + text):
        run(*words, "--data", "imagenet", "--dtype", "float32")


def test_splits_that_were_kept_are_not_replaced(words, tmp_path, monkeypatch):
    run(*words, "--data", "imagenet")
    swapped = Splits("imagenet", "other", 0, {"val": ("imagenet-0.jpg",)})
    monkeypatch.setattr(pretrained, "default_splits", lambda image_set, seed: swapped)
    with pytest.raises(ValueError, match=r"splits-imagenet\.json holds other splits"):
        run(*words, "--data", "imagenet")
    path = save_splits(swapped, tmp_path / "mine.json")
    words[words.index("--out") + 1] = tmp_path / "other"
    assert run(*words, "--data", "imagenet", "--splits", path) == 0
    (made,) = (tmp_path / "other").rglob("*.safetensors")
    assert load(made).split_checksum == swapped.checksum


def test_other_classes_stop_it_before_anything_is_written(words, tmp_path, monkeypatch):
    from duokit.images import load as load_images

    monkeypatch.setattr(pretrained, "load", lambda name, root, download: load_images("digits"))
    with pytest.raises(ValueError, match=r"digits has 10 classes.*duokit probe.*duokit finetune"):
        run(*words, "--data", "digits")
    assert not (tmp_path / "out").exists()


def test_the_papers_names_are_known(words, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(library, "build", lambda name, **options: asked.append(name))
    words[1] = "ConvNeXt_Base"
    with pytest.raises(AttributeError):
        run(*words, "--data", "imagenet")
    assert asked == ["torchvision:convnext_base"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["some/run"], r"a run \(some/run\) and --model"),
        (["--method", "views"], "--method needs the folder of a finished run"),
        (["--samples", "3"], "--samples needs the folder"),
        (["--no-flip"], "--no-flip needs the folder"),
        (["--pictures", "."], "--pictures needs the folder"),
        ([], "which pictures.*imagenet"),
    ],
)
def test_words_that_do_not_fit_a_pretrained_network(words, given, text):
    with pytest.raises(ValueError, match=text):
        run(*words, *given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "which network.*--model NAME"),
        (["run", "--batch", "4"], "--batch goes with --model NAME"),
        (["run", "--pretrained", "timm"], "--pretrained goes with --model"),
    ],
)
def test_words_that_do_not_fit_a_run(tmp_path, given, text):
    with pytest.raises(ValueError, match=text):
        run(*given, "--out", tmp_path)
