"""ImageNet's validation pictures: labels and splits as the released code has them."""

import hashlib
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from timm.data import ImageNetInfo
from torch.utils.data import random_split
from torchvision.datasets import ImageFolder

from duokit.images import default_splits, ground_truth, imagenet, load, published_split
from duokit.images.imagenet import PUBLISHED
from duokit.images.official import drawn_positions, positions_checksum
from duokit.images.wnids import imagenet_wnids
from tests.images.benchmarks import imagenet_labels, jpeg, picture_name, write_imagenet
from tools.split_checksums import imagenet_ids, main

LABELS = imagenet_labels()


@pytest.fixture(scope="session")
def master(tmp_path_factory):
    return write_imagenet(tmp_path_factory.mktemp("imagenet") / "val", LABELS)


@pytest.fixture
def val(master, tmp_path):
    return Path(shutil.copytree(master, tmp_path / "imagenet" / "val"))


@pytest.fixture
def flat(tmp_path):
    """The layout of the official archive, without what the pictures show."""
    base = tmp_path / "flat" / "val"
    base.mkdir(parents=True)
    for number in range(1, len(LABELS) + 1):
        (base / picture_name(number)).write_bytes(jpeg())
    return base


def test_class_numbers_are_those_of_timm():
    assert list(imagenet_wnids()) == ImageNetInfo().label_names()
    assert list(imagenet_wnids()) == sorted({*imagenet_wnids()})


def test_ids_labels_and_order_are_those_of_torchvision(master):
    theirs = ImageFolder(master)
    images = load("imagenet", master.parent)
    assert list(images.class_names) == theirs.classes
    assert images.labels.tolist() == theirs.targets
    assert list(images.ids) == [Path(p).relative_to(master).as_posix() for p, _ in theirs.samples]
    assert list(images.ids) == sorted(images.ids)
    assert images.open(0).size == (8, 8)


def test_the_split_is_that_of_the_released_code(master):
    data = ImageFolder(master)
    size = int(0.05 * len(data))
    draw = torch.Generator().manual_seed(42)
    val, test = random_split(data, [size, len(data) - size], generator=draw)
    splits = default_splits(load("imagenet", master))
    names = [Path(path).relative_to(master).as_posix() for path, _ in data.samples]
    assert splits.parts["val"] == tuple(sorted(names[row] for row in val.indices))
    assert splits.parts["test"] == tuple(sorted(names[row] for row in test.indices))


def test_a_small_copy_and_another_seed_are_not_called_the_authors(master):
    images = load("imagenet", master)
    splits = default_splits(images)
    assert "not the authors' split, whose sizes are val 2,500, test 47,500" in splits.protocol
    verdict = published_split(images, splits)
    assert not verdict.authors
    assert "sizes: {'val': 100, 'test': 1900}" in str(verdict)
    other = default_splits(images, seed=1)
    assert other.sizes() == splits.sizes()
    assert other.checksum != splits.checksum
    with pytest.raises(ValueError, match="seed is -1"):
        default_splits(images, seed=-1)


