"""`duokit predict`: a run and a data set are all it needs; what is there is kept."""

import argparse
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duokit.cli import predict
from duokit.images import Splits, default_splits, make_splits, save_splits
from duokit.images import load as load_images
from duokit.images.loose import load_loose
from duokit.logits import load
from duokit.models.tuning.methods import OPTIONS, Method
from duokit.models.tuning.predict import predict_records
from duokit.models.tuning.run import load_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.tuned import tuned_records

# A network that knows little is best with the least doubt about its head.
pytestmark = pytest.mark.filterwarnings("ignore:the best prior precision")
NAME = "test_efficientnet-32"
QUIET = {"device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    """Returns a folder of dark and bright pictures, with a folder of a run beside it."""
    base = tmp_path_factory.mktemp("data") / "shapes"
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (base / name).mkdir(parents=True)
        for number in range(12):
            grey = random.integers(100 * label, 100 * label + 120, size=(16, 16), dtype=np.uint8)
            Image.fromarray(grey).save(base / name / f"{number:02d}.png")
    images = load_images("folder", base)
    settings = FineTune(
        "test_efficientnet", resolution=32, pretrained="none", probe=False, epochs=1, seed=7
    )
    tuned_records(images, default_splits(images), settings, base.parent / "run", **QUIET)
    return base


@pytest.fixture
def words(shapes, tmp_path) -> list[object]:
    return [shapes.parent / "run", "--out", tmp_path / "out", "--cache", tmp_path / "cache",
            "--device", "cpu", "--quiet"]  # fmt: skip


@pytest.fixture
def data(shapes) -> list[object]:
    return ["--data", "folder", "--root", shapes]


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    predict.register(parser.add_subparsers())
    arguments = parser.parse_args(["predict", *(str(word) for word in words)])
    return arguments.run(arguments)


def test_it_writes_all_parts_but_train(words, data, shapes, tmp_path, capsys):
    assert run(*words, *data) == 0
    out = tmp_path / "out" / f"{NAME}-plain-7"
    assert sorted(path.name for path in out.iterdir()) == ["test.safetensors", "val.safetensors"]
    trained, images = load_run(shapes.parent / "run"), load_images("folder", shapes)
    for part, expected in predict_records(trained, images, **QUIET).items():
        found = load(out / f"{part}.safetensors")
        assert np.array_equal(found.logits, expected.logits)
        assert found.seed == 7
    assert "test.safetensors: 6 images, accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "method"),
    [
        (["--method", "mc_dropout", "--samples", "3", "--rate", "0.25"],
         Method("mc_dropout", samples=3, rate=0.25)),
        (["--method", "views", "--shift", "2", "--no-flip"], Method("views", shift=2, flip=False)),
        (["--method", "views"], Method("views")),
        (["--method", "laplace"], Method("laplace")),
    ],
)  # fmt: skip
def test_every_method_and_its_command(words, data, shapes, tmp_path, options, method):
    if method.name == "laplace":
        pytest.importorskip("laplace")
    assert run(*words, *data, *options, "--parts", "test", "--dtype", "float32") == 0
    found = load(tmp_path / "out" / f"{NAME}-{method.name}-7" / "test.safetensors")
    trained, images = load_run(shapes.parent / "run"), load_images("folder", shapes)
    expected = predict_records(
        trained, images, method=method, parts=["test"], dtype="float32", **QUIET
    )["test"]
    assert np.array_equal(found.logits, expected.logits)
    assert (found.kind, found.flops) == ("log_probs", expected.flops)
    assert found.config["prediction"] == method.as_dict()
    command = shlex.split(found.config["command"])
    assert command[:3] == ["duokit", "predict", "RUN"]
    places = {"RUN": shapes.parent / "run", "DATA": shapes, "OUT": tmp_path / "again"}
    again = [places.get(word, word) for word in command[2:]]
    assert run(*again, "--cache", tmp_path / "cache", "--device", "cpu", "--quiet") == 0
    (path,) = (tmp_path / "again").rglob("*.safetensors")
    assert np.array_equal(load(path).logits, found.logits)


def test_records_are_kept_and_others_refused(words, data, tmp_path):
    dropout = ["--method", "mc_dropout", "--samples", "2", "--parts", "test"]
    run(*words, *data, *dropout, "--rate", "0.2")
    path = tmp_path / "out" / f"{NAME}-mc_dropout-7" / "test.safetensors"
    before = path.stat().st_mtime_ns
    assert run(*words, *data, *dropout[:4], "--rate", "0.2") == 0
    assert path.stat().st_mtime_ns == before
    assert path.with_name("val.safetensors").is_file()
    with pytest.raises(ValueError, match="made with other prediction: choose another --out"):
        run(*words, *data, *dropout, "--rate", "0.3")


def test_a_record_of_another_run_is_refused(words, data, shapes, tmp_path):
    run(*words, *data)
    images = load_images("folder", shapes)
    settings = load_run(shapes.parent / "run").settings.replace(lr=0.01)
    tuned_records(images, default_splits(images), settings, tmp_path / "run", **QUIET)
    with pytest.raises(ValueError, match="made with other checkpoint_sha256"):
        run(tmp_path / "run", *words[1:], *data)


def test_other_splits_come_from_a_file(words, data, shapes, tmp_path):
    images = load_images("folder", shapes)
    unseen = [name for name in images.ids if name not in load_run(words[0]).splits.parts["train"]]
    other = make_splits(images, train=0.5, val=0.2, seed=3)
    path = save_splits(other, tmp_path / "other.json")
    with pytest.raises(ValueError, match="were trained on"):
        run(*words, *data, "--splits", path)
    extra = Splits(images.name, "by hand", 0, {"unseen": tuple(unseen)})
    path = save_splits(extra, tmp_path / "extra.json")
    assert run(*words, *data, "--splits", path) == 0
    found = load(tmp_path / "out" / f"{NAME}-plain-7" / "unseen.safetensors")
    assert found.split_checksum == extra.checksum
    assert set(found.ids) == set(unseen)


def test_another_data_set_with_these_classes(words, shapes, tmp_path):
    moved = Path(shutil.copytree(shapes, tmp_path / "moved"))
    assert run(*words, "--data", "folder", "--root", moved, "--parts", "test") == 0
    found = load(tmp_path / "out" / f"{NAME}-plain-7" / "test.safetensors")
    assert found.dataset == "moved"
    assert found.ids == load_run(words[0]).splits.parts["test"]


def test_pictures_without_labels(words, data, tmp_path):
    base = tmp_path / "holiday"
    (base / "day-1").mkdir(parents=True)
    for name in ("b.png", "day-1/a.png", ".hidden.png"):
        Image.new("RGB", (20, 30), "navy").save(base / name)
    (base / "notes.txt").write_text("no picture")
    assert run(*words, "--pictures", base) == 0
    found = load(tmp_path / "out" / f"{NAME}-plain-7" / "holiday.safetensors")
    assert found.ids == ("b.png", "day-1/a.png")
    assert found.labels.tolist() == [-1, -1]
    assert (found.dataset, found.split) == ("holiday", "holiday")
    assert found.class_names == ("bright", "dark")
    assert not (tmp_path / "cache").exists()  # names do not tell such pictures apart
    pytest.importorskip("laplace")
    laplace = ["--method", "laplace", "--pictures", base]
    with pytest.raises(ValueError, match="give --data too"):
        run(*words, *laplace)
    assert run(*words, *laplace, *data) == 0
    found = load(tmp_path / "out" / f"{NAME}-laplace-7" / "holiday.safetensors")
    assert (found.kind, found.dataset) == ("log_probs", "holiday")


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no picture"):
        load_loose(tmp_path, ("a", "b"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_loose(tmp_path / "nowhere", ("a", "b"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "which pictures"),
        (["--pictures", ".", "--parts", "val"], "leave --splits and --parts out"),
        (["--data", "digits", "--rate", "0.1"], "--rate is no option of the method plain"),
        (["--data", "digits", "--method", "mc_dropout", "--no-flip"], "--no-flip is no option"),
        (["--data", "digits"], "knows 2 classes .*digits has 10"),
    ],
)
def test_words_that_do_not_fit_are_refused(words, tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        run(*words, *options)
    assert not (tmp_path / "out").exists()


def test_the_methods_are_those_of_the_library():
    assert tuple(OPTIONS) == predict.METHODS
