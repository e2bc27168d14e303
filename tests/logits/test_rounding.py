"""Rounding changes values by a step at most, and no prediction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from duokit.logits.rounding import rounded


@given(arrays(np.float32, (40, 5), elements=st.floats(-30, 30, width=32)))
def test_rounding_keeps_every_prediction_and_moves_a_value_by_a_step_at_most(logits):
    logits[0, :3] = [1.0, 1.0001, 0.9999]  # equal in float16
    kept = rounded(logits, "float16")
    assert kept.dtype == np.float16
    assert kept.argmax(axis=1).tolist() == logits.argmax(axis=1).tolist()
    step = np.spacing(np.abs(kept)).astype(np.float64)
    assert np.all(np.abs(kept.astype(np.float64) - logits) <= step)
    assert np.array_equal(rounded(logits, "float32"), logits)


def test_logits_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"logits up to 100000 do not fit in float16"):
        rounded(np.array([[1e5, 0.0]], dtype=np.float32), "float16")


@pytest.mark.parametrize("pair", [(65503.9, 65504), (65504, 65519.9), (65500, 65519)])
def test_the_edge_of_half_precision(pair):
    """Two that round to the largest number stay apart, and none becomes infinite."""
    logits = np.array([[*pair, 0], [*pair[::-1], 0], [1, 0, 2]], dtype=np.float32)
    kept = rounded(logits, "float16")
    assert kept.argmax(axis=1).tolist() == [1, 0, 2]
    assert kept[:2].max(axis=1).tolist() == [65504, 65504]
    assert kept[0].min() == kept[1].min() == 0
    assert kept[2].tolist() == [1, 0, 2]
    low = np.array([[-65519, -65505, -65504.5]], dtype=np.float32)
    assert np.isfinite(rounded(low, "float16")).all()
    assert rounded(low, "float16").argmax() == 2
