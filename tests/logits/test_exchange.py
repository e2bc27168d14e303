"""Logits brought from elsewhere, and taken there."""

import csv
import dataclasses
import re

import numpy as np
import pytest

from duokit.logits import load, read_csv, read_npz, save, write_csv, write_npz
from tests.logits.samples import assert_equal, full, record, scores


def test_npz_round_trip(tmp_path):
    path = write_npz(full(), tmp_path / "x.npz")
    assert_equal(read_npz(path), full())
    assert read_npz(path, split="test", seed=9).seed == 9
    with pytest.raises(FileExistsError):
        write_npz(full(), path)


def test_npz_with_the_least(tmp_path):
    path = tmp_path / "resnet.npz"
    np.savez(path, logits=scores(), labels=np.arange(6) % 4)
    found = read_npz(path, split="test")
    assert (found.model, found.dataset, found.split) == ("resnet", "unknown", "test")
    assert found.ids[5] == "row-5"
    assert np.array_equal(found.logits, scores())


def test_npz_may_name_its_classes(tmp_path):
    np.savez(tmp_path / "x.npz", **GOOD, class_names=np.array(list("wxyz")))
    assert read_npz(tmp_path / "x.npz").class_names == tuple("wxyz")


def test_npz_of_double_precision_needs_a_word(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, logits=scores(dtype=np.float64), labels=np.zeros(6, int))
    with pytest.raises(ValueError, match=r'x\.npz: logits have dtype float64.*dtype="float32"'):
        read_npz(path)
    assert read_npz(path, dtype="float16").logits.dtype == np.float16


GOOD = {"logits": scores(), "labels": np.zeros(6, int), "ids": np.array(list("abcdef"))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": None}, "no array 'logits'; it has labels, ids"),
        ({"labels": None}, "no array 'labels'; it has logits, ids"),
        ({"labels": np.zeros(5, int)}, r"x.npz: labels have shape \(5,\)"),
        ({"ids": np.array(list("abc"))}, "3 ids for 6 rows"),
        ({"ids": np.arange(6)}, "ids have dtype int64; expected text"),
        ({"class_names": np.arange(4)}, "class_names have dtype int64; expected text"),
        ({"logits": np.full((6, 4), 0.25, np.float32)}, "probabilities"),
        ({"ids": np.array([object()] * 6)}, "without unpickling"),
        ({"logits": np.array([[1, None]] * 6)}, "without unpickling"),
    ],
)
def test_npz_refusals(tmp_path, changes, message):
    path = tmp_path / "x.npz"
    np.savez(path, **{name: value for name, value in (GOOD | changes).items() if value is not None})
    with pytest.raises(ValueError, match=message):
        read_npz(path)


