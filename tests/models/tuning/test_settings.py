"""Settings of fine-tuning and the schedule that follows from them."""

import math

import pytest
import torch

from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune, from_dict, read_settings
from duokit.models.tuning.space import read_search
from duokit.models.tuning.zoo import read_zoo


def test_a_file_gives_its_values_and_the_defaults(tmp_path):
    path = tmp_path / "lite.toml"
    path.write_text('model = "tf_efficientnet_lite0"\nlr = 1\nclip = 2\nprobe = false\n')
    found = read_settings(path, lr=3e-5)
    assert found == FineTune("tf_efficientnet_lite0", lr=3e-5, clip=2.0, probe=False)
    assert type(found.clip) is float
    assert found.replace(seed=3).seed == 3
    assert from_dict(found.as_dict()) == found


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (
            'model = "a"\nlearning_rate = 1',
            ValueError,
            r"'learning_rate' is not known.*weight_decay",
        ),
        ("lr = 0.1", ValueError, "no model is named"),
        ('model = "a"\nlr = "fast"', TypeError, "lr is 'fast'; expected float"),
        ('model = "a"\nepochs = 1.5', TypeError, "epochs is 1.5; expected int"),
        ('model = "a"\nprobe = 1', TypeError, "probe is 1; expected bool"),
        ('model = "a"\nlr = 2', ValueError, "lr is 2.0; expected 0 to 1"),
        ('model = "a"\nlr = nan', ValueError, "lr is nan"),
        ('model = "a"\nbatch = 0', ValueError, "batch is 0; expected 1 to"),
        ('model = "a"\nselect = "f1"', ValueError, "expected one of accuracy, macro_f1"),
        ("model = ", ValueError, "Invalid value"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path, text, kind, words):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(kind, match=words) as caught:
        read_settings(path)
    assert str(path) in str(caught.value)


@pytest.mark.promise("errors")
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('model = "caf\xe9"'.encode("latin-1"), r"is not in UTF-8 \(.* at byte 12\): save it as U"),
        ('model = "a"'.encode("utf-16"), "is not in UTF-8"),
        (b"\0", r"is no TOML \(.*\): write NAME = VALUE lines"),
        (b"model = resnet18", r"is no TOML \(.*line 1.*\): write .* texts in quotation marks"),
        (b"a = " + b"[" * 5000, "is no TOML .*recursion"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_in_one_line(tmp_path, data, words):
    path = tmp_path / "bad.toml"
    path.write_bytes(data)
    for read in (read_settings, read_search, read_zoo):
        with pytest.raises(ValueError, match=words) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path} ")
        with pytest.raises(IsADirectoryError, match="is a folder: give the TOML file in it"):
            read(tmp_path)


def test_a_mark_of_utf8_is_passed_over(tmp_path):
    path = tmp_path / "windows.toml"
    path.write_bytes(b'\xef\xbb\xbfmodel = "a"\r\nlr = 1e-5\r\n')
    assert read_settings(path) == FineTune("a", lr=1e-5)


def test_every_field_is_explained():
    for name in FineTune("a").as_dict():
        assert f"        {name}: " in FineTune.__doc__


def test_none_means_random_weights():
    assert FineTune("a", pretrained="none").source is None
    assert FineTune("a").source == "auto"


def test_each_epoch_is_a_permutation_of_its_own():
    schedule = Schedule(23, FineTune("a", epochs=3, batch=5))
    assert (schedule.per_epoch, schedule.steps) == (5, 15)
    epochs = [torch.cat([schedule.places(e * 5 + s) for s in range(5)]) for e in range(3)]
    for order in epochs:
        assert sorted(order.tolist()) == list(range(23))
    assert not torch.equal(epochs[0], epochs[1])
    assert len(schedule.places(4)) == 3
    other = Schedule(23, FineTune("a", epochs=3, batch=5, seed=1))
    assert not torch.equal(other.places(0), schedule.places(0))


def test_the_rate_rises_and_falls():
    schedule = Schedule(100, FineTune("a", epochs=10, batch=10, lr=1e-3, warmup=0.2))
    rates = [schedule.rate(step) for step in range(schedule.steps)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[10] == pytest.approx(1e-3 * 0.55)
    assert max(rates) == rates[20] == pytest.approx(1e-3)
    assert rates[60] == pytest.approx(1e-3 * (1 + math.cos(math.pi / 2)) / 2)
    assert rates[-1] < 1e-6
    constant = Schedule(100, FineTune("a", epochs=1, batch=100, warmup=0.0, lr=0.5))
    assert constant.rate(0) == 0.5
    assert Schedule(10, FineTune("a", epochs=1, batch=5, warmup=1.0)).rate(1) > 0


def test_a_step_is_the_same_whenever_it_is_asked_for():
    schedule = Schedule(40, FineTune("a", epochs=2, batch=8, seed=7))
    later = schedule.draws(6)
    schedule.draws(3)
    again = schedule.draws(6)
    assert torch.equal(later.ops, again.ops)
    assert torch.equal(later.flips, again.flips)
    seeds = {schedule.seed(step, stream=k) for step in range(10) for k in (1, 2, 3)}
    assert len(seeds) == 30
