"""How long networks take: latency of one batch and images a second, by synchronised clocks.

compare_speeds(duo_calls(duo, batch=16))["duo"].latency
compare_speeds({"one network": (network, [inputs])})
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from duokit.models.build import build
from duokit.models.duo.module import AsymmetricDuo

LEVELS = (0.05, 0.5, 0.95)
Calls = Mapping[str, tuple[nn.Module, Sequence[torch.Tensor]]]


@dataclass(frozen=True)
class Speed:
    """What was measured of one network at one batch size.

    A GPU computes while the program runs on, so each clock is read only after the device has
    finished. Latency is the time of one batch alone, from giving it to having the answer;
    throughput is that of batches given one after the other without waiting between.

    Attributes:
        latency: median time of one batch, seconds.
        low: the time that 5 % of the batches stay below, seconds.
        high: the time that 95 % stay below, seconds.
        images_per_second: throughput; the median over the rounds.
        batch: images at a time.
        rounds: rounds measured; each gives one latency and one throughput.
        inputs: shape of each input.
        device: where it ran, "cpu" or the name of the GPU.
        threads: of the CPU that torch may use.
    """

    latency: float
    low: float
    high: float
    images_per_second: float
    batch: int
    rounds: int
    inputs: tuple[tuple[int, ...], ...]
    device: str
    threads: int


def duo_calls(duo: AsymmetricDuo, *, batch: int = 1) -> Calls:
    """Returns "large", "small" and "duo" with random pictures, for `compare_speeds` to measure.

    On a CUDA device also "duo, in turn", whose members run one after the other, not at once.

    Args:
        duo: on the device, and in the float type, to be measured.
        batch: n, pictures at a time.
    """
    large, small = inputs = duo.example_inputs(batch)
    calls = {"large": (duo.large, [large]), "small": (duo.small, [small]), "duo": (duo, inputs)}
    if large.is_cuda:
        in_turn = copy.copy(duo)  # the same networks
        in_turn.concurrent = False
        calls["duo, in turn"] = (in_turn, inputs)
    return calls


def network_seconds(
    networks: Mapping[str, tuple[str, int]],
    *,
    classes: int,
    layers: Mapping[str, Sequence[int]] | None = None,
    batch: int = 8,
    rounds: int = 5,
) -> dict[str, float]:
    """Returns the seconds an image takes in each network, measured in turns, on the CPU.

    Weights are random, on which the time does not depend; convolutions have the channels last.

    Args:
        networks: name -> (network as for `build`, side of its pictures in pixels).
        classes: outputs of each.
        layers: name -> sizes of a chain of linear layers, inputs first, for what is done after a
            network, such as (1280, 101) for one more head.
        batch: pictures at a time.
        rounds: as for `compare_speeds`.

    Raises:
        ValueError: as `build` and `compare_speeds`.
    """
    calls: dict[str, tuple[nn.Module, list[torch.Tensor]]] = {}
    for name, (model, side) in networks.items():
        net = build(model, classes=classes, pretrained=None, resolution=side)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        calls[name] = (net, [torch.rand(batch, 3, side, side)])
    for name, sizes in (layers or {}).items():
        chain = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))
        calls[name] = (chain, [torch.rand(batch, sizes[0])])
    speeds = compare_speeds(calls, rounds=rounds, warmup=1, in_row=2)
    return {name: 1 / speed.images_per_second for name, speed in speeds.items()}


def compare_speeds(
    calls: Calls,
    *,
    rounds: int = 30,
    warmup: int = 5,
    in_row: int = 5,
) -> dict[str, Speed]:
    """Returns the speed of each network, measured in turns so that a slow moment meets them all.

    Without gradients; whether with autocast is the caller's choice (call this inside it).

    Args:
        calls: name -> (network, its inputs). A network is put in eval mode, as it stays; its inputs
            are (n, ...) each, on its device, and n is the batch size.
        rounds: in each, every network has its latency and its throughput measured once.
        warmup: calls of each network before the first clock starts.
        in_row: batches without waiting between, from which the throughput is taken.

    Raises:
        ValueError: numbers below 1, no inputs, or inputs of different length or device.
    """
    if min(rounds, in_row) < 1 or warmup < 0:
        raise ValueError(
            f"rounds is {rounds}, in_row {in_row}, warmup {warmup}; expected 1, 1, 0 or more"
        )
    for name, (_, inputs) in calls.items():
        if len({(len(each), each.device) for each in inputs}) != 1:
            found = [(len(each), str(each.device)) for each in inputs]
            raise ValueError(f"{name} has inputs of length and device {found}; expected one of all")
    latencies: dict[str, list[float]] = {name: [] for name in calls}
    in_rows: dict[str, list[float]] = {name: [] for name in calls}
    with torch.inference_mode():
        for network, inputs in calls.values():
            network.eval()
            _seconds(network, inputs, warmup)
        for _ in range(rounds):
            for name, (network, inputs) in calls.items():
                latencies[name].append(_seconds(network, inputs, 1))
                in_rows[name].append(_seconds(network, inputs, in_row) / in_row)
    return {
        name: _summary(inputs, latencies[name], in_rows[name])
        for name, (_, inputs) in calls.items()
    }


def _seconds(network: nn.Module, inputs: Sequence[torch.Tensor], times: int) -> float:
    """Returns how long so many calls take, from an idle device to an idle device."""
    device = inputs[0].device
    _wait(device)
    begun = time.perf_counter()
    for _ in range(times):
        network(*inputs)
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    """Returns nothing, once the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _summary(inputs: Sequence[torch.Tensor], latencies: list[float], in_row: list[float]) -> Speed:
    low, middle, high = (float(value) for value in np.quantile(latencies, LEVELS))
    device = inputs[0].device
    return Speed(
        latency=middle,
        low=low,
        high=high,
        images_per_second=len(inputs[0]) / float(np.median(in_row)),
        batch=len(inputs[0]),
        rounds=len(latencies),
        inputs=tuple(tuple(each.shape) for each in inputs),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
    )
