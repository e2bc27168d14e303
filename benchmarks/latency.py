"""Latency and throughput of a large network, a small one and their duo, side by side.

The three are measured in turns in this process, with clocks that wait for the device. Weights are
random: time does not depend on them. On a CUDA device the duo runs once with its members at the
same time, on two streams, and once with one after the other.

    python benchmarks/latency.py --large tf_efficientnet_lite2@192 --small tf_efficientnet_lite0@96
"""

import argparse

import torch

from duokit.models import build, cost, pick_device, preprocessing
from duokit.models.duo import AsymmetricDuo
from duokit.models.member import Member
from duokit.models.speed import compare_speeds


def member(text: str) -> Member:
    """Return the member that "name@resolution" names."""
    name, _, resolution = text.rpartition("@")
    if not name or not resolution.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME@RESOLUTION, such as resnet18@224")
    return Member(name, preprocessing(name, int(resolution)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=member, default="tf_efficientnet_lite2@192")
    parser.add_argument("--small", type=member, default="tf_efficientnet_lite0@96")
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    members = (args.large, args.small)
    device = pick_device(args.device)
    sides = [each.preprocessing.resolution for each in members]
    networks = [
        build(each.model, classes=args.classes, pretrained=None, resolution=side).to(device)
        for each, side in zip(members, sides, strict=True)
    ]
    inputs = [torch.randn(args.batch, 3, side, side, device=device) for side in sides]
    options = {"members": members, "classes": args.classes}
    duo = AsymmetricDuo(*networks, (0.7, 0.3), **options).to(device)
    calls = {
        "large": (networks[0], inputs[:1]),
        "small": (networks[1], inputs[1:]),
        "duo": (duo, inputs),
    }
    if device.type == "cuda":
        in_turn = AsymmetricDuo(*networks, (0.7, 0.3), **options, concurrent=False).to(device)
        calls["duo, in turn"] = (in_turn, inputs)
    found = compare_speeds(calls, rounds=args.rounds, warmup=args.warmup)

    first = found["large"]
    print(f"{first.device}, {first.threads} CPU threads, batch {args.batch}, {args.rounds} rounds")
    print(f"large {members[0].model} @ {sides[0]} px, small {members[1].model} @ {sides[1]} px")
    flops = [
        cost(each.model, side, args.classes).flops
        for each, side in zip(members, sides, strict=True)
    ]
    print(f"flops balance {flops[1] / flops[0]:.3f}")
    print(
        f"{'':14}{'median ms':>11}{'5 %':>9}{'95 %':>9}{'/ large':>9}{'images/s':>11}{'/ large':>9}"
    )
    for name, each in found.items():
        times = "".join(f"{1e3 * value:9.2f}" for value in (each.low, each.high))
        print(
            f"{name:14}{1e3 * each.latency:11.2f}{times}{each.latency / first.latency:9.2f}"
            f"{each.images_per_second:11.1f}"
            f"{each.images_per_second / first.images_per_second:9.2f}"
        )


if __name__ == "__main__":
    main()
