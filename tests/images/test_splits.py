"""Splits: stratified, seeded by class, and unchanged or refused when they come from a file."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duokit.images import (
    ImageSet,
    Splits,
    default_splits,
    fold_splits,
    load,
    load_splits,
    make_splits,
    save_splits,
)

COUNTS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(2, 90), min_size=1, max_size=6
)


def an_image_set(counts: dict[str, int]) -> ImageSet:
    names = tuple(sorted(counts))
    ids = tuple(f"{name}/{row:03d}" for name in names for row in range(counts[name]))
    labels = np.repeat(np.arange(len(names)), [counts[name] for name in names])
    return ImageSet("some", ids, labels, names, lambda row: None)


def by_class(splits: Splits, part: str, name: str) -> set[str]:
    return {each for each in splits.parts[part] if each.startswith(f"{name}/")}


@given(COUNTS, st.integers(1, 40), st.integers(1, 20), st.integers(0, 99))
def test_each_class_is_cut_by_the_rule(counts, train, val, seed):
    counts["aa"] = train + 2 * val  # one class that is large enough for a val part
    splits = make_splits(an_image_set(counts), train=train, val=val, seed=seed)
    for name, count in counts.items():
        to_train = min(train, count - 1)
        to_val = min(val, (count - to_train) // 2)
        sizes = [len(by_class(splits, part, name)) for part in ("train", "val", "test")]
        assert sizes == [to_train, to_val, count - to_train - to_val]
        assert sizes[2] >= 1
    everything = [name for ids in splits.parts.values() for name in ids]
    assert len(set(everything)) == len(everything) == sum(counts.values())


@given(COUNTS, st.integers(0, 99))
def test_a_further_class_leaves_the_others_as_they_are(counts, seed):
    counts["aa"] = 60
    before = make_splits(an_image_set(counts), train=10, val=5, seed=seed)
    after = make_splits(an_image_set(counts | {"zz": 30}), train=10, val=5, seed=seed)
    for name in counts:
        for part in ("train", "val", "test"):
            assert by_class(before, part, name) == by_class(after, part, name)


def test_the_seed_decides_and_nothing_else():
    images = an_image_set({"a": 60, "b": 60})
    first, again, other = (
        make_splits(images, train=10, val=5, seed=seed).parts for seed in (0, 0, 1)
    )
    assert first == again
    assert first["train"] != other["train"]
    letters = {name[:1] + name[2:] for name in first["train"] if name.startswith("a/")}
    assert letters != {"a" + name[2:] for name in first["train"] if name.startswith("b/")}


def test_the_draw_is_the_one_that_was_published():
    """The shuffle may not change from one version to the next: splits would disagree."""
    splits = make_splits(an_image_set({"a": 8, "b": 8}), train=3, val=2, seed=0)
    assert splits.parts["train"] == ("a/001", "a/002", "a/004", "b/000", "b/004", "b/006")
    assert splits.parts["val"] == ("a/000", "a/007", "b/001", "b/005")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train": 0}, "train is 0"),
        ({"train": 1.5}, "train is 1.5"),
        ({"train": True}, "train is True"),
        ({"val": -1}, "val is -1"),
        ({"train": None}, "needs test to be given"),
        ({"seed": -1}, "seed is -1"),
        ({"within": ["a/000", "b/000", "b/001"]}, "class 'a' of some has 1 images"),
        ({"within": ["a/000", "a/001", "b/000", "c/1"]}, "no image 'c/1'"),
        ({"train": 50, "val": 5, "extra": {"test2": ["a/000"]}}, "is in"),
    ],
)
def test_sizes_and_ids_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make_splits(
            an_image_set({"a": 60, "b": 60}), **{"train": 10, "val": 5, "seed": 0} | options
        )


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match="the val part of some is empty"):
        make_splits(an_image_set({"a": 3}), train=30, val=15, seed=0)


def test_shares_of_a_class():
    splits = make_splits(an_image_set({"a": 10, "b": 100}), train=0.5, val=0.2, seed=0)
    assert [len(by_class(splits, part, "b")) for part in splits.parts] == [50, 20, 30]
    assert [len(by_class(splits, part, "a")) for part in splits.parts] == [5, 2, 3]
    assert splits.protocol == "train 50% of each class, val 20% of each class, test the rest"


def test_the_checksum_sees_names_and_ids_but_not_their_order():
    one = Splits("d", "p", 0, {"train": ("a", "b"), "val": ("c",)})
    assert one.checksum == Splits("d", "p", 0, {"val": ("c",), "train": ("b", "a")}).checksum
    assert one.checksum != Splits("d", "p", 0, {"train": ("a", "c"), "val": ("b",)}).checksum
    assert one.checksum != Splits("d", "p", 0, {"train": ("a", "b"), "test": ("c",)}).checksum
    assert len(one.checksum) == 64


def test_a_file_gives_back_the_same_splits(tmp_path):
    splits = make_splits(an_image_set({"a": 60, "é": 60}), train=10, val=5, seed=4)
    path = save_splits(splits, tmp_path / "deep" / "splits.json")
    assert load_splits(path) == splits
    assert [each.name for each in path.parent.iterdir()] == ["splits.json"]


def test_other_splits_are_not_overwritten(tmp_path):
    images = an_image_set({"a": 60})
    one, other = (make_splits(images, train=10, val=5, seed=seed) for seed in (0, 1))
    path = save_splits(one, tmp_path / "splits.json")
    save_splits(one, path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_splits(other, path)
    assert load_splits(path) == one
    save_splits(other, path, overwrite=True)
    assert load_splits(path) == other


def test_a_changed_or_broken_file_is_refused(tmp_path):
    path = save_splits(
        make_splits(an_image_set({"a": 60}), train=10, val=5, seed=0), tmp_path / "s.json"
    )
    content = json.loads(path.read_text())
    content["parts"]["train"][0], content["parts"]["test"][0] = (
        content["parts"]["test"][0],
        content["parts"]["train"][0],
    )
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="was changed: its ids have checksum"):
        load_splits(path)
    for text in ("{", "[]", "{}", '{"parts": 3}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="not a file of splits"):
            load_splits(path)
    with pytest.raises(FileNotFoundError):
        load_splits(tmp_path / "none.json")


@given(COUNTS, st.integers(0, 99), st.integers(3, 6))
def test_over_the_folds_each_image_is_test_once(counts, seed, folds):
    counts = {name: count + folds for name, count in counts.items()}
    images = an_image_set(counts)
    every = [fold_splits(images, fold, folds=folds, seed=seed) for fold in range(folds)]
    tested = [name for splits in every for name in splits.parts["test"]]
    assert sorted(tested) == list(images.ids)
    for splits, following in zip(every, [*every[1:], every[0]], strict=True):
        assert splits.parts["val"] == following.parts["test"]
        assert sum(splits.sizes().values()) == len(images)
        for name, count in counts.items():
            assert len(by_class(splits, "test", name)) in (count // folds, count // folds + 1)


def test_folds_that_cannot_be():
    images = an_image_set({"a": 9, "b": 4})
    with pytest.raises(ValueError, match="class 'b' of some has 4 images, fewer than the 5 folds"):
        fold_splits(images, 0, seed=0)
    for fold, folds in ((5, 5), (-1, 5), (0, 2)):
        with pytest.raises(ValueError, match=f"fold is {fold} of {folds}; expected"):
            fold_splits(images, fold, folds=folds, seed=0)


def test_folds_by_the_name_of_a_set():
    images = an_image_set({"a": 9, "b": 5})  # a folder's
    assert default_splits(images, seed=3, fold=1) == fold_splits(images, 1, seed=3)
    assert "fold 1 of 5 of the images is test" in default_splits(images, fold=1).protocol
    with pytest.raises(ValueError, match="digits has no folds; those that have: elpv, folder"):
        default_splits(load("digits"), fold=1)


def test_fewer_images_of_each_part_for_a_quick_trial():
    whole = make_splits(an_image_set({"a": 40, "b": 30}), train=0.5, val=3, seed=1)
    few = whole.at_most(10, seed=2)
    assert few.sizes() == {"train": 10, "val": 6, "test": 10}
    for part, ids in few.parts.items():
        assert set(ids) <= set(whole.parts[part])
    assert {name[0] for name in few.parts["train"]} == {"a", "b"}  # not the first ten
    assert few == whole.at_most(10, seed=2)
    assert few != whole.at_most(10, seed=3)
    assert few.protocol.endswith("; at most 10 of each")
    with pytest.raises(ValueError, match="images is 0; expected 1 or more"):
        whole.at_most(0)
