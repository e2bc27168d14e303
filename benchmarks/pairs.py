"""What a pair costs in `duokit pairs`: time and memory, on made-up logits of ImageNet's size.

Writes float16 records of a few models into a temporary folder, sweeps over their pairs as the
command does, and prints seconds a model and a pair, and the peak of memory. The last lines
extrapolate to more models; they are marked as such. The peak of memory of this process counts the
pages of the logits that the system keeps mapped, which it may drop; the other peak leaves them out.

    python benchmarks/pairs.py --models 3 --rows 47500 --classes 1000 --val 2500
"""

import argparse
import resource
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from duokit.ablations import pairs
from duokit.ablations.pairs import DEFAULT
from duokit.logits import make_record, save

MIB = 2**20


def write_models(folder: Path, args: argparse.Namespace) -> None:
    """Write models that know more of the labels the more they cost, one at a time."""
    for number in range(1, args.models + 1):
        for part, rows in (("val", args.val), ("test", args.rows)):
            shared = np.random.default_rng([args.seed, rows])
            labels = shared.integers(0, args.classes, rows)
            noise = np.random.default_rng([args.seed, rows, number])
            logits = noise.standard_normal((rows, args.classes), dtype=np.float32)
            logits[np.arange(rows), labels] += 2.5 + number / args.models
            record = make_record(
                logits * np.float32(1.5), labels, model=f"made-up-{number}", dataset="made up",
                split=part, flops=number * 10**9, dtype="float16",
            )  # fmt: skip
            save(record, folder / f"model-{number:02d}" / part)


class OwnMemory(threading.Thread):
    """Watches the memory that is no mapped file (Linux alone); `peak` in MiB, nan elsewhere."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.over = float("nan"), threading.Event()

    def run(self) -> None:
        status = Path("/proc/self/status")
        while status.exists() and not self.over.wait(0.02):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            now = int(lines["RssAnon"].split()[0]) / 1024
            self.peak = now if np.isnan(self.peak) else max(self.peak, now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--rows", type=int, default=47_500, help="test images")
    parser.add_argument("--val", type=int, default=2_500, help="validation images")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--metrics", nargs="+", default=list(DEFAULT))
    parser.add_argument("--of", type=int, default=44, help="models to extrapolate to")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    watch, begun = OwnMemory(), []
    with tempfile.TemporaryDirectory() as name:
        writer = get_context("spawn").Process(target=write_models, args=(Path(name), args))
        writer.start()  # in a process of its own, so that its memory does not count
        writer.join()
        size = sum(path.stat().st_size for path in Path(name).rglob("*.safetensors"))
        watch.start()
        table = pairs(
            name, metrics=args.metrics, resamples=args.resamples, seed=args.seed,
            report=lambda *told: begun.append((time.perf_counter(), told[2])),
        )  # fmt: skip
        ended = time.perf_counter()
    watch.over.set()
    spans = np.diff([when for when, _ in begun] + [ended])
    count = args.models * (args.models - 1) // 2
    # The first pair of the sweep reads two models, the first of each later large model one; all
    # others are of members that are known.
    seen, plain, reading = set(), [], []
    for (_, pair), span in zip(begun, spans, strict=True):
        new = set(pair.split(" + ")) - seen
        seen |= new
        (reading if new else plain).append(span)
    pair_seconds = float(np.median(plain))
    model_seconds = (sum(spans) - count * pair_seconds) / args.models
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        MIB if sys.platform == "darwin" else 1024
    )
    models, every = args.of, args.of * (args.of - 1) // 2
    each = size / args.models / MIB
    print(
        f"{args.models} models, {args.val} + {args.rows} images x {args.classes} classes, ", end=""
    )
    print(f"{args.resamples} resamples of {len(args.metrics)} metrics, ", end="")
    print(f"{torch.get_num_threads()} threads; {len(table)} rows")
    print(f"a pair       {pair_seconds:7.2f} s   (median of {len(plain)} whose members are known)")
    print(f"a model      {model_seconds:7.2f} s   (read, verified, fitted, scored, resampled)")
    print(f"all          {sum(spans):7.1f} s   {count} pairs")
    print(
        f"memory       {watch.peak:7.0f} MiB at most, and {each:.0f} MiB of mapped logits a model"
    )
    print(f"peak         {peak:7.0f} MiB of this process, mapped logits included")
    print(f"EXTRAPOLATED to {models} models, {every} pairs, none of this measured:")
    print(
        f"  {(models * model_seconds + every * pair_seconds) / 60:.0f} minutes, "
        f"{models * each / 1024:.1f} GiB of logits on the disk"
    )


if __name__ == "__main__":
    main()
