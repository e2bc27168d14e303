"""iWildCam2020-WILDS: parts are the splits of its table, names come from its categories."""

import tarfile

import pandas as pd
import pytest

from duokit.images import default_splits, load, published_split
from duokit.images.iwildcam import PUBLISHED
from tests.images.benchmarks import jpeg, write_iwildcam


@pytest.fixture
def folder(tmp_path):
    return write_iwildcam(tmp_path / "wilds" / "iwildcam_v2.0")


def edit(folder, change):
    """Rewrite metadata.csv."""
    table = pd.read_csv(folder / "metadata.csv", index_col=0)
    change(table).to_csv(folder / "metadata.csv")


def test_ids_labels_names_and_columns(folder):
    images = load("iwildcam", folder)
    table = pd.read_csv(folder / "metadata.csv").set_index("filename").sort_index()
    assert images.ids == tuple(table.index)
    assert images.labels.tolist() == table["y"].tolist()
    assert images.class_names == tuple(f"species {y}" for y in range(182))
    assert images.columns["location"].tolist() == table["location_remapped"].tolist()
    assert list(images.columns) == ["split", "location", "sequence", "datetime"]
    assert images.open(3).getpixel((0, 0))[0] == pytest.approx(images.labels[3], abs=2)


def test_parts_are_the_splits_of_wilds_without_its_val(folder):
    images = load("iwildcam", folder.parent)
    splits = default_splits(images)
    assert splits.sizes() == {"train": 12, "val": 12, "test": 12, "shifted": 12}
    theirs = images.columns["split"]
    for ours, name in {
        "train": "train",
        "val": "id_val",
        "test": "id_test",
        "shifted": "test",
    }.items():
        assert splits.parts[ours] == tuple(sorted(theirs.index[theirs == name]))
    assert "its val is not used; not the authors' split" in splits.protocol
    assert not published_split(images, splits).authors


def test_published_sizes_make_up_the_data_set_with_the_part_that_is_not_used():
    assert sum(PUBLISHED.sizes.values()) + 14_961 == 203_029


def test_it_is_found_in_an_archive_with_and_without_a_folder(folder, tmp_path):
    plain = load("iwildcam", folder).ids
    for number, arcname in enumerate((".", "iwildcam_v2.0")):
        with tarfile.open(tmp_path / f"archive{number}.tar.gz", "w:gz") as archive:
            archive.add(folder, arcname=arcname)
        assert load("iwildcam", tmp_path / f"archive{number}.tar.gz").ids == plain


def test_the_order_of_the_table_has_no_part(folder):
    before = load("iwildcam", folder)
    edit(folder, lambda table: table.iloc[::-1])
    after = load("iwildcam", folder)
    assert (after.ids, after.labels.tolist()) == (before.ids, before.labels.tolist())
    assert default_splits(after).checksum == default_splits(before).checksum


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns=["y", "location_remapped"]), "lacks the columns y, location_rem"),
        (lambda t: t.assign(split="cis_val"), r"split is \['cis_val'\]; expected train, id_val"),
        (lambda t: t.assign(split=None), "split is empty"),
        (lambda t: t.assign(y=185), "y goes from 185 to 185; expected whole numbers from 0 to 181"),
        (lambda t: t.assign(y=0.5), "expected whole numbers"),
        (lambda t: t.assign(y="cat"), "expected whole numbers"),
        (lambda t: pd.concat([t, t]), "given twice"),
    ],
)
def test_tables_of_another_form_are_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=rf"metadata\.csv.*{message}"):
        load("iwildcam", folder)


def test_missing_pictures_and_names_are_reported(folder, tmp_path):
    first = load("iwildcam", folder).ids[0]
    (folder / "train" / first).unlink()
    with pytest.raises(FileNotFoundError, match=rf"train lacks 1 of the 60 .*first is {first}"):
        load("iwildcam", folder)
    table = pd.read_csv(folder / "categories.csv")
    table[table["y"] != 7].to_csv(folder / "categories.csv", index=False)
    with pytest.raises(ValueError, match=r"categories.csv names 181 of the 182"):
        load("iwildcam", folder)
    table.drop(columns="name").to_csv(folder / "categories.csv", index=False)
    with pytest.raises(ValueError, match="columns y, category_id; expected y and name"):
        load("iwildcam", folder)
    (folder / "categories.csv").write_text("")
    with pytest.raises(ValueError, match=r"categories.csv is not a readable table"):
        load("iwildcam", folder)
    (folder / "categories.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"categories.csv is missing"):
        load("iwildcam", folder)


def test_version_one_is_refused(tmp_path):
    base = tmp_path / "iwildcam_v1.0"
    base.mkdir()
    for name in ("train.csv", "val_trans.csv", "test_trans.csv"):
        (base / name).write_text("filename,category_id\n")
    with pytest.raises(ValueError, match=r"iwildcam_v1.0 is version 1.0"):
        load("iwildcam", base)
    with pytest.raises(FileNotFoundError, match="duokit data fetch iwildcam"):
        load("iwildcam")


def test_a_truncated_picture_is_named(folder):
    images = load("iwildcam", folder)
    (folder / "train" / images.ids[0]).write_bytes(jpeg()[:-80])
    with pytest.raises(ValueError, match=rf"{images.ids[0]} is not a readable picture"):
        images.open(0)
