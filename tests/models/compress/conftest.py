"""A finished run of a small network on small pictures."""

from pathlib import Path

import numpy as np
import pytest

from duokit.images import ImageSet, make_splits
from duokit.images.reading import Pixels
from duokit.models.tuning.run import Run, load_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.tuned import tuned_records

QUIET = {"device": "cpu", "progress": False}


@pytest.fixture(scope="session")
def greys() -> ImageSet:
    """Three classes of grey pictures, dark to bright."""
    random = np.random.default_rng(0)
    labels = np.array([row % 3 for row in range(60)])
    values = random.integers(0, 120, size=(60, 8, 8)) + 60 * labels[:, None, None]
    ids = tuple(f"{row:03d}" for row in range(60))
    names = ("dark", "grey", "bright")
    return ImageSet("greys", ids, labels, names, Pixels(values.astype(np.uint8)))


@pytest.fixture(scope="session")
def trained(greys, tmp_path_factory) -> Path:
    """Folder of a run with settings that a second stage takes over."""
    settings = FineTune(
        "test_efficientnet", resolution=32, pretrained="none", probe=False, epochs=2, batch=16,
        lr=1e-2, seed=7,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "greys"
    splits = make_splits(greys, train=0.5, val=0.2, seed=0)
    tuned_records(greys, splits, settings, folder, command="train it", **QUIET)
    return folder


@pytest.fixture
def run(trained) -> Run:
    return load_run(trained)
