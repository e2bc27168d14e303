"""Options that several commands share."""

import argparse
from pathlib import Path

import pytest

from duokit.cli.options import add_bootstrap, add_making, add_pictures, own_options


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
