"""What a training step takes: memory counted by hand, times that mean something."""

from dataclasses import replace

import pytest
import torch

import duokit.models.tuning.footprint as module
from duokit.models.tuning.footprint import measure_step
from tests.models.conftest import Tiny
from tests.models.tuning.test_finetune import PLAIN

SETTINGS = replace(PLAIN, resolution=8, batch=32)
# Tiny has a convolution (4 x 3 x 3 x 3 weights and 4 biases) and a head (4 x 3 and 3).
WEIGHTS = 4 * (108 + 4 + 12 + 3)
STEPS = 4 * 4  # AdamW counts its steps once a tensor
# Kept of an image: itself, the 4 x 4 x 4 values behind relu (by relu), what dropout lets
# through and by how much, the head's input, log-probabilities, label.
AN_IMAGE = 4 * (3 * 64 + 4 * 16 + 4 + 4 + 3) + 8
LOSS = 4  # how many labels counted


@pytest.fixture
def tiny_built(monkeypatch):
    monkeypatch.setattr(module, "build", lambda *_, classes, **__: Tiny(classes))


def counted(**changes):
    return measure_step(replace(SETTINGS, **changes), classes=3, device="cpu")


def test_memory_is_what_can_be_counted_by_hand(tiny_built):
    found = counted()
    assert found.memory_is == "counted"
    assert found.images == 32
    assert found.memory == 4 * WEIGHTS + STEPS + LOSS + 32 * AN_IMAGE


def test_memory_grows_with_the_images_at_a_time(tiny_built):
    assert counted(batch=64).memory - counted().memory == 32 * AN_IMAGE
    few = counted(batch=64, micro_batch=5)
    assert few.images == 5
    assert counted().memory - few.memory == 27 * AN_IMAGE


def test_how_many_are_timed_changes_no_count():
    settings = replace(SETTINGS, model="test_efficientnet", resolution=32)
    found = [measure_step(settings, classes=3, device="cpu", images=n).memory for n in (3, 8)]
    assert found[0] == found[1]


def test_a_tensor_that_two_layers_keep_counts_once(monkeypatch):
    class Twice(Tiny):
        def forward(self, pictures):
            return super().forward(pictures) + self.fc(self.stem(pictures).relu().mean(dim=(2, 3)))

    monkeypatch.setattr(module, "build", lambda *_, classes, **__: Twice(classes))
    more = counted().memory - (4 * WEIGHTS + STEPS + LOSS + 32 * AN_IMAGE)
    assert more == 32 * 4 * (4 * 16 + 4)  # relu's output and the head's input again, not the image


def test_times(tiny_built, monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(ticks)))
    found = counted()  # every piece of work takes a second
    assert found.training_seconds == 1 / 8 + 1 / 32
    assert found.inference_seconds == 1 / 8


def test_training_takes_longer_than_asking():
    settings = replace(SETTINGS, model="test_efficientnet", resolution=96)
    found = measure_step(settings, classes=3, device="cpu")
    assert found.training_seconds > found.inference_seconds > 0
    assert found.device == "cpu"
    assert found.threads == torch.get_num_threads()


@pytest.mark.parametrize("given", [{"images": 2}, {"steps": 0}])
def test_too_little_to_measure(given):
    with pytest.raises(ValueError, match="expected a number of pixels, more than 2, and 1 or more"):
        measure_step(SETTINGS, classes=3, device="cpu", **given)


def test_the_resolution_must_be_settled():
    with pytest.raises(ValueError, match="resolution is None"):
        measure_step(PLAIN, classes=3, device="cpu")


def test_global_random_numbers_stay_as_they_were(tiny_built):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    counted()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_memory_is_measured_on_a_gpu():
    settings = replace(SETTINGS, model="test_efficientnet", resolution=96)
    on_gpu = measure_step(settings, classes=3, device="cuda")
    assert on_gpu.memory_is == "measured"
    assert on_gpu.memory > 0
