"""Options that several commands share."""

import argparse
from pathlib import Path

import pytest

from duokit.cli import entry
from duokit.cli.options import (
    add_bootstrap,
    add_making,
    add_pictures,
    own_options,
    real,
    seed,
    whole,
)


@pytest.fixture
def parser():
    return argparse.ArgumentParser(prog="command")


def test_bootstrap_has_the_defaults_that_its_help_states(parser):
    add_bootstrap(parser)
    assert vars(parser.parse_args([])) == {"resamples": 1000, "level": 0.95, "seed": 0}
    told = " ".join(parser.format_help().split())
    for default in ("2 or more (default: 1000)", "(default: 0.95)", "(default: 0)"):
        assert default in told


def test_the_help_of_bootstrap_says_what_it_is_for(parser):
    add_bootstrap(parser, least=1, what=" for --intervals")
    told = " ".join(parser.format_help().split())
    assert "bootstrap resamples for --intervals, 1 or more (default: 1000)" in told


def test_making_has_the_defaults_that_its_help_states(parser):
    add_pictures(parser)
    add_making(parser, pictures="decoded pictures of data sets")
    assert vars(parser.parse_args([])) == {
        "root": None, "download": False, "cache": Path("runs/pixels"), "dtype": "float16",
        "device": "auto", "quiet": False,
    }  # fmt: skip
    told = " ".join(parser.format_help().split())
    assert "keeps decoded pictures of data sets (default: runs/pixels)" in told


def test_options_of_a_way_are_those_given():
    given = argparse.Namespace(samples=0, shift=None, flip=False)
    names = ("samples", "shift", "flip")
    assert own_options(given, names, {"samples", "flip"}, "both") == {"samples": 0, "flip": False}


@pytest.mark.parametrize(("known", "option"), [({"samples"}, "no-flip"), ({"flip"}, "samples")])
def test_an_option_of_another_way_is_refused_as_it_was_typed(known, option):
    given = argparse.Namespace(samples=3, flip=False)
    with pytest.raises(ValueError, match=rf"--{option} is no option of views: leave it out"):
        own_options(given, ("samples", "flip"), known, "views")


REFUSED = {
    "whole": ("0", "-1", "nan", "inf", "x", "", "1.5", "9" * 5000),
    "count": ("-1", "nan", "inf", "x", "", "1.5"),
    "share": ("0", "1", "-1", "nan", "inf", "x", "", "1.5"),
    "above": ("0", "-1", "nan", "inf", "-inf", "1e999", "x", ""),
    "least": ("-1", "nan", "inf", "x", ""),
    "part": ("-1", "1", "nan", "x"),
    "upto": ("0", "1.5", "nan", "x"),
}
# Each option of a number of each command, and what it refuses.
NUMBERS = {
    "compress": {"sparsity": "part", "epochs": "count", "lr": "above", "pixels": "whole",
                 "images": "whole", "seed": "count"},
    "evaluate": {"resamples": "whole", "level": "share", "seed": "count"},
    "explain": {"samples": "whole", "batch": "whole", "images": "whole", "images-seed": "count",
                "grid": "whole", "seed": "count", "side": "whole", "crop": "above"},
    "finetune": {"alpha": "share"},
    "pairs": {"alpha": "share", "resamples": "whole", "level": "share", "seed": "count"},
    "predict": {"samples": "whole", "rate": "share", "shift": "whole", "resolution": "whole",
                "batch": "whole", "workers": "count", "seed": "count"},
    "probe": {"resolution": "whole", "batch": "whole", "workers": "count", "seed": "count"},
    "run": {"timeout": "whole"},
    "sweep": {"trials": "whole", "draw-seed": "count", "cpus": "above", "gpus": "least",
              "budget-minutes": "least"},
    "trust": {"target": "upto", "k": "whole", "shown": "count", "resamples": "whole",
              "level": "share", "seed": "count"},
    "zoo": {"budget-minutes": "least"},
}  # fmt: skip


@pytest.fixture(scope="module")
def commands():
    (found,) = (a for a in entry._parser()._actions if isinstance(a, argparse._SubParsersAction))
    return found.choices


@pytest.mark.promise("errors")
@pytest.mark.parametrize("command", NUMBERS)
def test_a_number_out_of_its_range_is_refused_by_name(commands, command):
    actions = commands[command]._option_string_actions
    for name, kind in NUMBERS[command].items():
        action = actions[f"--{name}"]
        for text in REFUSED[kind]:
            with pytest.raises(argparse.ArgumentError, match=rf"--{name}.*is not a") as told:
                commands[command]._get_values(action, [text])
            assert repr(text) in str(told.value)
        assert commands[command]._get_values(
            action, ["0.5" if kind in ("part", "share", "upto") else "9"]
        )


@pytest.mark.promise("errors")
def test_no_option_takes_any_number(commands):
    """A new option of a number says its range, in this table too."""
    for name, command in commands.items():
        for action in command._actions:
            assert action.type not in (int, float), (name, action.option_strings)


@pytest.mark.promise("errors")
def test_a_range_is_told_and_ends_the_command(capsys):
    with pytest.raises(SystemExit) as ended:
        entry.main(["pairs", ".", "--out", "x.csv", "--resamples", "0"])
    assert ended.value.code == 2
    assert "--resamples: '0' is not a whole number of 2 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (whole(1, 9), "10", "a whole number from 1 to 9"),
        (whole(0), "-1", "a whole number of 0 or more"),
        (real(0, 1), "1", "a number above 0, below 1"),
        (real(0, 1, ends="[]"), "2", "a number of 0 or more, up to 1"),
        (real(0), "inf", "a number above 0"),
        (seed, str(1 << 32), "from 0 to 4294967295"),
    ],
)
def test_ranges_in_words(kind, text, words):
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        kind(text)


def test_ends_belong_to_a_range_where_it_says_so():
    assert (whole(1, 9)("9"), whole(1, 9)("1"), seed("0")) == (9, 1, 0)
    both = real(0, 1, ends="[]")
    assert (both("0"), both("1")) == (0, 1)
    assert real(0, 1, ends="[)")("0") == 0
    assert real(0, 1, ends="(]")("1") == 1
