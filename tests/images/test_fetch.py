"""Fetching from a server on this machine: resumed, verified, unpacked whole or not at all."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from duokit.images import fetch as fetching
from duokit.images import load
from duokit.images.fetch import ARCHIVES, Archive, archive_of, download, fetch, part_of
from tests.images.benchmarks import write_caltech256, write_imagenet_v2, write_iwildcam
from tests.images.serving import Served, serve

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def server():
    """Returns what is served, and the address of the file."""
    served = Served(CONTENT)
    with serve(served) as url:
        yield served, url


def archive(url, content=CONTENT, **more):
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Archive("pictures.tar", url, **{"size": len(content), "checksum": checksum} | more)


def packed(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def test_a_fresh_download(server, tmp_path):
    served, url = server
    seen = []
    path = download(archive(url), tmp_path / "new", progress=lambda *two: seen.append(two))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in path.parent.iterdir()] == ["pictures.tar"]
    assert served.asked == [None]
    assert download(archive(url), tmp_path / "new") == path  # nothing is asked for again
    assert served.asked == [None]


def test_md5_is_understood_and_no_checksum_is_not_one(server, tmp_path):
    _, url = server
    one = archive(url, checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    assert download(one, tmp_path / "a").read_bytes() == CONTENT
    assert download(archive(url, checksum=""), tmp_path / "b").read_bytes() == CONTENT


def test_an_interrupted_download_goes_on(server, tmp_path):
    served, url = server
    served.breaks_after = 100_000
    with pytest.raises(OSError, match=r"(?s)pictures.tar.*100,000.*run again"):
        download(archive(url), tmp_path)
    assert part_of(archive(url), tmp_path).stat().st_size == 100_000
    assert not (tmp_path / "pictures.tar").exists()
    assert download(archive(url), tmp_path).read_bytes() == CONTENT
    assert served.asked == [None, "bytes=100000-"]


def test_a_server_without_range_starts_anew(server, tmp_path):
    served, url = server
    served.ranges = False
    part_of(archive(url), tmp_path).write_bytes(b"x" * 5000)
    assert download(archive(url), tmp_path).read_bytes() == CONTENT
    assert served.asked == ["bytes=5000-"]


def test_a_server_that_does_not_say_how_long_the_file_is(server, tmp_path):
    served, url = server
    served.says_length = False
    seen = []
    path = download(archive(url), tmp_path, progress=lambda *two: seen.append(two))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), None)
    path.unlink()
    served.breaks_after = 70_000
    with pytest.raises(OSError, match="broke off after 70,000 of 512,000 bytes"):
        download(archive(url), tmp_path)
    assert download(archive(url), tmp_path).read_bytes() == CONTENT
    assert served.asked[-1] == "bytes=70000-"


def test_a_part_that_is_already_whole_is_used(server, tmp_path):
    _, url = server
    part_of(archive(url), tmp_path).write_bytes(CONTENT)
    assert download(archive(url), tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_dropped(server, tmp_path):
    _, url = server
    part_of(archive(url), tmp_path).write_bytes(CONTENT + b"more")
    with pytest.raises(OSError, match="answers 416"):
        download(archive(url), tmp_path)
    assert download(archive(url), tmp_path).read_bytes() == CONTENT


def test_an_answer_that_begins_elsewhere_is_not_appended(server, tmp_path):
    served, url = server
    served.first = 7
    part_of(archive(url), tmp_path).write_bytes(CONTENT[:5000])
    with pytest.raises(OSError, match="sends from byte '7', asked for 5000"):
        download(archive(url), tmp_path)
    assert part_of(archive(url), tmp_path).read_bytes() == CONTENT[:5000]


def test_a_wrong_checksum_sets_the_file_aside(server, tmp_path):
    served, url = server
    served.content = CONTENT[:-1] + b"?"
    with pytest.raises(ValueError, match=r"pictures.tar has sha256 .*pictures.tar.rejected"):
        download(archive(url), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["pictures.tar.rejected"]
    served.content = CONTENT
    assert download(archive(url), tmp_path).read_bytes() == CONTENT


def test_a_file_put_there_by_hand_is_verified_too(server, tmp_path):
    served, url = server
    (tmp_path / "pictures.tar").write_bytes(b"something else")
    with pytest.raises(ValueError, match="damaged or another version"):
        download(archive(url), tmp_path)
    assert served.asked == []


@pytest.mark.promise("whole-files")
def test_files_of_others_stay_as_they_are(server, tmp_path):
    """A browser calls what it has not finished NAME.part as well."""
    served, url = server
    (tmp_path / "pictures.tar.part").write_bytes(CONTENT[:5000])
    (tmp_path / "pictures.tar.rejected").write_bytes(b"mine")
    served.content = CONTENT[:-1] + b"?"
    with pytest.raises(ValueError, match=r"set aside as .*pictures.tar.rejected-2 and is not used"):
        download(archive(url), tmp_path)
    with pytest.raises(ValueError, match="rejected-3"):
        download(archive(url), tmp_path)
    assert served.asked == [None, None]
    assert (tmp_path / "pictures.tar.part").read_bytes() == CONTENT[:5000]
    assert (tmp_path / "pictures.tar.rejected").read_bytes() == b"mine"


@pytest.mark.promise("whole-files")
def test_what_another_address_began_is_not_gone_on_with(server, tmp_path):
    served, url = server
    part_of(archive(f"{url}?old"), tmp_path).write_bytes(b"x" * 5000)
    assert download(archive(url), tmp_path).read_bytes() == CONTENT
    assert served.asked == [None]


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize(
    ("which", "kind"),
    [
        *(("archive", kind) for kind in ("folder", "dangling")),
        *(("part", kind) for kind in ("folder", "link", "dangling")),
    ],
)
def test_a_folder_or_a_link_in_the_way_is_refused_before_the_fetch(server, tmp_path, which, kind):
    served, url = server
    other = tmp_path / "other"
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "pictures.tar" if which == "archive" else part_of(archive(url), folder)
    if kind == "folder":
        path.mkdir()
    else:
        other.write_bytes(b"mine")
        path.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"is a folder or a link .*: move it away, or give"):
        download(archive(url), folder)
    assert served.asked == []
    assert kind == "folder" or other.read_bytes() == b"mine"
    assert os.path.lexists(path)
    assert not (tmp_path / "nowhere").exists()


def test_errors_name_the_address_and_what_to_do(server, tmp_path):
    served, url = server
    served.status = 503
    with pytest.raises(OSError, match=rf"{url} answers 503 .*by hand into .*pictures.tar"):
        download(archive(url), tmp_path)
    with pytest.raises(OSError, match=r"http://127.0.0.1:1/x could not be fetched .*run again"):
        download(archive("http://127.0.0.1:1/x"), tmp_path)
    with pytest.raises(OSError, match=r"GB free; pictures.tar .* give another folder"):
        download(archive(url, size=10**18), tmp_path)


@pytest.fixture
def known(server, monkeypatch):
    """Serves an archive as the data set "some"."""
    served, url = server
    served.content = packed({"a/1.jpg": b"one", "b/2.jpg": b"two"})
    entry = archive(url, served.content, folder="some_pictures")
    monkeypatch.setitem(ARCHIVES, "some", {"": entry})
    return served


def test_fetch_unpacks_and_drops_the_archive(known, tmp_path):
    where = fetch("some", tmp_path)
    assert where == tmp_path / "some_pictures"
    assert (where / "a" / "1.jpg").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["some_pictures"]
    assert fetch("some", tmp_path) == where
    assert len(known.asked) == 1
    kept = fetch("some", tmp_path / "kept", keep=True)
    assert sorted(p.name for p in kept.parent.iterdir()) == ["pictures.tar", "some_pictures"]


@pytest.mark.parametrize(
    ("name", "write", "within"),
    [
        ("caltech256", write_caltech256, "256_ObjectCategories"),
        ("imagenet_v2", write_imagenet_v2, "imagenetv2-matched-frequency-format-val"),
        ("iwildcam", write_iwildcam, "."),
    ],
)
def test_load_fetches_what_it_does_not_find(server, tmp_path, monkeypatch, name, write, within):
    served, url = server
    base = write(tmp_path / "master" / within)
    served.content = Path(
        shutil.make_archive(str(tmp_path / "packed"), "tar", tmp_path / "master")
    ).read_bytes()
    entry = archive(url, served.content, folder=archive_of(name).folder)
    monkeypatch.setitem(ARCHIVES, name, {"": entry})
    found = load(name, download=True)
    assert found.ids == load(name, base).ids
    assert load(name).ids == found.ids  # found without a download from now on
    assert len(served.asked) == 1


@pytest.mark.parametrize("kind", ["truncated", "outside"])
def test_a_bad_archive_leaves_no_folder(known, tmp_path, monkeypatch, kind):
    whole = packed({"a/1.jpg": b"one" * 9000, "b/2.jpg": b"two"})
    bad = whole[:9000] if kind == "truncated" else packed({"a": b"x", "../out.jpg": b"y"})
    known.content = bad
    entry = archive(ARCHIVES["some"][""].url, bad, folder="some_pictures")
    monkeypatch.setitem(ARCHIVES, "some", {"": entry})
    folder = tmp_path / "inner"
    with pytest.raises(ValueError, match=r"could not be unpacked .*remove .*pictures.tar to fetch"):
        fetch("some", folder)
    assert [p.name for p in folder.iterdir()] == ["pictures.tar"]
    assert not (tmp_path / "out.jpg").exists()


def test_no_transfer_starts_with_http_alone():
    for found in ARCHIVES.values():
        for one in found.values():
            assert one.url.startswith("https://")
            assert one.size > 0
            kind, _, digits = one.checksum.partition(":")
            assert (kind, len(digits)) in (("md5", 32), ("sha256", 64), ("", 0))


def test_what_can_be_fetched_is_listed():
    assert archive_of("imagenet_v2").file == "imagenetv2-matched-frequency.tar.gz"
    assert archive_of("imagenet_v2", "top-images").file == "imagenetv2-top-images.tar.gz"
    with pytest.raises(ValueError, match="imagenet cannot be fetched; these can: caltech101"):
        archive_of("imagenet")
    with pytest.raises(ValueError, match="no variant 'all'; there are: matched-frequency"):
        archive_of("imagenet_v2", "all")
    with pytest.raises(ValueError, match="there are: none"):
        archive_of("caltech256", "all")


def test_blocks_are_small_enough_to_be_interrupted():
    assert fetching.BLOCK <= 1 << 22
