"""`duokit finetune`: records that say how they were made, runs that go on, others refused."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from duokit.cli import finetune
from duokit.images import load as load_images
from duokit.logits import load, save
from duokit.models import build, predict, preprocessing
from duokit.models.pixels import decode
from duokit.models.tuning.checkpoint import BEST, LAST
from duokit.models.tuning.run import load_run
from duokit.models.tuning.settings import from_dict
from duokit.models.tuning.tuned import probe_head

# A random network knows little, and the strongest penalty is best.
pytestmark = pytest.mark.filterwarnings("ignore:the best strength")
NAME = "test_efficientnet-32-scratch-0"


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    """A folder of dark and bright pictures, one in five in the wrong folder, and what to do."""
    base = tmp_path / "shapes"
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (base / name).mkdir(parents=True)
        for number in range(24):
            shade = 100 * (label if number % 5 else 1 - label)
            grey = random.integers(shade, shade + 120, size=(16, 16), dtype=np.uint8)
            Image.fromarray(grey).save(base / name / f"{number:02d}.png")
    settings = tmp_path / "lite.toml"
    settings.write_text(
        'model = "test_efficientnet"\nresolution = 32\npretrained = "none"\n'
        'epochs = 2\nbatch = 8\nlr = 0.001\nbatchnorm = "frozen"\n'
    )
    return [settings, "--data", "folder", "--root", base, "--out", tmp_path / "out",
            "--runs", tmp_path / "runs", "--cache", tmp_path / "cache",
            "--device", "cpu", "--quiet"]  # fmt: skip


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    finetune.register(parser.add_subparsers())
    arguments = parser.parse_args(["finetune", *(str(word) for word in words)])
    return arguments.run(arguments)


def test_the_record_holds_what_made_it(words, tmp_path, capsys):
    assert run(*words) == 0
    record = load(tmp_path / "out" / NAME / "test.safetensors")
    run_folder = tmp_path / "runs" / f"shapes-{NAME}"
    assert record.model == "test_efficientnet"
    assert record.weights == "random, timm"
    assert record.resolution == 32
    assert record.config["method"] == "linear probe, then trained from random weights"
    assert len(record.config["history"]) == 3
    assert record.config["batchnorm"] == "frozen"
    assert record.config["checkpoint_sha256"]
    assert "2 epochs" not in capsys.readouterr().err
    # the logits are those of the weights that were kept
    images = load_images("folder", tmp_path / "shapes")
    model = build("test_efficientnet", classes=2, pretrained=None)
    model.load_state_dict(load_file(run_folder / BEST))
    transform = preprocessing("test_efficientnet", 32, pretrained=None).transform()
    rows = images.rows(record.ids)
    logits = predict(model, images, transform=transform, rows=rows, progress=False, device="cpu")
    assert np.abs(record.logits.astype(np.float32) - logits).max() < 2e-3 * np.abs(logits).max()


def test_its_command_makes_it_again(words, tmp_path):
    run(*words)
    first = load(tmp_path / "out" / NAME / "val.safetensors")
    command = shlex.split(first.config["command"])
    assert command[:2] == ["duokit", "finetune"]
    places = {"DATA": tmp_path / "shapes", "OUT": tmp_path / "again"}
    again = [places.get(word, word) for word in command[2:]]
    run(*again, "--runs", tmp_path / "runs2", "--cache", tmp_path / "cache", "--device", "cpu",
        "--quiet")  # fmt: skip
    second = load(tmp_path / "again" / NAME / "val.safetensors")
    assert (first.logits == second.logits).all()
    assert first.config["checkpoint_sha256"] == second.config["checkpoint_sha256"]


def test_one_of_several_processes_writes(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert run(*words) == 0
    assert not (tmp_path / "out" / NAME).exists()
    assert not capsys.readouterr().out


def test_a_setting_younger_than_the_record_has_its_default(words, tmp_path):
    run(*words)
    path = tmp_path / "out" / NAME / "test.safetensors"
    record = load(path)
    settings = {k: v for k, v in record.config["settings"].items() if k not in ("fold", "stage")}
    old = replace(record, config=record.config | {"settings": settings})
    save(old, path, overwrite=True)
    assert run(*words) == 0
    assert "fold" not in load(path).config["settings"]  # kept as it was
    older = {name: value for name, value in settings.items() if name != "batchnorm"}
    save(replace(record, config=record.config | {"settings": older}), path, overwrite=True)
    with pytest.raises(ValueError, match="made with other settings"):
        run(*words)  # it was made when there was "train" alone
    settings["lr"] = 0.5
    save(replace(record, config=record.config | {"settings": settings}), path, overwrite=True)
    with pytest.raises(ValueError, match="made with other settings"):
        run(*words)


def test_records_are_kept_and_others_refused(words, tmp_path, capsys):
    run(*words)
    path = tmp_path / "out" / NAME / "test.safetensors"
    before = path.stat().st_mtime_ns
    assert run(*words) == 0
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="made with other settings"):
        run(*words, "--set", "lr=0.002")
    path.unlink()
    (tmp_path / "runs" / f"shapes-{NAME}" / LAST).stat()
    assert run(*words) == 0  # from the weights of the finished run
    assert path.is_file()


@pytest.mark.promise("training")
def test_a_run_that_ends_below_its_probe_says_so(words, tmp_path, capsys, monkeypatch):
    accuracies = iter([0.9, 0.5, 0.4] * 2)

    def made_up(*_):
        return {"accuracy": next(accuracies), "macro_f1": 0.5, "nll": 1.0}

    monkeypatch.setattr("duokit.models.tuning.finetune.val_scores", made_up)
    assert run(*words) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    record = load(tmp_path / "out" / NAME / "val.safetensors")
    assert record.config["below_start"] == said
    assert record.config["best_epoch"] == 0
    assert "below its linear probe: accuracy on val went from 0.9000 to 0.5000 (epoch 1)" in said
    assert "its linear probe is kept; likely cause: " in said
    run(*words)  # the records are there, and say it still
    assert capsys.readouterr().out.splitlines()[-1] == said
    other = ["--out", tmp_path / "last", "--runs", tmp_path / "runs2"]
    run(*words, "--set", "select=last", *other)
    assert "to 0.4000 (epoch 2); the last epoch" in capsys.readouterr().out.splitlines()[-1]


def test_a_second_stage_needs_a_run_of_the_same_kind(words, tmp_path, capsys):
    run(*words)
    first = tmp_path / "runs" / f"shapes-{NAME}"
    stage = [*words[1:], "--from", first, "--stage", "gatekeeper", "--alpha", "0.3"]
    assert run(*stage, "--set", "epochs=1") == 0
    name = "test_efficientnet-32-gatekeeper0.3-0"
    record = load(tmp_path / "out" / name / "test.safetensors")
    settings = record.config["settings"]
    assert (settings["epochs"], settings["select"], settings["lr"]) == (1, "last", 0.001)
    assert record.config["method"].endswith("random weights, then Gatekeeper with alpha 0.3")
    assert " --from RUN " in record.config["command"]
    assert "builds_on" not in record.config["command"]
    with pytest.raises(ValueError, match="no run to build on"):
        run(*words, "--stage", "continued", "--set", "seed=1")
    with pytest.raises(ValueError, match="stage is plain, and a run"):
        run(*words, "--from", first, "--set", "seed=1")
    with pytest.raises(ValueError, match="is test_efficientnet at 32 px, the settings say"):
        run(*words, "--from", first, "--stage", "continued", "--set", "resolution=40")
    with pytest.raises(ValueError, match="other classes or splits"):
        run(*stage, "--out", tmp_path / "other", "--set", "split_seed=1")


def test_a_second_stage_starts_from_the_weights_of_the_first(words, tmp_path):
    """With a learning rate of 0 and frozen statistics the logits stay what they were."""
    run(*words)
    first = tmp_path / "runs" / f"shapes-{NAME}"
    run(*words[1:], "--from", first, "--stage", "continued", "--set", "lr=0",
        "--set", "epochs=1", "--set", "batchnorm=frozen", "--set", "weight_decay=0")  # fmt: skip
    before, after = (
        load(tmp_path / "out" / name / "test.safetensors").logits
        for name in (NAME, NAME.replace("scratch", "continued"))
    )
    assert (before == after).all()


def test_a_small_student_learns_from_a_large_teacher(words, tmp_path):
    run(*words)
    teacher = tmp_path / "runs" / f"shapes-{NAME}"
    student = ["--set", "model=test_resnet", "--set", "resolution=40", "--set", "probe=false"]
    plain = ["--set", "pretrained=none", "--set", "epochs=1"]
    run(*words[1:], "--from", teacher, "--stage", "distilled", *student, *plain)
    record = load(tmp_path / "out" / "test_resnet-40-distilled-0" / "test.safetensors")
    assert record.config["method"] == "trained from random weights, by a teacher"
    wanted = load_run(teacher).config["checkpoint_sha256"]
    assert record.config["settings"]["builds_on"] == wanted


def test_settings_come_from_the_command_line_too(words, tmp_path):
    run(*words[1:], "--set", 'model="test_efficientnet"', "--set", "resolution=32",
        "--set", "pretrained=none", "--set", "epochs=1", "--set", "probe=false",
        "--set", "seed=3")  # fmt: skip
    record = load(tmp_path / "out" / "test_efficientnet-32-scratch-3" / "val.safetensors")
    expected = from_dict(
        {"model": "test_efficientnet", "resolution": 32, "pretrained": "none", "epochs": 1,
         "probe": False, "seed": 3}
    )  # fmt: skip
    assert record.config["settings"] == expected.as_dict()
    assert record.config["method"] == "trained from random weights"
    assert record.seed == 3


@pytest.mark.parametrize(
    ("change", "words_of_error"),
    [("rate=1", "'rate' is not known"), ("lr=fast", "expected float"), ("lr=9", "0 to 1")],
)
def test_bad_settings(words, change, words_of_error):
    with pytest.raises((ValueError, TypeError), match=words_of_error):
        run(*words, "--set", change)


def test_the_probe_becomes_the_head(stripes):
    how = preprocessing("test_efficientnet", 32, pretrained=None)
    pixels = decode(stripes, how, progress=False)
    model = build("test_efficientnet", classes=3, pretrained=None)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    rows = torch.arange(90)
    nll = probe_head(model, pixels, rows[:60], rows[60:], device="cpu", progress=False)
    logits = torch.from_numpy(predict(model, pixels, rows=range(60, 90), progress=False))
    expected = torch.nn.functional.cross_entropy(logits, pixels.labels[60:90])
    assert nll == pytest.approx(float(expected), abs=1e-4)
    changed = {
        name for name, each in model.state_dict().items() if not torch.equal(each, before[name])
    }
    assert changed == {"classifier.weight", "classifier.bias"}  # no statistic has moved


def test_curves_lie_beside_the_checkpoint(words, tmp_path):
    pytest.importorskip("tensorboard")
    run(*words, "--tensorboard")
    kept = {path.name.split(".")[0] for path in (tmp_path / "runs" / f"shapes-{NAME}").iterdir()}
    assert "events" in kept
    assert "tensorboard" not in load(tmp_path / "out" / NAME / "val.safetensors").config["command"]
