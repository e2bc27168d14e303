"""Everything that people hold labels and logits in: the same numbers, or a clear refusal."""

import numpy as np
import pandas as pd
import pytest
import torch

from duokit.checks import check_labels, check_logits
from duokit.conversion import as_array, whole_numbers
from duokit.fusion import combine, fit_weights
from duokit.metrics import accuracy, aurc, confidences, ece, macro_f1, score, table_row
from duokit.metrics.arrays import check_classes, check_correct, check_groups

pytestmark = pytest.mark.promise("inputs")

INTEGERS = [sign + size for sign in "ui" for size in "1248"]
Y = [0, 2, 1, 2]
Z = [[0.5, 1.0], [2.0, -0.25], [0.0, 3.0]]


class WithArray:
    """What JAX, TensorFlow and Polars offer."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self.values


class WithDlpack:
    """A tensor of a library that knows nothing of NumPy."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


LABELS = {
    **{kind: np.array(Y, dtype=kind) for kind in INTEGERS},
    **{f"big-endian {kind}": np.array(Y, dtype=f">{kind}") for kind in INTEGERS},
    **{f"torch {t}": torch.tensor(Y, dtype=getattr(torch, t)) for t in (
        "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")},
    **{f"pandas {t}": pd.Series(Y, dtype=t, index=[3, 3, 1, 0]) for t in (
        "int64", "uint8", "Int64", "UInt16", "Int8", "int64[pyarrow]", "Sparse[int64]")},
    "list": Y, "tuple": tuple(Y), "NumPy scalars": [np.uint16(y) for y in Y],
    "tensors": [torch.tensor(y) for y in Y], "index": pd.Index(Y), "array": pd.array(Y),
    "reversed view": np.array(Y[::-1])[::-1],
    "every second": torch.tensor(Y).repeat_interleave(2)[::2],
    "read-only": np.frombuffer(np.array(Y).tobytes(), dtype=np.int64),
    "unmasked": np.ma.array(Y), "__array__": WithArray(Y), "__dlpack__": WithDlpack(Y),
}  # fmt: skip


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(kind):
    found = check_labels(LABELS[kind], 4, 3)
    assert found.dtype == torch.int64
    assert found.tolist() == Y


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("make", [np.array, torch.tensor], ids=["NumPy", "torch"])
@pytest.mark.parametrize("classes", [128, 200, 256, 300, 40_000, 70_000])
def test_no_bound_wraps(kind, make, classes):
    """int8 compared with 200 as int8 would take every label for one that is too large."""
    greatest = min(classes - 1, np.iinfo(kind).max)
    values = np.array([greatest, 0], dtype=kind)
    given = values if make is np.array else torch.from_numpy(values)
    assert check_labels(given, 2, classes).tolist() == [greatest, 0]
    if greatest == classes - 1:
        with pytest.raises(
            ValueError, match=rf"labels\[0\] is {greatest}, outside 0 ... {greatest - 1}"
        ):
            check_labels(given, 2, classes - 1)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, 2**63 + 5])
@pytest.mark.parametrize(
    "make",
    [
        lambda values: np.array(values, dtype=np.uint64),
        lambda values: torch.from_numpy(np.array(values, dtype=np.uint64)),
        lambda values: pd.Series(values, dtype="uint64"),
        list,
    ],
    ids=["NumPy", "torch", "pandas", "list"],
)  # fmt: skip
def test_the_greatest_are_shown_as_they_are(value, make):
    with pytest.raises(ValueError, match=rf"labels\[1\] is {value}, outside 0 ... 2"):
        check_labels(make([0, value, 1]), 3, 3)
    with pytest.raises(ValueError, match=rf"x\[1\] is {value}, which is no class number"):
        check_classes(make([0, value, 1]), "x")


@pytest.mark.parametrize("values", [[-(2**63), 0], [2**70, 0], [2**63, -1], [-1, 2**63]])
def test_python_integers_of_any_size(values):
    wrong = next(v for v in values if not 0 <= v < 3)
    with pytest.raises(ValueError, match=rf"is {wrong}, outside"):
        check_labels(values, 2, 3)


