"""Attribution alignment: do two models lean on the same parts? Numbers from maps.

The published number is the Jaccard index of the k most important parts. Here it stands beside what
it lacks: the level that chance alone gives, an index rescaled by it, rank correlation, and
intervals over images. A ceiling is one more pair: two seeds of one architecture, or one model
explained twice with other seeds. No pair of models can be expected to agree better than these do.

Source: Rai et al., arXiv 2508.13533; chance level, rescaling and intervals are additions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, rankdata

from duokit.metrics.ends import interval_ends
from duokit.metrics.intervals import resample_counts
from duokit.trust.maps import AttributionMaps, same_parts

Maps = AttributionMaps | np.ndarray
Pair = tuple[str, str]


def top_parts(values: np.ndarray, k: int) -> np.ndarray:
    """Returns (n, parts) bool, the k parts of largest absolute value in each row.

    A part whose value is exactly 0, or NaN because the row lacks it, is never among them, so a row
    can have fewer than k. Of equal values the earlier part is taken.

    Args:
        values: (n, parts) attributions.
        k: how many, 1 or more.

    Raises:
        ValueError: k below 1, or not two-dimensional.
    """
    found = _checked(values)
    if k < 1:
        raise ValueError(f"k is {k}; expected 1 or more")
    size = np.nan_to_num(np.abs(found), nan=0.0)
    order = np.argsort(-size, axis=1, kind="stable")[:, :k]
    chosen = np.zeros(size.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen & (size > 0)


def jaccard(first: np.ndarray, second: np.ndarray, *, k: int) -> np.ndarray:
    """Returns (n,) float64 in [0, 1]: parts in both top-k sets over parts in either; 0 if none is.

    Args:
        first: (n, parts) attributions of one model.
        second: of another, of the same parts.
        k: size of the sets.

    Raises:
        ValueError: other shapes, or k below 1.

    Source: arXiv 2508.13533: unordered sets by absolute value; its table is the mean over images.
    """
    _same_shape(first, second)
    one, other = top_parts(first, k), top_parts(second, k)
    both, either = (one & other).sum(axis=1), (one | other).sum(axis=1)
    return np.where(either > 0, both / np.maximum(either, 1), 0.0)


def chance_jaccard(parts: int, k: int, other_k: int | None = None) -> float:
    """Returns the expected Jaccard index of two random sets of parts, exactly.

    The number of parts in both sets is hypergeometric; the index is averaged over it. The short
    form k / (2 parts - k), the index at the expected overlap, is close for small k only.

    Args:
        parts: that there are.
        k: size of one set, 0 to parts.
        other_k: of the other; k if not given.

    Raises:
        ValueError: sets larger than there are parts.
    """
    other_k = k if other_k is None else other_k
    if not 0 <= min(k, other_k) <= max(k, other_k) <= parts:
        raise ValueError(f"sets of {k} and {other_k} parts cannot be drawn from {parts}")
    if k + other_k == 0:
        return 0.0
    both = np.arange(min(k, other_k) + 1)
    return float((hypergeom.pmf(both, parts, k, other_k) * both / (k + other_k - both)).sum())


def chance_levels(first: np.ndarray, second: np.ndarray, *, k: int) -> np.ndarray:
    """Returns (n,) float64, what `jaccard` is expected to be if both sets were drawn at random.

    Sizes are those that each row really has, among the parts that the row has.

    Args:
        first: (n, parts), NaN where a row lacks a part.
        second: of the same parts.
        k: size of the sets.

    Raises:
        ValueError: as `jaccard`.
    """
    _same_shape(first, second)
    parts = (~np.isnan(first)).sum(axis=1)
    sizes = (top_parts(each, k).sum(axis=1) for each in (first, second))
    rows = np.stack([parts, *sizes], axis=1)
    known = {
        tuple(row): chance_jaccard(*(int(size) for size in row)) for row in np.unique(rows, axis=0)
    }
    return np.array([known[tuple(row)] for row in rows])


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns (n,) float64 in [-1, 1], the rank correlation of signed values over parts, by row.

    NaN where a row has fewer than two parts, or all its values are equal in one of the maps.

    Args:
        first: (n, parts), NaN where a row lacks a part.
        second: of the same parts.

    Raises:
        ValueError: other shapes.
    """
    _same_shape(first, second)
    found = np.full(len(first), np.nan)
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        ranks = [rankdata(each[~np.isnan(each)]) for each in (one, other)]
        if len(ranks[0]) > 1 and all(np.ptp(each) > 0 for each in ranks):
            found[row] = np.corrcoef(*ranks)[0, 1]
    return found


