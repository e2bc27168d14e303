"""What counts as a picture: files that somebody sorted, not what systems and links add."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from PIL import Image

from duokit.images import default_splits, load
from duokit.images.listing import SUFFIXES, files, folders, walk
from duokit.images.loose import load_loose
from duokit.images.reading import FORMATS

pytestmark = pytest.mark.promise("folders")
COUNT = 12  # pictures of the folder of classes
HIDDEN = (
    ".ipynb_checkpoints", ".thumbnails", ".Trash-1000", ".AppleDouble", "__MACOSX", "@eaDir",
    "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information",
)  # fmt: skip


def copy_of(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("place", ["", "cat", "cat/young/paws"])
def test_folders_of_systems_hold_no_pictures_and_are_no_classes(class_folder, name, place):
    before = load("folder", class_folder)
    copy_of(class_folder / "cat" / "image_0000.png", class_folder / place / name / "deep" / "0.png")
    found = load("folder", class_folder)
    assert (found.ids, found.class_names) == (before.ids, before.class_names)
    assert load_loose(class_folder, ("a", "b")).ids == before.ids


@pytest.mark.parametrize("name", ["._image_0000.png", ".DS_Store", "Thumbs.db", "desktop.ini"])
def test_files_of_systems_are_no_pictures(class_folder, name):
    (class_folder / "cat" / name).write_bytes(b"\0\5\x16\7")
    assert len(load("folder", class_folder)) == COUNT


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "nowhere", "circle", "device"])
def test_what_is_called_as_a_picture_and_is_no_file_is_never_opened(class_folder, kind):
    path = class_folder / "cat" / "x.jpg"
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind(os.path.relpath(path)),
        "nowhere": lambda: path.symlink_to("none.jpg"),
        "circle": lambda: path.symlink_to("x.jpg"),
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    if kind == "folder":
        assert len(load("folder", class_folder)) == COUNT
        return
    with pytest.warns(UserWarning, match=r"cat/x\.jpg is called as a picture, but no file"):
        assert len(load("folder", class_folder)) == COUNT
    with pytest.warns(UserWarning, match="bring the file back"):
        assert len(load_loose(class_folder, ("a", "b"))) == COUNT


@pytest.mark.parametrize("to", [".", "..", "../..", "young"])
def test_links_in_a_circle_end_and_nothing_is_read_twice(class_folder, to):
    (class_folder / "cat" / "young").mkdir()
    copy_of(class_folder / "cat" / "image_0000.png", class_folder / "cat" / "young" / "y.png")
    (class_folder / "cat" / "more").symlink_to(to)
    images = load("folder", class_folder)
    assert len(images) == COUNT + 1
    assert len({(class_folder / name).resolve() for name in images.ids}) == COUNT + 1
    assert len(load_loose(class_folder, ("a", "b"))) == COUNT + 1
    assert len(walk(class_folder / "cat" / "young").pictures) == 1


@pytest.mark.parametrize(
    ("link", "to"), [("kitten", "cat"), ("dog/more", "../cat"), ("cat/more", "../dog")]
)
def test_a_class_that_links_to_another_is_refused(class_folder, link, to):
    (class_folder / link).symlink_to(to)
    with pytest.raises(ValueError, match=r"is a link to pictures of another class.*remove the lin"):
        load("folder", class_folder)


def test_classes_and_pictures_may_be_links_to_elsewhere(class_folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "one").symlink_to(class_folder / "cat")
    (tmp_path / "linked" / "two").mkdir()
    (tmp_path / "linked" / "two" / "deep").symlink_to(class_folder / "dog")
    (tmp_path / "linked" / "two" / "a.png").symlink_to(class_folder / "Ape" / "image_0001.png")
    images = load("folder", tmp_path / "linked")
    assert images.class_names == ("one", "two")
    assert (images.labels == 1).sum() == 4
    assert images.open(images.ids.index("two/a.png")).getpixel((0, 0)) == (81, 81, 81)


@pytest.mark.parametrize("suffix", [".jfif", ".JFIF", ".jpe", ".JPG", ".WebP", ".TIF", ".BMP"])
def test_endings_that_users_have_are_read(class_folder, suffix):
    kind = {".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}.get(suffix.lower(), "JPEG")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(class_folder / "cat" / f"a{suffix}", kind)
    images = load("folder", class_folder)
    row = images.ids.index(f"cat/a{suffix}")
    assert abs(images.open(row).getpixel((0, 0))[0] - 9) < 3


def test_every_ending_belongs_to_a_kind_that_is_read():
    Image.init()
    assert {Image.EXTENSION[suffix] for suffix in SUFFIXES} <= {*FORMATS}


def test_pictures_of_kinds_that_are_not_read_are_named(class_folder):
    for name in ("a.heic", "b.HEIC", "c.avif"):
        (class_folder / "dog" / name).write_bytes(b"x")
    with pytest.warns(
        UserWarning, match=r"3 files \(the first is dog/a\.heic\) are not read \(\.h"
    ):
        assert len(load("folder", class_folder)) == COUNT
    (class_folder / "eel").mkdir()
    (class_folder / "eel" / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"eel holds no picture.*eel/a\.heic is not read"):
        load("folder", class_folder)


def test_a_folder_of_something_else_says_of_what(class_folder):
    (class_folder / "eel").mkdir()
    for name in ("a.npy", "b.NPY", "c.txt", "d"):
        (class_folder / "eel" / name).write_bytes(b"x")
    words = r"4 files are something else \(\.npy, \.txt, without an ending\)"
    with pytest.raises(ValueError, match=f"eel holds no picture.*{words}"):
        load("folder", class_folder)
    with pytest.raises(ValueError, match=words):
        load_loose(class_folder / "eel", ("a", "b"))


def test_a_set_is_called_as_the_folder_that_was_given(class_folder, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(class_folder)
    monkeypatch.chdir(class_folder / "cat")
    for root, name in {tmp_path / "link": "link", "..": "pets", "../../pets": "pets"}.items():
        assert load("folder", root).name == name
    assert load_loose(".", ("a", "b")).name == "cat"


@pytest.mark.parametrize("names", ["train val test extra", "Training Testing a b", "train labels"])
def test_folders_of_parts_are_refused_also_beside_others(class_folder, tmp_path, names):
    for name in names.split():
        shutil.copytree(class_folder, tmp_path / "parts" / name)
    with pytest.raises(ValueError, match=r"[Tt]rain.*look like splits, not classes \(beside "):
        load("folder", tmp_path / "parts")


def test_a_class_may_be_called_train(class_folder):
    (class_folder / "dog").rename(class_folder / "train")
    assert load("folder", class_folder).class_names == ("Ape", "cat", "train")


def test_a_folder_around_the_folder_is_named(class_folder):
    (class_folder / ".DS_Store").write_bytes(b"x")
    shutil.move(class_folder, class_folder.with_name("outer") / "pets")
    with pytest.raises(ValueError, match=r"holds 1 folders.*give .*outer/pets as root"):
        load("folder", class_folder.with_name("outer"))


def test_names_are_sorted_as_text_and_only_links_to_folders_are_folders(tmp_path):
    for name in ("10", "2", "1", "é"):
        (tmp_path / name).mkdir()
    (tmp_path / "gone").symlink_to("none")
    (tmp_path / "file").write_text("x")
    (tmp_path / "linked").symlink_to("10")
    assert folders(tmp_path) == ["1", "10", "2", "linked", "é"]
    assert files(tmp_path) == ["file"]


def test_copies_in_hidden_folders_reach_no_part(class_folder):
    for path in sorted((class_folder / "cat").iterdir()):
        copy_of(path, class_folder / "cat" / ".ipynb_checkpoints" / f"{path.stem}-checkpoint.png")
    parts = default_splits(load("folder", class_folder)).parts
    assert sum(map(len, parts.values())) == COUNT
