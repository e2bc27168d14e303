"""What a record accepts and refuses, and when two records may be fused."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, softmax

import duokit
from duokit.logits import make_record, same_images, versions
from tests.logits.samples import record, scores


def test_fields_are_kept():
    made = record(
        flops=10**12, seed=0, class_names=list("abcd"), config={"lr": (1, np.float64(2.5))}
    )
    assert (made.n, made.k, made.flops, made.seed) == (6, 4, 10**12, 0)
    assert made.class_names == ("a", "b", "c", "d")
    assert made.config == {"lr": [1, 2.5]}  # as it will be read back from JSON
    assert made.labels.dtype == np.int64
    assert made.title == "net@96 (pets val)"
    assert record(resolution=None).title == "net (pets val)"


def with_value(value, row=3, column=2):
    logits = scores()
    logits[row, column] = value
    return logits


REFUSED = {
    "float64": ({"logits": scores(dtype=np.float64)}, TypeError, 'float64.*dtype="float32"'),
    "integers": ({"logits": np.ones((6, 4), int)}, TypeError, "int64"),
    "a tensor": ({"logits": torch.zeros(6, 4)}, TypeError, "Tensor.*make_record"),
    "one axis": ({"logits": np.ones((6, 4, 1), np.float32)}, ValueError, r"\(6, 4, 1\)"),
    "one class": ({"logits": np.ones((6, 1), np.float32)}, ValueError, "k >= 2"),
    "nan": ({"logits": with_value(np.nan)}, ValueError, "nan in row 3, class 2"),
    "infinity": ({"logits": with_value(-np.inf)}, ValueError, "-inf in row 3, class 2"),
    "label list": ({"labels": [0] * 6}, TypeError, "labels are list"),
    "float labels": ({"labels": np.zeros(6)}, TypeError, "labels are float64"),
    "label count": ({"labels": np.zeros(5, int)}, ValueError, r"\(5,\).*6 rows"),
    "label high": ({"labels": np.array([0, 1, 4, 0, 0, 0])}, ValueError, "label 4 in row 2.*0..3"),
    "label low": ({"labels": np.array([0, -2, 0, 0, 0, 0])}, ValueError, "label -2 in row 1"),
    "ids one str": ({"ids": "abcdef"}, TypeError, "one str"),
    "id count": ({"ids": tuple("abcde")}, ValueError, "5 ids for 6 rows"),
    "id number": ({"ids": (*"abcde", 6)}, TypeError, "id 6 at position 5 is a int"),
    "id twice": ({"ids": tuple("abcdea")}, ValueError, "'a' stands at positions 0 and 5"),
    "id empty": ({"ids": (*"abcde", "")}, ValueError, "'' at position 5"),
    "id newline": ({"ids": (*"abcde", "f\ng")}, ValueError, "line break"),
    "id return": ({"ids": (*"abcde", "f\r")}, ValueError, "line break"),
    "id nul": ({"ids": (*"abcde", "f\0")}, ValueError, "NUL"),
    "id surrogate": ({"ids": (*"abcde", "\ud800")}, ValueError, "UTF-8"),
    "kind": ({"kind": "probs"}, ValueError, "'probs' is not one of logits, log_probs"),
    "probs": ({"logits": softmax(scores(), axis=1)}, ValueError, 'probabilities.*kind="log_probs"'),
    "one-hot": ({"logits": np.eye(6, dtype=np.float32)[:, :6]}, ValueError, "probabilities"),
    "half probs": (
        {"logits": softmax(scores(), axis=1).astype(np.float16)}, ValueError, "probabilities",
    ),
    "no log_probs": ({"kind": "log_probs"}, ValueError, "log-sum-exp of row 0 is .* not within"),
    "names count": ({"class_names": "abc"}, ValueError, "3 class names, 3 of them different"),
    "names twice": ({"class_names": "abca"}, ValueError, "4 class names, 3 of them different"),
    "names type": ({"class_names": (1, 2, 3, 4)}, TypeError, "class name 1 is a int"),
    "model": ({"model": None}, TypeError, "model is None"),
    "resolution": ({"resolution": 0}, ValueError, "resolution is 0; expected at least 1"),
    "flops float": ({"flops": 1e9}, TypeError, "flops is 1000000000.0"),
    "seed bool": ({"seed": True}, TypeError, "seed is True"),
    "seed negative": ({"seed": -1}, ValueError, "seed is -1"),
    "config list": ({"config": ["x"]}, TypeError, "config is"),
    "config object": ({"config": {"a": [{1, 2}]}}, TypeError, r"config\['a'\]\[0\] is \{1, 2\}"),
    "config key": ({"config": {"a": {3: 1}}}, TypeError, r"config\['a'\] has the key 3"),
    "config nan": ({"config": {"a": float("nan")}}, TypeError, "nan"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    changes, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        record(**changes)


def test_numbers_near_probabilities_are_logits():
    """One row that is no probability vector is enough; so is one negative value."""
    probabilities = softmax(scores(), axis=1)
    other = probabilities.copy()
    other[5] *= 1.01
    assert record(logits=other).kind == "logits"
    negative = probabilities.copy()
    negative[5, 0] = -0.1
    assert record(logits=negative).kind == "logits"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_log_probs_pass_at_either_precision(dtype):
    logits = log_softmax(scores(500, 101, dtype=np.float64), axis=1).astype(dtype)
    made = record(logits=logits, labels=np.zeros(500, int), kind="log_probs")
    assert made.kind == "log_probs"


def test_checks_look_behind_the_first_block():
    logits = log_softmax(scores(5000, 3, dtype=np.float64), axis=1).astype(np.float32)
    logits[4999] += 0.1
    with pytest.raises(ValueError, match=r"row 4999 is 0\.1,"):
        record(logits=logits, labels=np.zeros(5000, int), kind="log_probs")
    probabilities = softmax(scores(5000, 3), axis=1)
    probabilities[4999] = -1
    assert record(logits=probabilities, labels=np.zeros(5000, int)).n == 5000


def test_minus_one_is_a_label():
    assert (record(labels=np.full(6, -1)).labels == -1).all()


def test_rows_in_the_order_asked_for():
    made = record()
    part = made.rows(reversed(made.ids[1:4]))
    assert part.ids == made.ids[3:0:-1]
    assert np.array_equal(part.logits, made.logits[[3, 2, 1]])
    assert np.array_equal(part.labels, made.labels[[3, 2, 1]])
    with pytest.raises(ValueError, match=r"no image 'dog' \(1 of 2"):
        made.rows(["dog", made.ids[0]])
    with pytest.raises(ValueError, match="positions 0 and 1"):
        made.rows([made.ids[0]] * 2)


def make(logits, labels, **more):
    return make_record(logits, labels, model="m", dataset="d", split="test", **more)


def test_make_record_takes_tensors_and_lists():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(TypeError, match="float64"):
        make(logits, torch.zeros(5, dtype=torch.long))
    made = make(logits, torch.zeros(5, dtype=torch.long), dtype="float16")
    assert made.logits.dtype == np.float16
    assert np.allclose(made.logits, logits.detach().numpy(), atol=2e-3)
    assert made.ids == ("row-0", "row-1", "row-2", "row-3", "row-4")
    assert make([[1, 2], [3, 4]], [0, 1], dtype="float32").logits.tolist() == [[1, 2], [3, 4]]
    half = make(logits.bfloat16(), [0] * 5, dtype="float32")
    assert np.array_equal(half.logits, logits.detach().bfloat16().float().numpy())


def test_make_record_refuses_to_overflow():
    with pytest.raises(ValueError, match="logits as large as 70000 do not fit in float16"):
        make(np.array([[70000.0, 1]]), [0], dtype="float16")
    with pytest.raises(ValueError, match="'float8' is not"):
        make(np.array([[7.0, 1]]), [0], dtype="float8")


def test_versions_name_what_is_installed():
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert make([[1, 2]], [0], dtype="float32").versions == found
    assert make([[1, 2]], [0], dtype="float32", versions={"a": "1"}).versions == {"a": "1"}


def test_versions_leave_out_what_is_missing(monkeypatch):
    monkeypatch.setattr("duokit.logits.record.PACKAGES", ("numpy", "no-such-package-here"))
    assert set(versions()) == {"duokit", "python", "numpy"}
    assert versions()["duokit"] == duokit.__version__
    monkeypatch.delattr(duokit, "__version__")
    assert set(versions()) == {"python", "numpy"}


def test_same_images_passes_on_agreement():
    same_images(record())
    same_images(record(), record(model="other", logits=scores(seed=1), class_names="abcd"))


def swapped(ids):
    return (ids[0], ids[2], ids[1], *ids[3:])


DIFFERENT = {
    "order": ({"ids": swapped(record().ids)}, "position 1, 'cat/2.jpg' and 'cat/1.jpg'.*rows"),
    "other": ({"ids": (*record().ids[:5], "new")}, "position 5, 'new'.*5 in common of 6 and 6"),
    "labels": ({"labels": np.array([0, 1, 3, 3, 0, 1])}, r"'cat/2.jpg' \(position 2\): 3 and 2"),
    "names": ({"class_names": "abdc"}, "class names: at position 2, 'd' and 'c'"),
    "classes": ({"logits": scores(6, 5)}, "5 and 4 classes"),
    "fewer": (
        {"logits": scores(5), "labels": np.arange(5) % 4, "ids": record().ids[:5]},
        "position 5, nothing more and 'cat/5.jpg'",
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_same_images_names_the_first_difference(case):
    changes, message = DIFFERENT[case]
    first = record(class_names="abcd")
    other = record(model="small", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        same_images(first, record(model="fine"), other)
    assert "record 3, small@96 (pets val), and record 1, net@96 (pets val)" in str(caught.value)


def test_same_images_needs_a_record():
    with pytest.raises(ValueError, match="at least one"):
        same_images()


@pytest.mark.promise("inputs")
@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "uint64", ">i2", "Int64", "Int8"])
def test_labels_of_any_whole_type(kind):
    given = pd.Series([0, 1, 2, 3, 0, 1], dtype=kind, index=[5, 5, 4, 3, 2, 1])
    frame = pd.DataFrame(scores(), columns=[f"logit_{j}" for j in range(4)])
    made = make_record(frame, given, model="net", dataset="pets", split="val")
    assert made.labels.tolist() == given.tolist()
    assert np.array_equal(made.logits, scores())
    missing = pd.Series([0, None, 2, 3, 0, 1], dtype="Int64")
    with pytest.raises(ValueError, match=r"labels\[1\] is missing"):
        make_record(frame, missing, model="net", dataset="pets", split="val")
    with pytest.raises(ValueError, match="'logit_3' stands at position 0"):
        make_record(frame[frame.columns[::-1]], given, model="n", dataset="pets", split="val")


@pytest.mark.promise("inputs")
@pytest.mark.parametrize("value", [2**64 - 1, 2**63, 4])
def test_a_label_that_is_too_large_is_shown_as_it_is(value):
    labels = np.array([0, 0, value, 0, 0, 0], dtype=np.uint64)
    with pytest.raises(ValueError, match=f"label {value} in row 2 is outside 0..3"):
        record(labels=labels)


def test_bfloat16_is_kept_as_float32():
    logits = torch.from_numpy(scores()).to(torch.bfloat16)
    made = make_record(logits, [0] * 6, model="net", dataset="pets", split="val")
    assert made.logits.dtype == np.float32
    assert np.array_equal(made.logits, logits.float().numpy())


def test_cost_in_billions():
    assert record(flops=2_500_000_000).gflops == 2.5
    assert np.isnan(record(flops=None).gflops)


@pytest.mark.parametrize("shape", [(0, 3), (3, 1), (3,)])
def test_no_image_or_no_second_class_is_refused(shape):
    with pytest.raises(ValueError, match="logits"):
        make_record(
            np.zeros(shape, np.float32), [0] * shape[0], [f"{i}" for i in range(shape[0])],
            model="net", dataset="set", split="val",
        )  # fmt: skip
