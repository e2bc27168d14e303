"""Archives are unpacked once, whole or not at all, and never outside their folder."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from duokit.images.places import candidates, data_folder, unpack


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_the_second_time_nothing_is_unpacked(tmp_path, monkeypatch):
    archive = tar(tmp_path / "a.tar", {"x/1.txt": b"one"})
    first = unpack(archive)
    assert first.parent == data_folder()
    (first / "x" / "1.txt").write_text("touched")
    monkeypatch.setattr(tarfile, "open", None)  # reading the archive again would fail
    assert unpack(archive) == first
    assert (first / "x" / "1.txt").read_text() == "touched"


def test_another_archive_of_the_same_name_goes_elsewhere(tmp_path):
    first = unpack(tar(tmp_path / "a.tar", {"x": b"one"}))
    second = unpack(tar(tmp_path / "a.tar", {"x": b"two"}))
    assert first != second
    assert ((first / "x").read_text(), (second / "x").read_text()) == ("one", "two")


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt"])
def test_a_member_that_points_outside_does_not_get_out(tmp_path, name):
    archive = tar(tmp_path / "bad.tar", {"fine": b"x", name: b"y"})
    try:
        unpack(archive)
    except ValueError as error:
        assert "bad.tar could not be unpacked" in str(error)  # noqa: PT017
    assert not (data_folder() / "out.txt").exists()
    assert not Path("/out.txt").exists()


@pytest.mark.parametrize("name", ["cut.tar", "cut.zip"])
def test_a_damaged_archive_leaves_nothing(tmp_path, name):
    path = tmp_path / name
    if name.endswith("tar"):
        tar(path, {"x": b"1" * 5000})
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x", b"1" * 5000)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=rf"{name} could not be unpacked"):
        unpack(path)
    assert list(data_folder().iterdir()) == []


def test_the_data_folder_follows_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("DUOKIT_DATA", str(tmp_path / "here"))
    assert data_folder() == tmp_path / "here"
    monkeypatch.delenv("DUOKIT_DATA")
    assert data_folder() == Path.home() / ".cache" / "duokit"
    with pytest.raises(FileNotFoundError, match="root is a folder or an archive"):
        next(candidates(tmp_path / "none", ()))
