"""A finished run can be used later: its network, verified, and its records by every method."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from duokit.images import ImageSet, Splits, make_splits
from duokit.images.reading import Pixels as Array
from duokit.logits import Record
from duokit.models import cost, predict
from duokit.models.baselines import mc_dropout, standard_views
from duokit.models.baselines import test_time_augmentation as augmented
from duokit.models.cost import Cost
from duokit.models.inference import features
from duokit.models.last_layer import last_layer_laplace
from duokit.models.pixels import decode
from duokit.models.transforms import Preprocessing
from duokit.models.tuning import run as run_module
from duokit.models.tuning.checkpoint import BEST, SPLITS
from duokit.models.tuning.methods import Method, answers
from duokit.models.tuning.predict import predict_records
from duokit.models.tuning.run import RUN, Run, keep_splits, load_run, write_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.tuned import prepare, tuned_records
from tests.models.conftest import Tiny

# A network that knows little is best with the least doubt about its head.
pytestmark = pytest.mark.filterwarnings("ignore:the best prior precision")
SETTINGS = FineTune(
    "test_efficientnet", resolution=32, pretrained="none", probe=False, epochs=1, batch=16, lr=1e-2
)
HOW = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.25,) * 3)
QUIET = {"device": "cpu", "progress": False}


def make_images() -> ImageSet:
    """Returns three classes of small grey pictures, and six of no class."""
    random = np.random.default_rng(0)
    labels = np.array([row % 3 for row in range(60)] + [-1] * 6)
    values = random.integers(0, 120, size=(66, 8, 8)) + 40 * labels.clip(0)[:, None, None]
    ids = tuple(f"{row:03d}" for row in range(66))
    names = ("dark", "grey", "bright")
    return ImageSet("greys", ids, labels, names, Array(values.astype(np.uint8)))


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return make_images()


@pytest.fixture(scope="module")
def splits(images) -> Splits:
    extra = {"ood": images.ids[60:]}
    return make_splits(images, train=0.5, val=0.2, seed=0, extra=extra)


@pytest.fixture(scope="module")
def trained(images, splits, tmp_path_factory) -> tuple[Path, dict[str, Record]]:
    """Returns the folder of a finished run, and the records of its training."""
    folder = tmp_path_factory.mktemp("runs") / "greys"
    return folder, tuned_records(images, splits, SETTINGS, folder, command="train it", **QUIET)


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


@pytest.fixture
def run(trained) -> Run:
    return load_run(trained[0])


# The run


def test_a_run_comes_back_as_it_was(trained, run, images, splits):
    folder, records = trained
    assert run.settings == SETTINGS
    assert run.splits == splits
    assert (run.dataset, run.class_names) == (images.name, images.class_names)
    start = prepare(images, splits, SETTINGS, probe=False, **QUIET)
    assert run.preprocessing == start.pixels.preprocessing
    assert run.config["checkpoint_sha256"] == records["val"].config["checkpoint_sha256"]
    assert not run.model.training
    kept = load_file(folder / BEST)
    assert all(torch.equal(kept[name], each) for name, each in run.model.state_dict().items())
    content = json.loads((folder / RUN).read_text())
    assert content["split_checksum"] == splits.checksum
    assert content["protocol"] == splits.protocol


def test_plain_records_are_those_of_training(trained, run, images):
    found = predict_records(run, images, command="ask it", **QUIET)
    assert list(found) == ["val", "test", "ood"]
    for part, first in trained[1].items():
        again = found[part]
        assert np.array_equal(first.logits, again.logits)
        assert np.array_equal(first.labels, again.labels)
        assert (first.ids, first.flops, first.kind) == (again.ids, again.flops, "logits")
        assert again.config.pop("training_command") == "train it"
        assert again.config["command"] == "ask it"
        assert first.config | {"command": ""} == again.config | {"command": ""}


def test_a_run_that_did_not_end_is_none(images, splits, tmp_path, monkeypatch):
    with pytest.raises(TimeoutError):
        tuned_records(images, splits, SETTINGS, tmp_path / "run", until=0.0, **QUIET)
    with pytest.raises(FileNotFoundError, match=r"no finished run \(run.json is missing\)"):
        load_run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        load_run(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [BEST, SPLITS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_run(folder)


def test_damaged_weights_are_found(folder):
    raw = bytearray((folder / BEST).read_bytes())
    raw[-1] ^= 1
    (folder / BEST).write_bytes(raw)
    with pytest.raises(ValueError, match="changed or damaged: its SHA-256 is"):
        load_run(folder)


def rewrite(folder: Path, **changes: object) -> None:
    content = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(content | changes))


def test_weights_of_another_network_are_refused(folder):
    rewrite(folder, class_names=["a", "b"])
    with pytest.raises(ValueError, match="does not fit test_efficientnet with 2 classes"):
        load_run(folder)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": 2}, "format 2, this duokit reads 1"),
        ({"settings": {"model": "test_efficientnet", "rate": 1}}, "'rate' is not known"),
        ({"config": {}}, "checkpoint_sha256"),
        ({"preprocessing": {"mean": [0], "std": [1]}}, "resolution"),
        ({"split_checksum": "0"}, "not hold the splits of this run"),
    ],
)
def test_a_description_that_is_wrong_is_refused(folder, changes, text):
    rewrite(folder, **changes)
    with pytest.raises(ValueError, match=text):
        load_run(folder)
    (folder / RUN).write_text("[")
    with pytest.raises(ValueError, match="does not describe a run"):
        load_run(folder)


def test_weights_that_are_no_safetensors_file(folder):
    (folder / BEST).write_bytes(b"nothing")
    digest = hashlib.sha256(b"nothing").hexdigest()
    rewrite(folder, config={"checkpoint_sha256": digest})
    with pytest.raises(ValueError, match="holds no weights"):
        load_run(folder)


def test_the_same_folder_takes_no_other_splits(folder, images):
    other = make_splits(images, train=0.5, val=0.2, seed=1)
    with pytest.raises(ValueError, match="holds a run on other splits"):
        tuned_records(images, other, SETTINGS, folder, **QUIET)


def test_the_library_of_a_name_that_both_have_is_kept(images, splits, tmp_path, monkeypatch):
    """`pretrained` says whose resnet18 it was; without weights to load, the name must."""
    seen = []
    monkeypatch.setattr(run_module, "build", lambda name, **_: seen.append(name) or Tiny())
    keep_splits(tmp_path, splits)
    save_file(Tiny().state_dict(), tmp_path / BEST)
    digest = hashlib.sha256((tmp_path / BEST).read_bytes()).hexdigest()
    settings = FineTune("resnet18", pretrained="torchvision")
    write_run(tmp_path, settings, HOW, images, splits, {"checkpoint_sha256": digest})
    load_run(tmp_path)
    assert seen == ["torchvision:resnet18"]


# Methods


def exact(run: Run, images: ImageSet, part: str, method: Method) -> Record:
    return predict_records(run, images, method=method, parts=[part], dtype="float32", **QUIET)[part]


def pictures(run: Run, images: ImageSet, part: str) -> torch.Tensor:
    """Returns the pictures of a part as the network sees them."""
    pixels = decode(images, run.preprocessing, ids=run.splits.parts[part], progress=False)
    return pixels.normalised(pixels.values)


def test_views_average_probabilities(run, images):
    method = Method("views", shift=2)
    record = exact(run, images, "ood", method)
    expected = augmented(run.model, pictures(run, images, "ood"), standard_views(shift=2))
    assert np.allclose(record.logits, expected, atol=1e-5)
    assert record.kind == "log_probs"
    assert record.config["prediction"] == {"method": "views", "flip": True, "shift": 2}
    assert record.config["method"] == (
        f"{run.config['method']}; mean of the probabilities over 10 views (mirrored, moved by 2 px)"
    )
    assert record.flops == 10 * cost("test_efficientnet", 32, 3).flops


def test_dropout_averages_probabilities(run, images):
    method = Method("mc_dropout", samples=4, rate=0.3, seed=5)
    record = exact(run, images, "ood", method)
    batch = pictures(run, images, "ood")
    expected = mc_dropout(run.model, batch, samples=4, rate=0.3, seed=5)
    assert np.allclose(record.logits, expected, atol=1e-5)
    assert record.kind == "log_probs"
    assert record.config["prediction"] == {
        "method": "mc_dropout", "samples": 4, "rate": 0.3, "seed": 5,
    }  # fmt: skip
    price = cost("test_efficientnet", 32, 3)
    assert record.flops == price.flops + 3 * price.head_flops


def test_a_part_does_not_depend_on_those_before_it(run, images):
    method = Method("mc_dropout", samples=3, rate=0.5)
    alone = predict_records(run, images, method=method, parts=["test"], **QUIET)["test"]
    all_parts = predict_records(run, images, method=method, **QUIET)
    assert np.array_equal(alone.logits, all_parts["test"].logits)


def test_laplace_is_fitted_on_the_splits_of_the_run(run, images):
    pytest.importorskip("laplace")
    record = exact(run, images, "ood", Method("laplace"))
    inner = {
        part: features(run.model, pictures(run, images, part), **QUIET)
        for part in ("train", "val", "ood")
    }
    labels = images.labels[images.rows(run.splits.parts["val"])]
    fitted = last_layer_laplace(
        inner["train"], run.model.get_classifier(), val_features=inner["val"], val_labels=labels
    )
    assert np.allclose(record.logits, fitted.log_probs(inner["ood"]), atol=1e-4)
    assert record.config["prior_precision"] == pytest.approx(fitted.precision)
    assert (record.kind, record.flops) == ("log_probs", cost("test_efficientnet", 32, 3).flops)


def test_laplace_about_pictures_from_elsewhere(run, images):
    pytest.importorskip("laplace")
    ids = run.splits.parts["ood"]
    labels, rows = np.full(len(ids), -1), images.rows(ids)
    other = ImageSet("other", ids, labels, images.class_names, lambda row: images.open(rows[row]))
    splits = Splits("other", "all", 0, {"loose": ids})
    with pytest.raises(ValueError, match="other has no image"):
        predict_records(run, other, splits, method=Method("laplace"), **QUIET)
    found = predict_records(run, other, splits, method=Method("laplace"), training=images, **QUIET)
    assert np.array_equal(
        found["loose"].logits,
        predict_records(run, images, method=Method("laplace"), **QUIET)["ood"].logits,
    )
    assert found["loose"].split_checksum == splits.checksum


def test_the_cost_of_a_method_by_hand():
    price = Cost(flops=100, parameters=9, head_flops=7, head_parameters=3)
    assert Method().flops(price) == 100
    assert Method("laplace").flops(price) == 100
    assert Method("views").flops(price) == 200
    assert Method("views", flip=False, shift=1).flops(price) == 500
    assert Method("mc_dropout", samples=6).flops(price) == 600
    assert Method("mc_dropout", samples=6, rate=0.1).flops(price) == 135


def test_own_dropout_is_used_without_a_rate(tiny, stripes):
    pixels = decode(stripes, HOW, progress=False)
    rows = torch.arange(5)
    method = Method("mc_dropout", samples=3)
    found = answers(tiny, pixels, rows, method, **QUIET)
    batch = pixels.normalised(pixels.values[rows])
    assert np.allclose(found, mc_dropout(tiny, batch, samples=3), atol=1e-6)
    assert "own dropout layers" in method.words()
    with pytest.raises(ValueError, match="laplace=fit_laplace"):
        answers(tiny, pixels, rows, Method("laplace"), **QUIET)
    plain = answers(tiny, pixels, rows, Method(), **QUIET)
    assert np.allclose(plain, predict(tiny, batch, **QUIET), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "magic"}, "method is 'magic'; expected one of plain"),
        ({"name": "views", "flip": False}, "the picture as it is"),
        ({"name": "views", "shift": -1}, "shift is -1"),
        ({"name": "mc_dropout", "samples": 0}, "samples is 0"),
        ({"name": "mc_dropout", "rate": 1.0}, "rate is 1.0"),
    ],
)
def test_a_method_that_is_none_is_refused_before_anything_runs(options, text):
    with pytest.raises(ValueError, match=text):
        Method(**options)


# What is asked about


def test_pictures_it_was_trained_on_are_no_test(run, images):
    parts = dict(run.splits.parts)
    parts["test"], parts["train"] = parts["train"], parts["test"]
    other = replace(run.splits, parts=parts)
    with pytest.raises(ValueError, match=r"30 of 30 pictures of the part 'test'.*trained on"):
        predict_records(run, images, other, **QUIET)
    found = predict_records(run, images, parts=["train"], **QUIET)
    assert found["train"].n == 30
    renamed = replace(images, name="greys-again")  # the ids name other pictures there
    assert predict_records(run, renamed, other, parts=["test"], **QUIET)["test"].n == 30


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("dark", "grey", "bright", "white"), "knows 3 classes .*has 4"),
        (("grey", "dark", "bright"), "in the same order"),
    ],
)
def test_other_classes_are_refused(run, images, names, text):
    with pytest.raises(ValueError, match=text):
        predict_records(run, replace(images, class_names=names), **QUIET)


def test_parts_that_are_not_there_are_refused(run, images):
    for parts, text in ((["shifted"], "asked for: shifted"), ([], "asked for: none")):
        with pytest.raises(ValueError, match=f"parts train, val, test, ood; {text}"):
            predict_records(run, images, parts=parts, **QUIET)


def test_the_cache_is_that_of_training(run, images, splits, tmp_path):
    prepare(images, splits, SETTINGS, probe=False, cache=tmp_path, **QUIET)
    (before,) = tmp_path.iterdir()
    cached = predict_records(run, images, parts=["val"], cache=tmp_path, **QUIET)
    assert list(tmp_path.iterdir()) == [before]
    plain = predict_records(run, images, parts=["val"], **QUIET)
    assert np.array_equal(cached["val"].logits, plain["val"].logits)
