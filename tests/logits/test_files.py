"""Files are whole or not there; what killed writers left goes; nobody's file is lost."""

import errno
import multiprocessing
import os
import time

import pytest

from duokit.logits import files
from duokit.logits.files import TEMPORARY, starts_with, whole_file, whole_folder, write_whole

pytestmark = pytest.mark.promise("whole-files")

DAYS = 2 * files.UNTOUCHED
FORKED = multiprocessing.get_context("fork")  # another process, without its imports


def write(place, kind, began, goes_on):
    """Writes a file or a folder, but is in the middle of it until told to go on."""
    with whole_file(place) if kind == "file" else whole_folder(place) as target:
        if kind == "file":
            target.write(b"0" * 1000)
        began.set()
        goes_on.wait(60)


def writer(place, kind):
    """Returns another process that is in the middle of writing, and what lets it go on."""
    began, goes_on = FORKED.Event(), FORKED.Event()
    child = FORKED.Process(target=write, args=(place, kind, began, goes_on), daemon=True)
    child.start()
    assert began.wait(60)
    return child, goes_on


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_goes_with_the_next_success(tmp_path, kind):
    child, _ = writer(tmp_path / "big", kind)
    child.kill()
    child.join()
    (left,) = names(tmp_path)
    assert TEMPORARY.fullmatch(left)
    write_whole(tmp_path / "other.txt", b"whole")
    assert names(tmp_path) == ["other.txt"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_two_writers_at_once_both_succeed(tmp_path, kind):
    child, goes_on = writer(tmp_path / "theirs", kind)
    write_whole(tmp_path / "ours", b"whole")
    with whole_folder(tmp_path / "more") as folder:
        (folder / "x").touch()
    goes_on.set()
    child.join()
    assert child.exitcode == 0
    assert names(tmp_path) == ["more", "ours", "theirs"]


def test_a_file_taken_for_a_leftover_before_it_is_locked_is_begun_again(tmp_path, monkeypatch):
    real, calls = files._lock, []

    def slow(descriptor, *, wait):
        calls.append(wait)
        if len(calls) == 1:  # another process removes it just now
            (left,) = tmp_path.iterdir()
            left.unlink()
        return real(descriptor, wait=wait)

    monkeypatch.setattr(files, "_lock", slow)
    write_whole(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names(tmp_path) == ["a"]


def leftover(folder, *, host, age):
    path = folder / f".big.{host}-00000000.tmp"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.mark.parametrize(("age", "there"), [(0, True), (DAYS, False)])
@pytest.mark.parametrize("locks", [True, False])
def test_another_machines_file_stays_for_a_day(tmp_path, monkeypatch, age, there, locks):
    if not locks:  # a disk that knows none says nothing of our own machine's writers either
        monkeypatch.setattr(files, "_lock", lambda *_, wait: None)
    left = leftover(tmp_path, host="ffffffff" if locks else files._host(), age=age)
    write_whole(tmp_path / "a", b"whole")
    assert left.exists() is there


@pytest.mark.parametrize(
    "name", [".notes.tmp", ".a.12345678.tmp", "a.12345678-12345678.tmp", ".x.12345678-1234567g.tmp"]
)
def test_files_of_other_names_stay(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    write_whole(tmp_path / "a", b"whole")
    assert (tmp_path / name).read_bytes() == b"mine"


def test_links_pipes_and_other_things_of_such_a_name_stay(tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    link = tmp_path / f".l.{files._host()}-00000000.tmp"
    link.symlink_to(tmp_path / "precious")
    pipe = tmp_path / f".p.{files._host()}-00000000.tmp"
    os.mkfifo(pipe)
    write_whole(tmp_path / "a", b"whole")
    assert link.is_symlink()
    assert pipe.exists()
    assert (tmp_path / "precious").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127])
def test_the_longest_names_can_be_written(tmp_path, name):
    write_whole(tmp_path / name, b"whole")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["fsync", "rename", "open"])
def test_a_full_disk_names_the_file_and_loses_nothing(tmp_path, monkeypatch, code, step):
    def full(*_, **__):
        raise OSError(code, os.strerror(code))

    path = tmp_path / "record.safetensors"
    path.write_bytes(b"old")
    if step == "open":
        monkeypatch.setattr(type(path), "open", full)
    elif step == "rename":
        monkeypatch.setattr(type(path), "replace", full)
    else:
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"nothing was written, what was there is as it was") as told:
        write_whole(path, b"new", overwrite=True)
    assert (told.value.errno, told.value.filename) == (code, str(path))
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["record.safetensors"]


def test_an_error_of_the_body_stays_what_it_is(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"picture\.png"),
        whole_file(tmp_path / "cache"),
    ):
        (tmp_path / "picture.png").read_bytes()
    assert names(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    with (  # noqa: PT012
        pytest.raises(FileExistsError, match="exists"),
        whole_file(tmp_path / "a") as file,
    ):
        file.write(b"ours")
        (tmp_path / "a").write_bytes(b"theirs")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


def test_without_hard_links_a_file_still_gets_its_name(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", none)
    write_whole(tmp_path / "a", b"whole")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"more")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_of_the_name_stays(tmp_path, overwrite):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder: give the name of a file"):
        write_whole(tmp_path / "a", b"x", overwrite=overwrite)


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(NotADirectoryError, match="Not a folder") as told:
        write_whole(tmp_path / "a" / "b" / "c", b"x")
    assert told.value.filename.startswith(str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_a_dangling_link_is_not_replaced_unasked(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"x")
    assert (tmp_path / "a").is_symlink()


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a") as folder:  # noqa: PT012
        (folder / "half").touch()
        raise KeyboardInterrupt
    assert names(tmp_path) == []
    with whole_folder(tmp_path / "a") as folder:
        (folder / "ours").touch()
        (tmp_path / "a").mkdir()  # another process was faster
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == []


def test_a_beginning_is_read_of_plain_files_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"head and more")
    os.mkfifo(tmp_path / "pipe")
    assert starts_with(tmp_path / "a", b"head")
    assert not starts_with(tmp_path / "a", b"heap")
    assert not starts_with(tmp_path / "pipe", b"")
    assert not starts_with(tmp_path / "none", b"")