NO_LABELS = {
    "floats": (np.array([0.0, 1.0, 2.0]), TypeError, r"not float64: make them whole first"),
    "half": (torch.zeros(3, dtype=torch.bfloat16), TypeError, "not torch.bfloat16: make them"),
    "complex": (torch.zeros(3, dtype=torch.complex64), TypeError, "not torch.complex64"),
    "bools": (np.array([True, False, True]), TypeError, "not bool: number the classes"),
    "torch bools": (torch.tensor([True, False, True]), TypeError, "not torch.bool"),
    "some bools": ([0, True, 2], TypeError, "labels holds True/False, not integers"),
    "texts": (["cat", "dog", "cat"], TypeError, "not <U3: number the classes from 0"),
    "pandas texts": (pd.Series(["0", "1", "2"]), TypeError, "must be integers"),
    "objects": (np.array([0, 1, 2], dtype=object), TypeError, "not objects such as 0"),
    "None among them": ([0, None, 2], TypeError, "not objects such as None"),
    "missing": (pd.Series([0, None, 2]), TypeError, r"labels\[1\] is missing \(nan\)"),
    "NA": (pd.Series([0, 1, None], dtype="Int64"), ValueError, r"labels\[2\] is missing \(NA\)"),
    "arrow NA": (
        pd.Series([0, None, 1], dtype="uint8[pyarrow]"),
        ValueError,
        r"labels\[1\] is mis",
    ),
    "masked": (np.ma.array([0, 1, 2], mask=[0, 0, 1]), ValueError, r"labels\[2\] is missing"),
    "category": (pd.Series([0, 1, 2], dtype="category"), TypeError, "categorical.*give .cat.codes"),
    "days": (np.array([0, 1, 2], dtype="m8[D]"), TypeError, "not timedelta64"),
    "one number": (np.int64(1), ValueError, r"shape \(3,\).* not \(\)"),
    "a column": (np.zeros((3, 1), int), ValueError, r"not \(3, 1\): take its one column"),
    "one-hot": (np.eye(3, dtype=int), ValueError, r"not \(3, 3\): .*argmax\(1\) of one-hot"),
    "ragged": ([[0], [1, 2], [0]], ValueError, "the rows of labels have different lengths"),
    "none": (None, TypeError, "not NoneType"),
    "set": ({0, 1, 2}, TypeError, "not set"),
    "generator": ((i for i in range(3)), TypeError, "not generator"),
    "text": ("012", TypeError, "not str"),
    "sparse": (torch.tensor([0, 1, 2]).to_sparse(), TypeError, r"\.to_dense\(\)"),
    "meta": (torch.zeros(3, dtype=torch.int64, device="meta"), TypeError, "with values"),
}


@pytest.mark.parametrize("case", NO_LABELS)
def test_no_labels(case):
    values, error, message = NO_LABELS[case]
    with pytest.raises(error, match=message):
        check_labels(values, 3, 3)


LOGITS = {
    **{kind: np.array(Z, dtype=kind) for kind in ("f2", "f4", "f8", ">f2", ">f4", ">f8")},
    "longdouble": np.array(Z, dtype=np.longdouble),
    **{f"torch {t}": torch.tensor(Z, dtype=getattr(torch, t)) for t in (
        "float16", "bfloat16", "float32", "float64", "float8_e5m2")},
    "list": Z, "tuples": tuple(map(tuple, Z)), "rows": [np.array(row) for row in Z],
    "tensors": [torch.tensor(row) for row in Z],
    "with gradient": [torch.tensor(row, requires_grad=True) for row in Z],
    "frame": pd.DataFrame(Z, index=[7, 7, 0]), "named": pd.DataFrame(Z, columns=["dog", "cat"]),
    "numbered": pd.DataFrame(Z, columns=["logit_0", "logit_1"]),
    "nullable": pd.DataFrame(Z).astype("Float32"),
    "arrow": pd.DataFrame(Z).astype("double[pyarrow]"),
    "Fortran": np.asfortranarray(Z), "__array__": WithArray(Z), "__dlpack__": WithDlpack(Z),
    "matrix": np.array(Z).view(np.matrix), "parameter": torch.nn.Parameter(torch.tensor(Z)),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOGITS)
