"""Where a run computes: with accelerate or without, never waiting, on with less memory."""

import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import duokit.models.tuning.finetune as loop
from duokit.models.inference import layout
from duokit.models.pixels import Pixels, ahead
from duokit.models.tuning.augment import augment
from duokit.models.tuning.checkpoint import Progress
from duokit.models.tuning.devices import (
    OneDevice,
    computes_in_half,
    half_of,
    is_out_of_memory,
    pick_devices,
)
from duokit.models.tuning.objectives import objective
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.watch import Watch
from tests.models.tuning.test_finetune import (
    PLAIN,
    Killed,
    Normed,
    make,
    pixels,  # noqa: F401
    tune,
    weights,
)

META = torch.device("meta")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_accelerate_the_bits_are_the_same(pixels, tmp_path, monkeypatch, precision):  # noqa: F811
    settings = replace(PLAIN, precision=precision, clip=0.5, micro_batch=7, mixup=0.2)
    ours, done = tune(pixels, tmp_path / "with", settings, make(Normed))
    monkeypatch.setitem(sys.modules, "accelerate", None)  # an import of it fails
    with pytest.warns(UserWarning, match=r"one device trains.*duokit\[train\]") as seen:
        theirs, again = tune(pixels, tmp_path / "without", settings, make(Normed))
    assert len(seen) == 1
    assert torch.equal(weights(ours), weights(theirs))
    for one, other in zip(done.history, again.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_several_processes_need_accelerate(pixels, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ModuleNotFoundError, match=r"WORLD_SIZE is 2.*duokit\[train\]"):
        tune(pixels, tmp_path)


def test_a_numbered_device_is_the_one_that_is_taken():
    assert isinstance(pick_devices(PLAIN, "cpu:0"), OneDevice)
    assert not isinstance(pick_devices(PLAIN, "cpu"), OneDevice)


@pytest.mark.parametrize(
    ("precision", "device", "capability", "expected"),
    [
        ("auto", "cpu", None, False),
        ("auto", "cuda", (7, 5), False),  # a T4 only imitates bfloat16
        ("auto", "cuda", (8, 0), True),
        ("bf16", "cpu", None, True),
        ("fp32", "cuda", (9, 0), False),
    ],
)
def test_bfloat16_only_where_it_pays(monkeypatch, precision, device, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    settings = replace(PLAIN, precision=precision)
    assert computes_in_half(settings, torch.device(device)) is expected


def test_out_of_memory_in_words():
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert is_out_of_memory(torch.cuda.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    given = {"step": 7, "batch": 64, "error": RuntimeError("no")}
    with pytest.warns(UserWarning, match="step 7: on with 5 images at a time .* batch of 64"):
        assert half_of(9, processes=1, **given) == 5
    words = "32 images at a time on each of 2 processes: set micro_batch = 16"
    with pytest.raises(torch.cuda.OutOfMemoryError, match=words):
        half_of(32, processes=2, **given)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="one image at a time"):
        half_of(1, processes=1, **given)


def test_other_errors_are_not_taken_for_it(pixels, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Normed, "forward", lambda *_: torch.zeros(2, 3) @ torch.zeros(2, 3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        tune(pixels, tmp_path, PLAIN, make(Normed))


def test_a_run_goes_on_with_fewer_images_at_a_time(pixels, tmp_path, monkeypatch):  # noqa: F811
    """As the error asks for; save_minutes and compile are free as well, lr is not."""
    settings = replace(PLAIN, batchnorm="frozen")
    whole, _ = tune(pixels, tmp_path / "whole", settings, make(Normed))
    real, calls = loop.gradients, []

    def fragile(*given):
        calls.append(given[4].micro_batch)
        if len(calls) == 7:
            raise Killed
        return real(*given)

    monkeypatch.setattr(loop, "gradients", fragile)
    with pytest.raises(Killed):
        tune(pixels, tmp_path / "cut", settings, make(Normed))
    smaller = replace(settings, micro_batch=4, save_minutes=1.0)
    again, _ = tune(pixels, tmp_path / "cut", smaller, make(Normed))
    assert calls == [16] * 7 + [4] * 8
    assert torch.allclose(weights(whole), weights(again), atol=1e-5)


class Sends(TorchFunctionMode):
    """Keeps the calls that make a tensor of Python's numbers on the device: they send, and wait."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.tensor, torch.as_tensor) and (kwargs or {}).get("device") == META:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Reads(TorchDispatchMode):
    """Keeps the operations that copy from or to the device and wait for it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        devices = [each.device for each in args if isinstance(each, torch.Tensor)]
        if name == "_to_copy":
            devices.append(kwargs.get("device") or devices[0])
        copies = name in ("_to_copy", "copy_", "where") and len(set(devices)) > 1
        if copies and not (kwargs.get("non_blocking") or args[-1] is True):
            self.seen.append(name)
        return func(*args, **kwargs)


@contextmanager
def waiting():
    """Yields a list of what waits for the device.

    The meta device stands for a GPU: it has shapes and no values, so to read one is an error.
    """
    seen = []
    with Sends() as sends, Reads() as reads:
        try:
            yield seen
        finally:
            seen += sends.seen + reads.seen


def on_meta(pixels):  # noqa: F811
    return Pixels(pixels.values.to(META), pixels.labels, pixels.ids, pixels.preprocessing)


@pytest.mark.parametrize("held", ["on the device", "in memory"])
def test_no_step_waits_for_the_device(pixels, tmp_path, held):  # noqa: F811
    """All fourteen operations, flips, mixup, micro-batches, clipping, the eye on the loss."""
    settings = replace(PLAIN, randaugment=3, mixup=0.2, micro_batch=50, clip=1.0, batch=60)
    devices = OneDevice(META, half=False)
    schedule, done = Schedule(60, settings), Progress(micro_batch=50)
    assert schedule.draws(0).ops.unique().numel() == 14
    moved = on_meta(pixels) if held == "on the device" else pixels
    net = make(Normed).to(META)
    with Watch(schedule, done, devices, tmp_path, show=False, tensorboard=False) as watch:

        def fetch():
            images, labels = moved.fetch(schedule.places(0), META)
            return augment(images, schedule.draws(0)), labels, schedule.places(0)

        minimised = objective(settings)
        loop.gradients(net, moved, fetch(), schedule, done, devices, minimised)  # tables go there
        net.zero_grad()
        with waiting() as seen:
            loss = loop.gradients(net, moved, fetch(), schedule, done, devices, minimised)
            devices.clip_grad_norm_(net.parameters(), 1.0)
            watch.saw(loss, 60)
        assert seen == []


def test_waiting_is_seen():
    """The test above would say nothing if this did not hold."""
    value = torch.ones(3, device=META)
    for wait in (
        lambda: torch.where(value > 0, value, torch.tensor(2.0)),
        lambda: torch.tensor([1.0, 2.0]).to(META),
        lambda: torch.tensor([1.0, 2.0], device=META),
        lambda: torch.zeros(3, device=META).copy_(torch.ones(3)),
    ):
        with waiting() as seen:
            wait()
        assert len(seen) == 1
    for wait in (lambda: value.sum().item(), lambda: value[value > 0]):
        with pytest.raises((RuntimeError, NotImplementedError)):
            wait()


def test_the_next_item_is_worked_on_while_one_is_used():
    begun = {number: threading.Event() for number in range(3)}

    def work(number):
        begun[number].set()
        return number, threading.current_thread()

    done = ahead(work, iter(range(3)))
    for number, (found, thread) in enumerate(done):
        assert found == number
        assert thread is not threading.current_thread()
        assert begun[min(number + 1, 2)].wait(10)  # though nobody asked for it
    assert list(ahead(work, [])) == []


def test_an_error_while_fetching_is_not_lost(pixels):  # noqa: F811
    rows = [torch.tensor([1]), torch.tensor([1000])]
    with pytest.raises((IndexError, RuntimeError), match="range"):
        list(ahead(partial(pixels.fetch, device=torch.device("cpu")), rows))


def test_a_fetched_batch_has_the_pictures_and_labels_of_its_rows(pixels):  # noqa: F811
    rows = torch.tensor([2, 2, 3])
    images, labels = pixels.fetch(rows, torch.device("cpu"))
    assert torch.equal(images, pixels.values[rows])
    assert torch.equal(labels, pixels.labels[rows])


def test_each_size_of_a_batch_is_compiled_once(pixels, tmp_path, monkeypatch):  # noqa: F811
    """60 images in batches of 16: the last of an epoch has 12, and is no reason for more."""
    seen = []

    def count(graph, inputs):
        seen.extend(len(each) for each in inputs if each.shape[1:] == (3, 8, 8))
        return graph.forward

    torch._dynamo.reset()
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda net, **given: real(net, backend=count, **given))
    settings = replace(PLAIN, batchnorm="frozen")
    compiled, _ = tune(pixels, tmp_path / "a", replace(settings, compile=True), make(Normed))
    plain, _ = tune(pixels, tmp_path / "b", settings, make(Normed))
    assert sorted(seen) == [12, 16]
    assert torch.allclose(weights(plain), weights(compiled), atol=1e-6)
    torch._dynamo.reset()


def test_layout():
    assert layout(torch.device("mps")) == torch.contiguous_format
    assert layout(torch.device("cuda")) == torch.channels_last
