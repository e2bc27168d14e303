"""Which records may be fitted together and judge a fit: rules refuse, one option allows."""

import dataclasses
import re

import numpy as np
import pytest

from duokit import fit_duo, make_record
from duokit.evaluation import compare_sidekicks, pooled_answers
from duokit.logits.agreement import check_parts, in_class_order, shared_images
from duokit.logits.record import AFTER_FILE, real_names
from duokit.reproduction import split_faults
from duokit.trust import trust_report

pytestmark = pytest.mark.promise("records")
K = 4


def member(name, split, *, n=60, ids=None, **more):
    """One model's record; labels and ids are those of the split, whoever the model is."""
    labels = np.random.default_rng(len(split)).integers(0, K, n)
    logits = np.random.default_rng([*f"{name}{split}".encode()]).normal(size=(n, K))
    logits[np.arange(n), labels] += 2
    given = {"dataset": "cats", "model": name, "dtype": "float32"}
    return make_record(
        logits, labels, ids or [f"{split}/{i}" for i in range(n)], split=split, **(given | more)
    )


def pair(split, **more):
    return [member(name, split, **more) for name in ("big", "tiny")]


def changed(records, which, **fields):
    return [dataclasses.replace(r, **fields) if i in which else r for i, r in enumerate(records)]


def halves(again=30):
    """Half of val among new images, in another order, in half precision, under new names."""
    records = []
    for old, new in zip(VAL, TEST, strict=True):
        logits = np.vstack([new.logits[again:], old.logits[:again][::-1]]).astype(np.float16)
        labels = np.r_[new.labels[again:], old.labels[:again][::-1]]
        records.append(dataclasses.replace(new, logits=logits, labels=labels))
    return records


FACTS = {"seed": 0, "resolution": 64, "split_checksum": "aa", "class_names": tuple("abcd")}
VAL, TEST = pair("val", **FACTS), pair("test", **FACTS)
FITS = {
    "data sets": (changed(VAL, [1], dataset="dogs"), "two data sets, 'cats' and 'dogs'"),
    "splits": (changed(VAL, [1], split="test"), "two splits, 'val' and 'test'"),
    "own splits": (changed(VAL, [0], split="shifted-2"), "two splits, 'shifted-2' and 'val'"),
    "checksums": (
        [dataclasses.replace(r, split_checksum=s) for r, s in zip(VAL, ("aa", "bb"), strict=True)],
        "two ways to split the images",
    ),
    "train": (changed(VAL, [0, 1], split="train"), r"big@64 \(cats train\): members are too sure"),
    "training": (changed(VAL, [0, 1], split="Training"), "fit the weights on val"),
}
TESTS = {
    "data set": (changed(TEST, [0, 1], dataset="dogs"), "'cats' and are used on 'dogs', another"),
    "members' data sets": (changed(TEST, [1], dataset="dogs"), "members are of two data sets"),
    "members' splits": (changed(TEST, [1], split="shifted"), "members are of two splits"),
    "train": (changed(TEST, [0, 1], split="train"), "report on images they have not seen"),
    "swapped": (TEST[::-1], r"fitted for big@64 .*, not for tiny@64 \(cats test\), seed 0"),
    "other model": (changed(TEST, [1], model="huge"), "fitted for tiny@64 .*, not for huge@64"),
    "one model twice": ([TEST[0], TEST[0]], "fitted for tiny@64 .*, not for big@64"),
    "other seed": (changed(TEST, [1], seed=1), "not for tiny@64 .*, seed 1"),
    "other resolution": (changed(TEST, [0], resolution=96), "not for big@96"),
    "classes": (
        [
            dataclasses.replace(r, logits=np.hstack([r.logits, r.logits[:, :1]]), class_names=None)
            for r in TEST
        ],
        "have 4 and 5 classes",
    ),
    "other classes": (changed(TEST, [0, 1], class_names=tuple("wxyz")), "classes, such as 'w'"),
    "checksum": (changed(TEST, [0, 1], split_checksum="cc"), "split_checksum aa and cc"),
    "same images": (VAL, "60 images, such as 'val/0', are in big"),
    "some of the same": (
        changed(TEST, [0, 1], ids=(*VAL[0].ids[50:], *TEST[0].ids[10:])),
        "10 images, such as 'val/50', are in",
    ),
    "same logits, other ids": (changed(VAL, [0, 1], ids=TEST[0].ids), "60 of the 60 images"),
    "half the same logits": (halves(), "30 of the 60 images of big@64 .* whatever their ids"),
}


@pytest.mark.parametrize("case", FITS)
def test_what_is_not_fitted_together(case):
    records, message = FITS[case]
    with pytest.raises(ValueError, match=f"{message}.*allow_mismatch=True .--allow-mismatch"):
        fit_duo(records)
    with pytest.warns(UserWarning, match=f"allowed: .*{message}"):
        duo = fit_duo(records, allow_mismatch=True)
    assert len(duo.allowed) == 1
    assert duo.weights == pytest.approx(fit_duo(VAL).weights)
    assert fit_duo(VAL).allowed == ()


