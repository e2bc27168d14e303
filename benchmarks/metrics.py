"""All metrics of one predictor: duokit against the way of the paper's released code.

That way (timgzhou/asymmetric-duos at d0f2efa, utils/uncertainty_metrics.py, written anew here):
scikit-learn's Brier score on flattened one-hot arrays, its log loss, F1 and AUROC, an ECE that
masks every bin in turn, and NumPy's sort for AURC and SAC. It yields 18 numbers; duokit's row has
27, with four more calibration errors, AUGRC and risks at a coverage.

Both start from the same made-up logits, softmax included, and take turns in this process; what
counts is the ratio of their times. The logits are drawn with a seed: no result, only something to
measure.

    python benchmarks/metrics.py --rows 50000 --classes 1000
"""

import argparse
import time
from itertools import pairwise

import numpy as np
import torch
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score

from duokit.metrics.table import table_row


def make_logits(rows: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    logits = 1.5 * torch.randn(rows, classes, generator=generator)
    lift = np.log(classes) + 2 * torch.randn(rows, generator=generator)
    logits[torch.arange(rows), labels] += lift
    return logits, labels


def released_way(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return the released code's metrics of one model, computed as it does."""
    probs = torch.softmax(logits, dim=1)
    confidence, predictions = probs.max(dim=1)
    p, y, found = probs.numpy(), labels.numpy(), predictions.numpy()
    uncertainty = (1 - confidence).numpy()
    right = found == y
    one_hot = np.eye(p.shape[1])[y]
    return {
        "accuracy": float(right.mean()),
        "macro_f1": f1_score(y, found, average="macro"),
        "brier": brier_score_loss(one_hot.reshape(-1), p.reshape(-1)),
        "nll": log_loss(y, p, labels=list(range(p.shape[1]))),
        "ece": masked_ece(probs, labels),
        "auroc": roc_auc_score(right.astype(int), 1 - uncertainty),
        **risk_coverage(right, uncertainty),
    }


def masked_ece(probs: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
    confidence, predictions = probs.max(dim=1)
    right, edges, total = predictions == labels, torch.linspace(0, 1, bins + 1), 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = confidence[inside].mean() - right[inside].float().mean()
            total += float(inside.float().mean() * gap.abs())
    return total


def risk_coverage(right: np.ndarray, uncertainty: np.ndarray) -> dict[str, float]:
    wrong, places = 1.0 - right, np.arange(1, len(right) + 1)
    risks = np.cumsum(wrong[np.argsort(uncertainty)]) / places
    best = np.cumsum(np.sort(wrong)) / places
    row = {"aurc": float(risks.mean()), "e_aurc": float(risks.mean() - best.mean())}
    for target in np.arange(0.90, 0.991, 0.01):
        fits = np.flatnonzero(risks <= 1 - target)
        row[f"sac{int(target * 100)}"] = (fits.max() + 1) / len(right) if len(fits) else 0.0
    return row


def timed(work):
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000, help="images")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3, help="turns; the medians count")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logits, labels = make_logits(args.rows, args.classes, args.seed)
    ways = {
        "released way": lambda: released_way(logits, labels),
        "duokit, its conventions": lambda: table_row(logits, labels, convention="paper"),
        "duokit, all metrics": lambda: table_row(logits, labels),
    }
    table_row(logits[:64], labels[:64])  # start the threads
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rows = {}
    for _ in range(args.repeat):
        for name, way in ways.items():
            rows[name], spent = timed(way)
            seconds[name].append(spent)
    medians = {name: float(np.median(spent)) for name, spent in seconds.items()}
    print(f"{args.rows} images x {args.classes} classes, {torch.get_num_threads()} threads")
    theirs = medians["released way"]
    for name, spent in medians.items():
        print(
            f"{name:24s}{len(rows[name]):4d} numbers {spent:9.3f} s   ratio {theirs / spent:6.1f}"
        )
    pairs = [
        (rows["duokit, its conventions"][key], rows["released way"][key])
        for key in rows["released way"]
    ]
    print(f"largest difference by its conventions: {max(abs(a - b) for a, b in pairs):.1e}")


if __name__ == "__main__":
    main()
