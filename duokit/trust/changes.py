"""Did the answers change more than chance would have it? Tests for models on the same images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from duokit.checks import Array
from duokit.metrics.arrays import ArrayLike, Floats, Whole, check_classes
from duokit.metrics.chance import mcnemar


def change_tests(
    large: ArrayLike,
    small: ArrayLike,
    labels: Array | Sequence[int],
    *,
    swaps: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Return tests of whether the answers changed more than chance would have it.

    | test | hypothesis | p-value |
    |---|---|---|
    | McNemar | both are right equally often | exact |
    | Stuart-Maxwell | both give each class equally often | chi-squared, for many changes |
    | Stuart-Maxwell, swapped | each image's two answers could be swapped | from swaps, for few |
    | Pearson | both give each class equally often | chi-squared; does not apply |

    Pearson's chi-squared on the 2 x k table of predicted counts is what "Downsized and
    Compromised?" describes (its table layout could not be read in full). It takes the two rows for
    different images. They are the same ones, most of them answered alike, so the counts differ far
    less than the test expects: p is much too near 1, and real shifts pass unseen.

    McNemar's statistic is the number of images that small alone answers right. With k = 2
    Stuart-Maxwell is McNemar's chi-squared without continuity correction. Classes that no changed
    answer involves drop out; dof counts what is left, and is 0 where no answer changed.

    Args:
        large: (n,) answers of the large model, class numbers >= 0.
        small: (n,) answers of the other one.
        labels: (n,) the true classes.
        swaps: How many random swaps, 1 or more; p cannot fall below 1 / (swaps + 1).
        seed: Of the swaps.

    Returns:
        Index test; columns statistic, dof (nan where a test has none), p_value.

    Raises:
        TypeError: Not integers.
        ValueError: Lengths that differ, a negative class, or swaps below 1.

    Source: McNemar 1947; Stuart 1955; Maxwell 1970; Kamal and Talbert, arXiv 2510.06125.
    """
    true = check_classes(labels, "labels")
    before = check_classes(large, "large", len(true))
    after = check_classes(small, "small", len(true))
    if swaps < 1:
        raise ValueError(f"swaps must be 1 or more, not {swaps}")
    gained = int(((before != true) & (after == true)).sum())
    lost = int(((before == true) & (after != true)).sum())
    statistic, dof, swapped = stuart_maxwell(before, after, swaps=swaps, seed=seed)
    rows = {
        "McNemar": (gained, np.nan, mcnemar(gained, lost)),
        "Stuart-Maxwell": (statistic, dof, _tail(statistic, dof)),
        "Stuart-Maxwell, swapped": (statistic, np.nan, swapped),
        "Pearson": _pearson(before, after),
    }
    columns = ["statistic", "dof", "p_value"]
    found = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("test")
    return found.astype(float)


def stuart_maxwell(
    large: Whole, small: Whole, *, swaps: int = 999, seed: int = 0
) -> tuple[float, int, float]:
    """Return the Stuart-Maxwell statistic, its degrees of freedom, and the p-value from swaps.

    With d = how much oftener large gives each class than small, and V = the covariance of d if each
    changed image were as likely to change the other way, the statistic is d' V^- d. V does not
    depend on the ways the images went, so swapping the two answers of images at random leaves it.

    Args:
        large: (n,) class numbers >= 0.
        small: (n,) class numbers >= 0.
        swaps: How many random swaps, 1 or more.
        seed: Of the swaps.
    """
    changed = large != small
    classes, places = np.unique([large[changed], small[changed]], return_inverse=True)
    m, k = int(changed.sum()), len(classes)
    if m == 0:
        return 0.0, 0, 1.0
    one, other = places.reshape(2, m)
    rows, ones = np.arange(m), np.ones(m)
    step = csr_array((np.r_[ones, -ones], (np.r_[rows, rows], np.r_[one, other])), shape=(m, k))
    covariance = (step.T @ step).toarray()
    inverse = np.linalg.pinv(covariance, hermitian=True)
    links = csr_array((ones, (one, other)), shape=(k, k))
    dof = k - int(connected_components(links, directed=False)[0])

    def statistic(signs: Floats) -> Floats:
        d = np.atleast_2d(signs @ step)
        return np.asarray(((d @ inverse) * d).sum(1))

    value = float(statistic(np.ones((1, m)))[0])
    random = np.random.default_rng(seed)
    drawn = statistic(random.choice(np.array([-1.0, 1.0]), (swaps, m)))
    return value, dof, float((1 + (drawn >= value * (1 - 1e-9)).sum()) / (swaps + 1))


def _pearson(large: Whole, small: Whole) -> tuple[float, int, float]:
    k = int(max(large.max(), small.max())) + 1
    counts = np.stack([np.bincount(answers, minlength=k) for answers in (large, small)])
    counts = counts[:, counts.sum(0) > 0]
    expected = counts.mean(0)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, counts.shape[1] - 1, _tail(statistic, counts.shape[1] - 1)


def _tail(statistic: float, dof: int) -> float:
    return float(chi2.sf(statistic, dof)) if dof else 1.0
