"""How accurate is a model on images that nobody has labelled? Scores that may say so, and a check.

Under shift, a model that is sure and uses many classes is often right. Both scores are one number a
set of images, and mean something only beside other sets: `relate` says how well they follow the
true accuracy where that is known.
"""

import numpy as np
import pandas as pd
import torch
from scipy.stats import pearsonr, spearmanr

from duokit.checks import Array, check_logits, row_blocks
from duokit.metrics.arrays import ArrayLike, check_scores


def nuclear_norm(logits: Array) -> float:
    """Return the nuclear norm of the (n, k) probabilities over sqrt(n min(n, k)).

    The sum of the singular values of P: high where the model is sure and its answers are spread
    over the classes. The bound sqrt(n min(n, k)) is reached by one-hot rows, equally many a class.
    It falls if the classes are unequally frequent in truth, whatever the accuracy: compare sets of
    one composition.

    Args:
        logits: (n, k) finite.

    Returns:
        A number in (0, 1].

    Raises:
        TypeError, ValueError: As `check_logits`.

    Source: Deng et al., arXiv 2302.01094; the normalisation as commonly given, not read in theirs.
    """
    probs = torch.softmax(check_logits(logits).double(), 1)
    n, k = probs.shape
    if n > k:  # the triangle of a QR decomposition has the same singular values, in a small matrix
        probs = torch.linalg.qr(probs, mode="r").R
    return float(torch.linalg.svdvals(probs).sum() / (n * min(n, k)) ** 0.5)


def mano(logits: Array, *, order: float = 4) -> float:
    """Return MaNo: the mean over all n k probabilities of their power p, to the power 1 / p.

    Convention: softmax rows. The authors switch to rows made from a Taylor polynomial of second
    order where the model is badly calibrated; that choice is not made here. The value for one-hot
    rows is k^(-1 / p), for even rows 1 / k, so compare sets with the same classes only.

    Args:
        logits: (n, k) finite.
        order: p, 1 or more; the authors take 4. With 1 every model scores 1 / k.

    Returns:
        A number in [1 / k, k^(-1 / p)].

    Raises:
        TypeError, ValueError: As `check_logits`; an order below 1.

    Source: Xie et al., arXiv 2405.18979.
    """
    if not order >= 1:
        raise ValueError(f"order must be 1 or more, not {order}")
    z = check_logits(logits)
    total = sum(
        float(torch.log_softmax(z[rows].double(), 1).mul_(order).exp_().sum())
        for rows in row_blocks(*z.shape)
    )
    return float((total / z.numel()) ** (1 / order))


def relate(values: ArrayLike, accuracy: ArrayLike) -> pd.Series:
    """Return how well a score without labels follows the true accuracy over sets of images.

    Each set is left out once, a line fitted to the others, and the accuracy of the one read from
    it. The mean error stands beside that of guessing the mean accuracy of the others, which is what
    the score must beat. With a handful of sets, often grades of one shift, correlations near 1 are
    easily had.

    Args:
        values: (m,) score of each set, m >= 3.
        accuracy: (m,) true accuracy of each, in [0, 1].

    Returns:
        Index sets, spearman, pearson (both nan if either array is constant), slope (of the line
        through all sets), error (mean absolute error of the line, left-out sets), error_of_mean.

    Raises:
        ValueError: Fewer than three sets, lengths that differ, NaN, or scores of which all but one
            are equal, through which no line goes.
    """
    x, y = check_scores(values, "values"), check_scores(accuracy, "accuracy")
    if len(x) != len(y) or len(x) < 3:
        raise ValueError(f"{len(x)} scores and {len(y)} accuracies; expected as many, 3 or more")
    others = [np.arange(len(x)) != i for i in range(len(x))]
    if any(np.ptp(x[rest]) == 0 for rest in others):
        raise ValueError(f"scores {x.tolist()[:5]}... are equal but for one at most: no line")
    left = [np.polyval(np.polyfit(x[rest], y[rest], 1), x[~rest])[0] for rest in others]
    flat = np.ptp(y) == 0
    return pd.Series(
        {
            "sets": float(len(x)),
            "spearman": np.nan if flat else float(spearmanr(x, y).statistic),
            "pearson": np.nan if flat else float(pearsonr(x, y).statistic),
            "slope": float(np.polyfit(x, y, 1)[0]),
            "error": float(np.abs(y - left).mean()),
            "error_of_mean": float(np.mean([abs(y[~rest][0] - y[rest].mean()) for rest in others])),
        }
    )
