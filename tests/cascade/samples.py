"""Cascades to measure: drawn with a seed, no result of anything."""

import numpy as np


def make_cascade(n, *, seed, values=None, complement=0.5):
    """Return uncertainties, of few distinct values if asked, and who is right on which image."""
    draw = np.random.default_rng(seed)
    uncertainty = draw.random(n)
    small = draw.random(n) > 0.8 * uncertainty
    deferred = np.where(small, draw.random(n) > 0.1, draw.random(n) < complement)
    if values is not None:
        uncertainty = np.floor(uncertainty * values) / values
    return uncertainty, small, deferred


def make_pair(n=400, k=6, *, seed=0, large=3.0, small=2.0):
    """Return logits of a large and a small model that err on different images, and the labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, k, n)
    members = [(draw.normal(size=(n, k)) * 1.5).astype(np.float32) for _ in range(2)]
    for z, lift in zip(members, (large, small), strict=True):
        z[np.arange(n), labels] += lift
    return members[0], members[1], labels
