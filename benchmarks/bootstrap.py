"""Bootstrap intervals of all metrics: how long, and how long the loop over resamples would take.

The loop indexes labels and logits with each resample and computes the table row again. It is timed
on a few resamples and multiplied. The logits are drawn with a seed: no result, only something to
measure.

    python benchmarks/bootstrap.py --rows 50000 --classes 1000
"""

import argparse
import time

import numpy as np
import torch
from metrics import make_logits  # the script beside this one

from duokit.metrics.intervals import intervals, resample_counts
from duokit.metrics.scores import score
from duokit.metrics.table import METRICS, table_row


def timed(work):
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000, help="images")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3, help="of the intervals; the median counts")
    parser.add_argument("--loops", type=int, default=2, help="resamples of the loop")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logits, labels = make_logits(args.rows, args.classes, args.seed)
    scores = score(logits, labels)
    baseline = score(logits * 0.7, labels)
    most = [name for name in METRICS if name != "ece_class"]
    ways = {
        "all metrics": lambda: intervals(scores, resamples=args.resamples),
        "all but class-wise ECE": lambda: intervals(scores, metrics=most, resamples=args.resamples),
        "all, with a baseline": lambda: intervals(scores, baseline, resamples=args.resamples),
    }
    intervals(scores, resamples=8)  # start the threads
    print(f"{args.rows} images x {args.classes} classes, {torch.get_num_threads()} threads")
    for name, way in ways.items():
        spent = [timed(way)[1] for _ in range(args.repeat)]
        print(f"{name:24s} {args.resamples} resamples {np.median(spent):9.3f} s")
        if name == "all metrics":
            ours = float(np.median(spent))
    counts = resample_counts(args.rows, args.loops, seed=args.seed)

    def loop() -> None:
        for row in counts:
            drawn = torch.from_numpy(np.repeat(np.arange(args.rows), row))
            table_row(logits[drawn], labels[drawn])

    whole = timed(loop)[1] / args.loops * args.resamples
    print(
        f"{'loop over resamples':24s} {args.resamples} resamples {whole:9.1f} s, from {args.loops}"
    )
    print(f"ratio {whole / ours:.0f}")


if __name__ == "__main__":
    main()
