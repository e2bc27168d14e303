"""Latency and throughput of a large network, a small one and their duo, side by side.

The three are measured in turns in this process, with clocks that wait for the device. Weights are
random: time does not depend on them. On a CUDA device the duo runs once with its members at the
same time, on two streams, and once with one after the other.

    python benchmarks/latency.py --large tf_efficientnet_lite2@192 --small tf_efficientnet_lite0@96
"""

import argparse

from duokit.models import cost, pick_device
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo
from duokit.models.speed import Speed, compare_speeds, duo_calls


def member(text: str) -> Member:
    """Return the member that "name@resolution" names."""
    name, _, resolution = text.rpartition("@")
    if not name or not resolution.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME@RESOLUTION, such as resnet18@224")
    return Member.of(name, int(resolution))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=member, default="tf_efficientnet_lite2@192")
    parser.add_argument("--small", type=member, default="tf_efficientnet_lite0@96")
    parser.add_argument("--classes", type=int, default=101)
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="one or more sizes")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()

    members = (args.large, args.small)
    networks = [each.build(args.classes) for each in members]
    duo = AsymmetricDuo(*networks, (0.7, 0.3), members=members, classes=args.classes)
    duo.to(pick_device(args.device))
    large, small = ((each.model, each.preprocessing.resolution) for each in members)
    balance = cost(*small, args.classes).flops / cost(*large, args.classes).flops
    print(f"large {large[0]} @ {large[1]} px, small {small[0]} @ {small[1]} px")
    print(f"flops balance {balance:.3f}")
    for batch in args.batch:
        calls = duo_calls(duo, batch=batch)
        show(compare_speeds(calls, rounds=args.rounds, warmup=args.warmup))


def show(found: dict[str, Speed]) -> None:
    """Print one row a network."""
    first = found["large"]
    print(
        f"{first.device}, {first.threads} CPU threads, batch {first.batch}, {first.rounds} rounds"
    )
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
