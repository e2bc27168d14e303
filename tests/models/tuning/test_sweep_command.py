"""`duokit sweep` and `duokit soup`: from a settings file to the records of a soup."""

import argparse
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from duokit.cli import sweep
from duokit.images import load as load_images
from duokit.logits import load
from duokit.models import build, predict, preprocessing, uniform_soup
from duokit.models.tuning.checkpoint import BEST
from duokit.models.tuning.space import Search, Space
from duokit.models.tuning.sweep import about, results
from duokit.models.tuning.trials import VAL
from tests.models.tuning.test_finetune_command import words  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore:the best strength")
NAME = "shapes-test_efficientnet-32-sweep-0"


def run(command: str, *given: object) -> int:
    parser = argparse.ArgumentParser()
    sweep.register(parser.add_subparsers())
    arguments = parser.parse_args([command, *(str(word) for word in given)])
    return arguments.run(arguments)


@pytest.fixture
def swept(words, tmp_path: Path, capsys) -> list[object]:  # noqa: F811
    """A sweep of three trials: two from the table of the settings file, one from the words."""
    with words[0].open("a") as file:
        file.write("probe = false\n[sweep]\ntrials = 2\nlr = [1e-4, 1e-2]\nprune = false\n")
    assert run("sweep", *words) == 0
    assert capsys.readouterr().out.count("complete") == 2
    assert run("sweep", *words, "--trials", 3, "--searcher", "random") == 0
    assert capsys.readouterr().out.count("complete") == 3
    return words


def test_the_words_are_those_of_the_search(swept, tmp_path):
    folder = tmp_path / "runs" / NAME
    table = results(folder)
    space = Space(lr=(1e-4, 1e-2))
    assert table["lr"].tolist() == [space.draw(number)["lr"] for number in range(3)]
    command = load(folder / "trial-002" / VAL).config["command"]
    assert command == about(folder)["command"]
    parser = argparse.ArgumentParser()
    sweep.register(parser.add_subparsers())
    program, *again = shlex.split(command)
    assert program == "duokit"
    given = sweep._given(parser.parse_args(again))
    assert given == {"trials": 3, "lr": [1e-4, 1e-2], "prune": False}


def test_every_choice_is_in_the_command():
    search = Search(5, Space((1e-5, 1e-3), (1e-7, 1e-6), 4), prune=False)
    assert sweep._words(search) == (
        "--trials 5 --lr 1e-05 0.001 --weight-decay 1e-07 1e-06 --draw-seed 4 --no-prune"
    )
    assert sweep._words(Search()) == "--trials 12"


def test_a_budget_that_is_spent(words, capsys):  # noqa: F811
    assert run("sweep", *words, "--searcher", "random", "--budget-minutes", 0) == 1
    assert "type the command again to go on" in capsys.readouterr().out


def test_a_uniform_soup_is_the_mean_of_the_trials(swept, tmp_path, capsys):
    assert run("soup", *swept, "--kind", "uniform") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.endswith("accepted")]) == 3
    record = load(tmp_path / "out" / "test_efficientnet-32-uniform-0" / "test.safetensors")
    assert record.config["method"] == "uniform of 3 fine-tuned networks"
    assert "--kind uniform" in record.config["command"]
    # the same by hand; BatchNorm statistics were frozen
    folder = tmp_path / "runs" / NAME
    states = [load_file(folder / f"trial-{number:03d}" / BEST) for number in range(3)]
    model = build("test_efficientnet", classes=2, pretrained=None)
    model.load_state_dict(uniform_soup(states).state)
    images = load_images("folder", tmp_path / "shapes")
    transform = preprocessing("test_efficientnet", 32, pretrained=None).transform()
    rows = images.rows(record.ids)
    logits = predict(model, images, transform=transform, rows=rows, device="cpu", progress=False)
    assert np.abs(record.logits.astype(np.float32) - logits).max() < 4e-3 * np.abs(logits).max()


def test_a_greedy_soup_starts_with_the_best_run(swept, tmp_path, capsys):
    assert run("soup", *swept) == 0
    assert "changes the soup by +0.0000" in capsys.readouterr().out
    record = load(tmp_path / "out" / "test_efficientnet-32-greedy-0" / "val.safetensors")
    found = record.config["ingredients"]
    assert found[0]["accepted"]
    scores = [each["val_score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(ValueError, match="is there already"):
        run("soup", *swept)


def test_no_sweep_no_soup(words):  # noqa: F811
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        run("soup", *words)


def test_trials_that_keep_their_last_epoch_are_compared_by_accuracy(words, tmp_path, capsys):  # noqa: F811
    with words[0].open("a") as file:
        file.write('select = "last"\n[sweep]\ntrials = 1\n')
    assert run("sweep", *words) == 0
    row = results(tmp_path / "runs" / NAME).iloc[0]
    assert (row["state"], row["epoch"]) == ("complete", 2)
    assert 0 <= row["score"] <= 1
