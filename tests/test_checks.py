"""Every refusal of duokit.checks, by its words."""

import numpy as np
import pytest
import torch

from duokit.checks import check_labels, check_logits, check_members, row_blocks

GOOD = np.zeros((4, 3), dtype=np.float32)


def test_good_logits_share_memory():
    tensor = check_logits(GOOD)
    assert tensor.dtype == torch.float32
    assert tensor.data_ptr() == GOOD.ctypes.data


@pytest.mark.parametrize("dtype", [">f4", "<f8", np.longdouble, np.float16])
def test_any_float_type(dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    assert check_logits(values).double().tolist() == values.tolist()


def test_slices_and_reversed_views():
    values = np.arange(12.0).reshape(4, 3)[::-2]
    assert check_logits(values).tolist() == values.tolist()


@pytest.mark.parametrize(
    "bad", [GOOD.astype(int), [[0, 1], [1, 0]], torch.zeros(4, 3, dtype=torch.int64), GOOD > 0, "x"]
)
def test_not_floats(bad):
    with pytest.raises(TypeError, match="must be an array or a tensor of floats"):
        check_logits(bad)


@pytest.mark.parametrize("shape", [(4,), (0, 3), (4, 1), (2, 2, 2)])
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match="large must have shape"):
        check_logits(np.zeros(shape), "large")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_names_the_place(value):
    logits = np.zeros((3000, 700))
    logits[2750, 13] = value
    with pytest.raises(ValueError, match=rf"z\[2750, 13\] is {value}"):
        check_logits(logits, "z")


def test_labels():
    assert check_labels([0, 2, 1], 3, 3).tolist() == [0, 2, 1]
    assert check_labels(np.array([0, 2], dtype=np.uint8), 2, 3).dtype == torch.int64
    with pytest.raises(ValueError, match=r"labels\[1\] is 3, outside 0 ... 2"):
        check_labels([0, 3], 2, 3)
    with pytest.raises(ValueError, match=r"labels\[0\] is -1"):
        check_labels([-1, 0], 2, 3)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        check_labels([0, 1], 3, 3)
    for bad in ([0.0, 1.0], np.array([True, False]), np.array(["a", "b"]), None):
        with pytest.raises(TypeError, match="must be integers"):
            check_labels(bad, 2, 3)


def test_members():
    assert len(check_members([GOOD, GOOD])) == 2
    with pytest.raises(ValueError, match="members is empty"):
        check_members([])
    with pytest.raises(TypeError, match="a list with one array"):
        check_members(GOOD)
    with pytest.raises(ValueError, match=r"members\[1\] has shape \(4, 2\)"):
        check_members([GOOD, GOOD[:, :2]])
    with pytest.raises(TypeError, match=r"members\[1\] must be"):
        check_members([GOOD, [1]])


def test_row_blocks_cover_every_row_once():
    for rows, columns, entries in [(10, 3, 7), (1, 10**9, 5), (100, 1, 1000), (7, 7, 7)]:
        parts = row_blocks(rows, columns, entries=entries)
        assert [i for part in parts for i in range(rows)[part]] == list(range(rows))
