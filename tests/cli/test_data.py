"""`duokit data`."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

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
    (home / "256_ObjectCategories.tar.duokit-0badcafe.part").write_bytes(b"half")
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


@pytest.fixture
def pets(tmp_path):
    """Two classes of ten different pictures."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for row in range(10):
            colour = (100 * label + row, 0, 0)
            Image.new("RGB", (4, 4), colour).save(tmp_path / "pets" / name / f"{row}.png")
    return tmp_path / "pets"


def check(duokit, root):
    code, text, err = duokit("data", "check", "folder", "--root", root)
    return code, text.splitlines()[1:], err


@pytest.mark.promise("folders")
def test_check_of_a_good_folder_has_nothing_to_say(home, duokit, pets):
    code, lines, err = check(duokit, pets)
    assert (code, err) == (0, "")
    assert [line.strip().split(":")[0] for line in lines] == [
        "licence", "parts", "train 60% of each class, val 15% of each class, test the rest",
        "the paper does not use it",
    ]  # fmt: skip


def copy_in(pets, source, to):
    (pets / to).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(pets / source, pets / to)


def small_class(pets):
    for row in range(2):
        copy_in(pets, "cat/1.png", f"eel/{row}.png")
        with (pets / "eel" / f"{row}.png").open("ab") as file:
            file.write(bytes(row + 1))  # other bytes, the same picture


SYSTEM = "1 files and folders of systems and programs are passed over (such as cat/.thumbnails)"
SAME = "1 pictures are copies, byte for byte, of another of their class (such as cat/x.png of cat/1"
OTHER = "1 pictures are copies, byte for byte, of one in another class (such as dog/x.png of cat/1"
STRAY = "1 pictures lie beside the class folders, in no class (such as x.png)"
BROKEN = "dog/x.png is called as a picture, but no file"
SMALL = "1 classes have no picture in val (such as eel), being too small"
SPOILERS = {  # exit code, words of the line, what is done to the folder
    "damaged": (
        1,
        "cat/3.png is not a readable p",
        lambda at: (at / "cat/3.png").write_bytes(b"x"),
    ),
    "empty": (1, "dog/7.png is not a readable p", lambda at: (at / "dog/7.png").write_bytes(b"")),
    "hidden": (0, SYSTEM, lambda at: copy_in(at, "cat/1.png", "cat/.thumbnails/1.png")),
    "copy": (0, SAME, lambda at: copy_in(at, "cat/1.png", "cat/x.png")),
    "two classes": (1, OTHER, lambda at: copy_in(at, "cat/1.png", "dog/x.png")),
    "stray": (1, STRAY, lambda at: copy_in(at, "cat/1.png", "x.png")),
    "heic": (1, "cat/x.heic is not read (.h", lambda at: (at / "cat/x.heic").write_bytes(b"x")),
    "dangling": (1, BROKEN, lambda at: (at / "dog/x.png").symlink_to("none")),
    "pipe": (1, BROKEN, lambda at: os.mkfifo(at / "dog/x.png")),
    "notes": (0, "1 files are no pictures (.txt) and", lambda at: (at / "cat/a.txt").touch()),
    "circle": (0, "(dog/more, which is .)", lambda at: (at / "dog/more").symlink_to("..")),
    "small": (0, SMALL, small_class),
    "capitals": (0, "folders Cat and cat differ", lambda at: (at / "dog").rename(at / "Cat")),
}


@pytest.mark.promise("folders")
@pytest.mark.parametrize("kind", SPOILERS)
def test_check_says_what_is_wrong_with_a_folder_in_one_line(home, duokit, pets, kind):
    wanted, words, spoil = SPOILERS[kind]
    spoil(pets)
    code, lines, err = check(duokit, pets)
    assert (code, err) == (wanted, "")
    assert sum(words in line for line in lines) == 1, lines


@pytest.mark.promise("folders")
def test_check_says_what_parts_beside_each_other_share(home, duokit, pets):
    shutil.move(pets, pets.with_name("set") / "train")
    train = pets.with_name("set") / "train"
    shutil.copytree(train, train.with_name("val"))
    for row in range(8):
        (train.with_name("val") / "cat" / f"{row}.png").unlink()
    shutil.rmtree(train.with_name("val") / "dog")
    line = (
        "2 of 2 pictures in val are, byte for byte, in train too (such as val/cat/8.png, which is"
    )
    missing = "1 class folders of train are missing in val (such as dog)"
    code, text, err = duokit("data", "check", "folder", "--root", train.parent)
    assert code == 2
    assert "look like splits" in err
    assert line in text
    assert missing in text
    code, lines, _ = check(duokit, train)
    assert code == 1
    assert any("2 of 20 pictures in train are, byte for byte, in val too" in each for each in lines)