def test_kept_checksums_of_positions_are_those_of_random_split():
    draw = torch.Generator().manual_seed(42)
    parts = random_split(range(50_000), [2500, 47_500], generator=draw)
    plain = {name: sorted(part.indices) for name, part in zip(("val", "test"), parts, strict=True)}
    text = json.dumps({"test": plain["test"], "val": plain["val"]}, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED.positions
    drawn = drawn_positions(50_000, PUBLISHED.sizes, seed=42)
    assert positions_checksum(drawn) == PUBLISHED.positions
    assert positions_checksum(drawn_positions(50_000, PUBLISHED.sizes, seed=43)) != (
        PUBLISHED.positions
    )


def test_50000_pictures_with_other_labels_are_not_the_authors(make_set):
    """Sizes and positions agree with any 50,000 pictures; the ids do not."""
    images = make_set(dict.fromkeys(imagenet_wnids(), 50), loader="imagenet")
    verdict = published_split(images, default_splits(images))
    assert not verdict.authors
    assert verdict.agrees == ("sizes", "images a class", "checksum of positions")
    assert len(verdict.differs) == 1
    assert verdict.differs[0].startswith("checksum of ids")


def test_the_authors_split_is_recognised_by_all_it_is_known_by(make_set, monkeypatch):
    images = make_set(dict.fromkeys(imagenet_wnids(), 50), loader="imagenet")
    splits = default_splits(images)
    monkeypatch.setattr(imagenet, "PUBLISHED", replace(PUBLISHED, ids=splits.checksum))
    verdict = published_split(images, splits)
    assert verdict.authors
    assert "checksum of ids agree" in str(verdict)
    assert splits.protocol.endswith("generator seed 42; as the authors")
    assert "whose generator seed is 42" in default_splits(images, seed=3).protocol


def test_the_tool_that_makes_checksums_names_pictures_as_the_loader(master):
    assert imagenet_ids(LABELS) == load("imagenet", master).ids


def test_the_tool_wants_the_whole_list(tmp_path, capsys):
    assert main([]) == 2
    assert "validation_labels.txt" in capsys.readouterr().err
    (tmp_path / "few.txt").write_text("\n".join(LABELS))
    with pytest.raises(ValueError, match=r"few.txt has 2,000 lines; expected 50,000"):
        main([str(tmp_path / "few.txt")])


@pytest.mark.parametrize("kind", ["lines", "kaggle", "devkit"])
def test_the_flat_layout_gives_the_same_set(master, flat, kind):
    number = {wnid: row for row, wnid in enumerate(reversed(imagenet_wnids()), start=1)}
    if kind == "lines":
        (flat.parent / "validation_labels.txt").write_text("\n".join(LABELS))
    elif kind == "kaggle":
        rows = [f"{picture_name(n)[:-5]},{w} 1 2 3 4 " for n, w in enumerate(LABELS, start=1)]
        text = "\n".join(["ImageId,PredictionString", *reversed(rows)])
        (flat.parent / "LOC_val_solution.csv").write_text(text)
    else:  # class numbers that are not in the order of the WordNet ids, and inner nodes
        kit = flat.parent / "ILSVRC2012_devkit_t12" / "data"
        kit.mkdir(parents=True)
        lines = "\n".join(str(number[wnid]) for wnid in LABELS)
        (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)
        meta = np.zeros(1001, dtype=[("ILSVRC2012_ID", object), ("WNID", object)])
        meta[:1000] = [(n, wnid) for wnid, n in number.items()]
        meta[1000] = (1001, "n00001740")
        savemat(kit / "meta.mat", {"synsets": meta})
    plain, found = load("imagenet", master), load("imagenet", flat.parent)
    assert (found.ids, found.labels.tolist()) == (plain.ids, plain.labels.tolist())
    assert found.open(3).size == (8, 8)


def test_the_official_archive_itself_may_be_the_root(flat, tmp_path):
    with tarfile.open(tmp_path / "ILSVRC2012_img_val.tar", "w") as archive:
        for path in flat.iterdir():
            archive.add(path, arcname=path.name)
    (tmp_path / "validation_labels.txt").write_text("\n".join(LABELS))
    assert load("imagenet", tmp_path / "ILSVRC2012_img_val.tar").ids == imagenet_ids(LABELS)
    assert load("imagenet", tmp_path).ids == imagenet_ids(LABELS)


def test_the_flat_layout_without_labels_says_what_to_do(flat, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"flat/val holds .*devkit_t12.tar.gz beside it"):
        load("imagenet", flat.parent)
    (flat.parent / "validation_labels.txt").write_text("\n".join(LABELS[:-1]))
    with pytest.raises(ValueError, match=r"validation_labels.txt has no label for .*00002000.JPEG"):
        load("imagenet", flat.parent)
    (flat.parent / "validation_labels.txt").write_text("\n".join(["490"] * len(LABELS)))
    with pytest.raises(ValueError, match="says '490', no WordNet id"):
        load("imagenet", flat.parent)
    (flat.parent / "validation_labels.txt").unlink()
    (flat.parent / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n")
    with pytest.raises(FileNotFoundError, match=r"meta.mat, which explains them, is missing"):
        load("imagenet", flat.parent)
    (flat.parent / "validation_labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"validation_labels.txt is not a file of plain text"):
        load("imagenet", flat.parent)
    (flat.parent / "validation_labels.txt").unlink()
    (flat.parent / "meta.mat").write_bytes(b"no table")
    with pytest.raises(
        ValueError, match=r"meta.mat is not that of ILSVRC2012_devkit_t12 \(.+\): un"
    ):
        load("imagenet", flat.parent)
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(ground_truth, "READER", killed)
    with pytest.raises(ValueError, match=r"meta.mat is not that .*its reader ended with -9"):
        load("imagenet", flat.parent)
    (flat.parent / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nx_y,n01440764\n")
    with pytest.raises(ValueError, match=r"LOC_val_solution.csv is not the table of Kaggle"):
        load("imagenet", flat.parent)
    (flat.parent / "LOC_val_solution.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"LOC_val_solution.csv is not the table of Kaggle"):
        load("imagenet", flat.parent)


def test_the_order_of_the_disk_has_no_part(master, other_order):
    before = load("imagenet", master)
    other_order()
    after = load("imagenet", master)
    assert (after.ids, after.labels.tolist()) == (before.ids, before.labels.tolist())


def test_missing_classes_and_strange_pictures_are_refused(val):
    wnid = imagenet_wnids()[7]
    shutil.rmtree(val / wnid)
    with pytest.raises(ValueError, match=f"no picture of 1 of .*the first is {wnid}"):
        load("imagenet", val)
    (val / wnid).mkdir()
    with pytest.raises(ValueError, match=f"the first is {wnid}"):
        load("imagenet", val)
    (val / wnid / f"{wnid}_10026.JPEG").write_bytes(jpeg())
    with pytest.raises(ValueError, match=rf"{wnid}_10026.JPEG .* training picture"):
        load("imagenet", val)
    (val / wnid / f"{wnid}_10026.JPEG").rename(val / wnid / "extra.png")
    with pytest.raises(ValueError, match=r"extra.png is no validation picture"):
        load("imagenet", val)
    (val / wnid / "extra.png").rename(val / wnid / picture_name(1))
    with pytest.raises(ValueError, match="one picture in two classes"):
        load("imagenet", val)
    (val / "n99999999").mkdir()
    with pytest.raises(ValueError, match="n99999999 is none of the 1,000 classes"):
        load("imagenet", val)


def test_it_is_not_found_and_cannot_be_downloaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded from here.*image-net.org"):
        load("imagenet", download=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"in .*empty: ILSVRC2012_img_val.tar"):
        load("imagenet", tmp_path / "empty")
    for name in ("0", "1"):
        (tmp_path / "empty" / name).mkdir()
    with pytest.raises(ValueError, match="load it as 'imagenet_v2'"):
        load("imagenet", tmp_path / "empty")


def test_a_truncated_picture_is_named_when_it_is_opened(val):
    images = load("imagenet", val)
    path = val / images.ids[4]
    path.write_bytes(jpeg()[:-80])
    with pytest.raises(ValueError, match=f"{path.name} is not a readable picture"):
        images.open(4)
