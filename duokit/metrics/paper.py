"""The numbers of the released code of Asymmetric Duos, with all its conventions, from logits.

What differs from the rest of this package: uncertainty is 1 - softmax in float32, so that sure
images tie at 0, and ties count in the order of the file; accuracy targets are compared in floats;
Brier is divided by k; the NLL is clipped at 1.2e-7 (by scikit-learn's log_loss); the ECE is that of
the largest probability even where other predictions are given, summed in float32.
Its sort was not stable, so with ties its own numbers varied; here ties keep the file's order.

Source: github.com/timgzhou/asymmetric-duos, utils/uncertainty_metrics.py (arXiv 2505.18636).
"""

import numpy as np
import torch

from ..checks import Array, check_labels, check_logits, row_blocks
from ..threads import in_threads
from .calibration import BINS
from .proper import macro_f1
from .ranked import best_area, sums
from .scores import checked_classes
from .selective import auroc, paper_risks

TARGETS = np.arange(0.90, 0.991, 0.01)  # not quite the decimals: the ninth is .9800000000000001


def paper_row(
    logits: Array,
    labels: Array,
    *,
    predictions: Array | None = None,
    confidence_class: Array | None = None,
) -> dict[str, float]:
    """Return the metrics that the released code computes, by its conventions.

    Args:
        logits: (n, k) finite; rounded to float32.
        labels: (n,) integers 0 ... k - 1.
        predictions: (n,) the classes answered with; default: the largest probability.
        confidence_class: (n,) the class whose probability is the confidence; default: the largest.
            For every duo the released code takes the large model's class.

    Raises:
        TypeError, ValueError: As `score`.
    """
    z = check_logits(logits)
    y = check_labels(labels, *z.shape).to(z.device)
    chosen = checked_classes(confidence_class, z, "confidence_class")
    blocks = row_blocks(*z.shape)

    def work(i: int) -> tuple[torch.Tensor, ...]:
        rows = blocks[i]
        return _block(z[rows], y[rows], None if chosen is None else chosen[rows])

    parts = in_threads(work, len(blocks))
    own, top, certain, likelihood, squares = (
        torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)
    )
    true = y.cpu().numpy()
    given = checked_classes(predictions, z, "predictions")
    answer = own if given is None else given.cpu().numpy()
    uncertainty = np.float32(1) - certain
    right = answer == true
    found = {
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1(answer, true),
        "nll": float(-np.log(likelihood).mean(dtype=np.float64)),
        "brier": float(squares.mean() / z.shape[1]),
        "ece": _ece(top, own == true),
        "auroc": auroc(uncertainty, right),
    }
    return found | _ranked(uncertainty, right)


def _block(
    z: torch.Tensor, y: torch.Tensor, chosen: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    """Return own class and its probability, confidence, clipped likelihood, squared distance."""
    probs = torch.softmax(z.float(), dim=1)
    top, own = probs.max(1)
    certain = top if chosen is None else probs.gather(1, chosen[:, None])[:, 0]
    label = probs.gather(1, y[:, None])
    eps = torch.finfo(torch.float32).eps
    squares = torch.linalg.vecdot(probs, probs).double() - 2 * label[:, 0].double() + 1
    return own, top, certain, label[:, 0].clamp(eps, 1 - eps), squares


def _ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    edges = torch.linspace(0, 1, BINS + 1).numpy()
    at = np.searchsorted(edges, confidence, side="left") - 1  # (lo, hi]; confidence 0 is in no bin
    inside = at >= 0
    gap = np.bincount(at[inside], (confidence - correct)[inside], minlength=BINS)
    return float(np.abs(gap).sum() / len(confidence))


def _ranked(uncertainty: np.ndarray, right: np.ndarray) -> dict[str, float]:
    risks = paper_risks(uncertainty, right)
    n = len(risks)
    found = {"aurc": float(risks.mean())}
    found["e_aurc"] = found["aurc"] - float(best_area(n, np.sum(~right), sums(n)))
    for target in TARGETS:
        fits = np.flatnonzero(risks <= 1 - target)
        found[f"sac{round(100 * target)}"] = float((fits[-1] + 1) / n) if len(fits) else 0.0
    return found