def test_logits_of_every_kind(kind):
    found = check_logits(LOGITS[kind])
    assert found.double().tolist() == Z
    assert found.is_contiguous()
    assert not found.requires_grad


def frame(**columns):
    return pd.DataFrame({"0": [0.5, 1.0], "1": [2.0, 3.0]} | columns)


NO_LOGITS = {
    "objects": (np.array(Z, dtype=object), TypeError, "not objects such as 0.5"),
    "whole numbers": ([[1, 2], [3, 4]], TypeError, "not int64"),
    "complex": (np.array(Z, dtype="c8"), TypeError, "not complex64"),
    "labels left in": (frame(label=[1, 0]), TypeError, "column 'label' of logits holds int64"),
    "ids left in": (frame(id=["a", "b"]), TypeError, "column 'id' of logits holds object"),
    "ids first": (frame(id=["a", "b"])[["id", "0", "1"]], TypeError, "column 'id' of logits"),
    "no column": (pd.DataFrame(index=[0, 1]), ValueError, r"not \(2, 0\)"),
    "NA": (pd.DataFrame({"a": [0.5, None], "b": [0.0, 1.0]}, dtype="Float64"), ValueError,
           r"logits\['a'\]\[1\] is missing"),
    "masked": (np.ma.array(Z, mask=[[0, 0], [0, 1], [0, 0]]), ValueError, r"logits\[1, 1\] is mis"),
    "too large": (np.array([[np.longdouble("1e4000"), 0]]), ValueError, r"logits\[0, 0\] is inf"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "the rows of logits have different lengths"),
    "sparse": (torch.eye(3).to_sparse(), TypeError, r"\.to_dense\(\)"),
    "dict": ({"logits": Z}, TypeError, "not dict"),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_LOGITS)
def test_no_logits(case):
    values, error, message = NO_LOGITS[case]
    with pytest.raises(error, match=message):
        check_logits(values)


