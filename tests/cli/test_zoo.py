"""`duokit zoo`: what is wanted, what is there, and making the rest within a budget."""

import argparse
from pathlib import Path

import pytest

from duokit.cli import zoo
from duokit.cli.zoo import read_zoo
from duokit.logits import load

pytest.importorskip("timm")
NAME = "digits-finetuned/test_efficientnet-32-finetuned-"
TOML = """
[defaults]
epochs = 1
batch = 256
probe = false
pretrained = "none"

[[network]]
data = "digits"
model = "test_efficientnet"
resolution = 32
seeds = [0, 4]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "zoo.toml").write_text(TOML)
    return tmp_path


def run(place: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    zoo.register(parser.add_subparsers())
    fixed = [str(place / "zoo.toml"), "--artifacts", str(place / "artifacts"), "--quiet"]
    fixed += ["--runs", str(place / "runs"), "--cache", str(place / "cache"), "--device", "cpu"]
    arguments = parser.parse_args(["zoo", *fixed, *words])
    return arguments.run(arguments)


def test_it_lists_and_makes_nothing(place, capsys):
    assert run(place) == 0
    text = capsys.readouterr().out
    assert f"{NAME}0" in text
    assert f"{NAME}4" in text
    assert "0 of 2 networks have their records" in text
    assert not (place / "artifacts").exists()


def test_it_makes_what_is_missing_and_goes_on_after_a_budget(place, capsys):
    assert run(place, "--make", "--only", "finetuned-4", "--budget-minutes", "0") == 1
    assert "out of time after step 1 of" in capsys.readouterr().out
    assert run(place, "--make", "--only", "finetuned-4") == 0
    record = load(place / "artifacts" / f"{NAME}4" / "test.safetensors")
    assert record.seed == 4
    assert len(record.config["history"]) == 1
    assert run(place) == 0
    assert "1 of 2 networks have their records" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ('[[network]]\ndata = "cifar"', ValueError, r"network 1 has data = 'cifar'; expected"),
        ('[[network]]\ndata = "digits"', ValueError, "network 1: no model is named"),
        ('[[network]]\ndata = "digits"\nmodel = "test_resnet"\nlr = "a"', TypeError, "lr is 'a'"),
        (
            '[[network]]\ndata = "digits"\nmodel = "test_resnet"\nseeds = [1, 1]',
            ValueError,
            "twice",
        ),
        ("[[network]", ValueError, "zoo.toml"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, kind, words):
    path = tmp_path / "zoo.toml"
    path.write_text(text)
    with pytest.raises(kind, match=words) as caught:
        read_zoo(path)
    assert str(path) in str(caught.value)


def test_bad_words(place):
    with pytest.raises(ValueError, match="no network whose name contains 'nothing'"):
        run(place, "--only", "nothing")
    with pytest.raises(ValueError, match="--root digits: expected DATA=FOLDER"):
        run(place, "--make", "--root", "digits")


def test_the_books_own_zoo_can_be_read():
    path = Path(__file__).parents[2] / "book" / "zoo.toml"
    wanted = read_zoo(path)
    assert wanted
    assert all(each.settings.resolution for each in wanted)
