"""`duokit probe`: files that can be made again, kept when they are there, refused when others."""

import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duokit.cli import probe
from duokit.images import load as load_images
from duokit.images import load_splits, save_splits
from duokit.logits import load, save
from duokit.models import records


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    base = tmp_path / "shapes"
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (base / name).mkdir(parents=True)
        for number in range(24):
            shade = 100 * (
                label if number % 5 else 1 - label
            )  # one in five lies in the wrong folder
            grey = random.integers(shade, shade + 120, size=(16, 16), dtype=np.uint8)
            Image.fromarray(grey).save(base / name / f"{number:02d}.png")
    return base


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    probe.register(parser.add_subparsers())
    arguments = parser.parse_args(["probe", *(str(word) for word in words)])
    return arguments.run(arguments)


@pytest.fixture
def words(pictures, tmp_path):
    out = tmp_path / "out"
    return ["--data", "folder", "--root", pictures, "--model", "tf_efficientnet_lite0",
            "--resolution", 32, "--out", out, "--device", "cpu", "--quiet"]  # fmt: skip


FOLDER = "tf_efficientnet_lite0-32"


def test_it_writes_records_and_splits_and_says_what_they_hold(words, tmp_path, capsys):
    assert run(*words) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / FOLDER).iterdir()) == [
        "test.safetensors",
        "val.safetensors",
    ]
    test = load(out / FOLDER / "test.safetensors")
    splits = load_splits(out / "splits.json")
    assert test.split_checksum == splits.checksum
    assert test.ids == splits.parts["test"]
    assert test.config["command"] == (
        "duokit probe --data folder --root DATA --model tf_efficientnet_lite0 --resolution 32 "
        "--seed 0 --out OUT"
    )
    assert str(tmp_path) not in json.dumps(test.config)
    shown = capsys.readouterr().out
    accuracy = (test.logits.argmax(axis=1) == test.labels).mean()
    assert f"test.safetensors: {test.n} images, accuracy {accuracy:.4f}, NLL" in shown
    assert "training accuracy" in shown


def test_a_second_run_keeps_the_files(words, tmp_path, capsys, monkeypatch):
    run(*words)
    first = capsys.readouterr().out
    paths = sorted((tmp_path / "out").rglob("*.*"))
    before = [path.stat().st_mtime_ns for path in paths if path.suffix == ".safetensors"]
    monkeypatch.setattr(records, "cached_features", None)  # computing anything would fail
    assert run(*words) == 0
    after = [path.stat().st_mtime_ns for path in paths if path.suffix == ".safetensors"]
    assert before == after
    assert capsys.readouterr().out == first.partition("\n")[2]  # all but the line on the fit


def test_a_missing_file_is_made_again_as_it_was(words, tmp_path):
    run(*words, "--features", tmp_path / "features")
    path = tmp_path / "out" / FOLDER / "val.safetensors"
    first = path.read_bytes()
    path.unlink()
    run(*words, "--features", tmp_path / "features")
    assert path.read_bytes() == first


def test_files_of_another_run_are_not_touched(words, tmp_path):
    run(*words)
    path = tmp_path / "out" / FOLDER / "val.safetensors"
    first = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"splits of shapes with seed 0, not of shapes with seed 1"
    ):
        run(*words, "--seed", 1)
    with pytest.raises(ValueError, match="choose another --out"):
        run(*words, "--pretrained", "none")
    assert path.read_bytes() == first


def test_a_record_of_other_values_in_the_same_place_is_refused(words, tmp_path):
    run(*words)
    path = tmp_path / "out" / FOLDER / "val.safetensors"
    record = load(path)
    path.unlink()
    object.__setattr__(record, "split_checksum", "0" * 64)
    save(record, path)
    with pytest.raises(ValueError, match=r"val\.safetensors holds .*this run would make"):
        run(*words)


@pytest.mark.filterwarnings("ignore:the best strength")  # random features have none
def test_given_splits_and_random_weights(words, tmp_path):
    run(*words)
    given = tmp_path / "out" / "splits.json"
    words[words.index("--out") + 1] = tmp_path / "other"
    run(*words, "--splits", given, "--pretrained", "none", "--dtype", "float32")
    record = load(tmp_path / "other" / FOLDER / "test.safetensors")
    assert record.split_checksum == load_splits(given).checksum
    assert record.logits.dtype == np.float32
    assert record.weights == "random, timm"
    for word in ("--splits SPLITS", "--pretrained none", "--dtype float32"):
        assert word in record.config["command"]


@pytest.mark.promise("folders")
def test_after_a_damaged_picture_is_removed_as_told_the_command_works(words, pictures, tmp_path):
    bad = [pictures / "dark" / "03.png", pictures / "bright" / "05.png"]
    for path in bad:
        path.write_bytes(b"damaged")
    with pytest.raises(
        ValueError, match=r"05\.png is not a readable .*remove it \(2 such pictures"
    ):
        run(*words)
    assert not (tmp_path / "out").exists()
    for path in bad:
        path.unlink()
    assert run(*words) == 0
    splits = load_splits(tmp_path / "out" / "splits.json")
    assert sum(splits.sizes().values()) == 46


@pytest.mark.promise("folders")
def test_splits_that_name_a_picture_that_is_gone_say_how_to_go_on(words, pictures, tmp_path):
    run(*words)
    (pictures / "dark" / "03.png").unlink()
    kept = tmp_path / "out" / "splits.json"
    with pytest.raises(
        ValueError, match=r"out/splits\.json names 1 pictures that.*'dark/03\.png'.*rem"
    ):
        run(*words)
    with pytest.raises(ValueError, match=r"copy\.json names 1 pictures"):
        run(*words, "--splits", shutil.copy(kept, tmp_path / "copy.json"))
    other = tmp_path / "other.json"
    save_splits(load_splits(kept).at_most(20), other)
    (pictures / "dark" / "03.png").write_bytes((pictures / "dark" / "02.png").read_bytes())
    with pytest.raises(ValueError, match=r"splits\.json holds other splits than .*other\.json: ch"):
        run(*words, "--splits", other)
    (pictures / "dark" / "03.png").unlink()
    kept.unlink()
    with pytest.raises(ValueError, match=r"holds .* or remove the file"):
        run(*words)
    shutil.rmtree(tmp_path / "out" / FOLDER)
    assert run(*words) == 0


@pytest.mark.promise("folders")
def test_features_of_a_picture_that_was_replaced_are_computed_again(
    pictures, tmp_path, monkeypatch
):
    computed = []
    monkeypatch.setattr(records, "build", lambda *_, **__: None)
    monkeypatch.setattr(
        records, "features", lambda *_, rows, **__: computed.append(1) or np.zeros((len(rows), 2))
    )
    recipe = records.Recipe("tf_efficientnet_lite0", 32)
    for shade in (None, None, 1, 2, None):
        if shade is not None:
            Image.new("L", (16, 16), shade).save(pictures / "dark" / "00.png")
            os.utime(pictures / "dark" / "00.png", ns=(shade, shade))  # clocks of disks are coarse
        images = load_images("folder", pictures)
        records.cached_features(images, images.ids, recipe, cache=tmp_path / "features")
    assert len(computed) == 3
