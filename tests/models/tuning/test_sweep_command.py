"""`duokit sweep` and `duokit soup`: from a settings file to the records of a soup."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from duokit.cli import sweep
from duokit.images import load as load_images
from duokit.logits import load
from duokit.models import build, predict, preprocessing, reestimate_batchnorm, uniform_soup
from duokit.models.tuning.checkpoint import BEST
from duokit.models.pixels import decode
from tests.models.tuning.test_finetune_command import words  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore:the best strength")


def run(command: str, *given: object) -> int:
    parser = argparse.ArgumentParser()
    sweep.register(parser.add_subparsers())
    arguments = parser.parse_args([command, *(str(word) for word in given)])
    return arguments.run(arguments)


@pytest.fixture
def swept(words, tmp_path: Path, capsys) -> list[object]:  # noqa: F811
    assert run("sweep", *words, "--trials", 3, "--lr", 1e-4, 1e-2, "--no-prune") == 0
    text = capsys.readouterr().out
    assert text.count("complete") == 3
    return words


def test_a_uniform_soup_is_the_mean_of_the_trials(swept, tmp_path, capsys):
    assert run("soup", *swept, "--kind", "uniform") == 0
    record = load(tmp_path / "out" / "test_efficientnet-32-uniform-0" / "test.safetensors")
    assert record.config["method"] == "uniform of 3 fine-tuned networks"
    assert record.config["chosen"] == [0, 1, 2]
    assert "--kind uniform" in record.config["command"]
    # the same by hand
    folder = tmp_path / "runs" / "shapes-test_efficientnet-32-sweep-0"
    states = [load_file(folder / f"trial-{number:03d}" / BEST) for number in range(3)]
    model = build("test_efficientnet", classes=2, pretrained=None)
    model.load_state_dict(uniform_soup(states).state)
    images = load_images("folder", tmp_path / "shapes")
    how = preprocessing("test_efficientnet", 32, pretrained=None)
    val = load(tmp_path / "out" / "test_efficientnet-32-uniform-0" / "val.safetensors")
    train = tuple(sorted(set(images.ids) - set(val.ids) - set(record.ids)))
    pixels = decode(images, how, ids=train, progress=False)
    reestimate_batchnorm(model, [pixels.normalised(pixels.values)])
    transform = how.transform()
    rows = images.rows(record.ids)
    logits = predict(model, images, transform=transform, rows=rows, device="cpu", progress=False)
    assert np.abs(record.logits.astype(np.float32) - logits).max() < 4e-3 * np.abs(logits).max()


def test_a_greedy_soup_is_not_below_its_best_ingredient(swept, tmp_path):
    assert run("soup", *swept) == 0
    record = load(tmp_path / "out" / "test_efficientnet-32-greedy-0" / "val.safetensors")
    assert 1 <= len(record.config["chosen"]) <= 3
    assert record.config["chosen"][0] == 0  # best first
    assert record.config["val_scores"] == sorted(record.config["val_scores"], reverse=True)
    with pytest.raises(ValueError, match="is there already"):
        run("soup", *swept)


def test_the_best_run_alone(swept, tmp_path):
    assert run("soup", *swept, "--kind", "best") == 0
    record = load(tmp_path / "out" / "test_efficientnet-32-best-0" / "val.safetensors")
    right = float((record.logits.argmax(1) == record.labels).mean())
    assert right == pytest.approx(record.config["val_scores"][0])


def test_no_sweep_no_soup(words):  # noqa: F811
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        run("soup", *words)
