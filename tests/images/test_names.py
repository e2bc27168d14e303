"""Names: what no record can keep is refused at once, and shown so that a shell can rename it."""

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duokit.images import load
from duokit.images.loose import load_loose
from duokit.images.names import MOST, alike, in_bash, look_the_same, require_plain
from duokit.logits.validation import valid_ids

pytestmark = pytest.mark.promise("folders")
BAD = ("x\n1.png", "x\r.png", "\x1b[31mred.png", "a\x07b.png", "a\x9bm.png", "a\u2028b.png")
LATIN = os.fsdecode(b"caf\xe9.png")


@pytest.mark.parametrize("name", [*BAD, LATIN])
def test_a_name_that_no_record_can_keep_is_refused_with_a_way_to_rename_it(class_folder, name):
    (class_folder / "cat" / "image_0000.png").rename(class_folder / "cat" / name)
    with pytest.raises(ValueError, match=r"which no record can keep: rename it, in its f") as told:
        load("folder", class_folder)
    assert str(told.value).isprintable()
    with pytest.raises(ValueError, match="which no record can keep"):
        load_loose(class_folder, ("a", "b"))
    command = str(told.value).partition("folder by ")[2].partition("; ")[0]
    command = command.replace("NEW_NAME", "new.png")
    subprocess.run(["bash", "-c", command], cwd=class_folder / "cat", check=True)
    assert "cat/new.png" in load("folder", class_folder).ids


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", os.fsdecode(b"\xff")])
@pytest.mark.parametrize("which", ["class", "set"])
def test_so_are_names_of_classes_and_sets(class_folder, name, which):
    if which == "class":
        (class_folder / "dog").rename(class_folder / name)
    else:
        class_folder = class_folder.rename(class_folder.with_name(name))
    with pytest.raises(ValueError, match="which no record can keep") as told:
        load("folder", class_folder)
    assert str(told.value).isprintable()


def test_a_name_too_long_for_files_is_refused(class_folder):
    good = class_folder.rename(class_folder.with_name("é" * (MOST // 2)))
    assert len(load("folder", good)) == 12
    bad = good.rename(good.with_name("é" * (MOST // 2) + "x"))
    with pytest.raises(ValueError, match=f"{MOST + 1} bytes.*at most {MOST} can be: rename it"):
        load("folder", bad)
    with pytest.raises(ValueError, match="rename it"):
        load_loose(bad, ("a", "b"))


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1))
def test_what_passes_is_what_a_record_takes(name):
    try:
        require_plain([name], "a set")
    except ValueError:
        return
    valid_ids([name], 1)


@pytest.mark.parametrize("name", [b"it's", b"a\\b", b"\xe9\n\x1b[0m", "a\x9b\u2028ü".encode()])
def test_bash_turns_a_shown_name_back(name):
    text = in_bash(os.fsdecode(name))
    done = subprocess.run(
        ["bash", "-c", f"printf %s {text}"], check=True, capture_output=True,
        env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.stdout == name


def test_names_that_look_the_same_are_refused_and_capitals_warned_of(class_folder):
    assert alike(["cat", "dog", "Cat", "CAT", "e\u0301", "\u00e9"]) == [
        ("CAT", "Cat", "cat"), ("e\u0301", "\u00e9"),
    ]  # fmt: skip
    assert look_the_same(["e\u0301", "\u00e9"])
    assert not look_the_same(["Cat", "cat"])
    (class_folder / "dog").rename(class_folder / "Cat")
    with pytest.warns(UserWarning, match="Cat and cat differ in capitals alone"):
        assert load("folder", class_folder).classes == 3
    (class_folder / "Cat").rename(class_folder / "caf\u00e9")
    (class_folder / "cat").rename(class_folder / "cafe\u0301")
    with pytest.raises(ValueError, match=r"'caf\\xe9'\): bring their pictures into one"):
        load("folder", class_folder)
