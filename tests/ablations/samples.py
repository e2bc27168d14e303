"""Made-up records for the tests of the ablations; no number here is a result."""

import numpy as np

from duokit.logits.record import Record

CLASSES = 5


def records(
    n=400,
    *,
    seed=0,
    knows=(1.5, 1.0, 0.6, 0.0),
    flops=(1000, 500, 200, 100),
    labels=None,
    k=CLASSES,
):
    """Return a large model and sidekicks a, b, ... that know the label to some degree.

    Each model's logits are noise plus `knows` at the label; knows=0 is a useless one.
    """
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n) if labels is None else np.asarray(labels)
    found = {}
    for name, strength, cost in zip(("large", *"abcdefg"), knows, flops, strict=False):
        z = rng.normal(size=(len(y), k))
        z[np.arange(len(y)), y] += strength
        found[name] = record(2 * z, y, model=name, flops=cost)
    return found


def record(logits, labels, *, model="m", flops=100, split="val"):
    ids = tuple(f"image-{i}" for i in range(len(labels)))
    return Record(
        logits=np.asarray(logits, dtype=np.float32),
        labels=np.asarray(labels),
        ids=ids,
        model=model,
        weights="",
        resolution=None,
        dataset="made up",
        split=split,
        flops=flops,
    )


def split(given, first):
    """Return (val, test): records of the first images and of the others."""
    ids = next(iter(given.values())).ids
    return [
        {name: r.rows(part) for name, r in given.items()} for part in (ids[:first], ids[first:])
    ]