def alignment(
    maps: Mapping[str, Maps],
    *,
    k: int | Sequence[int] = 10,
    pairs: Iterable[Pair] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Returns how far pairs of maps agree, one row a pair, measure and k.

    Columns: first, second; measure: "jaccard" as published, "chance", its level by chance,
    "adjusted" (jaccard - chance) / (1 - chance), so 0 is chance and 1 the same sets, "spearman";
    k (missing for spearman); value, the mean over images; low, high, its percentile bootstrap
    interval over images; images, how many count (an image whose k is all of its parts says nothing,
    and is left out of "adjusted"). All pairs are counted on the same resamples. The interval covers
    the draw of images, not that of training or of the explainer.

    Args:
        maps: name -> maps or (n, parts) values, rows the same images in the same order.
        k: size of the sets, or several.
        pairs: of names; all if not given.
        resamples: 1 or more.
        seed: of the resamples.
        level: in (0, 1).

    Raises:
        ValueError: fewer than two maps, maps of other images or parts, unknown names, k below 1.
    """
    values, sizes = _aligned(maps), _sizes(k)
    wanted = list(combinations(values, 2)) if pairs is None else list(pairs)
    counts = resample_counts(len(next(iter(values.values()))), resamples, seed=seed)
    rows = []
    for first, second in wanted:
        for (measure, size), each in _measures(values, (first, second), sizes).items():
            low, high = _ends(_means(each, counts), level)
            rows.append(
                {"first": first, "second": second, "measure": measure, "k": size}
                | {"value": _mean(each), "low": low, "high": high}
                | {"images": int((~np.isnan(each)).sum())}
            )
    return pd.DataFrame(rows).astype({"k": "Int64"})


def alignment_difference(
    maps: Mapping[str, Maps],
    pair: Pair,
    other: Pair,
    *,
    k: int | Sequence[int] = 10,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Returns how much better one pair of maps agrees than another, on the same images.

    Is the duo closer to the large model than the small one is? That is the pair (large, duo)
    against (large, small). Columns: measure, k, value (pair), other, difference (pair - other),
    low, high (of the difference, paired bootstrap over images), images (that count in both).

    Args:
        maps: as for `alignment`.
        pair: two names.
        other: two names.
        k: size of the sets, or several.
        resamples: 1 or more.
        seed: of the resamples.
        level: in (0, 1).

    Raises:
        ValueError: as `alignment`.
    """
    values, sizes = _aligned(maps), _sizes(k)
    counts = resample_counts(len(next(iter(values.values()))), resamples, seed=seed)
    one, two = (_measures(values, each, sizes) for each in (pair, other))
    rows = []
    for (measure, size), each in one.items():
        gain = each - two[measure, size]
        known = ~np.isnan(gain)
        means = [_mean(np.where(known, those, np.nan)) for those in (each, two[measure, size])]
        low, high = _ends(_means(gain, counts), level)
        rows.append(
            {"measure": measure, "k": size, "value": means[0], "other": means[1]}
            | {"difference": _mean(gain), "low": low, "high": high, "images": int(known.sum())}
        )
    return pd.DataFrame(rows).astype({"k": "Int64"})


def _measures(
    values: Mapping[str, np.ndarray], pair: Pair, sizes: Sequence[int]
) -> dict[tuple[str, int | None], np.ndarray]:
    """Returns (measure, k) -> (n,) values, one an image."""
    unknown = [name for name in pair if name not in values]
    if unknown or len(pair) != 2:
        raise ValueError(f"the pair {pair!r} is no two of {', '.join(map(str, values))}")
    first, second = values[pair[0]], values[pair[1]]
    found: dict[tuple[str, int | None], np.ndarray] = {}
    for k in sizes:
        raw, chance = jaccard(first, second, k=k), chance_levels(first, second, k=k)
        room = np.where(chance < 1, 1 - chance, np.nan)
        found |= {
            ("jaccard", k): raw,
            ("chance", k): chance,
            ("adjusted", k): (raw - chance) / room,
        }
    return found | {("spearman", None): spearman(first, second)}


def _aligned(maps: Mapping[str, Maps]) -> dict[str, np.ndarray]:
    """Returns name -> (n, parts) float64, after checking that all speak of the same parts."""
    if len(maps) < 2:
        raise ValueError(f"{len(maps)} maps; alignment needs two or more, by name")
    same_parts({name: each for name, each in maps.items() if isinstance(each, AttributionMaps)})
    values = {
        name: _checked(each.values if isinstance(each, AttributionMaps) else each)
        for name, each in maps.items()
    }
    start = next(iter(values))
    for name, each in values.items():
        try:
            _same_shape(values[start], each)
        except ValueError as error:
            raise ValueError(f"maps[{start!r}] and maps[{name!r}]: {error}") from None
    return values


def _checked(values: np.ndarray) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or not found.size or np.isinf(found).any():
        raise ValueError(
            f"attributions have shape {found.shape}; expected (images, parts), finite or NaN"
        )
    return found


def _same_shape(first: np.ndarray, second: np.ndarray) -> None:
    if np.shape(first) != np.shape(second) or not np.array_equal(np.isnan(first), np.isnan(second)):
        raise ValueError(
            f"attributions of shape {np.shape(first)} and {np.shape(second)} are not of the same "
            "parts: explain both models over the same regions or words"
        )


def _sizes(k: int | Sequence[int]) -> list[int]:
    return [int(k)] if isinstance(k, int | np.integer) else [int(each) for each in k]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns (resamples, 1) mean over the images of each resample that are not NaN."""
    known = ~np.isnan(values)
    total = counts @ known.astype(np.float64)
    sums = counts @ np.where(known, values, 0.0)
    return np.where(total > 0, sums / np.maximum(total, 1), np.nan)[:, None]


def _ends(means: np.ndarray, level: float) -> tuple[float, float]:
    low, high = interval_ends(means, level)
    return float(low[0]), float(high[0])
