"""Newton's method on functions whose minimum is known."""

from itertools import pairwise

import numpy as np
import pytest

from duokit.fusion.moments import Moments
from duokit.fusion.newton import identified, minimise, smallest


def hyperbola(centre):
    """sqrt(1 + |w - centre|^2): Newton's full step overshoots wherever the distance is above 1."""

    def look(w):
        d = w - centre
        root = np.sqrt(1 + d @ d)
        hessian = np.eye(len(w)) / root - np.outer(d, d) / root**3
        return Moments(root, d / root, hessian, np.eye(len(w)))

    return look


@pytest.mark.parametrize("start", [0.0, 2.9, 8.0, 40.0])
def test_backtracking_tames_a_step_that_overshoots(start):
    centre = np.array([3.0, 5.0])
    found = minimise(
        hyperbola(centre),
        np.full(2, start),
        0.0,
        width=1.0,
        tolerance=1e-12,
        separable=0,
        max_looks=200,
    )
    assert found.status == "optimal"
    assert found.path[-1] == pytest.approx(centre, abs=1e-5)
    values = [hyperbola(centre)(w).nll for w in found.path]
    assert all(b <= a + 1e-13 for a, b in pairwise(values))


def test_the_bound_holds_on_the_way():
    found = minimise(
        hyperbola(np.array([-2.0, 5.0])),
        np.ones(2),
        0.0,
        width=1.0,
        tolerance=1e-9,
        separable=0,
        max_looks=200,
    )
    assert np.array(found.path).min() >= 0
    assert found.path[-1] == pytest.approx([0.0, 5.0], abs=1e-4)


def test_identified():
    assert identified(np.eye(3))
    assert not identified(np.ones((2, 2)))
    assert not identified(np.diag([1.0, 0.0]))


def test_smallest_keeps_what_counts():
    hessian = np.ones((2, 2))  # only the sum counts
    assert smallest(np.array([3.0, 1.0]), hessian, 0.0) == pytest.approx([2.0, 2.0])
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0]])  # only the difference counts
    assert smallest(np.array([1.0, 4.0]), opposite, 0.0) == pytest.approx([0.0, 3.0])
    assert smallest(np.array([1.0, 4.0]), np.diag([1.0, 0.0]), 0.0)[1] == 0.0


def test_a_step_that_hardly_lowers_the_nll_is_cut():
    """From 0, a model that is too flat steps to 2.0001, a hair higher than the start."""
    looked = []

    def look(w):
        looked.append(float(w[0]))
        d = w - 1.0
        return Moments(1 + 0.5 * float(d @ d), d, np.eye(1) / 1.99, np.eye(1))

    minimise(look, np.zeros(1), 0.0, width=1e9, tolerance=1e-12, separable=0, max_looks=2)
    assert looked == pytest.approx([0.0, 1.99])
    looked.clear()
    steep = lambda w: look(w)._replace(hessian=np.eye(1) / 2.0001)  # noqa: E731
    minimise(steep, np.zeros(1), 0.0, width=1e9, tolerance=1e-12, separable=0, max_looks=3)
    assert looked == pytest.approx([0.0, 2.0001, 2.0001 / 4], rel=1e-6)
