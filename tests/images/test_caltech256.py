"""Caltech-256: numbered and split as torchvision and the released code do it."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from torch.utils.data import random_split
from torchvision.datasets import Caltech256

from duokit.images import default_splits, load, published_split
from duokit.images.caltech256 import PUBLISHED
from tests.images.benchmarks import jpeg, write_caltech256


@pytest.fixture(scope="session")
def master(tmp_path_factory):
    """As torchvision keeps it: root/caltech256/256_ObjectCategories."""
    root = tmp_path_factory.mktemp("caltech")
    write_caltech256(root / "caltech256" / "256_ObjectCategories")
    return root


@pytest.fixture
def folder(master, tmp_path):
    base = master / "caltech256" / "256_ObjectCategories"
    return Path(shutil.copytree(base, tmp_path / "copy" / base.name))


def torchvision_names(data: Caltech256) -> list[str]:
    pairs = zip(data.y, data.index, strict=True)
    return [f"{data.categories[y]}/{y + 1:03d}_{number:04d}.jpg" for y, number in pairs]


def test_ids_labels_and_order_are_those_of_torchvision(master):
    theirs, images = Caltech256(master), load("caltech256", master)
    assert list(images.class_names) == theirs.categories
    assert list(images.ids) == torchvision_names(theirs) == sorted(images.ids)
    assert images.labels.tolist() == theirs.y
    assert images.class_names[256] == "257.clutter"
    for row in (0, 100, len(images) - 1):
        assert images.open(row).tobytes() == theirs[row][0].convert("RGB").tobytes()


def test_the_split_is_that_of_the_released_code(master):
    data = Caltech256(master)
    train, val = int(0.7 * len(data)), int(0.15 * len(data))
    draw = torch.Generator().manual_seed(42)
    drawn = random_split(data, [train, val, len(data) - train - val], generator=draw)
    names = torchvision_names(data)
    splits = default_splits(load("caltech256", master))
    for part, subset in zip(("train", "val", "test"), drawn, strict=True):
        assert splits.parts[part] == tuple(sorted(names[row] for row in subset.indices))
    assert "not the authors' split, whose sizes are train 21,424" in splits.protocol


def test_kept_checksum_of_positions_is_that_of_random_split():
    draw = torch.Generator().manual_seed(42)
    sizes = [int(0.7 * 30_607), int(0.15 * 30_607)]
    parts = random_split(range(30_607), [*sizes, 30_607 - sum(sizes)], generator=draw)
    plain = {n: sorted(p.indices) for n, p in zip(("train", "val", "test"), parts, strict=True)}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED.positions
    assert list(PUBLISHED.sizes.values()) == [21_424, 4591, 4592]


def test_a_whole_copy_is_the_authors_and_another_seed_is_not(make_set):
    names = [f"{number:03d}.thing" for number in range(1, 258)]
    counts = dict.fromkeys(names, 119) | {names[0]: 30_607 - 256 * 119}
    images = make_set(counts, loader="caltech256")
    splits = default_splits(images)
    verdict = published_split(images, splits)
    assert verdict.authors
    assert "not compared: the names of the files" in str(verdict)
    assert splits.protocol.endswith("as the authors")
    other = default_splits(images, seed=1)
    assert "checksum of positions" in published_split(images, other).differs[0]
    assert "not the authors'" in other.protocol


def test_it_is_found_in_many_places(folder, tmp_path):
    plain = load("caltech256", folder).ids
    with tarfile.open(tmp_path / "256_ObjectCategories.tar", "w") as archive:
        archive.add(folder, arcname=folder.name)
    for root in (folder.parent, tmp_path / "256_ObjectCategories.tar", tmp_path):
        assert load("caltech256", root).ids == plain


def test_the_order_of_the_disk_has_no_part(folder, other_order):
    before = load("caltech256", folder).ids
    other_order()
    assert load("caltech256", folder).ids == before


def test_copies_that_are_not_whole_are_refused(folder):
    (folder / "010.thing-10" / "010_0001.jpg").rename(folder / "010.thing-10" / "010_0009.jpg")
    with pytest.raises(ValueError, match=r"010.thing-10 holds 010_000\d.jpg where 010_0001.jpg"):
        load("caltech256", folder)
    for path in (folder / "010.thing-10").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"010.thing-10 holds no .jpg"):
        load("caltech256", folder)
    (folder / "010.thing-10").rmdir()
    with pytest.raises(ValueError, match=r"256 class folders; .* \(010 is missing\)"):
        load("caltech256", folder)
    (folder / "extra").mkdir()
    with pytest.raises(ValueError, match=r"/extra is no class of Caltech-256"):
        load("caltech256", folder)


def test_caltech101_is_not_taken_for_it(caltech_folder, tmp_path):
    for root in (caltech_folder, caltech_folder.parent):
        with pytest.raises(ValueError, match="is Caltech-101, not Caltech-256"):
            load("caltech256", root)
    with pytest.raises(FileNotFoundError, match="duokit data fetch caltech256"):
        load("caltech256")


def test_a_truncated_picture_is_named(folder):
    images = load("caltech256", folder)
    (folder / images.ids[0]).write_bytes(jpeg()[:-80])
    with pytest.raises(ValueError, match=r"001_0001\.jpg is not a readable picture"):
        images.open(0)