@pytest.mark.parametrize("stem", ["logit_", "", "class-"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbered_columns_in_the_order_of_texts(stem, first):
    """What a tool that sorts names leaves: 0, 1, 10, 11, 2 ... The labels count from the left."""
    names = [f"{stem}{first + j}" for j in range(12)]
    table = pd.DataFrame(np.arange(24.0).reshape(2, 12), columns=names)
    assert check_logits(table).tolist() == table.to_numpy().tolist()
    with pytest.raises(ValueError, match=f"'{stem}10' stands at position {2 - first}"):
        check_logits(table[sorted(names)])
    assert check_logits(table[names[:5] + names[6:]]).shape == (2, 11)  # one left out, no guess


def test_columns_numbered_by_numbers():
    table = pd.DataFrame(np.arange(6.0).reshape(2, 3), columns=[2, 0, 1])
    with pytest.raises(ValueError, match="'2' stands at position 0"):
        check_logits(table)


def test_what_a_record_set_of_any_kind_gives():
    """The whole way, from a table and narrow labels to weights and metrics."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 60)
    large, small = (random.normal(size=(60, 3)) + 2 * np.eye(3)[labels] for _ in range(2))
    expected = table_row(large, labels)
    for y in (labels.astype(np.uint8), pd.Series(labels, dtype="UInt16"), labels.tolist()):
        for z in (large.tolist(), pd.DataFrame(large), torch.from_numpy(large)):
            assert table_row(z, y).tolist() == expected.tolist()
            fit = fit_weights([z, small], y)
            assert fit.weights.tolist() == fit_weights([large, small], labels).weights.tolist()
            for mode in ("weighted", "uq_only"):
                fused = combine(mode, [z, small], weights=fit.weights)
                assert isinstance(
                    fused.logits, type(z) if isinstance(z, torch.Tensor) else np.ndarray
                )
                plain = combine(mode, [large, small], weights=fit.weights)
                assert np.asarray(fused.predictions).tolist() == plain.predictions.tolist()


@pytest.mark.parametrize("kind", INTEGERS)
def test_predictions_and_chosen_classes_of_every_kind(kind):
    random = np.random.default_rng(1)
    z, y = random.normal(size=(50, 120)), random.integers(0, 120, 50)
    given = y.astype(kind)
    found = score(z, given, predictions=given, confidence_class=given)
    assert found.correct.all()
    assert found.hit.all()
    assert confidences(z, confidence_class=given).confidence.tolist() == found.confidence.tolist()
    assert accuracy(given, y) == macro_f1(torch.from_numpy(given), y) == 1


def test_class_numbers_need_no_memory_for_those_below():
    assert macro_f1([10**15, 3], [10**15, 2**60]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("function", [accuracy, macro_f1])
def test_pairs_of_classes_that_are_none(function):
    for wrong, message in (([0.5, 1.0], "predictions must be integers"), (["a", "b"], "not <U1")):
        with pytest.raises(TypeError, match=message):
            function(wrong, [0, 1])
    with pytest.raises(TypeError, match="labels must be integers"):
        function([0, 1], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"predictions\[1\] is -1"):
        function(np.array([0, -1], np.int8), [0, 1])


def test_scores_and_flags_of_pandas():
    confidence, right = [0.5, 0.75, 0.25], [1, 0, 1]
    expected = ece(confidence, right)
    for c in (
        pd.Series(confidence, dtype="Float64"),
        torch.tensor(confidence, dtype=torch.bfloat16),
    ):
        for r in (pd.Series(right, dtype="boolean"), np.array(right, np.uint64), pd.array(right)):
            assert ece(c, r) == expected
            assert aurc(1 - c, r) == aurc([0.5, 0.25, 0.75], right)
    with pytest.raises(ValueError, match=r"confidence\[1\] is missing \(NA\)"):
        ece(pd.Series([0.5, None], dtype="Float64"), [1, 0])
    with pytest.raises(ValueError, match=r"correct\[0\] is missing \(NA\)"):
        ece([0.5, 0.5], pd.Series([None, True], dtype="boolean"))
    with pytest.raises(TypeError, match="confidence must be real numbers, not <U1"):
        ece(["a"], [1])


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
def test_flags_name_the_place(value):
    with pytest.raises(ValueError, match=rf"right\[2\] is {value}"):
        check_correct(np.array([0, 1, value, 1]), 4, "right")


GROUPS = {
    "texts": (["b", "a", "b"], ["b", "a", "b"]),
    "numbers": (np.array([2, 1, 2], np.uint16), [2, 1, 2]),
    "pandas texts": (pd.Series(["b", "a", "b"], index=[5, 5, 5]), ["b", "a", "b"]),
    "category": (pd.Series(["b", "a", "b"], dtype="category"), ["b", "a", "b"]),
    "category of numbers": (pd.Categorical([2, 1, 2]), [2, 1, 2]),
    "objects": (np.array(["b", "a", "b"], dtype=object), ["b", "a", "b"]),
    "bools": (torch.tensor([True, False, True]), [True, False, True]),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_groups(kind):
    values, expected = GROUPS[kind]
    assert check_groups(values, "groups", 3).tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        ["a", None, "b"],
        [1.0, np.nan, 2.0],
        pd.Series(["a", None, "b"]),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series([1, None, 2], dtype="Int64"),
        np.array(["a", np.nan, "b"], dtype=object),
    ],
)
def test_a_missing_group_is_named(values):
    with pytest.raises(ValueError, match=r"groups\[1\] is missing"):
        check_groups(values, "groups")


def test_groups_that_are_none():
    with pytest.raises(TypeError, match="numbers or texts, not objects"):
        check_groups(np.array([1, "a"], dtype=object), "groups")
    with pytest.raises(
        ValueError, match=r"groups must have shape \(2,\), one per image, not \(1,\)"
    ):
        check_groups([1], "groups", 2)


def test_memory_is_shared_where_it_can_be():
    values = np.arange(3)
    assert as_array(values) is values
    assert np.shares_memory(as_array(torch.from_numpy(values)), values)
    assert whole_numbers(values, "x") is values
    logits = torch.zeros(4, 3)
    assert check_logits(logits).data_ptr() == logits.data_ptr()


def test_small_types_of_other_libraries():
    small = pytest.importorskip("ml_dtypes")
    assert check_logits(np.array(Z, dtype=small.bfloat16)).double().tolist() == Z
    assert check_labels(np.array(Y, dtype=small.int4), 4, 3).tolist() == Y