@pytest.mark.parametrize("case", TESTS)
def test_what_does_not_judge_a_fit(case):
    records, message = TESTS[case]
    duo = fit_duo(VAL)
    with pytest.raises(ValueError, match=f"{message}.*allow_mismatch=True"):
        duo.answers(records)
    with pytest.raises(ValueError, match=message):
        pooled_answers([duo], [records])
    parts = [{"val": one, "test": two} for one, two in zip(VAL, records, strict=True)]
    with pytest.raises(ValueError, match=message):
        compare_sidekicks(parts[0], {"tiny": parts[1]}, resamples=2)
    with pytest.raises(ValueError, match=message):
        trust_report(*(dict(zip("lt", each, strict=True)) for each in (VAL, records)), resamples=2)
    with pytest.warns(UserWarning, match=f"allowed: .*{message}"):
        found = duo.answers(records, allow_mismatch=True)
    assert len(found["duo"]) == 60
    assert any(re.search(message, str(each)) for each in duo.findings(records))


NUMBERS = {"ids": tuple(map(str, range(60)))}
UNKNOWN = {"dataset": "unknown", "split": "", "model": "", "split_checksum": "unknown"}
PLAIN = {"config": {"model": AFTER_FILE}}
FINE = {
    "as they are": TEST,
    "shifted": changed(TEST, [0, 1], split="shifted-3"),
    "one says nothing": changed(TEST, [1], **UNKNOWN),
    "nobody says anything": changed(TEST, [0, 1], **UNKNOWN, **PLAIN),
    "files with names of their own": [
        dataclasses.replace(r, model=name, **PLAIN) for r, name in zip(TEST, "xy", strict=True)
    ],
    "the split in the name": [dataclasses.replace(r, model=f"{r.model}_test") for r in TEST],
    "no seed or resolution": changed(TEST, [0, 1], seed=None, resolution=None, weights=""),
    "numbered classes": changed(TEST, [0, 1], class_names=tuple(f"c{i}" for i in range(4))),
    "the book's shifted set": changed(TEST, [0, 1], dataset="cats_v2", split="shifted"),
    "a few pictures twice": changed(
        TEST, [0, 1], labels=np.r_[VAL[0].labels[:5], TEST[0].labels[5:]]
    ),
}
FINE["a few pictures twice"] = [
    dataclasses.replace(r, logits=np.vstack([old.logits[:5], r.logits[5:]]))
    for r, old in zip(FINE["a few pictures twice"], VAL, strict=True)
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", FINE)
def test_what_is_never_refused(case):
    duo = fit_duo(VAL)
    assert duo.findings(FINE[case]) == []
    assert len(duo.answers(FINE[case])["duo"]) == 60


@pytest.mark.parametrize("start", [0, 1])
def test_ids_by_position_say_nothing(start):
    def given(records, ids):
        return changed(records, [0, 1], ids=tuple(ids))

    rows = [f"row-{i:05d}" for i in range(60)]
    numbers = [str(i) for i in range(start, 60 + start)]
    anew = [f"img_{i}.png" for i in range(60)]
    for ids in (rows, rows[::-1], numbers, anew):
        assert shared_images(given(VAL, ids), given(TEST, ids)) == ""
        assert "60 of the 60" in shared_images(given(VAL, ids[::-1]), given(VAL, rows))
    some = [r.rows(rows[::2]) for r in given(TEST, rows)]
    assert shared_images(given(VAL, rows), some) == ""
    # names of their own count where the images in both have the same labels
    alike = changed(TEST, [0, 1], labels=VAL[0].labels)
    assert "60 images, such as 'img_0" in shared_images(given(VAL, anew), given(alike, anew))
    assert shared_images(given(VAL, numbers), given(alike, numbers)) == ""
    assert "such as 'row" not in " ".join(
        split_faults("imagenet", given(VAL, rows), given(TEST, rows))
    )


@pytest.mark.parametrize("kept", [slice(0, 1), slice(0, 2)])
def test_images_of_one_model_or_two_are_known_by_their_logits(kept):
    assert "60 of the 60" in shared_images(VAL[kept], changed(VAL, [0, 1], ids=TEST[0].ids)[kept])
    found = shared_images(VAL[kept], halves()[kept])
    assert found.startswith("30 of the 60 images of big@64 (cats test) have the labels and logits")
    assert shared_images(VAL[kept], TEST[kept]) == ""


def test_more_than_a_tenth_found_again_tells():
    assert shared_images(VAL, halves(6)) == ""
    assert shared_images(VAL, halves(7)).startswith("7 of the 60 images")


@pytest.mark.parametrize(("first", "found"), [(5, ""), (6, "54 images, such as 'img_10'")])
def test_names_given_anew_are_in_more_than_nine_tenths(first, found):
    names = [tuple(f"img_{i}" for i in range(start, start + 60)) for start in (0, first)]
    some = [changed(r, [0, 1], ids=ids) for r, ids in zip((VAL, TEST), names, strict=True)]
    assert shared_images(*some).startswith(found)
    assert bool(shared_images(*some)) == bool(found)


def test_numbers_that_go_on_where_others_began_are_names():
    """Only numbers that count from 0 or 1 in both parts are positions."""
    numbers = [[str(i) for i in range(start, 60 + start)] for start in (0, 10)]
    some = [changed(VAL, [0, 1], ids=tuple(ids)) for ids in numbers]
    assert shared_images(*some).startswith("50 images, such as '10', are in")


def test_logits_that_do_not_tell_images_apart_are_no_proof():
    coarse = [
        [dataclasses.replace(r, logits=np.sign(r.logits).astype(np.float32)) for r in records]
        for records in (VAL, TEST)
    ]
    assert shared_images(*coarse) == ""
    assert shared_images(VAL, TEST[:1]) == ""


def test_another_data_set_is_only_said_where_it_may_be_a_shifted_form():
    for fields in ({"dataset": "cats-c"}, {"dataset": "dogs", "split": "shifted"}):
        records = changed(TEST, [0, 1], **fields)
        with pytest.warns(UserWarning, match="^the weights were fitted on 'cats' .* shifted form"):
            fit_duo(VAL).answers(records)
    (finding,) = check_parts(VAL, changed(TEST, [0, 1], dataset="cats10"))
    assert finding.grave


def test_val_and_test_exchanged():
    duo = fit_duo(TEST)
    with pytest.raises(ValueError, match=r"fitted on test .* are used on val .*: are the two exch"):
        duo.answers(VAL)


def test_the_images_of_val_may_be_asked_for_logits():
    assert np.shape(fit_duo(VAL).logits(VAL)) == (60, 4)
    with pytest.raises(ValueError, match="fitted for"):
        fit_duo(VAL).logits(VAL[::-1])


def test_swapped_files_are_known_by_their_names():
    def files(split, names):
        stems = {"big": f"big_{split}", "tiny": f"{split}-tiny"}
        records = {r.model: r for r in (VAL if split == "val" else TEST)}
        return [dataclasses.replace(records[n], model=stems[n], **PLAIN) for n in names]

    duo = fit_duo(files("val", ("big", "tiny")))
    assert duo.findings(files("test", ("big", "tiny"))) == []
    with pytest.raises(ValueError, match=r"fitted for big_val.*not for test-tiny"):
        duo.answers(files("test", ("tiny", "big")))


ORDER = [2, 0, 3, 1]


def in_other_order(record):
    labels = np.argsort(ORDER)[record.labels]
    names = tuple(record.class_names[i] for i in ORDER)
    return dataclasses.replace(
        record, logits=record.logits[:, ORDER], labels=labels, class_names=names
    )


def test_classes_are_put_in_the_order_of_the_first():
    expected = fit_duo(VAL)
    mixed, asked = [VAL[0], in_other_order(VAL[1])], [in_other_order(TEST[0]), TEST[1]]
    with pytest.warns(UserWarning, match=r"classes of tiny.* put in the order of big.*by their na"):
        duo = fit_duo(mixed)
    assert duo.weights == pytest.approx(expected.weights, rel=1e-6)
    with pytest.warns(UserWarning, match="put in the order"):
        found = duo.answers(asked)["duo"]
    assert found.nll == pytest.approx(expected.answers(TEST)["duo"].nll, abs=1e-6)
    with pytest.warns(UserWarning, match="put in the order"):
        report = trust_report(*({"l": a, "t": b} for a, b in (mixed, TEST)), resamples=2, duo=False)
    assert np.array_equal(report.models["t"].logits, TEST[1].logits)


def test_labels_of_no_class_stay_so():
    outside = [dataclasses.replace(r, labels=np.full(60, -1)) for r in VAL]
    with pytest.warns(UserWarning, match="put in the order"):
        _, found = in_class_order(
            [
                outside[0],
                in_other_order(VAL[1])
                and dataclasses.replace(in_other_order(VAL[1]), labels=np.full(60, -1)),
            ]
        )
    assert (found.labels == -1).all()
    assert np.array_equal(found.logits, VAL[1].logits)


def test_labels_that_number_other_columns_are_refused():
    sorted_columns = dataclasses.replace(in_other_order(VAL[1]), labels=VAL[1].labels)
    with pytest.raises(ValueError, match="its labels do not number its own columns"):
        fit_duo([VAL[0], sorted_columns])
    other = dataclasses.replace(VAL[1], class_names=tuple("abce"))
    with pytest.raises(ValueError, match="have other class names: at position 3, 'e' and 'd'"):
        fit_duo([VAL[0], other])


@pytest.mark.parametrize(
    ("names", "real"),
    [
        (("class_0", "class_1", "class_2", "class_3"), False),
        (("1", "2", "3", "4"), False),
        (("c00", "c01", "c02", "c03"), False),
        (("0", "2", "1", "3"), True),
        (("type 0", "type 1", "type 2", "other"), True),
        (("a1", "b2", "c3", "d4"), True),
        (("", "1", "2", "3"), True),
    ],
)
def test_names_that_only_count_are_none(names, real):
    assert real_names(dataclasses.replace(VAL[0], class_names=names)) == (names if real else None)
