"""Archives are unpacked once, whole or not at all, and never outside their folder."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from duokit.images import places
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


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def sparse(name: str, size: int) -> bytes:
    """A tar file with one member that says a size, and no byte of it (GNU's old sparse form)."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[386 : 386 + 24] = b"00000000000\x0000000000000\0"  # one piece: nothing at 0
    head[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + bytes(1024)


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt"])
def test_a_member_that_points_outside_does_not_get_out(tmp_path, name):
    packed = zipped(tmp_path / "bad.zip", {"fine": b"x", name: b"y"})
    for archive in (tar(tmp_path / "bad.tar", {"fine": b"x", name: b"y"}), packed):
        with pytest.raises(
            ValueError, match=r"bad\.(tar|zip) could not be.*out\.txt points outside"
        ):
            unpack(archive)
    assert not (data_folder() / "out.txt").exists()
    assert not Path("/out.txt").exists()
    assert list(data_folder().iterdir()) == []


@pytest.mark.promise("hostile")
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, "hard", "zip"]
)
def test_members_that_are_links_or_no_files_are_refused(tmp_path, kind):
    if kind == "zip":
        path, entry = tmp_path / "bad.zip", zipfile.ZipInfo("x")
        entry.external_attr = 0o120777 << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(entry, "/etc")
    else:
        path, entry = tmp_path / "bad.tar", tarfile.TarInfo("x")
        entry.type, entry.linkname = (tarfile.LNKTYPE if kind == "hard" else kind), "../../y"
        with tarfile.open(path, "w") as archive:
            archive.addfile(entry)
    with pytest.raises(ValueError, match=r"bad\.(tar|zip) could not be unpacked"):
        unpack(path)
    assert list(data_folder().iterdir()) == []


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz", "sparse", "head", "many"])
def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch, kind):
    """Small ones of the same make: the limits are lowered, nothing large is written."""
    monkeypatch.setattr(places, "FLOOR", 100_000)
    monkeypatch.setattr(places, "RATIO", 20)
    path = tmp_path / ("a.zip" if kind == "zip" else "a.tar")
    if kind == "zip":
        zipped(path, {f"{number}.png": bytes(200_000) for number in range(3)})
    elif kind == "sparse":
        path.write_bytes(sparse("x.png", 10**12))
    elif kind == "head":  # tarfile reads the head of a member whole, before the member
        entry = tarfile.TarInfo("x.png")
        entry.pax_headers = {"comment": "a" * 500_000}
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(entry)
    else:
        packer = "gz" if kind == "many" else kind[4:]
        with tarfile.open(path, f"w:{packer}") as archive:
            for number in range(1000 if kind == "many" else 1):
                entry = tarfile.TarInfo(f"{number}.png")
                entry.size = 0 if kind == "many" else 600_000
                archive.addfile(entry, io.BytesIO(bytes(entry.size)))
    with pytest.raises(ValueError, match=r"unpacks to more than .* times its size: pictures"):
        unpack(path)
    assert list(data_folder().iterdir()) == []


@pytest.mark.parametrize("packer", ["", "gz", "bz2", "xz"])
def test_archives_of_pictures_are_unpacked_however_they_are_packed(tmp_path, packer):
    content = np.random.default_rng(0).bytes(300_000)
    with tarfile.open(tmp_path / "a.tar", f"w:{packer}") as archive:
        entry = tarfile.TarInfo("deep/x.png")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    assert (unpack(tmp_path / "a.tar") / "deep" / "x.png").read_bytes() == content


@pytest.mark.promise("errors")
@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.tar.gz", "a.rar"])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", bytes(4000), b"PK\x03\x04" + bytes(99), b"\x1f\x8b\x08" + b"\xff" * 99,
     b"BZh9" + b"\xff" * 99, b"\xfd7zXZ\0" + b"\xff" * 99],
    ids=["empty", "x", "zeros", "zip", "gz", "bz2", "xz"],
)  # fmt: skip
def test_what_is_no_archive_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    try:
        folder = unpack(tmp_path / name)
    except ValueError as error:
        assert f"{name} could not be unpacked" in str(error)  # noqa: PT017
    else:
        assert list(folder.iterdir()) == []  # zeros are the end of a tar file


@pytest.mark.promise("errors")
def test_an_encrypted_archive_is_named(tmp_path):
    raw = bytearray(zipped(tmp_path / "a.zip", {"x": b"1"}).read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        raw[raw.index(start) + (6 if start[2] == 3 else 8)] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(ValueError, match=r"a\.zip could not be unpacked.*encrypted"):
        unpack(tmp_path / "a.zip")


@pytest.mark.promise("hostile")
def test_an_archive_that_holds_itself_ends(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    inner = zipped(tmp_path / "a" / "a.zip", {"x": b"1"})
    monkeypatch.setattr(places, "unpack", lambda _: inner.parent)
    assert len(list(candidates(tmp_path / "a", ("a",)))) == 2 * (places.DEEP + 1)


@pytest.mark.promise("hostile")
def test_a_root_that_is_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a pipe or a device"):
        next(candidates(tmp_path / "pipe", ()))


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
