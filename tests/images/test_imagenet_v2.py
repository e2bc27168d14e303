"""ImageNet-V2: the number of a folder is its class, in ImageNet's order."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from duokit.images import default_splits, load, published_split
from duokit.images.wnids import imagenet_wnids
from tests.images.benchmarks import jpeg, write_imagenet_v2

FOLDER = "imagenetv2-matched-frequency-format-val"


@pytest.fixture(scope="session")
def master(tmp_path_factory):
    return write_imagenet_v2(tmp_path_factory.mktemp("v2") / FOLDER)


@pytest.fixture
def folder(master, tmp_path):
    return Path(shutil.copytree(master, tmp_path / "sets" / FOLDER))


def test_labels_are_the_numbers_of_the_folders(master):
    images = load("imagenet_v2", master)
    assert images.class_names == imagenet_wnids()
    assert np.bincount(images.labels).tolist() == [1] * 1000
    for row in range(0, 1000, 37):  # folder "10" is class 10, not the class after "1"
        label = images.labels[row]
        assert images.ids[row].startswith(f"{label}/")
        assert images.open(row).getpixel((0, 0))[0] == pytest.approx(label % 250, abs=2)
    assert "matched-frequency" in images.source
    assert list(images.ids) == sorted(images.ids)


def test_all_is_shifted_and_a_small_copy_is_not_the_authors(master):
    images = load("imagenet_v2", master)
    splits = default_splits(images, seed=5)
    assert splits.sizes() == {"shifted": 1000}
    assert splits.checksum == default_splits(images).checksum
    verdict = published_split(images, splits)
    assert not verdict.authors
    assert "images a class: [1], the authors' [10]" in str(verdict)


def test_a_whole_set_is_the_authors_as_far_as_is_known(make_set):
    images = make_set(dict.fromkeys(imagenet_wnids(), 10), loader="imagenet_v2")
    verdict = published_split(images, default_splits(images))
    assert verdict.authors
    assert "which of the three sets" in str(verdict)


def test_it_is_found_above_and_in_an_archive(folder, tmp_path):
    plain = load("imagenet_v2", folder)
    assert load("imagenet_v2", folder.parent).ids == plain.ids
    with tarfile.open(tmp_path / "imagenetv2-matched-frequency.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=FOLDER)
    assert load("imagenet_v2", tmp_path / "imagenetv2-matched-frequency.tar.gz").ids == plain.ids


def test_several_sets_and_no_root_is_a_question(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, folder.with_name("imagenetv2-top-images-format-val"))
    monkeypatch.setenv("DUOKIT_DATA", str(folder.parent))
    with pytest.raises(ValueError, match=r"more than one set .*top-images.*as root"):
        load("imagenet_v2")
    assert (
        "top-images"
        in load("imagenet_v2", folder.parent / "imagenetv2-top-images-format-val").source
    )


def test_the_order_of_the_disk_has_no_part(master, other_order):
    before = load("imagenet_v2", master).ids
    other_order()
    assert load("imagenet_v2", master).ids == before


def test_what_is_not_it_is_refused(folder, tmp_path):
    (folder / "notes.txt").write_text("x")
    load("imagenet_v2", folder)
    (folder / "1000").mkdir()
    with pytest.raises(ValueError, match=r"/1000 is no class of ImageNet-V2"):
        load("imagenet_v2", folder)
    (folder / "1000").rmdir()
    shutil.rmtree(folder / "999")
    with pytest.raises(ValueError, match=r"no picture .* of 1 of .*/999\)"):
        load("imagenet_v2", folder)
    (tmp_path / "val" / "n01440764").mkdir(parents=True)
    with pytest.raises(ValueError, match="load it as 'imagenet'"):
        load("imagenet_v2", tmp_path / "val")
    with pytest.raises(FileNotFoundError, match="duokit data fetch imagenet_v2"):
        load("imagenet_v2")


def test_a_truncated_picture_is_named(folder):
    images = load("imagenet_v2", folder)
    (folder / images.ids[0]).write_bytes(jpeg()[:-80])
    with pytest.raises(ValueError, match=rf"{images.ids[0]} is not a readable picture"):
        images.open(0)
