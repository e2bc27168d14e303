"""Two models that know something, on a validation and a test split."""

import numpy as np
import pytest

from duokit.logits import make_record, save


def member(split, seed, noise, **more):
    """Logits that point at the label through noise; the labels depend on the split alone."""
    labels = np.random.default_rng(len(split)).integers(0, 5, size=300)
    noisy = np.random.default_rng(seed).normal(size=(300, 5)) * noise
    return make_record(
        2 * np.eye(5)[labels] + noisy, labels, [f"{split}/{i}.png" for i in range(300)],
        dataset="toy", split=split, dtype="float32", **more,
    )  # fmt: skip


@pytest.fixture
def records(tmp_path):
    """Paths by (role, split)."""
    paths = {}
    for number, (role, noise, flops) in enumerate([("large", 1.0, 4000), ("small", 1.5, 1000)]):
        for split in ("val", "test"):
            made = member(
                split, 10 * number + len(split), noise, model=f"net-{role}", resolution=96,
                flops=flops, parameters=10,
            )  # fmt: skip
            paths[role, split] = save(made, tmp_path / role / split)
    return paths


@pytest.fixture
def duokit(capsys):
    """Calls the command line; returns exit code, stdout and stderr."""
    from duokit.cli import main

    def call(*words):
        code = main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return call
