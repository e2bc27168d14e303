"""Images a second of a network in float32, in int8, pruned, on smaller pictures, and of another.

All are measured in turns in this process, with clocks that wait for the device. Int8 runs in
onnxruntime, whose own float32 ("onnx") is its fair base; on the CPU alone, so elsewhere these are
left out. Smaller pictures and the other network are measured in both, each against the same base.
Weights and pictures are random: time depends neither on them nor on the zeros of a pruned network,
which are multiplied like other numbers and count in its FLOPs. (It would if activations became
denormal, below 1.2e-38: see README.md.) Bytes are those of a safetensors or an ONNX file, for a
pruned network with zeros as one bit, which depends a little on where the zeros are.

    python benchmarks/compression.py --model tf_efficientnet_lite2@192 --pixels 128 72
"""

import argparse
import copy
import os
import platform
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from latency import member
from torch import nn

from duokit.models import cost, pick_device
from duokit.models.compress.prune import prune_weights
from duokit.models.compress.quantise import OnnxNetwork, float_graph, quantise
from duokit.models.compress.size import dense_file, sparse_file
from duokit.models.duo.member import Member
from duokit.models.inference import layout
from duokit.models.speed import compare_speeds

IN_ROW = 2  # batches without waiting between
CALIBRATION = 16  # pictures


class Row(NamedTuple):
    """A network to measure."""

    network: nn.Module
    member: Member  # what it was built as, with the side of its pictures
    how: str
    size: int  # bytes of a file


def main() -> None:
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=formatter)
    parser.add_argument("--model", type=member, default="tf_efficientnet_lite2@192", help="network")
    parser.add_argument("--small", type=member, default="tf_efficientnet_lite0@96", help="another")
    parser.add_argument("--classes", type=int, default=101, help="outputs of each")
    parser.add_argument("--pixels", type=int, nargs="*", default=[128, 72], help="smaller pictures")
    parser.add_argument("--sparsity", type=float, nargs="*", default=[0.5, 0.9], help="if pruned")
    parser.add_argument("--batch", type=int, default=16, help="pictures at a time")
    parser.add_argument("--rounds", type=int, default=7, help="each measures every network")
    parser.add_argument("--warmup", type=int, default=2, help="calls of each before that")
    parser.add_argument("--device", default="cpu", help="where torch runs")
    parser.add_argument("--out", type=Path, help="CSV file to write the table to as well")
    args = parser.parse_args()

    torch.manual_seed(0)
    device = pick_device(args.device)
    smaller = [Member.of(args.model.model, pixels) for pixels in args.pixels]
    first, *others = (as_it_is(each, args.classes) for each in (args.model, *smaller, args.small))
    rows = [first, *(pruned(first, sparsity) for sparsity in args.sparsity), *others]
    if device.type == "cpu":
        rows += in_onnxruntime(first, int8=True)
        rows += [row for each in others for row in in_onnxruntime(each)]
    table = measured(rows, args, device)
    show(table)
    if args.out:
        table.to_csv(args.out, index=False, float_format="%.6g", lineterminator="\n")


def as_it_is(built: Member, classes: int) -> Row:
    """Return a network in float32, as torch runs it."""
    network = built.build(classes)
    return Row(network, built, "torch", len(dense_file(network)))


def in_onnxruntime(row: Row, *, int8: bool = False) -> list[Row]:
    """Return the network in float32, and in int8 calibrated on noise, as onnxruntime runs it."""
    side = row.member.preprocessing.resolution
    graphs = {"onnx": float_graph(row.network, side)}
    if int8:
        noise = [torch.randn(CALIBRATION, 3, side, side).numpy()]
        graphs["int8_dynamic"] = quantise(graphs["onnx"])
        graphs["int8_static"] = quantise(graphs["onnx"], calibration=noise)
    return [Row(OnnxNetwork(it), row.member, how, len(it)) for how, it in graphs.items()]


def pruned(row: Row, sparsity: float) -> Row:
    """Return the network with this share of its weights 0."""
    network = copy.deepcopy(row.network)
    prune_weights(network, sparsity)
    return Row(network, row.member, f"pruned{sparsity:g}", len(sparse_file(network)))


def measured(rows: list[Row], args: argparse.Namespace, device: torch.device) -> pd.DataFrame:
    """Return the table, with ratios to the first network in torch and in onnxruntime."""
    calls, facts = {}, []
    for row in rows:
        model, side = row.member.model, row.member.preprocessing.resolution
        row.network.to(device, memory_format=layout(device))
        name = f"{model}@{side} {row.how}"
        calls[name] = (row.network, [torch.randn(args.batch, 3, side, side, device=device)])
        flops = cost(model, side, args.classes).flops
        facts.append({"network": name, "flops": flops, "bytes": row.size})
    found = compare_speeds(calls, rounds=args.rounds, warmup=args.warmup, in_row=IN_ROW)
    table = pd.DataFrame(facts).drop_duplicates("network").set_index("network")
    for key in ("images_per_second", "threads", "batch", "rounds", "device"):
        table[key] = [getattr(found[name], key) for name in table.index]
    speed = table["images_per_second"]
    table["over_torch"] = speed / speed.iloc[0]
    onnx = speed[table.index.str.contains(" onnx| int8")]
    table["over_onnx"] = onnx / onnx.head(1).sum()
    table["flops_ratio"] = table["flops"] / table["flops"].iloc[0]
    columns = ["images_per_second", "over_torch", "over_onnx", "flops_ratio", "bytes"]
    return table[[*columns, "threads", "batch", "rounds", "device"]].reset_index()


def show(table: pd.DataFrame) -> None:
    """Print where it was measured and one row a network."""
    first = table.iloc[0]
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{torch.backends.cpu.get_cpu_capability()}; {first.device}"
    )
    print(f"{first.threads} CPU threads, batch {first.batch}, {first.rounds} rounds")
    print(f"{'':40}{'images/s':>10}{'/ torch':>9}{'/ onnx':>9}{'FLOPs':>8}{'bytes':>8}")
    for row in table.itertuples():
        onnx = f"{row.over_onnx:.2f}" if row.over_onnx > 0 else ""
        print(
            f"{row.network:40}{row.images_per_second:10.1f}{row.over_torch:9.2f}{onnx:>9}"
            f"{row.flops_ratio:8.3f}{row.bytes / first.bytes:8.3f}"
        )


if __name__ == "__main__":
    main()
