"""Caltech-101: found wherever it usually lies, numbered as torchvision numbers it."""

import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torchvision
from torchvision.datasets import Caltech101

from duokit.images import default_splits, load
from duokit.images.places import data_folder


def test_classes_ids_and_clutter(caltech_folder):
    images = load("caltech101", caltech_folder)
    assert images.classes == 101
    assert {"Faces", "Faces_easy"} <= set(images.class_names)
    assert "BACKGROUND_Google" not in images.class_names
    assert list(images.ids) == sorted(images.ids)
    clutter = [name.startswith("BACKGROUND_Google/") for name in images.ids]
    assert np.array_equal(images.labels == -1, clutter)
    assert sum(clutter) == 6  # "tmp" is no picture's name
    for row in range(0, len(images), 17):
        if images.labels[row] >= 0:
            assert images.ids[row].split("/")[0] == images.class_names[images.labels[row]]
            assert images.open(row).getpixel((0, 0))[0] == pytest.approx(images.labels[row], abs=2)


def test_numbers_of_the_classes_are_torchvisions(caltech_folder, tmp_path):
    root = tmp_path / "torchvision"
    shutil.copytree(caltech_folder, root / "caltech101" / caltech_folder.name)
    theirs = Caltech101(root)
    ours = load("caltech101", root)
    assert list(ours.class_names) == theirs.categories
    assert ours.labels[ours.labels >= 0].tolist() == theirs.y


@pytest.mark.parametrize("kind", ["parent", "tar", "tar.gz", "zip in a folder", "variable"])
def test_it_is_found_in_many_places(caltech_folder, tmp_path, monkeypatch, kind):
    plain = load("caltech101", caltech_folder)
    root = tmp_path / "elsewhere"
    root.mkdir()
    if kind == "parent":
        root = caltech_folder.parent
    elif kind == "zip in a folder":  # as it is published: a zip that holds a tar.gz
        with tarfile.open(root / "101_ObjectCategories.tar.gz", "w:gz") as archive:
            archive.add(caltech_folder, arcname=caltech_folder.name)
        with zipfile.ZipFile(root / "caltech-101.zip", "w") as archive:
            archive.write(
                root / "101_ObjectCategories.tar.gz", "caltech-101/101_ObjectCategories.tar.gz"
            )
        (root / "101_ObjectCategories.tar.gz").unlink()
    elif kind == "variable":
        monkeypatch.setenv("DUOKIT_DATA", str(caltech_folder.parent))
    else:
        root = root / f"images.{kind}"
        with tarfile.open(root, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(caltech_folder, arcname=caltech_folder.name)
    found = load("caltech101", None if kind == "variable" else root)
    assert found.ids == plain.ids
    assert found.labels.tolist() == plain.labels.tolist()
    assert found.open(5).tobytes() == plain.open(5).tobytes()


def test_the_published_zip_itself_may_be_the_root(caltech_folder, tmp_path):
    with tarfile.open(tmp_path / "inner.tar.gz", "w:gz") as archive:
        archive.add(caltech_folder, arcname=caltech_folder.name)
    with zipfile.ZipFile(tmp_path / "caltech-101.zip", "w") as archive:
        archive.write(tmp_path / "inner.tar.gz", "caltech-101/101_ObjectCategories.tar.gz")
    assert len(load("caltech101", tmp_path / "caltech-101.zip")) == len(
        load("caltech101", caltech_folder)
    )


def test_a_copy_that_is_not_whole_is_refused(caltech_folder, tmp_path):
    shutil.rmtree(caltech_folder / "Faces_easy")
    with pytest.raises(ValueError, match="holds 100 classes; Caltech-101 has 101"):
        load("caltech101", caltech_folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="DUOKIT_DATA"):
        load("caltech101", tmp_path / "nothing")


def test_splits_follow_the_protocol(make_set):
    counts = {"inline_skate": 31, "wild_cat": 34, "cup": 57, "watch": 60, "Faces": 435, "": 467}
    images = make_set(counts, loader="caltech101")
    splits = default_splits(images, seed=0)
    expected = {  # train, val, test
        "inline_skate": (30, 0, 1),
        "wild_cat": (30, 2, 2),
        "cup": (30, 13, 14),
        "watch": (30, 15, 15),
        "Faces": (30, 15, 390),
    }
    labels = {part: images.labels[images.rows(ids)] for part, ids in splits.parts.items()}
    for label, name in enumerate(images.class_names):
        found = tuple(int((labels[part] == label).sum()) for part in ("train", "val", "test"))
        assert found == expected[name], name
    assert labels["ood"].tolist() == [-1] * 467
    assert "30 images a class" in splits.protocol


def test_download_asks_torchvision_and_says_what_to_do_without_a_network(
    caltech_folder, tmp_path, monkeypatch
):
    def fetch(self):
        shutil.copytree(caltech_folder, tmp_path / "new" / "caltech101" / caltech_folder.name)

    monkeypatch.setattr(torchvision.datasets.Caltech101, "download", fetch)
    (tmp_path / "new").mkdir()
    assert load("caltech101", tmp_path / "new", download=True).classes == 101

    def fail(self):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.Caltech101, "download", fail)
    with pytest.raises(FileNotFoundError, match=r"no route to host.*caltech-101\.zip"):
        load("caltech101", download=True)
    assert str(data_folder()).startswith(str(tmp_path))