def test_npz_files_that_are_none(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **GOOD)
    raw = path.read_bytes()
    for broken in (b"", b"hello", raw[: len(raw) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="npz cannot be read"):
            read_npz(path)
    with path.open("wb") as file:
        np.save(file, scores())
    with pytest.raises(ValueError, match="npz cannot be read"):
        read_npz(path)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("names", [None, ("a, b", 'c "d"', "é", "-")])
def test_csv_round_trip(tmp_path, dtype, names):
    made = record(
        logits=scores().astype(dtype), class_names=names, labels=np.array([0, 1, 2, 3, -1, -1])
    )
    path = write_csv(made, tmp_path / "x.csv")
    known = {"model": "net", "weights": "imagenet", "resolution": 96, "dataset": "pets"}
    assert_equal(read_csv(path, dtype=dtype, split="val", **known), made)
    with pytest.raises(FileExistsError):
        write_csv(made, path)


def test_csv_by_hand(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffid,label,cat,dog\r\nx.png,1,-1.5,2e0\r\n\r\n", encoding="utf-8")
    found = read_csv(path)
    assert found.logits.tolist() == [[-1.5, 2.0]]
    assert (found.ids, found.class_names, found.model) == (("x.png",), ("cat", "dog"), "mine")
    assert found.logits.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with 'nothing'"),
        ("id,logit_0,logit_1\na,1,2\n", "starts with 'id,logit_0,logit_1'; expected the columns"),
        ("id,label,logit_0\na,0,2\n", "two or more classes"),
        ("id;label;a;b\n", "use commas"),
        ("id,label,a,a\nx,0,1,2\n", "the column 'a' more than once"),
        ("id,label,a,b\n", "header but no images"),
        ("id,label,a,b\nx,0,1,2\ny,0,1\n", "line 3: 3 cells, the header has 4"),
        ("id,label,a,b\nx,0,1,2\ny,0,1,oops\n", "line 3, column b: 'oops' is not a finite"),
        ("id,label,a,b\nx,0,,2\n", "line 2, column a: '' is not a finite"),
        ("id,label,a,b\nx,0,nan,2\n", "line 2, column a: 'nan' is not a finite"),
        ("id,label,a,b\nx,cat,1,2\n", "line 2, column label: 'cat' is not a whole number"),
        ("id,label,a,b\nx,2,1,2\n", "label 2 in row 0 is outside 0..1"),
        ("id,label,a,b\nx,0,1,2\nx,0,3,4\n", "x.csv: id 'x' stands at"),
        ("id,label,a,b\nx,0,.25,.75\n", "probabilities"),
        ("id,label,a,b\nx,0,1e39,2\n", "do not fit in float32"),
    ],
)
def test_csv_refusals(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_csv(path)


@pytest.mark.promise("records")
@pytest.mark.parametrize("stem", ["logit_", "class_", "c", "prob_", ""])
@pytest.mark.parametrize("start", [0, 1])
def test_csv_columns_are_put_in_the_order_of_their_numbers(tmp_path, stem, start):
    values, names = scores(12, 12), [f"{stem}{start + i}" for i in range(12)]
    order = sorted(range(12), key=names.__getitem__)
    path = tmp_path / "x.csv"
    lines = [f"id,{','.join(names[i] for i in order)}, label"]
    lines += [f"im{r},{','.join(str(values[r, i]) for i in order)},{r}" for r in range(12)]
    path.write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"stood as .*10, .* put in the order of their numbers"):
        found = read_csv(path)
    assert np.array_equal(found.logits, values)
    assert found.labels.tolist() == list(range(12))
    assert found.ids[3] == "im3"
    assert found.class_names == (None if stem == "logit_" else tuple(names))


@pytest.mark.promise("records")
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("logit_0,logit_1,pred", "column 'pred' is no class like the others"),
        ("logit_0,logit_2,logit_3", "numbered 0, 2, 3, not 0 to 2: is one missing"),
        ("logit_2,logit_3,logit_4", "numbered 2, 3, 4"),
        ("1,2,0", "numbered, but stand as 1, 2, 0: name them logit_0"),
        (",a,b", "a column without a name"),
    ],
)
def test_csv_columns_whose_order_is_not_certain_are_refused(tmp_path, header, message):
    path = tmp_path / "x.csv"
    path.write_text(f"id,label,{header}\nx,0,1,2,3\n")
    with pytest.raises(ValueError, match=message):
        read_csv(path)


