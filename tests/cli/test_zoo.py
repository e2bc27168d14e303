"""`duokit zoo`: what is wanted, what is there, and making the rest within a budget."""

import argparse
import shutil
from pathlib import Path

import pytest

from duokit.cli import zoo
from duokit.logits import load, read_metadata
from duokit.metrics.scores import score
from duokit.models.tuning.run import load_run
from duokit.models.tuning.zoo import read_zoo, trained

pytest.importorskip("timm")
FOLDER = "digits-finetuned/test_efficientnet-32"
NAME = f"{FOLDER}-scratch-"
TOML = """
[digits]
epochs = 1
batch = 256
probe = false
pretrained = "none"
resolution = 32

[[network]]
data = "digits"
model = "test_efficientnet"
seeds = [0, 4]
methods = [{ name = "views", flip = false, shift = 1 }]

[[network]]
data = "digits"
model = "test_efficientnet"
sweep = { trials = 2, searcher = "random", prune = false }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "zoo.toml").write_text(TOML)
    return tmp_path


ONE = '[[network]]\ndata = "digits"\nmodel = "test_resnet"\n'


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
    for name in (f"{NAME}0", f"{NAME}4", f"{FOLDER}-views-0", f"{FOLDER}-greedy-0"):
        assert name in text
    assert "views-4" not in text
    assert "0 of 6 have their records" in text
    assert not (place / "artifacts").exists()


def test_it_makes_what_is_missing_and_goes_on_after_a_budget(place, capsys):
    assert run(place, "--make", "--only", "scratch-4", "--budget-minutes", "0") == 1
    assert "out of time after step 1 of" in capsys.readouterr().out
    assert run(place, "--make", "--only", "scratch-4") == 0
    record = load(place / "artifacts" / f"{NAME}4" / "test.safetensors")
    assert record.seed == 4
    assert [row["epoch"] for row in record.config["history"]] == [0, 1]
    assert run(place) == 0
    text = capsys.readouterr().out
    assert "1 of 6 have their records" in text
    assert f"{record.config['machine']}, 0." in text


def test_a_method_asks_the_network_that_was_trained(place, capsys):
    assert run(place, "--make", "--only", "scratch-0", "--only", "views-0") == 0
    plain, views = (
        load(place / "artifacts" / f"{FOLDER}-{what}-0" / "test.safetensors")
        for what in ("scratch", "views")
    )
    assert views.kind == "log_probs"
    assert views.flops == 5 * plain.flops
    assert views.config["checkpoint_sha256"] == plain.config["checkpoint_sha256"]
    row = trained(place / "artifacts").loc[("digits", "test_efficientnet-32-scratch-0")]
    assert len(trained(place / "artifacts")) == 1  # views are the same network
    assert row["checkpoint"] == plain.config["checkpoint_sha256"]
    assert row["steps"] == plain.config["history"][-1]["step"] > row["epochs"] == 1
    assert row["minutes"] == plain.config["seconds"] / 60
    assert (plain.logits.argmax(1) == views.logits.argmax(1)).mean() > 0.5


def test_a_method_trains_the_network_if_only_its_records_are_there(place):
    assert run(place, "--make", "--only", "scratch-0") == 0
    shutil.rmtree(place / "runs")
    assert run(place, "--make", "--only", "views-0") == 0
    plain, views = (
        load(place / "artifacts" / f"{FOLDER}-{what}-0" / "test.safetensors")
        for what in ("scratch", "views")
    )
    assert views.config["checkpoint_sha256"] == plain.config["checkpoint_sha256"]


SECOND = """
[[network]]
data = "digits"
model = "test_efficientnet"
resolution = 32
pretrained = "none"
probe = false
epochs = 1
seeds = [0]
keep = ["val"]
second = [
  { stage = "gatekeeper", alpha = [0.1, 0.9], lr = 1e-3, select = "last" },
  { stage = "continued" },
]
"""


def test_a_second_stage_goes_on_from_the_first(place, capsys):
    (place / "zoo.toml").write_text(SECOND)
    assert run(place, "--make") == 0
    first = load_run(place / "runs" / "digits-test_efficientnet-32-scratch-0")
    found = {
        path.parent.name: load(path)
        for path in (place / "artifacts" / "digits-second").glob("*/*.safetensors")
    }
    names = [
        f"test_efficientnet-32-{what}-0" for what in ("continued", "gatekeeper0.1", "gatekeeper0.9")
    ]
    assert sorted(found) == names
    assert {each.split for each in found.values()} == {"val"}
    built = {each.config["settings"]["builds_on"] for each in found.values()}
    assert built == {first.config["checkpoint_sha256"]}
    sure = [score(found[name].logits, found[name].labels).uncertainty.mean() for name in names[1:]]
    assert sure[0] > sure[1]  # a small alpha makes it less sure
    assert trained(place / "artifacts").empty  # a first training has no second stage in its row
    assert run(place, "--make") == 0  # nothing is missing
    assert "3 of 3 have their records" in capsys.readouterr().out


def test_a_sweep_makes_the_best_run_and_both_soups(place, capsys):
    kinds = ("best-0", "greedy-0", "uniform-0")
    words = [word for kind in kinds for word in ("--only", kind)]
    assert run(place, "--make", *words) == 0
    found = {
        kind: load(place / "artifacts" / f"{FOLDER}-{kind}-0" / "val.safetensors")
        for kind in ("best", "greedy", "uniform")
    }
    assert len(found["uniform"].config["ingredients"]) == 2
    assert found["greedy"].config["val_score"] >= found["best"].config["val_score"] - 1e-12
    trials = list((place / "runs").glob("digits-test_efficientnet-32-sweep-0/trial-*"))
    assert len(trials) == 2  # one sweep for all three
    assert "2 of 2 trials" in capsys.readouterr().out
    assert trained(place / "artifacts").empty  # soups are not trained


def test_minutes_are_measured_where_the_pictures_are(place, capsys):
    assert run(place, "--time") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    minutes = {row[0]: row[-1] for row in rows if row[0].startswith("digits")}
    assert 0 < float(minutes[f"{NAME}0"]) < 60
    assert minutes[f"{FOLDER}-views-0"] == "above"  # with the above
    assert 0 < float(minutes[f"{FOLDER}-greedy-0"]) < 60


def test_folds_are_trained_one_by_one():
    wanted = read_zoo(Path(__file__).parents[2] / "book" / "zoo.toml")
    folds = [each for each in wanted if each.data == "elpv" and "lite2" in each.name]
    second = [each for each in wanted if each.name.startswith("elpv-second/fold-4/")]
    assert [each.settings.alpha for each in second] == [0.1, 0.3, 0.5, 0.7, 0.9, None]
    assert [each.settings.fold for each in folds] == [0, 1, 2, 3, 4]
    assert [each.folder for each in folds] == [f"elpv-finetuned/fold-{fold}" for fold in range(5)]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ('[[network]]\ndata = "cifar"', ValueError, r"network 1: data is 'cifar'; expected"),
        ('[[network]]\ndata = "digits"', ValueError, "network 1: no model is named"),
        ('[[network]]\ndata = "digits"\nmodel = "test_resnet"\nlr = "a"', TypeError, "lr is 'a'"),
        (f"{ONE}seeds = [1, 1]", ValueError, "twice"),
        (f"{ONE}folds = 3", ValueError, "network 1: folds is 3; expected 5"),
        (f'{ONE}methods = [{{ name = "magic" }}]', ValueError, "network 1: method is 'magic'"),
        (f"{ONE}sweep = {{ tries = 3 }}", ValueError, "sweep.tries is not known"),
        ("[[networks]]", ValueError, "no table 'networks'"),
        ("[[network]", ValueError, "zoo.toml"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, kind, words):
    path = tmp_path / "zoo.toml"
    path.write_text(text)
    with pytest.raises(kind, match=words) as caught:
        read_zoo(path)
    assert str(path) in str(caught.value)


@pytest.mark.promise("errors")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seeds = 3", "seeds is 3; expected a list of whole numbers"),
        ("seeds = [1.5]", r"seeds is \[1.5\]; expected a list of whole"),
        ("methods = 3", "methods is 3; expected a list of tables"),
        ("methods = [{ foo = 1 }]", "'foo' is not known; expected some of name, samples"),
        ('methods = [{ samples = "x" }]', "samples is 'x'; expected int"),
        ('methods = [{ name = "views", flip = "x" }]', "flip is 'x'; expected bool"),
        ("second = [3]", r"second is \[3\]; expected a list of tables"),
        ('keep = "val"', "keep is 'val'; expected a list of texts"),
        ("sweep = 3", "sweep is 3; expected a table"),
    ],
)
def test_a_bad_line_is_named_with_its_value(tmp_path, line, words):
    path = tmp_path / "zoo.toml"
    path.write_text(f"{ONE}{line}")
    with pytest.raises((ValueError, TypeError), match=rf"zoo\.toml: network 1: {words}"):
        read_zoo(path)


@pytest.mark.promise("errors")
def test_a_zoo_that_wants_nothing_says_what_to_write(tmp_path):
    path = tmp_path / "zoo.toml"
    path.write_text("# nothing yet\n")
    with pytest.raises(ValueError, match=r"zoo\.toml wants nothing: write a table \[\[network\]\]"):
        read_zoo(path)


def test_bad_words(place):
    with pytest.raises(ValueError, match="no record whose name contains nothing"):
        run(place, "--only", "nothing")
    with pytest.raises(ValueError, match="--root digits: expected DATA=FOLDER"):
        run(place, "--make", "--root", "digits")


def test_the_books_own_zoo_can_be_read():
    path = Path(__file__).parents[2] / "book" / "zoo.toml"
    wanted = read_zoo(path)
    assert wanted
    assert all(each.settings.resolution for each in wanted)


def test_the_books_records_are_those_that_its_zoo_wants():
    """A default that changes must not change what a committed record was made with."""
    book = Path(__file__).parents[2] / "book"
    made = 0
    for each in read_zoo(book / "zoo.toml"):
        for part in each.parts(book / "artifacts")[:1]:
            path = book / "artifacts" / each.name / f"{part}.safetensors"
            known = read_metadata(path)["config"]["settings"]
            wanted = each.settings.as_dict() | {"builds_on": known.get("builds_on")}
            assert {**wanted, **known} == wanted, each.name
            made += 1
    assert made > 50
