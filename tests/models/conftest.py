"""Small networks and small data, so that every step runs in seconds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from duokit.images import ImageSet
from duokit.images.reading import Pixels


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach a hub or the folder of whoever runs it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DUOKIT_DATA", str(tmp_path / "data"))


class Tiny(torch.nn.Module):
    """A convolution, pooling and a linear head: 3 x 8 x 8 in, k logits out."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.drop = torch.nn.Dropout(0.5)
        self.fc = torch.nn.Linear(4, classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.stem(pictures).relu().mean(dim=(2, 3))))


@pytest.fixture
def tiny() -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


@pytest.fixture
def stripes() -> ImageSet:
    """Three classes of 8 x 8 pictures, bright on top, below or nowhere, and some of no class.

    One in six is mislabelled, so that no probe is sure of everything.
    """
    random = np.random.default_rng(0)
    labels = np.array([row % 3 for row in range(90)] + [-1] * 6)
    values = random.integers(0, 120, size=(96, 8, 8))
    values[labels == 0, :4] += 80
    values[labels == 1, 4:] += 80
    mislabelled = np.flatnonzero(labels >= 0)[::6]
    labels[mislabelled] = (labels[mislabelled] + 1) % 3
    ids = tuple(f"{row:03d}" for row in range(96))
    return ImageSet(
        "stripes", ids, labels, ("top", "below", "none"), Pixels(values.astype(np.uint8))
    )


@pytest.fixture
def photograph() -> Image.Image:
    """A picture of smooth shapes that is the same on every machine."""
    y, x = np.mgrid[0:120, 0:160].astype(np.float64)
    disc = ((x - 80) ** 2 + (y - 60) ** 2 < 40**2) * 120.0
    channels = [128 + 60 * np.sin(x / 17) + disc * 0.5, 128 + 60 * np.cos(y / 13), 60 + disc]
    return Image.fromarray(np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8))
