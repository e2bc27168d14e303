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
