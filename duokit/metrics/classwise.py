"""Class-wise calibration: every class's probability is a claim, not only the largest one's.

Of n k probabilities nearly all lie in the first bin, and a row has fewer than `bins` above it. So
only those few are binned one by one; the first bin's gap is the sum of all probabilities of the
class minus those few, minus the labels that fell in it.
"""

import numpy as np
import torch

from ..checks import Array, row_blocks
from .arrays import Flags, Floats, Whole
from .calibration import width_bins
from .scores import CLASS_BINS, Scores, score

BLOCK = 2**22  # entries of a block in `low_gaps`: large enough for a matrix product to be fast


def ece_class(logits: Array, labels: Array, *, bins: int = CLASS_BINS) -> float:
    """Return the class-wise calibration error: the mean over the k classes of each one's error.

    The error of class j is that of the probabilities of j against "the label is j", over bins of
    equal width, all images in every class.

    Convention: mean over classes, |gap| (L1), (lo, hi] bins, as Kull et al. and torch-uncertainty
    ([lo, hi) there). Nixon et al. call it SCE, and TACE when probabilities under a threshold are
    left out; Kumar et al. take the root mean square. With many classes nearly every probability is
    tiny, so the number is small by construction: compare it for equal k only.

    Args:
        logits: (n, k) finite.
        labels: (n,) integers 0 ... k - 1.
        bins: How many, 2 or more.

    Returns:
        A number in [0, 1], at most 2 / k; lower is better.

    Raises:
        TypeError, ValueError: As `score`.

    Source: Kull et al., arXiv 1910.12656; Nixon et al., arXiv 1904.01685.
    """
    return class_error(score(logits, labels, class_bins=bins))


def class_error(scores: Scores) -> float:
    """Return the class-wise calibration error of scored logits, without reading them again."""
    entries = scores.entries
    cell, gap, own = high_cells(scores)
    low_labels = np.bincount(scores.labels, minlength=scores.classes)
    low_labels -= np.bincount(entries.classes[own], minlength=scores.classes)
    high = np.bincount(entries.classes, entries.probs, minlength=scores.classes)
    low = entries.totals - high - low_labels
    total = np.abs(np.bincount(cell, gap)).sum() + np.abs(low).sum()
    return float(total / (len(scores) * scores.classes))


def high_cells(scores: Scores) -> tuple[Whole, Floats, Flags]:
    """Return for each probability above the first bin its cell, its gap and if it is the label's.

    A cell is class * bins + bin, a gap the probability minus 1 for the label's.
    """
    entries = scores.entries
    own = entries.classes == scores.labels[entries.rows]
    # the probabilities of float32 logits are float32 numbers
    cell = entries.classes * entries.bins + width_bins(
        entries.probs, entries.bins, digits="float32"
    )
    return cell, entries.probs - own, own


def low_gaps(scores: Scores, counts: np.ndarray) -> Floats:
    """Return (r, k) the first bin's summed gap of each class, in each of r resamples.

    A matrix product of the counts with the small probabilities, computed anew in blocks, on the
    device of the logits, in float32 (products exact to 1e-7, sums over blocks in float64) unless
    the logits are float64.

    Args:
        scores: Of n images; their logits are read.
        counts: (r, n) how often each image appears.
    """
    z, entries = scores.logits, scores.entries
    own = entries.classes == scores.labels[entries.rows]
    label_is_high = np.zeros(len(scores), dtype=bool)
    label_is_high[entries.rows[own]] = True
    total = torch.zeros(len(counts), scores.classes, dtype=torch.float64, device=z.device)
    for rows in row_blocks(*z.shape, entries=BLOCK):
        block = z[rows]
        probs = torch.softmax(block if block.dtype == torch.float64 else block.float(), dim=1)
        first, last = np.searchsorted(entries.rows, [rows.start, rows.stop])
        here = entries.rows[first:last] - rows.start
        probs[_at(here, z), _at(entries.classes[first:last], z)] = 0.0
        lows = np.flatnonzero(~label_is_high[rows])
        probs[_at(lows, z), _at(scores.labels[rows][lows], z)] -= 1.0
        times = torch.from_numpy(counts[:, rows].astype(np.float32)).to(z.device, probs.dtype)
        total += times @ probs
    return total.cpu().numpy()


def _at(places: Whole, z: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(places).to(z.device)
