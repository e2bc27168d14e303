"""Fashion-MNIST: the files of Debian's package and of torchvision are the same pictures."""

import gzip
import shutil

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from duokit.images import default_splits, fashion_mnist, load, make_splits


def test_ids_labels_and_pixels_are_torchvisions(fashion_folder, tmp_path):
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in fashion_folder.iterdir():
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    images = load("fashion_mnist", tmp_path / "torchvision")
    assert images.ids == load("fashion_mnist", fashion_folder).ids
    assert images.class_names == tuple(FashionMNIST.classes)
    for train, part in ((True, "train"), (False, "test")):
        theirs = FashionMNIST(tmp_path / "torchvision", train=train)
        rows = images.rows(f"{part}/{number:05d}" for number in range(len(theirs)))
        assert images.labels[rows].tolist() == theirs.targets.tolist()
        assert np.array_equal(np.asarray(images.open(rows[7]))[:, :, 1], theirs.data[7].numpy())


def test_it_is_found_where_debian_puts_it(fashion_folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", fashion_folder)
    assert len(load("fashion_mnist")) == 80


def test_the_published_test_part_stays_whole(fashion_folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "VAL", 2)
    images = load("fashion_mnist", fashion_folder)
    splits = default_splits(images, seed=1)
    assert splits.sizes() == {"train": 40, "val": 20, "test": 20}
    assert all(name.startswith("test/") for name in splits.parts["test"])
    assert all(name.startswith("train/") for name in splits.parts["val"])
    assert np.bincount(images.labels[images.rows(splits.parts["val"])]).tolist() == [2] * 10
    fewer = make_splits(images, train=3, val=2, seed=1, test=splits.parts["test"])
    assert fewer.sizes() == {"train": 30, "val": 20, "test": 20}
    assert "test as published" in splits.protocol


def test_damaged_or_missing_files_name_themselves(fashion_folder, tmp_path):
    labels = fashion_folder / "t10k-labels-idx1-ubyte.gz"
    shutil.copy(fashion_folder / "train-labels-idx1-ubyte.gz", labels)
    with pytest.raises(ValueError, match=r"t10k pictures have shape \(20, 28, 28\)"):
        load("fashion_mnist", fashion_folder)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
        load("fashion_mnist", fashion_folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        load("fashion_mnist", tmp_path / "nothing")


def test_download_asks_torchvision(fashion_folder, tmp_path, monkeypatch):
    def fetch(self):
        shutil.copytree(fashion_folder, tmp_path / "new" / "FashionMNIST" / "raw")

    monkeypatch.setattr(FashionMNIST, "__init__", lambda self, root, download: fetch(self))
    (tmp_path / "new").mkdir()
    assert len(load("fashion_mnist", tmp_path / "new", download=True)) == 80

    def fail(self, root, download):
        raise RuntimeError("Error downloading")

    monkeypatch.setattr(FashionMNIST, "__init__", fail)
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match="Error downloading"):
        load("fashion_mnist", tmp_path / "other", download=True)


def test_the_shifted_parts_are_the_test_pictures_corrupted(fashion_folder, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "VAL", 2)
    images = load("fashion_mnist_c", fashion_folder)
    splits = default_splits(images, seed=1)
    plain = default_splits(load("fashion_mnist", fashion_folder), seed=1)
    for part in ("train", "val", "test"):
        assert splits.parts[part] == plain.parts[part]
    for severity in range(1, 6):
        part = splits.parts[f"shifted-{severity}"]
        assert [name.split("+")[0] for name in part] == list(plain.parts["test"])
        assert all(name.endswith(f"-{severity}") for name in part)
    assert images.open(len(images) - 1).size == (28, 28)
