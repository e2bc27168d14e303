"""Speed, on a device and a clock that are made up, so that every time is known beforehand."""

from collections import deque

import pytest
import torch

import duokit.models.speed as module
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo
from duokit.models.speed import compare_speeds, duo_calls, network_seconds
from duokit.models.transforms import Preprocessing


def measure_speed(network, *inputs, **options):
    return compare_speeds({"it": (network, inputs)}, **options)["it"]


class World:
    """A clock, and a device that returns at once and works later: until somebody waits for it."""

    def __init__(self) -> None:
        self.now, self.queued = 100.0, 0.0

    def perf_counter(self) -> float:
        return self.now

    def wait(self, device: torch.device) -> None:
        self.now, self.queued = self.now + self.queued, 0.0


class Job(torch.nn.Module):
    """Takes 1 s to give to the device and these many seconds there, one after the other."""

    def __init__(self, world, *seconds):
        super().__init__()
        self.world, self.seconds, self.modes = world, deque(seconds), []

    def forward(self, *inputs):
        self.modes.append((self.training, torch.is_grad_enabled(), len(inputs)))
        self.world.now += 1
        self.world.queued += self.seconds[0]
        self.seconds.rotate(-1)
        return inputs[0]


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(module.time, "perf_counter", made.perf_counter)
    monkeypatch.setattr(module, "_wait", made.wait)
    return made


def test_the_clock_waits_for_the_device(world):
    job = Job(world, 4.0)
    found = measure_speed(job.train(), torch.zeros(8, 3, 2, 2), rounds=3, warmup=2, in_row=5)
    assert found.latency == found.low == found.high == 5.0  # 1 s to give, 4 s to compute
    assert found.images_per_second == pytest.approx(8 / 5)
    assert (found.batch, found.rounds, found.inputs) == (8, 3, ((8, 3, 2, 2),))
    assert found.device == "cpu"
    assert found.threads == torch.get_num_threads()
    assert job.modes == [(False, False, 1)] * (2 + 3 * (1 + 5))


def test_the_warm_up_does_not_count(world):
    job = Job(world, 1000.0, 1.0, 1.0, 1.0, 1.0)  # one slow call to begin with
    assert measure_speed(job, torch.zeros(1, 1), rounds=2, warmup=1, in_row=1).high == 2.0
    assert world.queued == 0


def test_the_quantiles_are_those_of_single_batches(world):
    # Each round is one call alone and one in a row; the latter take 9 s on the device.
    times = [value for alone in range(21) for value in (float(alone), 9.0)]
    found = measure_speed(Job(world, *times), torch.zeros(4, 1), rounds=21, warmup=0, in_row=1)
    assert (found.low, found.latency, found.high) == pytest.approx((2.0, 11.0, 20.0))
    assert found.images_per_second == pytest.approx(4 / 10)


def test_networks_are_measured_in_turns(world):
    calls = []

    class Named(Job):
        def forward(self, *inputs):
            calls.append(self.name)
            return super().forward(*inputs)

    jobs = {}
    for name, seconds in (("large", 3.0), ("small", 1.0), ("duo", 4.0)):
        jobs[name] = Named(world, seconds)
        jobs[name].name = name
    one, two = torch.zeros(2, 1), torch.zeros(2, 5)
    found = compare_speeds(
        {"large": (jobs["large"], [one]), "small": (jobs["small"], [two]),
         "duo": (jobs["duo"], [one, two])},
        rounds=2, warmup=0, in_row=1,
    )  # fmt: skip
    assert {name: each.latency for name, each in found.items()} == {
        "large": 4.0, "small": 2.0, "duo": 5.0,
    }  # fmt: skip
    assert found["duo"].inputs == ((2, 1), (2, 5))
    assert calls == ["large", "large", "small", "small", "duo", "duo"] * 2


def test_a_real_network_takes_some_time(tiny):
    found = measure_speed(tiny, torch.zeros(2, 3, 8, 8), rounds=3, warmup=1, in_row=2)
    assert 0 < found.low <= found.latency <= found.high
    assert found.images_per_second > 0


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        ([(2, 1)], {"rounds": 0}, "rounds is 0"),
        ([(2, 1)], {"in_row": 0}, "in_row 0"),
        ([(2, 1)], {"warmup": -1}, "warmup -1"),
        ([], {}, "has inputs of length and device"),
        ([(2, 1), (3, 1)], {}, r"length and device \[\(2, 'cpu'\), \(3, 'cpu'\)\]"),
    ],
)
def test_what_cannot_be_measured_is_refused(tiny, inputs, options, words):
    with pytest.raises(ValueError, match=words):
        measure_speed(tiny, *(torch.zeros(shape) for shape in inputs), **options)


def make_duo(tiny, **options):
    size = {"crop_pct": 1.0, "interpolation": "bilinear", "mean": (0.5,) * 3, "std": (0.5,) * 3}
    members = tuple(Member("tiny", Preprocessing(side, **size)) for side in (12, 8))
    return AsymmetricDuo(tiny, type(tiny)(), [0.7, 0.3], members=members, classes=3, **options)


@pytest.mark.parametrize("batch", [1, 4])
def test_large_small_and_duo_are_measured_at_each_batch_size(tiny, batch):
    duo = make_duo(tiny)
    calls = duo_calls(duo, batch=batch)
    assert {name: network for name, (network, _) in calls.items()} == {
        "large": duo.large, "small": duo.small, "duo": duo,
    }  # fmt: skip
    found = compare_speeds(calls, rounds=2, warmup=0, in_row=1)
    assert {name: each.inputs for name, each in found.items()} == {
        "large": ((batch, 3, 12, 12),),
        "small": ((batch, 3, 8, 8),),
        "duo": ((batch, 3, 12, 12), (batch, 3, 8, 8)),
    }
    assert {each.batch for each in found.values()} == {batch}


def test_on_a_gpu_the_duo_also_runs_in_turn(tiny, monkeypatch):
    duo = make_duo(tiny)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    in_turn, _ = duo_calls(duo)["duo, in turn"]
    assert duo.concurrent
    assert not in_turn.concurrent
    assert in_turn.large is duo.large


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_wait_on_a_gpu_is_real():
    # A product that keeps the device busy far longer than giving it takes.
    values = torch.randn(8192, 8192, device="cuda")
    for _ in range(20):
        values @ values
    module._wait(values.device)
    assert torch.cuda.current_stream(values.device).query()


def test_seconds_of_networks_are_those_of_compare_speeds(monkeypatch):
    """It builds what it names, shows it pictures of that size, and gives 1 / images a second."""
    real, seen = module.compare_speeds, {}

    def spy(calls, **options):
        seen.update(
            {name: [tuple(each.shape) for each in given] for name, (_, given) in calls.items()}
        )
        with torch.inference_mode():
            assert {calls[name][0].eval()(*calls[name][1]).shape[1] for name in ("a", "b")} == {5}
            assert calls["head"][0](*calls["head"][1]).shape == (3, 7)
        found = real(calls, **options)
        seen["speeds"] = found
        return found

    monkeypatch.setattr(module, "compare_speeds", spy)
    found = network_seconds(
        {"a": ("test_resnet", 32), "b": ("test_efficientnet", 40)}, classes=5,
        layers={"head": (8, 6, 7)}, batch=3, rounds=1,
    )  # fmt: skip
    assert seen["a"] == [(3, 3, 32, 32)]
    assert seen["b"] == [(3, 3, 40, 40)]
    assert seen["head"] == [(3, 8)]
    assert found == {n: 1 / each.images_per_second for n, each in seen["speeds"].items()}
