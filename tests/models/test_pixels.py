"""Decoded pictures: the eval transform bit for bit, a cache that is whole or not there."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from duokit.images import ImageSet, load
from duokit.models import predict, preprocessing
from duokit.models.pixels import decode
from duokit.models.transforms import Preprocessing

HOW = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def photographs() -> ImageSet:
    """Pictures of several sizes and shapes."""
    random = np.random.default_rng(0)
    sizes = [(40, 50), (64, 33), (33, 90), (32, 32)]
    made = [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]
    labels = np.array([0, 1, 0, -1])
    return ImageSet("noise", ("a", "b", "c", "d"), labels, ("x", "y"), made.__getitem__)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
def test_they_are_what_the_eval_transform_returns(photographs, crop_mode):
    how = Preprocessing(32, 0.875, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), crop_mode)
    pixels = decode(photographs, how, progress=False)
    ready = pixels.normalised(pixels.values)
    for row in range(4):
        assert torch.equal(ready[row], how.transform()(photographs.open(row)))
    assert pixels.labels.tolist() == [0, 1, 0, -1]


def test_a_named_network_has_its_own_crop(photographs):
    how = preprocessing("tf_efficientnet_lite0", 32)
    pixels = decode(photographs, how, ids=("c", "a"), progress=False)
    assert pixels.ids == ("c", "a")
    assert torch.equal(pixels.normalised(pixels.values)[0], how.transform()(photographs.open(2)))


def test_predict_takes_them(stripes, tiny):
    direct = predict(tiny, stripes, transform=HOW.transform(), rows=[5, 2, 9], progress=False)
    pixels = decode(stripes, HOW, progress=False)
    assert (predict(tiny, pixels, rows=[5, 2, 9], progress=False) == direct).all()
    assert (predict(tiny, pixels, rows=[5, 2, 9], batch=2, progress=False) == direct).all()
    with pytest.raises(ValueError, match="tensors and pixels take none"):
        predict(tiny, pixels, transform=HOW.transform(), progress=False)


def test_the_folder_keeps_them(photographs, tmp_path):
    first = decode(photographs, HOW, folder=tmp_path, progress=False)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("noise-8px-")

    def closed(_):
        raise AssertionError("decoded again")

    again = ImageSet("noise", photographs.ids, photographs.labels, ("x", "y"), closed)
    second = decode(again, HOW, folder=tmp_path, progress=False)
    assert torch.equal(first.values, second.values)
    before = path.read_bytes()
    second.values[0] = 0  # a private copy: the file is never written
    assert path.read_bytes() == before
    normalised_otherwise = Preprocessing(8, 1.0, "bilinear", (0.1,) * 3, (0.9,) * 3)
    third = decode(again, normalised_otherwise, folder=tmp_path, progress=False)
    assert torch.equal(third.values, first.values)  # the same bytes serve


@pytest.mark.parametrize("change", ["crop", "ids", "size"])
def test_another_crop_has_another_file(photographs, tmp_path, change):
    decode(photographs, HOW, folder=tmp_path, progress=False)
    how = {
        "crop": Preprocessing(8, 0.5, "bilinear", HOW.mean, HOW.std),
        "size": Preprocessing(9, 1.0, "bilinear", HOW.mean, HOW.std),
    }.get(change, HOW)
    ids = ("b", "a") if change == "ids" else None
    decode(photographs, how, ids=ids, folder=tmp_path, progress=False)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.promise("folders")
def test_a_picture_that_was_replaced_and_another_folder_of_the_same_name_are_decoded(tmp_path):
    def decoded(grey, root):
        for name in "ab":
            (tmp_path / root / "set" / name).mkdir(parents=True, exist_ok=True)
            path = tmp_path / root / "set" / name / "0.png"
            Image.new("L", (8, 8), grey).save(path)
            os.utime(path, ns=(grey, grey))
        pixels = decode(
            load("folder", tmp_path / root / "set"), HOW, folder=tmp_path / "c", progress=False
        )
        return int(pixels.values[0, 0, 0, 0])

    assert [decoded(1, "one"), decoded(2, "one"), decoded(3, "two")] == [1, 2, 3]
    assert len(list((tmp_path / "c").iterdir())) == 3
    assert decoded(3, "two") == 3
    assert len(list((tmp_path / "c").iterdir())) == 3


def test_a_failure_leaves_nothing(photographs, tmp_path):
    def damaged(row):
        if row == 2:
            raise ValueError("image c is damaged")
        return photographs.open(row)

    broken = ImageSet("noise", photographs.ids, photographs.labels, ("x", "y"), damaged)
    with pytest.raises(ValueError, match="image c is damaged"):
        decode(broken, HOW, folder=tmp_path / "cache", progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_of_another_shape_is_refused(photographs, tmp_path):
    decode(photographs, HOW, folder=tmp_path, progress=False)
    (path,) = tmp_path.iterdir()
    np.save(Path(path), np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="remove it"):
        decode(photographs, HOW, folder=tmp_path, progress=False)


def test_rows_by_id(photographs):
    pixels = decode(photographs, HOW, progress=False)
    assert pixels.rows(["c", "a"]).tolist() == [2, 0]
    assert len(pixels) == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_they_are_the_same(photographs):
    pixels = decode(photographs, HOW, progress=False)
    near = pixels.near(torch.device("cuda"))
    assert near.values.is_cuda
    rows = torch.tensor([3, 1])
    for held in (pixels, near):
        got = held.normalised(held.batch(rows, torch.device("cuda"))).cpu()
        assert torch.allclose(got, pixels.normalised(pixels.values[rows]), atol=1e-6)
