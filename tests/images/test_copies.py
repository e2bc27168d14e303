"""Copies of a picture, byte for byte, lie in one part, whatever the draw."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from duokit.images import default_splits, load, make_splits
from duokit.images.copies import COPIES, copies_of, in_two_classes, same_bytes, shared

pytestmark = pytest.mark.promise("folders")
GROUPS = st.lists(st.integers(0, 7), min_size=0, max_size=10)


def write(base, contents: dict[str, int]):
    """Writes a file a name; equal numbers are equal bytes."""
    for name, number in contents.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(base / name)
    return base


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two classes of 12 different pictures; copies are added, and removed again."""
    names = {
        f"{name}/{row:02d}.png": 100 * (name == "b") + row for name in "ab" for row in range(12)
    }
    return write(tmp_path_factory.mktemp("drawn") / "set", names)


@settings(max_examples=15, deadline=None)
@given(GROUPS, st.integers(0, 5), st.sampled_from([None, 0, 3]))
def test_no_copy_leaves_the_part_of_its_picture(drawn, copied, seed, fold):
    added = [drawn / "a" / f"copy-{number}.png" for number in range(len(copied))]
    for path, row in zip(added, copied, strict=True):
        shutil.copy(drawn / "a" / f"{row:02d}.png", path)
    try:
        images = load("folder", drawn)
        splits = default_splits(images, seed=seed, fold=fold)
        home = {name: part for part, ids in splits.parts.items() for name in ids}
        assert set(home) == set(images.ids)
        for path, row in zip(added, copied, strict=True):
            assert home[f"a/{path.name}"] == home[f"a/{row:02d}.png"]
        assert (COPIES in splits.protocol) == bool(copied)
    finally:
        for path in added:
            path.unlink()


def test_without_copies_the_draw_is_as_it_was(drawn):
    images = load("folder", drawn)
    assert copies_of(images) == {}
    assert default_splits(images) == make_splits(images, train=0.6, val=0.15, seed=0)


def test_every_picture_is_in_one_test_part_of_the_folds(tmp_path):
    images = load("folder", write(tmp_path / "set", {
        f"{name}/{row}.png": 100 * (name == "b") + row % 6 for name in "ab" for row in range(12)
    }))  # fmt: skip
    tested = [name for fold in range(5) for name in default_splits(images, fold=fold).parts["test"]]
    assert sorted(tested) == list(images.ids)


@pytest.mark.parametrize("way", ["symlink_to", "hardlink_to"])
def test_a_picture_linked_twice_is_a_copy(drawn, way):
    path = drawn / "b" / "again.png"
    getattr(path, way)(drawn / "b" / "03.png")
    try:
        assert copies_of(load("folder", drawn)) == {"b/again.png": "b/03.png"}
    finally:
        path.unlink()


def test_copies_in_two_classes_stay_together_and_are_told(drawn):
    shutil.copy(drawn / "a" / "05.png", drawn / "b" / "x.png")
    try:
        images = load("folder", drawn)
        copies = copies_of(images)
        assert in_two_classes(images, copies) == [("b/x.png", "a/05.png")]
        home = {n: part for part, ids in default_splits(images).parts.items() for n in ids}
        assert home["b/x.png"] == home["a/05.png"]
    finally:
        (drawn / "b" / "x.png").unlink()


def test_a_class_of_copies_alone_is_refused_with_the_reason(tmp_path):
    base = write(tmp_path / "set", {f"a/{row}.png": row for row in range(9)})
    write(base, {f"b/{row}.png": 99 for row in range(9)})
    with pytest.raises(ValueError, match=r"class 'b' of set has 9 pictures, but 1 without.*need 2"):
        default_splits(load("folder", base))
    write(base, {f"b/{row}.png": 90 + row for row in range(3)})
    with pytest.raises(ValueError, match=r"class 'b' of set has 9 pictures, but 4 .* need 5: rem"):
        default_splits(load("folder", base), fold=0)


def test_only_files_of_one_size_are_read(tmp_path, monkeypatch):
    for name, content in {"a": b"12", "b": b"123", "c": b"456", "d": b"123"}.items():
        (tmp_path / name).write_bytes(content)
    opened = []
    kind = type(tmp_path)
    plain = kind.open
    monkeypatch.setattr(
        kind, "open", lambda self, *way: (opened.append(self.name), plain(self, *way))[1]
    )
    assert same_bytes({name: tmp_path / name for name in "abcd"}) == [["b", "d"]]
    assert opened == ["b", "c", "d"]


def test_what_two_folders_share(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"1", "d": b"3", "e": b"1"}.items():
        (tmp_path / name).write_bytes(content)
    a, b, c, d, e = (tmp_path / name for name in "abcde")
    assert shared([a, b, e], [c, d]) == [(a, c), (e, c)]
    assert shared([a, e], [d]) == []


def test_pictures_in_memory_have_no_copies():
    assert copies_of(load("digits")) == {}
