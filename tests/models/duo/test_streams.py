"""Two CUDA streams, on a GPU that is made up: it knows for each piece of work what came before it.

A piece of work may begin as soon as all work that its stream knew of when it was given is done. So
whatever is not among it may run at the same time, or later, and must not be relied upon.
"""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

import duokit.models.duo.module as module
from duokit.models.duo import streams
from duokit.models.duo.module import AsymmetricDuo


class Stream:
    def __init__(self) -> None:
        self.known: set[str] = set()

    def wait_stream(self, other: "Stream") -> None:
        self.known |= other.known


class Gpu:
    """Keeps the stream where each piece of work ran, and what was done before it could begin."""

    def __init__(self) -> None:
        self.here, self.made = Stream(), []
        self.current = self.here
        self.where: dict[str, Stream] = {}
        self.before: dict[str, set[str]] = {}
        self.kept: list[Stream] = []

    def work(self, name: str) -> None:
        self.where[name], self.before[name] = self.current, set(self.current.known)
        self.current.known.add(name)

    def make(self, device: torch.device) -> Stream:
        self.made.append(Stream())
        return self.made[-1]

    @contextmanager
    def on(self, stream: Stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before


class OnGpu(torch.Tensor):
    """A tensor that says it lies on the GPU, and notes the streams that its memory waits for."""

    gpu: Gpu
    is_cuda = True

    def record_stream(self, stream: Stream) -> None:
        self.gpu.kept.append(stream)


class Works(torch.nn.Module):
    def __init__(self, gpu: Gpu, name: str) -> None:
        super().__init__()
        self.gpu, self.name, self.scale = gpu, name, torch.nn.Parameter(torch.ones(()))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.gpu.work(self.name)
        if pictures.isnan().any():
            raise MemoryError(self.name)
        return self.scale * pictures.mean(dim=(2, 3))


@pytest.fixture
def gpu(monkeypatch):
    made = Gpu()
    monkeypatch.setattr(OnGpu, "gpu", made, raising=False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: made.current)
    monkeypatch.setattr(torch.cuda, "Stream", made.make)
    monkeypatch.setattr(torch.cuda, "stream", made.on)
    streams._side_stream.cache_clear()
    yield made
    streams._side_stream.cache_clear()


@pytest.fixture
def on_gpu(gpu, duo, inputs):
    """A duo whose members say where they run, and its inputs, which are on their way."""
    large, small = Works(gpu, "large"), Works(gpu, "small")
    made = AsymmetricDuo(large, small, [0.75, 0.3], members=duo.members, classes=3)
    gpu.work("inputs")
    return made.eval(), [each.as_subclass(OnGpu) for each in inputs]


def test_members_run_at_once_and_nothing_crosses_too_early(gpu, on_gpu):
    duo, inputs = on_gpu
    with torch.inference_mode():
        found = duo(*inputs)
    (side,) = gpu.made
    assert gpu.where == {"inputs": gpu.here, "large": gpu.here, "small": side}
    assert gpu.before["small"] == {"inputs"}  # these it needs; for the large one it does not wait
    assert gpu.before["large"] == {"inputs"}
    # Whatever comes next here, the sum or other work in the memory of the inputs, waits for both.
    assert gpu.here.known == {"inputs", "large", "small"}
    # The memory of the small one's answer belongs to the side, and is read here.
    assert gpu.kept == [gpu.here]
    assert gpu.current is gpu.here
    with torch.no_grad():
        duo.concurrent = False
        assert torch.equal(found, duo(*inputs))


def test_the_same_stream_serves_the_next_call(gpu, on_gpu):
    duo, inputs = on_gpu
    with torch.no_grad():
        duo(*inputs)
        gpu.work("more inputs")
        duo(*inputs)
    assert len(gpu.made) == 1
    assert gpu.before["small"] == {"inputs", "large", "small", "more inputs"}


@pytest.mark.parametrize("place", [0, 1])
def test_after_an_error_the_inputs_are_not_overwritten_while_they_are_read(gpu, on_gpu, place):
    duo, inputs = on_gpu
    inputs[place][:] = float("nan")
    with torch.no_grad(), pytest.raises(MemoryError):
        duo(*inputs)
    assert gpu.here.known >= (gpu.made[0].known | {"inputs", "large"})
    assert gpu.current is gpu.here


@pytest.mark.parametrize("why", ["told", "gradients", "one weight", "shared", "compiled"])
def test_one_stream_serves_where_two_would_not(gpu, on_gpu, monkeypatch, why):
    duo, inputs = on_gpu
    if why == "told":
        duo.concurrent = False
    elif why == "one weight":
        duo.set_weights([0.0, 1.0])
    elif why == "shared":
        duo = AsymmetricDuo(duo.large, duo.large, [1.0, 1.0], members=duo.members, classes=3)
    elif why == "compiled":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with torch.set_grad_enabled(why == "gradients"):
        duo(*inputs)
    assert gpu.made == []
    assert {gpu.where[name] for name in gpu.where} == {gpu.here}


def test_streams_are_for_one_gpu():
    def inputs(device):
        return SimpleNamespace(is_cuda=device.type == "cuda", device=device)

    first, second, cpu = (inputs(torch.device(name)) for name in ("cuda:0", "cuda:1", "cpu"))
    with torch.no_grad():
        assert streams.may_run_beside(first, first)
        assert not streams.may_run_beside(first, second)
        assert not streams.may_run_beside(cpu, cpu)
        assert not streams.may_run_beside(cpu, first)


def test_on_a_cpu_no_stream_is_asked_for(duo, inputs, monkeypatch):
    monkeypatch.setattr(module, "beside", lambda *_: pytest.fail("streams on a CPU"))
    with torch.inference_mode():
        assert duo(*inputs).shape == (5, 3)


def test_shared_tensors_are_found_wherever_they_lie():
    norm, first, second = torch.nn.BatchNorm2d(3, affine=False), torch.nn.ReLU(), torch.nn.ReLU()
    conv = torch.nn.Conv2d(3, 3, 1)
    assert not streams.share_tensors(first, second)
    assert not streams.share_tensors(conv, torch.nn.Conv2d(3, 3, 1))
    assert streams.share_tensors(torch.nn.Sequential(conv, norm), torch.nn.Sequential(norm))
    other = torch.nn.Conv2d(3, 3, 1)
    other.weight = conv.weight
    assert streams.share_tensors(conv, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast"])
def test_two_streams_give_what_one_gives(make_duo, half):
    duo = make_duo().cuda()
    inputs = duo.example_inputs(5, seed=3)
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
        duo.concurrent = False
        expected = duo(*inputs)
        duo.concurrent = True
        for _ in range(20):  # a missing wait would show sooner or later
            torch.testing.assert_close(duo(*inputs), expected, rtol=1e-3, atol=1e-3)
