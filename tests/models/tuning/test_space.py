"""Draws that depend on their number alone, and the table [sweep] of a settings file."""

import numpy as np
import pytest

from duokit.models.tuning.settings import read_settings
from duokit.models.tuning.space import Search, Space, read_search


def test_draws_are_log_uniform_and_depend_on_their_number():
    draws = [Space().draw(number) for number in range(2000)]
    assert Space().draw(7) == draws[7]
    assert Space(seed=1).draw(7) != draws[7]
    for name, (low, high) in (("lr", (1e-6, 3e-4)), ("weight_decay", (1e-8, 1e-5))):
        places = np.log([draw[name] / low for draw in draws]) / np.log(high / low)
        assert places.min() >= 0
        assert places.max() <= 1
        assert np.quantile(places, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


@pytest.mark.parametrize("ends", [(0.0, 1e-3), (1e-2, 1e-3), (1e-3, 2.0)])
def test_ends_that_make_no_sense(ends):
    with pytest.raises(ValueError, match="expected 0 < low <= high <= 1"):
        Space(lr=ends)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trials": 0}, "trials is 0"),
        ({"searcher": "grid"}, "searcher is 'grid'; expected one of optuna, ray, random"),
        ({"cpus": 0.0}, "cpus is 0.0; expected more than 0"),
        ({"gpus": -1.0}, "gpus is -1.0"),
    ],
)
def test_a_search_that_makes_no_sense(values, words):
    with pytest.raises(ValueError, match=words):
        Search(**values)


def test_a_seed_below_zero():
    with pytest.raises(ValueError, match="seed of the draws is -1"):
        Space(seed=-1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "lite.toml"
    path.write_text(
        'model = "tf_efficientnet_lite0"\nepochs = 3\n[sweep]\ntrials = 5\nlr = [1e-5, 1e-3]\n'
        'seed = 4\nprune = false\nsearcher = "ray"\ngpus = 0.5\n'
    )
    return path


def test_one_file_holds_settings_and_search(file):
    found = read_search(file)
    assert found == Search(5, Space(lr=(1e-5, 1e-3), seed=4), False, "ray", gpus=0.5)
    assert read_settings(file).epochs == 3


def test_words_come_before_the_file(file):
    found = read_search(file, trials=7, weight_decay=[1e-6, 1e-4], searcher="random")
    assert found.trials == 7
    assert found.space == Space((1e-5, 1e-3), (1e-6, 1e-4), 4)
    assert found.searcher == "random"


def test_no_file_and_no_table(tmp_path):
    assert read_search(None) == Search()
    path = tmp_path / "plain.toml"
    path.write_text('model = "tf_efficientnet_lite0"\n')
    assert read_search(path) == Search()


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("trial = 3", ValueError, r"lite\.toml: sweep\.trial is not known; expected some of tr"),
        ("trials = 3.5", TypeError, "trials is 3.5; expected int"),
        ("trials = true", TypeError, "trials is True; expected int"),
        ("lr = 1e-4", TypeError, r"lr is 0.0001; expected \[low, high\]"),
        ("lr = [1e-4]", TypeError, r"expected \[low, high\]"),
        ("lr = [1e-4, 1e-5]", ValueError, "0 < low <= high"),
        ("prune = 1", TypeError, "expected bool"),
        ("cpus = [", ValueError, r"lite\.toml"),
    ],
)
def test_a_bad_table(tmp_path, line, kind, words):
    path = tmp_path / "lite.toml"
    path.write_text(f'model = "tf_efficientnet_lite0"\n[sweep]\n{line}\n')
    with pytest.raises(kind, match=words):
        read_search(path)


@pytest.mark.promise("errors")
@pytest.mark.parametrize("text", ["sweep = 3", "[[sweep]]\ntrials = 3"])
def test_a_sweep_that_is_no_table(tmp_path, text):
    path = tmp_path / "lite.toml"
    path.write_text(text)
    with pytest.raises(TypeError, match=r"lite\.toml: sweep is .*3.*; expected a table \[sweep\]"):
        read_search(path)


def test_other_tables_and_a_sweep_that_is_none_are_still_refused(tmp_path):
    for text in ("[sweeps]\ntrials = 3\n", "sweep = 3\n"):
        path = tmp_path / "lite.toml"
        path.write_text(f'model = "tf_efficientnet_lite0"\n{text}')
        with pytest.raises(ValueError, match=r"'sweeps?' is not known"):
            read_settings(path)
