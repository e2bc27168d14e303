"""Records of a command: those that are there are kept, those that are missing are written."""

import argparse

import numpy as np
import pytest

from duokit.cli.keeping import asked_parts, found_records, report, write_missing
from duokit.images import Splits
from duokit.logits import load, make_record, save

PARTS = ("val", "test")


def record(part, *, scale=2.0, **config):
    return make_record(
        scale * np.eye(3), [0, 1, 1], [f"{part}/{i}" for i in range(3)], model="net",
        dataset="toys", split=part, dtype="float32", config=config, split_checksum="sum",
    )  # fmt: skip


@pytest.fixture
def paths(tmp_path):
    return {part: tmp_path / f"{part}.safetensors" for part in PARTS}


def test_only_the_missing_are_written_and_all_are_told_in_order(paths, capsys):
    save(record("val"), paths["val"])
    before = paths["val"].read_bytes()
    found = found_records(paths, "sum")
    made = {part: record(part, scale=5.0) for part in PARTS}
    records = write_missing(paths, found, made)
    assert list(records) == list(PARTS)
    assert paths["val"].read_bytes() == before
    np.testing.assert_array_equal(records["val"].logits, 2 * np.eye(3))
    np.testing.assert_array_equal(load(paths["test"]).logits, 5 * np.eye(3))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(path) for path in paths.values()]
    assert all("3 images, accuracy 0.6667" in line for line in lines)


def test_records_made_otherwise_are_refused(paths):
    save(record("val", rate=0.1), paths["val"])
    assert list(found_records(paths, "sum", rate=0.1)) == ["val"]
    with pytest.raises(ValueError, match="made with other rate and splits: choose another --out"):
        found_records(paths, "another", rate=0.2)


@pytest.mark.parametrize(
    ("given", "expected"), [(None, ["val", "shifted"]), ("shifted,train", ["shifted", "train"])]
)
def test_parts_are_those_asked_for_or_all_but_train(given, expected):
    splits = Splits("toys", "by hand", 0, {"train": ("a",), "val": ("b",), "shifted": ("c",)})
    assert asked_parts(argparse.Namespace(parts=given), splits) == expected


def test_images_of_no_class_have_no_accuracy(tmp_path, capsys):
    logits = np.eye(3, dtype=np.float32) * 4
    ids = ["a", "b", "c"]
    report(
        tmp_path / "ood.safetensors",
        make_record(logits, [-1, -1, -1], ids, model="m", dataset="d", split="ood"),
    )
    assert capsys.readouterr().out.endswith("ood.safetensors: 3 images\n")
