"""`duokit data`."""

import shutil
from pathlib import Path

import pytest

from duokit.cli import data as command
from duokit.images import NAMES
from duokit.images.fetch import ARCHIVES, Archive
from tests.images.benchmarks import (
    imagenet_labels,
    jpeg,
    write_caltech256,
    write_imagenet,
    write_imagenet_v2,
    write_iwildcam,
)
from tests.images.serving import Served, serve


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    monkeypatch.setenv("DUOKIT_DATA", str(folder))
    return folder


def test_list_names_every_data_set(home, duokit):
    (home / "iwildcam_v2.0").mkdir(parents=True)
    code, text, err = duokit("data", "list")
    assert (code, err) == (0, "")
    for name in NAMES:
        assert any(line.startswith(name) for line in text.splitlines()), name
    assert f"data folder: {home}" in text
    (wild,) = (line for line in text.splitlines() if line.startswith("iwildcam"))
    assert "here" in wild
    assert "caltech256                      fetch: 1.18 GB" in text


def test_check_says_what_is_missing(home, duokit):
    home.mkdir()
    (home / "256_ObjectCategories.tar.part").write_bytes(b"half")
    code, text, _ = duokit("data", "check", "caltech256")
    assert code == 1
    assert "unfinished: " in text
    assert "(4 bytes)" in text
    assert "caltech256: not found: no 256_ObjectCategories" in text
    assert "duokit data fetch caltech256" in text


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("imagenet", lambda base: write_imagenet(base, imagenet_labels())),
        ("imagenet_v2", write_imagenet_v2),
        ("caltech256", write_caltech256),
        ("iwildcam", write_iwildcam),
    ],
)
def test_check_of_a_small_copy_says_that_it_is_not_the_authors(home, duokit, tmp_path, name, write):
    base = write(tmp_path / "copy")
    code, text, err = duokit("data", "check", name, "--root", base)
    assert (code, err) == (1, "")
    assert f"classes in {base}" in text
    assert "not the authors' split: sizes: " in text
    assert "source: https://" in text


def test_check_opens_a_picture_of_each_class(home, duokit, tmp_path):
    base = write_caltech256(tmp_path / "copy")
    (base / "003.thing-3" / "003_0001.jpg").write_bytes(jpeg()[:-80])
    _, text, _ = duokit("data", "check", "caltech256", "--root", base)
    assert "003_0001.jpg is not a readable picture" in text


def test_check_of_a_set_that_the_paper_does_not_use(home, duokit):
    code, text, _ = duokit("data", "check", "digits")
    assert code == 0
    assert "digits: 1,797 pictures, 10 classes" in text
    assert "the paper does not use it" in text


def test_check_of_a_damaged_copy_is_an_error(home, duokit, tmp_path):
    base = write_caltech256(tmp_path / "copy")
    shutil.rmtree(base / "100.thing-100")
    code, _, err = duokit("data", "check", "caltech256", "--root", base)
    assert code == 2
    assert "(100 is missing)" in err


def test_fetch_of_imagenet_says_what_to_do(home, duokit, tmp_path):
    home.mkdir()
    (home / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(b"")
    code, text, err = duokit("data", "fetch", "imagenet")
    assert (code, err) == (1, "")
    assert "https://image-net.org" in text
    assert "missing  ILSVRC2012_img_val.tar  6,744,924,160 bytes" in text
    assert "here     ILSVRC2012_devkit_t12.tar.gz" in text
    write_imagenet(tmp_path / "own" / "val", imagenet_labels())
    code, text, _ = duokit("data", "fetch", "imagenet", "--root", tmp_path / "own")
    assert (code, text) == (0, "imagenet: 2,000 pictures are there\n")


def test_fetch_brings_a_data_set_that_load_then_finds(home, duokit, tmp_path, monkeypatch):
    base = write_caltech256(tmp_path / "master" / "256_ObjectCategories")
    packed = Path(shutil.make_archive(str(tmp_path / "x"), "tar", base.parent, base.name))
    content = packed.read_bytes()
    with serve(Served(content)) as url:
        one = Archive("256_ObjectCategories.tar", url, len(content), "", "caltech256")
        monkeypatch.setitem(ARCHIVES, "caltech256", {"": one})
        code, text, err = duokit("data", "fetch", "caltech256")
    assert code == 0
    assert f"caltech256 is in {home / 'caltech256'}" in text
    assert "(100%)" in err
    _, text, _ = duokit("data", "check", "caltech256")
    assert f"257 classes in {home / 'caltech256' / '256_ObjectCategories'}" in text


def test_errors_of_use(home, duokit):
    for words in (["fetch"], ["check"], ["check", "nothing"]):
        code, _, err = duokit("data", *words)
        assert code == 2
        assert "expected one of caltech101" in err
    code, _, err = duokit("data", "fetch", "elpv")
    assert code == 2
    assert err == "duokit data: elpv has no archive to fetch: comes by pip: elpv-dataset\n"
    code, _, err = duokit("data", "fetch", "imagenet_v2", "--variant", "all")
    assert "there are: matched-frequency, threshold0.7, top-images" in err


def test_progress_is_written_at_most_once_a_second(capsys):
    progress = command._Progress(10**9)
    for done in range(0, 5 * 10**8, 10**7):
        progress(done, None)
    progress(10**9, None)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 3
    assert lines[-1] == "  1.00 of 1.00 GB (100%)"
