"""Options that several commands share."""

import argparse

import pytest

from duokit.cli.options import add_bootstrap


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
