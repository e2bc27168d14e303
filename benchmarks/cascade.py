"""Images a second of a large network, a small one, their duo, and the cascaded duo, side by side.

All are measured in turns in this process, with clocks that wait for the device. Weights are random:
time does not depend on them. Thresholds are quantiles of the uncertainty of these very pictures, so
that just the share asked for is deferred. A cascade runs what the cascaded duo runs; the duo's sum
is all that is more. "collected" runs the small network on all batches first and then the large one
on what they defer, in full batches, as `CascadedDuo.predict` does.

    python benchmarks/cascade.py --large tf_efficientnet_lite2@192 --small tf_efficientnet_lite0@96
"""

import argparse

import numpy as np
import torch
from latency import member

from duokit.cascade import gate_uncertainty
from duokit.models import AsymmetricDuo, CascadedDuo, pick_device
from duokit.models.speed import Speed, compare_speeds

BATCHES = 4  # whose deferred pictures are collected


class Batches(torch.nn.Module):
    """Some batches, one after the other, by a network that takes one."""

    def __init__(self, network: torch.nn.Module, batch: int) -> None:
        super().__init__()
        self.network, self.batch = network, batch

    def forward(self, *inputs: torch.Tensor) -> None:
        for parts in zip(*(each.split(self.batch) for each in inputs), strict=True):
            self.network(*parts)


class Collected(torch.nn.Module):
    """The small network on each batch, then the large one on what all of them defer."""

    def __init__(self, gated: CascadedDuo, batch: int) -> None:
        super().__init__()
        self.gated, self.batch = gated, batch

    def forward(self, large_inputs: torch.Tensor, small_inputs: torch.Tensor) -> None:
        duo = self.gated.duo
        small = torch.cat([duo.small(part) for part in small_inputs.split(self.batch)])
        logits, deferred = self.gated._kept(small.float())
        rows = deferred.nonzero()[:, 0].to(small.device)
        for at in rows.split(self.batch):
            logits[at] = self.gated._passed(duo.large(large_inputs[at]).float(), small[at])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=member, default="tf_efficientnet_lite2@192")
    parser.add_argument("--small", type=member, default="tf_efficientnet_lite0@96")
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--ratio", type=float, nargs="+", default=[0.1, 0.3, 0.5])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    members = (args.large, args.small)
    networks = [each.build(args.classes).eval() for each in members]
    duo = AsymmetricDuo(*networks, (0.7, 0.3), members=members, classes=args.classes)
    duo.to(pick_device(args.device), memory_format=torch.channels_last).eval()
    inputs = duo.example_inputs(BATCHES * args.batch)
    with torch.inference_mode():
        gate = gate_uncertainty(duo.small(inputs[1]))
    # Dealt like cards, forth and back, so that each batch defers about its share.
    order = np.argsort(gate).reshape(-1, BATCHES)
    order[1::2] = order[1::2, ::-1]
    inputs = [each[torch.from_numpy(order.T.ravel().copy())] for each in inputs]

    calls = {
        "large": (Batches(duo.large, args.batch), inputs[:1]),
        "small": (Batches(duo.small, args.batch), inputs[1:]),
        "duo": (Batches(duo, args.batch), inputs),
    }
    flops = CascadedDuo(duo, threshold=0.5).flops
    price = {"large": flops(1) - flops(0), "small": flops(0), "duo": flops(1)}
    for ratio in args.ratio:
        threshold = float(np.quantile(gate, 1 - ratio, method="lower"))
        alone = CascadedDuo(duo, threshold=threshold, weights=(1, 0))
        joint = CascadedDuo(duo, threshold=threshold)
        calls |= {
            f"cascade {ratio:g}": (Batches(alone, args.batch), inputs),
            f"cascaded duo {ratio:g}": (Batches(joint, args.batch), inputs),
            f"  collected {ratio:g}": (Collected(joint, args.batch), inputs),
        }
        share = float((gate > threshold).mean())
        price |= dict.fromkeys(list(calls)[-3:], flops(share))
    found = compare_speeds(calls, rounds=args.rounds, warmup=args.warmup, in_row=1)
    show(found, price, args.batch)


def show(found: dict[str, Speed], price: dict[str, float], batch: int) -> None:
    """Print one row a network."""
    first = found["large"]
    print(f"{first.device}, {first.threads} CPU threads, {BATCHES} batches of {batch}")
    print(f"{'':18}{'images/s':>10}{'/ large':>9}{'/ duo':>9}{'FLOPs / large':>15}")
    for name, each in found.items():
        speed = each.images_per_second
        ratios = (speed / found[other].images_per_second for other in ("large", "duo"))
        shown = "".join(f"{ratio:9.2f}" for ratio in ratios)
        print(f"{name:18}{speed:10.1f}{shown}{price[name] / price['large']:15.3f}")


if __name__ == "__main__":
    main()
