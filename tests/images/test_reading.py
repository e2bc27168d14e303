"""Pictures and IDX files: whole ones are read exactly, damaged ones name themselves."""

import gzip
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import EpsImagePlugin, Image

from duokit.images import ImageSet, places
from duokit.images.reading import Files, Pixels, read_idx, read_picture, unreadable


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


BROKEN = {
    "empty": b"",
    "line": b"\n",
    "zeros": bytes(5000),
    "jpeg start": b"\xff\xd8\xff\xe0" + bytes(40),
    "png start": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a" + bytes(3),
    "bmp": b"BM" + b"\xff" * 60,
    "ppm header": b"P6\n2x 2\n255\n" + bytes(12),
    "ppm short": b"P6\n200 200\n255\n" + bytes(12),
    "tiff": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 100,
    "tiff without pages": b"II*\0\xff\xff\xff\xff",
    "webp": b"RIFF\x20\0\0\0WEBPVP8 " + bytes(30),
    "html": b"<!DOCTYPE html><title>404</title>",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
}


@pytest.mark.promise("errors")
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kind", BROKEN)
def test_whatever_a_broken_picture_holds_its_file_and_the_remedy_are_named(tmp_path, kind, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(
        ValueError, match=r"not a readable picture \(.+\): replace .*remove it$"
    ) as e:
        read_picture(path)
    assert str(path) in str(e.value)


@pytest.mark.promise("errors")
@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF"]))
@settings(max_examples=60, deadline=None)
def test_a_changed_byte_is_read_or_named(tmp_path_factory, place, value, kind):
    path = tmp_path_factory.mktemp("byte") / "a.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path, kind)
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] = value
    path.write_bytes(raw)
    try:
        assert read_picture(path).mode == "RGB"
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.mark.promise("errors")
@pytest.mark.parametrize(
    "error",
    [ValueError("x y"), SyntaxError("cut IHDR"), EOFError(), IndexError("3"), KeyError(7),
     struct.error("unpack"), OverflowError("big"), MemoryError(), NotImplementedError("kind"),
     zlib.error("Error -3"), AttributeError("no tile"), RecursionError("deep")],
)  # fmt: skip
def test_whatever_pillow_raises_the_file_is_named(tmp_path, monkeypatch, error):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(ValueError, match=r"a\.png is not a readable picture \(.+\): replace"):
        read_picture(tmp_path / "a.png")


@pytest.mark.promise("hostile")
def test_a_picture_of_too_many_pixels_is_named_and_not_decoded(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(ValueError, match=r"a\.png is too large a picture.*: make it smaller"):
        read_picture(tmp_path / "a.png")


@pytest.mark.promise("hostile")
def test_no_program_is_run_for_a_picture(tmp_path, monkeypatch):
    """Pillow gives EPS to Ghostscript, whatever the file is called."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", pytest.fail)
    (tmp_path / "a.png").write_bytes(BROKEN["eps"])
    with pytest.raises(ValueError, match="not a readable picture"):
        read_picture(tmp_path / "a.png")


@pytest.mark.promise("hostile")
def test_a_pipe_a_folder_and_a_device_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "device"):
        with pytest.raises(ValueError, match=rf"{name}\.png is a folder, a pipe or a device"):
            read_picture(tmp_path / f"{name}.png")


@pytest.mark.promise("hostile")
def test_an_idx_file_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "FLOOR", 10_000)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(idx(np.zeros((1000, 1000), np.uint8)), mtime=0))
    with pytest.raises(ValueError, match=r"bomb is a damaged gzip file \(it unpacks to more than"):
        read_idx(path)


def test_a_sum_of_sides_that_overflows_is_no_length(tmp_path):
    path = tmp_path / "wrap"
    path.write_bytes(bytes([0, 0, 8, 2]) + np.array([2**32 - 1, 2**32 - 1], ">u4").tobytes())
    with pytest.raises(ValueError, match="but holds 0 values"):
        read_idx(path)


def test_unreadable_pictures_are_told_in_order(tmp_path):
    for name in "abcd":
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"x")
    (tmp_path / "d.png").unlink()
    images = ImageSet("some", tuple("abcd"), np.zeros(4, int), ("x",),
                      Files(tmp_path, tuple(f"{name}.png" for name in "abcd")))  # fmt: skip
    told = unreadable(images, [3, 2, 1, 0])
    assert ["d.png" in told[0], "b.png" in told[1], len(told)] == [True, True, 2]


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
