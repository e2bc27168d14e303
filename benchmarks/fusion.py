"""Fit the two weights of a duo: duokit against the recipe of the paper's released code.

The recipe (timgzhou/asymmetric-duos at d0f2efa, evaluate/3_duo_temp_scale.py, written anew here):
logits = (large / T_large + small / T_small) / 2; the best of 25 x 25 divisors 0.05, 0.25 ... 4.85,
then L-BFGS on the divisors with learning rate 0.01 and at most 50 iterations.

Both run in this process on the same made-up logits; what counts is the ratio of their times.

    python benchmarks/fusion.py --rows 50000 --classes 1000
"""

import argparse
import resource
import sys
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from duokit.fusion import fit_weights
from duokit.fusion.moments import moments


def make_logits(rows: int, classes: int, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    members = []
    for signal, scale in ((3.5, 1.7), (2.5, 1.4)):
        logits = torch.randn(rows, classes, generator=generator)
        logits[torch.arange(rows), labels] += signal
        members.append(logits * scale)
    return members, labels


def released_recipe(
    large: torch.Tensor, small: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """Return the divisors (T_large, T_small)."""

    def loss(divisors: torch.Tensor) -> torch.Tensor:
        return cross_entropy((large / divisors[0] + small / divisors[1]) / 2, labels)

    grid = [0.05 + 0.2 * step for step in range(25)]
    with torch.no_grad():
        tried = {(a, b): float(loss(torch.tensor([a, b]))) for a in grid for b in grid}
    divisors = torch.tensor(min(tried, key=tried.get), requires_grad=True)
    optimiser = torch.optim.LBFGS([divisors], lr=0.01, max_iter=50)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(divisors)
        value.backward()
        return value

    optimiser.step(closure)
    return tuple(divisors.tolist())


def timed(work):
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def peak_mib() -> float:
    factor = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000, help="validation images")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5, help="of our fit; the median counts")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    members, labels = make_logits(args.rows, args.classes, args.seed)

    moments([z[:64] for z in members], labels[:64], np.ones(2))  # start the threads
    before = peak_mib()
    runs = [timed(lambda: fit_weights(members, labels)) for _ in range(args.repeat)]
    memory = peak_mib() - before
    fit, ours = runs[0][0], float(np.median([seconds for _, seconds in runs]))
    exact = fit_weights(members, labels, tolerance=1e-13)
    (large, small), theirs = timed(lambda: released_recipe(*members, labels))
    released = moments(members, labels, 0.5 / np.array([large, small]))

    print(f"{args.rows} images x {args.classes} classes, {torch.get_num_threads()} threads")
    print(f"released recipe   {theirs:9.2f} s   NLL {released.nll:.9f}")
    print(f"duokit            {ours:9.2f} s   NLL {fit.nll:.9f}   {fit.passes} passes")
    print(f"ratio of times    {theirs / ours:9.0f}")
    print(f"duokit NLL above the minimum: {fit.nll - exact.nll:.1e}, proven gap {fit.gap:.1e}")
    print(f"released NLL above the minimum: {released.nll - exact.nll:.1e}")
    print(f"extra memory of the fit: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
