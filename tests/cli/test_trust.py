"""`duokit trust`: folders of records in, a page and a table out; pictures if they are at hand."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from duokit.images import load as load_images
from duokit.logits import load
from duokit.trust import AttributionMaps, save_maps, trust_report


@pytest.fixture
def words(records, tmp_path):
    folders = [records[role, "val"].parent for role in ("large", "small")]
    return ["trust", *folders, "--resamples", 20, "--out", tmp_path / "out.html"]


@pytest.fixture
def pictures(tmp_path):
    """A folder whose images have the ids of the test records, each of its own shape."""
    folder = tmp_path / "pictures"
    (folder / "test").mkdir(parents=True)
    (folder / "more").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "more" / "0.png")
    for i in range(300):
        Image.new("RGB", (300, 200 + i % 7), (i % 256, 99, 0)).save(folder / "test" / f"{i}.png")
    return folder


@pytest.fixture
def maps(records, tmp_path):
    """Files of maps of both models over the first six test images."""
    files = []
    for role, seed in (("large", 0), ("small", 1)):
        values = np.random.default_rng(seed).normal(size=(6, 9)).astype(np.float32)
        made = AttributionMaps(
            values=values, targets=np.zeros(6, np.int64), model=f"net-{role}@96", dataset="toy",
            ids=load(records[role, "test"]).ids[:6], explainer={"explainer": "occlusion"}, seed=0,
            regions={"grid": 3, "side": 60, "crop": 1.0}, question={"output": "centred"},
        )  # fmt: skip
        files.append(save_maps(made, tmp_path / f"{role}-maps"))
    return files


def expected(records, **options):
    val, test = (
        {role: load(records[role, part]) for role in ("large", "small")} for part in ("val", "test")
    )
    return trust_report(val, test, resamples=20, **options)


def test_a_page_and_a_table(words, records, duokit, tmp_path):
    code, text, err = duokit(*words)
    assert (code, err) == (0, "")
    report = expected(records)
    found = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(found, report.tidy())
    listed = (tmp_path / "out.ids.txt").read_text(encoding="utf-8").splitlines()
    assert listed == list(dict.fromkeys(report.differing["id"]))
    assert "<h1>Trust beside large</h1>" in (tmp_path / "out.html").read_text(encoding="utf-8")
    for name in ("large", "small", "duo"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        assert f"{report.scores.loc[(name, 'accuracy'), 'value']:.4f}" in line
    assert "300 images of toy (test); large: large" in text
    assert "pictures: 0, with maps: 0 (where are those of toy? --root FOLDER)" in text
    assert duokit(*words, "--overwrite")[0] == 0


def test_options_reach_the_report(words, records, duokit, tmp_path):
    options = ("--no-duo", "--target", "0.8", "--level", "0.8", "--seed", "3", "--shown", "2")
    assert duokit(*words, *options, "--no-pictures")[0] == 0
    report = expected(records, duo=False, target=0.8, level=0.8, seed=3, shown=2)
    found = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, na_values=[""])
    pd.testing.assert_frame_equal(found, report.tidy())


def test_pictures_and_maps_are_drawn(words, pictures, maps, duokit, tmp_path):
    code, text, err = duokit(*words, "--root", pictures, "--maps", *reversed(maps), "--k", 2)
    assert (code, err) == (0, "")
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2 * 10 + 2 * 6
    assert "with maps: 12" in text
    assert "Maps by occlusion beside the large model" in page
    assert "Jaccard" in text


def test_thumbnails_are_the_pictures_made_small(pictures):
    from duokit.cli.trust import THUMBNAIL, thumbnails

    drawn = thumbnails(load_images("folder", pictures), {"test/7.png", "test/250.png"})
    assert set(drawn) == {"test/7.png", "test/250.png"}
    for name, colour in (("test/7.png", 7), ("test/250.png", 250)):
        picture = Image.open(io.BytesIO(drawn[name]))
        assert max(picture.size) == THUMBNAIL
        assert picture.getpixel((5, 5)) == (colour, 99, 0)


def test_folders_of_one_name_are_told_apart(tmp_path):
    from duokit.cli.trust import named

    a, b = tmp_path / "a" / "net", tmp_path / "b" / "net"
    assert named([a, b]) == {"a/net": a, "b/net": b}
    assert list(named([a, tmp_path / "a" / "other"])) == ["net", "other"]
    deep = tmp_path / "c" / "a" / "net"
    assert list(named([a, deep])) == [str(a), str(deep)]
    with pytest.raises(ValueError, match="given twice"):
        named([a, b, tmp_path / "b" / ".." / "a" / "net"])


def test_refusals_leave_what_is_there(words, records, pictures, duokit, tmp_path):
    def error(*given):
        code, out, err = duokit(*given)
        assert (code, out) == (2, "")
        return err

    assert "has no shifted.safetensors (parts there: test, val)" in error(
        *words, "--part", "shifted"
    )
    assert "are in net-large@96 (toy val)" in error(*words, "--part", "val")
    assert "is not a folder of records" in error("trust", tmp_path / "none", *words[2:])
    assert "does not end in .html" in error(*words[:-1], "out.txt")
    assert "does not exist" in error(*words, "--root", tmp_path / "none")
    assert "digits has no image" in error(*words, "--data", "digits")
    for name in (f"{i}.png" for i in range(300)):
        (pictures / "test" / name).rename(pictures / "test" / f"x{name}")
    assert "is it the same data set" in error(*words, "--root", pictures)
    assert not (tmp_path / "out.html").exists()
    (tmp_path / "out.csv").write_text("mine")
    assert "out.csv exists; take another name" in error(*words)
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert not (tmp_path / "out.html").exists()