def test_csv_labels_may_be_names_of_columns(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("label,id,cat,dog,type 7\ndog,a,1,2,3\ntype 7,b,1,2,3\n0,c,1,2,3\n")
    found = read_csv(path)
    assert found.labels.tolist() == [1, 2, 0]
    assert found.class_names == ("cat", "dog", "type 7")


def test_labels_that_start_at_one_are_told(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,label,a,b\nx,1,1,2\ny,2,3,1\n")
    with pytest.raises(ValueError, match="the labels seem to start at 1: subtract 1"):
        read_csv(path)


def test_csv_cannot_hold_a_class_called_like_a_column(tmp_path):
    with pytest.raises(ValueError, match="a class is called 'label'"):
        write_csv(record(class_names=("label", "b", "c", "d")), tmp_path / "x.csv")


@pytest.mark.promise("errors")
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("id,label,a,b\nx,0,1,2\n".encode("utf-16"), "UTF-16, perhaps"),
        ("id,label,café,thé\nx,0,1,2\n".encode("latin-1"), "Latin-1, perhaps"),
        (b'id,label,a,b\n"x,0,1,2\n' + b"y,0,1,2\n" * 20_000, "quotation mark"),
        (b'id,label,a,b\n"x,0,1,2\ny,0,1,2\n', "quotation mark"),
        (b"id,label,a,b\n" + b"x" * 200_000 + b",0,1,2\n", "100,000 characters"),
    ],
)
def test_a_csv_that_cannot_be_read_is_named_with_a_remedy(tmp_path, raw, message):
    (tmp_path / "mine.csv").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"mine\.csv is .*{message}"):
        read_csv(tmp_path / "mine.csv")


@pytest.mark.promise("hostile")
def test_formulas_in_ids_and_names_come_back_and_are_none(tmp_path):
    names = ["=cmd()", "'=1", "a,b", "-1"]
    ids = ("=1+1", "@x", "+2", "'a", "''=b", "-3")
    made = dataclasses.replace(full(), ids=ids, class_names=tuple(names))
    path = write_csv(made, tmp_path / "x.csv")
    found = read_csv(path, dtype="float16" if made.logits.dtype == np.float16 else "float32")
    assert found.ids == ids
    assert found.class_names == tuple(names)
    assert np.array_equal(found.logits, made.logits)
    for row in csv.reader(path.read_text().splitlines()):
        assert not row[0].startswith(("=", "+", "-", "@"))


@pytest.mark.promise("hostile")
@pytest.mark.parametrize(
    "mark", [*"\x1b\x07\t\x0b\x0c\x1c\x1e\x7f\x85\u2028\u2029\u202e\ufeff \"'=,"]
)
def test_ids_come_back_whatever_they_hold_or_are_refused(tmp_path, mark):
    ids = (f"a{mark}b", f"{mark}a", f"b{mark}", mark, f"'{mark}", "z")
    made = record(ids=ids)
    assert load(save(made, tmp_path / "x")).ids == ids
    assert read_npz(write_npz(made, tmp_path / "x.npz")).ids == ids
    assert read_csv(write_csv(made, tmp_path / "x.csv")).ids == ids
    for bad in ("\n", "\r", "\0", "\udce9"):
        told = (
            rf"id .* at position 5 holds {re.escape(repr(bad))}; an id is one line .*: name the i"
        )
        with pytest.raises(ValueError, match=told):
            record(ids=(*ids[:5], mark + bad))


@pytest.mark.promise("hostile")
@pytest.mark.parametrize("name", ["", "id", " a", "a\t", "\x85a", "a\u2028", "\x1c", "a\rb"])
def test_a_class_that_no_csv_can_name_is_refused_unwritten(tmp_path, name):
    made = record(class_names=(name, "b", "c", "d"))
    with pytest.raises(
        ValueError, match=f"a class is called {re.escape(repr(name))}.*write_npz can"
    ):
        write_csv(made, tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())
    assert read_npz(write_npz(made, tmp_path / "x.npz")).class_names == made.class_names
    made = record(class_names=(f"a{name}b", "b", "c", "d"))
    if "\r" not in name:
        assert read_csv(write_csv(made, tmp_path / "x.csv")).class_names == made.class_names


def test_one_numbered_name_among_others_is_a_name(tmp_path):
    path = tmp_path / "given.csv"
    path.write_text("id,label,logit_0,cat,dog\na,0,3.5,1,-1\nb,1,0.5,2,-2\n")
    assert read_csv(path).class_names == ("logit_0", "cat", "dog")
