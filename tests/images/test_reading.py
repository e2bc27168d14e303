"""Pictures and IDX files: whole ones are read exactly, damaged ones name themselves."""

import gzip
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from duokit.images.reading import Files, Pixels, read_idx, read_picture


def idx(values: np.ndarray) -> bytes:
    start = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    return start + values.tobytes()


def test_a_picture_comes_in_rgb_whatever_its_mode(tmp_path):
    for mode, colour in {"L": 7, "RGB": (1, 2, 3), "RGBA": (1, 2, 3, 9), "1": 1, "CMYK": 0}.items():
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (4, 3), colour).save(path)
        picture = read_picture(path)
        assert (picture.mode, picture.size) == ("RGB", (4, 3))
    assert read_picture(tmp_path / "L.tif").getpixel((0, 0)) == (7, 7, 7)
    assert read_picture(tmp_path / "RGB.tif").getpixel((0, 0)) == (1, 2, 3)


def test_a_truncated_picture_names_its_file(tmp_path):
    path = tmp_path / "half.jpg"
    values = np.random.default_rng(0).integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"half\.jpg is not a readable picture"):
        read_picture(path)


def test_text_is_no_picture_and_a_missing_file_is_missing(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(ValueError, match=r"notes\.png is not a readable picture"):
        read_picture(path)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png")


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_more_than_eight_bits_are_refused_not_clipped(tmp_path, kind):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.full((4, 4), 300, dtype=kind)).save(path)
    with pytest.raises(ValueError, match="more than 8 bits"):
        read_picture(path)


def test_readers_open_one_row_and_can_be_sent_to_workers(tmp_path):
    Image.new("RGB", (2, 2), (5, 5, 5)).save(tmp_path / "a.png")
    files = pickle.loads(pickle.dumps(Files(tmp_path, ("a.png",))))  # noqa: S301
    assert files(0).getpixel((0, 0)) == (5, 5, 5)
    pixels = Pixels(np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    assert np.asarray(pixels(1))[:, :, 2].tolist() == [[4, 5], [6, 7]]


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=5)), st.booleans())
def test_an_idx_file_gives_back_what_was_written(tmp_path_factory, values, packed):
    path = tmp_path_factory.mktemp("idx") / "values"
    path.write_bytes(gzip.compress(idx(values), mtime=0) if packed else idx(values))
    assert np.array_equal(read_idx(path), values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "not an IDX file"),
        (b"hello", "not an IDX file"),
        (b"", "not an IDX file"),
        (idx(np.zeros((3, 3), np.uint8))[:-1], r"says shape \(3, 3\) but holds 8 values"),
        (idx(np.zeros((3, 3), np.uint8)) + b"x", "but holds 10 values"),
        (gzip.compress(idx(np.zeros(900, np.uint8)), mtime=0)[:-12], "damaged gzip"),
    ],
)
def test_a_damaged_idx_file_names_itself(tmp_path, content, words):
    path = tmp_path / "labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
