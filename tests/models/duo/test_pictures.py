"""What a duo may be shown: the same pictures give the same answer, however they are given."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from duokit.models.duo.pictures import Prepared


@pytest.fixture
def folder(stripes, tmp_path):
    """Pictures 0 to 3 as files, the last one in a folder of its own, and a file that is none."""
    place = tmp_path / "shots"
    (place / "more").mkdir(parents=True)
    for row, name in enumerate(("a.png", "b.PNG", "c.png", "more/a.png")):
        stripes.open(row).save(place / name)
    (place / "notes.txt").write_text("no picture")
    return place


def ways(stripes, folder):
    opened = [stripes.open(row) for row in range(4)]
    paths = [folder / name for name in ("a.png", "b.PNG", "c.png", "more/a.png")]
    memory = tuple(f"row-{row}" for row in range(4))
    values = torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1) for each in opened])
    return {
        "list": (opened, memory),
        "generator": ((each for each in opened), memory),
        "tensor": (values, memory),
        "paths": (paths, tuple(map(str, paths))),
        "mixed": ([str(paths[0]), *opened[1:]], (str(paths[0]), *memory[1:])),
        "folder": (folder, ("a.png", "b.PNG", "c.png", "more/a.png")),
        "folder as text": (str(folder), ("a.png", "b.PNG", "c.png", "more/a.png")),
    }


@pytest.mark.parametrize(
    "way", ["list", "generator", "tensor", "paths", "mixed", "folder", "folder as text"]
)
def test_the_same_pictures_give_the_same_answer(duo, stripes, folder, way):
    expected = duo.predict(stripes, rows=range(4)).logits
    images, ids = ways(stripes, folder)[way]
    found = duo.predict(images)
    assert np.array_equal(found.logits, expected)
    assert found.ids == ids


def test_one_picture_may_stand_alone(duo, stripes, folder):
    expected = duo.predict(stripes, rows=[2]).logits
    for alone in (stripes.open(2), folder / "c.png", str(folder / "c.png")):
        assert np.array_equal(duo.predict(alone).logits, expected)


def test_rows_choose_and_order_whatever_is_given(duo, folder):
    every = duo.predict(folder)
    some = duo.predict(folder, rows=np.array([3, 0, 3]), batch=2)
    assert some.ids == ("more/a.png", "a.png", "more/a.png")
    assert np.allclose(some.logits, every.logits[[3, 0, 3]], atol=1e-5)


def test_other_processes_may_open_them(duo, folder, stripes):
    here = duo.predict(folder)
    assert np.array_equal(duo.predict(folder, workers=1).logits, here.logits)
    opened = [stripes.open(row) for row in range(2)]
    for images in (folder, opened, stripes):  # as processes that are not forked receive them
        sent = pickle.loads(pickle.dumps(Prepared(images, [1], [None])))  # noqa: S301
        assert np.array_equal(np.array(sent.open(1)), np.array(opened[1]))


def test_each_picture_is_opened_once_and_only_those_wanted(stripes):
    opened = []
    prepared = Prepared(stripes, [5, 7], [lambda picture: torch.ones(1), None])
    prepared.open = lambda row: opened.append(row) or stripes.open(row)
    assert opened == []
    given, idle = prepared[1]
    assert opened == [7]
    assert given.item() == 1
    assert idle.numel() == 0


def test_any_mode_of_eight_bits(duo, photograph):
    grey = photograph.convert("L")
    three = Image.merge("RGB", (grey, grey, grey))
    assert np.array_equal(duo.predict(grey).probs, duo.predict([three]).probs)
    assert not np.array_equal(duo.predict(grey).probs, duo.predict(photograph).probs)


BYTES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        ([], ValueError, "there are no pictures"),
        ([np.zeros((8, 8, 3), np.uint8)], TypeError, "picture 0 is a ndarray"),
        ([Image.new("RGB", (8, 8)), 3], TypeError, "picture 1 is a int"),
        ([Image.new("I;16", (8, 8))], ValueError, "more than 8 bits a channel"),
        (BYTES.float(), TypeError, r"torch.float32, \(3, 8, 8\); expected torch.uint8"),
        (BYTES[0], TypeError, r"torch.uint8, \(8, 8\); .* a batch is \(n, 3, height, width\)"),
        (BYTES.movedim(1, 3), TypeError, r"torch.uint8, \(8, 8, 3\)"),
        ("nothing.jpg", FileNotFoundError, "nothing.jpg"),
        (Path(__file__), ValueError, "is not a readable picture"),
        (Path(__file__).parent, ValueError, "holds no picture"),
    ],
)
def test_what_is_no_picture_is_refused(duo, images, error, words):
    with pytest.raises(error, match=words):
        duo.predict(images)


def test_no_rows_are_no_pictures(duo, folder):
    with pytest.raises(ValueError, match="there are no pictures"):
        duo.predict(folder, rows=[])
