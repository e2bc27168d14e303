"""A folder of class folders: the same classes and numbers as torchvision's ImageFolder."""

import tarfile

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from duokit.images import default_splits, load


def test_ids_labels_and_pictures(class_folder):
    images = load("folder", class_folder)
    assert images.name == "pets"
    assert images.class_names == ("Ape", "cat", "dog")
    assert images.ids[0] == "Ape/image_0000.png"
    assert list(images.ids) == sorted(images.ids)
    assert np.bincount(images.labels).tolist() == [5, 4, 3]
    row = images.ids.index("dog/image_0002.png")
    assert images.open(row).getpixel((0, 0)) == (42, 42, 42)


def test_it_agrees_with_torchvision(class_folder):
    images, theirs = load("folder", class_folder), ImageFolder(class_folder)
    assert list(images.class_names) == theirs.classes
    assert images.labels.tolist() == theirs.targets
    for row, (picture, label) in enumerate(theirs):
        assert np.array_equal(np.asarray(images.open(row)), np.asarray(picture))
        assert images.labels[row] == label


def test_pictures_are_opened_lazily(class_folder):
    (class_folder / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    images = load("folder", class_folder)
    row = images.ids.index("cat/broken.jpg")
    images.open(row + 1)
    with pytest.raises(ValueError, match=r"cat/broken\.jpg is not a readable picture"):
        images.open(row)


def test_the_order_of_the_disk_has_no_part(class_folder, other_order):
    before = load("folder", class_folder).ids
    other_order()
    assert load("folder", class_folder).ids == before


def test_hidden_and_other_files_are_left_out_and_deeper_folders_belong_to_the_class(class_folder):
    before = len(load("folder", class_folder))
    (class_folder / "cat" / "notes.txt").write_text("x")
    (class_folder / "cat" / "._image.png").write_text("x")
    (class_folder / ".thumbnails").mkdir()
    (class_folder / "__MACOSX").mkdir()
    (class_folder / "cat" / "young").mkdir()
    Image.new("RGB", (4, 4)).save(class_folder / "cat" / "young" / "a.JPG")
    images = load("folder", class_folder)
    assert len(images) == before + 1
    assert images.labels[images.ids.index("cat/young/a.JPG")] == images.class_names.index("cat")


def test_an_archive_of_the_folder_gives_the_same(class_folder, tmp_path):
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as archive:
        archive.add(class_folder, arcname="pets")
    packed, plain = load("folder", tmp_path / "pets.tar.gz"), load("folder", class_folder)
    assert (packed.name, packed.ids) == (plain.name, plain.ids)
    assert packed.labels.tolist() == plain.labels.tolist()
    assert packed.open(3).tobytes() == plain.open(3).tobytes()


def test_what_is_no_folder_of_classes_is_refused(class_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="give its path as root"):
        load("folder")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load("folder", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds 0 folders"):
        load("folder", tmp_path / "empty")
    (class_folder / "eel").mkdir()
    with pytest.raises(ValueError, match=r"pets/eel holds no picture"):
        load("folder", class_folder)
    for part in ("train", "val", "test"):
        (tmp_path / "parts" / part / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="look like splits"):
        load("folder", tmp_path / "parts")


def test_default_splits_hold_every_picture_once(class_folder):
    images = load("folder", class_folder)
    splits = default_splits(images, seed=3)
    assert splits.dataset == "pets"
    assert sorted(name for part in splits.parts.values() for name in part) == list(images.ids)
    assert splits.sizes() == {"train": 3 + 2 + 2, "val": 1 + 1 + 0, "test": 1 + 1 + 1}


def test_a_folder_that_is_called_as_a_data_set_keeps_its_own_protocol(class_folder):
    images = load("folder", class_folder.rename(class_folder.with_name("elpv")))
    assert images.name == "elpv"
    assert default_splits(images).sizes() == {"train": 7, "val": 2, "test": 3}
