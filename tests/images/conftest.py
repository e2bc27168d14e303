"""Small copies of the data sets: the same layout, tiny pictures."""

import gzip
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duokit.images import ImageSet
from duokit.images.reading import Pixels

BACKGROUND = "BACKGROUND_Google"


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test looks into, or unpacks into, the folder of whoever runs it."""
    folder = tmp_path / "data"
    monkeypatch.setenv("DUOKIT_DATA", str(folder))
    return folder


@pytest.fixture
def other_order(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the disk list its files in another order from now on."""

    def turn() -> None:
        scandir = os.scandir
        monkeypatch.setattr(
            os, "scandir", lambda path: nullcontext(sorted(scandir(path), key=str, reverse=True))
        )

    return turn


def write_picture(path: Path, grey: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (10, 8), (grey,) * len(mode) if mode != "L" else grey).save(path)


@pytest.fixture
def class_folder(tmp_path: Path) -> Path:
    """Three classes with 4, 3 and 5 pictures; the grey value of each says which it is."""
    base = tmp_path / "pets"
    for label, (name, count) in enumerate({"cat": 4, "dog": 3, "Ape": 5}.items()):
        for number in range(count):
            write_picture(base / name / f"image_{number:04d}.png", 40 * label + number)
    return base


@pytest.fixture(scope="session")
def _caltech_master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("caltech") / "101_ObjectCategories"
    names = ["Faces", "Faces_easy", *(f"thing_{number:02d}" for number in range(99))]
    for number, name in enumerate(names):
        for picture in range(3 + number % 3):
            write_picture(base / name / f"image_{picture + 1:04d}.jpg", number)
    for picture in range(6):
        write_picture(base / BACKGROUND / f"image_{picture + 1:04d}.jpg", 200)
    shutil.copy(base / BACKGROUND / "image_0001.jpg", base / BACKGROUND / "tmp")  # as published
    return base


@pytest.fixture
def caltech_folder(_caltech_master: Path, tmp_path: Path) -> Path:
    """101 classes of 3 to 5 pictures and a folder of clutter, in the published layout."""
    return Path(shutil.copytree(_caltech_master, tmp_path / "copy" / _caltech_master.name))


def idx(values: np.ndarray) -> bytes:
    """Return the bytes of an IDX file of unsigned bytes."""
    start = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    return start + values.astype(np.uint8).tobytes()


@pytest.fixture
def fashion_folder(tmp_path: Path) -> Path:
    """Fashion-MNIST with 60 and 20 random pictures, in four compressed files."""
    base = tmp_path / "fashion"
    base.mkdir()
    random = np.random.default_rng(0)
    for stem, count in {"train": 60, "t10k": 20}.items():
        pictures = random.integers(0, 256, size=(count, 28, 28))
        labels = np.arange(count) % 10
        for what, values in {"images-idx3": pictures, "labels-idx1": labels}.items():
            path = base / f"{stem}-{what}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(values), mtime=0))
    return base


@pytest.fixture
def make_set() -> Callable[[dict[str, int]], ImageSet]:
    """Makes an image set of so many images a class; the class "" is for images of no class."""

    def make(counts: dict[str, int], loader: str = "folder") -> ImageSet:
        classes = tuple(each for each in counts if each)
        ids, labels = [], []
        for each, count in counts.items():
            ids += [f"{each or 'none'}/{row:04d}" for row in range(count)]
            labels += [classes.index(each) if each else -1] * count
        labels = np.array(labels)
        return ImageSet(
            "some",
            tuple(ids),
            labels,
            classes,
            Pixels(np.zeros((1, 2, 2), np.uint8)),
            loader=loader,
        )

    return make
