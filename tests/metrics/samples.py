"""Logits to measure: drawn with a seed, no result of anything."""

import numpy as np


def make_logits(n: int, k: int, *, seed: int, scale: float = 1.5, lift: float = 3.0):
    """Return (n, k) float64 logits and labels, the label's logit lifted by a random amount."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * scale
    labels = rng.integers(0, k, n)
    logits[np.arange(n), labels] += rng.normal(lift, 2, n)
    return logits, labels


def make_ranked(n: int, *, seed: int, values: int | None = None, wrong: float = 0.3):
    """Return uncertainties, of few distinct values if asked, and whether each image is right."""
    rng = np.random.default_rng(seed)
    uncertainty = rng.random(n)
    correct = rng.random(n) > 2 * wrong * uncertainty
    if values is not None:
        uncertainty = np.floor(uncertainty * values)
    return uncertainty, correct
