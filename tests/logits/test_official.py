"""What the released code wrote comes in whole, or not at all."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from duokit.logits import find_official, load, read_official, save
from duokit.logits import official as module
from tests.logits.released import rewrite, write


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Sixty rows are four blocks."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 16)


def only(base):
    (file,) = find_official(base)
    return file


def lines(path):
    return path.read_text().splitlines()


def test_the_layout_is_found_from_any_of_its_folders(tmp_path):
    write(tmp_path, "imagenet", "val")
    write(tmp_path, "imagenet", "test", models=["tf_efficientnetv2_l.in21k_ft_in1k"])
    write(tmp_path, "caltech256", "ood_test", models=["B"])
    inner = tmp_path / "y-prediction" / "imagenet"
    for other in ("val/features", "val/temp_scaled", "train/raw", "val/raw/old"):
        (inner / other).mkdir(parents=True)
        (inner / other / "C.csv").write_text("0,1\n1.0,2.0\n")
    (inner / "val/raw/._A.csv").write_text("")
    (inner / "val/raw/notes.txt").write_text("")
    found = find_official(tmp_path)
    assert [(file.dataset, file.part, file.model) for file in found] == [
        ("caltech256", "shifted", "B"),
        ("imagenet", "val", "A"),
        ("imagenet", "val", "B"),
        ("imagenet", "test", "tf_efficientnetv2_l.in21k_ft_in1k"),
    ]
    assert found == find_official(tmp_path / "y-prediction")
    assert found[1:] == find_official(inner)
    assert found[1].place == "y-prediction/imagenet/val/raw/A.csv"
    for wrong in (tmp_path / "nowhere", inner / "train"):
        with pytest.raises(FileNotFoundError):
            find_official(wrong)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_record_holds_the_logits_and_labels(tmp_path, dtype):
    labels, made = write(tmp_path, models=["A"])
    record = read_official(only(tmp_path), dtype=dtype, command="x", flops=7, weights="w")
    assert record.logits.dtype == dtype
    np.testing.assert_allclose(record.logits, made["A"], rtol=1e-3 if dtype == "float16" else 0)
    assert np.array_equal(record.logits.argmax(axis=1), made["A"].argmax(axis=1))
    assert np.array_equal(record.labels, labels)
    assert record.ids[:2] == ("row-00000", "row-00001")
    assert len(record.ids) == 60
    assert (record.model, record.dataset, record.split) == ("A", "imagenet", "val")
    assert (record.kind, record.flops, record.weights, record.versions) == ("logits", 7, "w", {})
    assert record.config["source"] == "y-prediction/imagenet/val/raw/A.csv"
    assert record.config["order"].startswith("as in")
    assert "positions" in record.config["ids"]
    assert record.config["command"] == "x"
    path = save(record, tmp_path / "record")
    assert load(path).config == record.config


def test_a_file_without_its_column_is_imported_and_says_so(tmp_path):
    write(tmp_path, models=["A", "B"])
    rewrite(
        tmp_path / "y-prediction/imagenet/val/point_prediction.csv", lambda t: t.drop(columns="B")
    )
    first, second = (read_official(file) for file in find_official(tmp_path))
    assert first.config["order"] == "as in the model's column of point_prediction.csv"
    assert second.config["order"] == "not checked"


def test_rows_in_another_order_are_refused(tmp_path):
    _, made = write(tmp_path, models=["A"])
    file = only(tmp_path)
    rewrite(file.path, lambda table: table.iloc[::-1])
    named = made["A"].argmax(axis=1)
    wrong = (named != named[::-1]).sum()
    with pytest.raises(
        ValueError, match=rf"A\.csv: {wrong} of 60 rows do not name .*'A' of .*run 1_single"
    ):
        read_official(file)


def test_a_tie_is_no_disagreement(tmp_path):
    write(tmp_path, models=["A"], n=3, k=3)
    file = only(tmp_path)
    file.path.write_text("0,1,2\n1.5,1.5,0\n2,2,2\n0,3,1\n")
    file.labels.write_text("target,A\n0,1\n1,2\n1,1\n")
    assert read_official(file).logits.argmax(axis=1).tolist() == [0, 0, 1]


def probabilities_of(table):
    powers = np.exp(table.to_numpy())
    return pd.DataFrame((powers / powers.sum(axis=1, keepdims=True)).astype(np.float32))


def test_probabilities_become_their_logarithms(tmp_path):
    _, made = write(tmp_path, models=["A"])
    file = only(tmp_path)
    rewrite(file.path, probabilities_of)
    for dtype, step in (("float32", 1e-5), ("float16", 1e-2)):
        record = read_official(file, dtype=dtype)
        assert record.kind == "log_probs"
        exact = made["A"] - np.log(np.exp(made["A"].astype(float)).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(record.logits, exact, atol=step)
        assert "Laplace" in record.config["probabilities"]


def test_a_probability_of_zero_stays_finite(tmp_path):
    write(tmp_path, models=["A"], n=2, k=3)
    file = only(tmp_path)
    file.path.write_text("0,1,2\n1.0,0.0,0.0\n0.5,0.5,1e-44\n")
    file.labels.write_text("target\n0\n1\n")
    record = read_official(file, dtype="float32")
    assert record.logits[0].tolist() == pytest.approx([0, -87.336544, -87.336544])
    assert record.logits[1].tolist() == pytest.approx([np.log(0.5)] * 2 + [-87.336544])


def test_probabilities_that_end_are_refused(tmp_path):
    write(tmp_path, models=["A"])
    file = only(tmp_path)

    def half(table):
        return pd.concat(
            [probabilities_of(table.iloc[:32]), table.iloc[32:].set_axis(range(5), axis=1)]
        )

    rewrite(file.path, half)
    with pytest.raises(ValueError, match="rows up to 32 are probabilities, later ones are not"):
        read_official(file)


def cells(path, row, text):
    rows = lines(path)
    rows[row] = text
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p.write_text(""), "starts with 'nothing'.*0,1,...,k-1"),
        (lambda p: cells(p, 0, "a,b,c,d,e"), "starts with 'a,b,c,d'"),
        (lambda p: cells(p, 0, ",0,1,2,3"), "an index column: write it with index=False"),
        (lambda p: p.write_text("\n".join(lines(p)[1:])), "expected the header 0,1"),
        (lambda p: cells(p, 21, "1,2,3,4"), "row 20, column 4 of 5: nan is no finite number"),
        (lambda p: cells(p, 21, "1,2,3,4,5,6"), r"A\.csv, after row 16: .*[Ee]xpected 5 fields"),
        (lambda p: cells(p, 1, "1,2,3,4,5,6"), r"A\.csv, after row 0: "),
        (lambda p: cells(p, 21, "1,2,3,4,cat"), "after row 16: .*could not convert.*cat"),
        (lambda p: cells(p, 21, "1,2,inf,4,5"), "row 20, column 2 of 5: inf is no finite"),
        (lambda p: cells(p, 21, "1,2,1e39,4,5"), "row 20, column 2 of 5: 1e.39 is no finite"),
        (lambda p: cells(p, 21, "1,2,3,4,1e6"), r"A\.csv: logits up to .* do not fit in float16"),
        (lambda p: p.write_text("\n".join(lines(p)[:41])), "has 40 rows, .* has 60 labels"),
        (lambda p: p.write_text("\n".join([*lines(p), *lines(p)[1:30]])), "has 89 rows, .* 60"),
    ],
)
def test_a_damaged_file_of_logits_is_refused(tmp_path, change, text):
    write(tmp_path, models=["A"])
    file = only(tmp_path)
    rewrite(file.labels, lambda table: table.drop(columns="A"))
    change(file.path)
    with pytest.raises(ValueError, match=text) as caught:
        read_official(file)
    assert str(file.path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: rewrite(p, lambda t: t.drop(columns="target")), "no column 'target'"),
        (lambda p: p.write_text(""), "cannot be read"),
        (lambda p: cells(p, 3, ",1"), "column 'target': expected whole numbers"),
        (lambda p: cells(p, 3, "1,"), "column 'A': expected whole numbers"),
        (lambda p: cells(p, 3, "1,5"), "names classes from . to 5; .* has 5, 0 to 4"),
        (lambda p: cells(p, 3, "9,1"), r"A\.csv: label 9 in row 2 is outside"),
    ],
)
def test_a_damaged_file_of_labels_is_refused(tmp_path, change, text):
    write(tmp_path, models=["A"], noise=0)
    file = only(tmp_path)
    rewrite(file.path, lambda table: table.assign(**{"1": table["1"] + 9}))
    rewrite(file.labels, lambda table: table.assign(A=1))
    change(file.labels)
    with pytest.raises(ValueError, match=text):
        read_official(file)
    file.labels.unlink()
    with pytest.raises(FileNotFoundError, match=r"point_prediction\.csv is missing; 1_single"):
        read_official(file)


def test_labels_of_another_order_of_the_images_are_noticed(tmp_path):
    labels, _ = write(tmp_path, models=["A"], n=400, k=20)
    file = only(tmp_path)
    rewrite(file.labels, lambda table: table.assign(target=(labels + 1) % 20))
    with pytest.warns(UserWarning, match="as by chance: the labels in .* another order"):
        read_official(file)


def test_a_file_is_not_taken_into_memory_whole(tmp_path, monkeypatch):
    n, k = 4000, 200
    write(tmp_path, models=["A"], n=n, k=k)
    file = only(tmp_path)
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 100)
    tracemalloc.start()
    record = read_official(file, dtype="float16")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert record.logits.nbytes == 2 * n * k
    assert peak < 6 * n * k  # float64 alone would be 8 n k, the text more
