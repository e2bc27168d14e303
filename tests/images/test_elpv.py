"""ELPV: the package's own reader is the oracle."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from elpv_dataset.utils import load_dataset

from duokit.images import default_splits, elpv, load

PACKAGE = Path(next(iter(find_spec("elpv_dataset").submodule_search_locations))) / "data"


@pytest.fixture(scope="module")
def images():
    return load("elpv")


def test_labels_types_and_pictures_are_the_packages(tmp_path):
    table = (PACKAGE / "labels.csv").read_text().splitlines()[::300]
    (tmp_path / "images").mkdir()
    for line in table:
        shutil.copy(PACKAGE / line.split()[0], tmp_path / "images")
    (tmp_path / "labels.csv").write_text("\n".join(table) + "\n")
    pictures, probabilities, types = load_dataset(str(tmp_path / "labels.csv"))
    images = load("elpv", tmp_path)
    assert len(images) == len(pictures) == 9
    assert images.columns["probability"].tolist() == probabilities.tolist()
    assert images.columns["cell_type"].tolist() == types.tolist()
    assert images.labels.tolist() == [int(p >= 0.5) for p in probabilities]
    for row in range(9):
        assert np.array_equal(np.asarray(images.open(row))[:, :, 0], pictures[row])


def test_the_package_is_found(images):
    assert len(images) == 2624
    assert images.ids[0] == "images/cell0001.png"
    assert images.class_names == ("functional", "defective")
    assert np.bincount(images.labels).tolist() == [1803, 821]
    assert images.open(2623).size == (300, 300)


def test_the_other_cell_type_is_the_shift(images):
    splits = default_splits(images, seed=0)
    assert splits.sizes() == {"train": 775, "val": 310, "test": 465, "shifted": 1074}
    types = images.columns["cell_type"]
    assert set(types[list(splits.parts["shifted"])]) == {"mono"}
    assert set(types[list(splits.parts["test"])]) == {"poly"}
    turned = elpv.default_splits(images, seed=0, cell_type="mono")
    assert set(types[list(turned.parts["train"])]) == {"mono"}
    with pytest.raises(ValueError, match="'tile'; expected one of mono, poly"):
        elpv.default_splits(images, cell_type="tile")


def test_every_cell_is_a_test_cell_once(images):
    every = [default_splits(images, fold=fold) for fold in range(5)]
    tested = [name for splits in every for name in splits.parts["test"]]
    types = images.columns["cell_type"]
    assert sorted(tested) == sorted(types.index[types == "poly"])
    assert len({splits.parts["shifted"] for splits in every}) == 1
    assert len(every[0].parts["shifted"]) == 1074
    assert every[2].protocol.startswith("fold 2 of 5 of the poly cells is test")


def test_a_folder_serves_as_well_and_a_bad_table_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    shutil.copy(PACKAGE / "images" / "cell0001.png", tmp_path / "images")
    shutil.copy(PACKAGE / "images" / "cell0002.png", tmp_path / "images")
    table = tmp_path / "labels.csv"
    table.write_text("images/cell0002.png  0.3333  poly\nimages/cell0001.png 0.5 mono\n")
    images = load("elpv", tmp_path)
    assert images.ids == ("images/cell0001.png", "images/cell0002.png")  # sorted
    assert images.labels.tolist() == [1, 0]
    assert images.open(0).size == (300, 300)
    for row in ("images/cell0001.png much mono", "images/cell0001.png 1.5 mono", "a.png 1 x"):
        table.write_text(row + "\n")
        with pytest.raises(ValueError, match=r"labels\.csv"):
            load("elpv", tmp_path)


def test_it_says_how_to_get_the_package(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="pip install elpv-dataset"):
        load("elpv", tmp_path)
    monkeypatch.setattr(elpv.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="download is not possible: pip install"):
        load("elpv", download=True)
