"""Made-up logits for tests of fusion: labels first, then models that know something about them."""

import numpy as np


def make_duo(
    n: int = 400,
    k: int = 7,
    *,
    seed: int = 0,
    signal: tuple[float, ...] = (2.0, 1.2),
    scale: tuple[float, ...] = (1.5, 0.7),
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return (one (n, k) float32 array a model, labels): noise plus `signal` at the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    members = []
    for strength, size in zip(signal, scale, strict=True):
        logits = rng.standard_normal((n, k))
        logits[np.arange(n), labels] += strength
        members.append((size * logits).astype(np.float32))
    return members, labels


def slow_nll(members: list[np.ndarray], labels: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean NLL of the weighted logits by a loop over images."""
    total = 0.0
    for i, label in enumerate(labels):
        fused = sum(w * z[i].astype(np.float64) for w, z in zip(weights, members, strict=True))
        top = fused.max()
        total += top + np.log(np.exp(fused - top).sum()) - fused[label]
    return total / len(labels)


def masked_duo(
    n: int, low: float, *, where: str = "column", seed: int = 0, dtype: type = np.float32
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Return (members whose last three of eight classes are masked, the same without, labels).

    where: "column": both members mask them on every image; "first", "second": one does; "mixed":
    either member masks each at random, one of them always does, and the masks are of many depths.
    """
    rng = np.random.default_rng(seed)
    plain, labels = make_duo(n, 5, seed=seed)
    more = rng.standard_normal((2, n, 3))
    masks = rng.random((n, 3)) < 0.5
    hit = {
        "column": np.ones((2, n, 3), bool),
        "first": np.stack([np.ones((n, 3), bool), np.zeros((n, 3), bool)]),
        "second": np.stack([np.zeros((n, 3), bool), np.ones((n, 3), bool)]),
        "mixed": np.stack([masks, ~masks | (rng.random((n, 3)) < 0.5)]),
    }[where]
    depth = low if where != "mixed" else np.where(rng.random((n, 3)) < 0.5, low, -1e4)
    filled = np.where(hit, depth, more)
    members = [np.concatenate([z, extra], 1) for z, extra in zip(plain, filled, strict=True)]
    return [z.astype(dtype) for z in members], [z.astype(dtype) for z in plain], labels
