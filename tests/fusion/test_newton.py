"""Newton's method on functions whose minimum is known."""

from itertools import pairwise

import numpy as np
import pytest

from duokit.fusion.moments import Moments
from duokit.fusion.newton import (
    LARGEST,
    Descent,
    _bounds,
    _step,
    identified,
    minimise,
    onward,
    prefer_smallest,
    smallest,
)


def hyperbola(centre):
    """sqrt(1 + |w - centre|^2): Newton's full step overshoots wherever the distance is above 1."""

    def look(w):
        d = w - centre
        root = np.sqrt(1 + d @ d)
        hessian = np.eye(len(w)) / root - np.outer(d, d) / root**3
        return Moments(root, d / root, hessian, np.eye(len(w)))

    return look


def quadratic(centre, hessian, floor=1.0):
    """The function that one step of Newton's method ends."""

    def look(w):
        d = w - centre
        return Moments(float(floor + 0.5 * d @ hessian @ d), hessian @ d, hessian, np.eye(len(w)))

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
    assert not identified(np.eye(3), 1.0)  # all that there is, and no more
    assert identified(1e-4 * np.array([[1.0, 0.5], [0.5, 1.0]]), 0.1)  # whatever the unit
    assert not identified(np.ones((2, 2)))
    assert identified(np.diag([1.0, 0.0])) is False


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


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_step_aims_a_little_above_the_minimum(start):
    look = quadratic(np.array([3.0, 5.0]), np.array([[2.0, 0.5], [0.5, 1.0]]))
    end = minimise(
        look, np.full(2, start), 0.0, width=1.0, tolerance=1e-3, separable=0, max_looks=9
    )
    assert (end.status, end.looks, len(end.path)) == ("optimal", 2, 2)
    assert end.at.gradient == pytest.approx([1e-3 / (2 + 4 * start)] * 2)
    assert 0 < end.at.nll - 1 <= end.gap <= 1e-3
    assert onward(end, 0.0) == pytest.approx([3.0, 5.0])


def test_separable_is_below_the_limit_alone():
    def status(separable):
        look = quadratic(np.ones(2), np.eye(2))
        end = minimise(
            look, np.ones(2), 0.0, width=1.0, tolerance=1e-9, separable=separable, max_looks=1
        )
        return end.status

    assert [status(limit) for limit in (0.9, 1.0, 1.1)] == ["optimal", "optimal", "separable"]


def test_the_bounds_are_those_of_their_formulas():
    weights, hessian = np.array([2.0, 1.0]), np.diag([4.0, 1.0])

    def found(gradient, width, lower=0.0, nll=9.0):
        at = Moments(nll, np.array(gradient), hessian, np.eye(2))
        return _bounds(weights, at, lower, width)

    n2 = 0.1**2 / 4 + 0.2**2  # g H^-1 g
    kn = 0.5 * np.sqrt(n2)  # the smallest eigenvalue is 1
    curved = n2 * -np.log1p(-kn) / kn
    assert found([0.1, 0.2], 0.5) == pytest.approx((curved, curved))
    assert found([0.1, -0.2], 0.5) == pytest.approx((curved, curved))
    assert found([0.1, 0.2], 0.5, -LARGEST) == pytest.approx((curved, curved))
    assert found([0.1, 0.2], 5.0) == pytest.approx((0.4, 0.4))  # k n > 1: w.g
    assert found([0.2, 0.0], 50.0) == pytest.approx((0.4, 0.4))
    slope = found([0.1, -0.2], 5.0)
    assert slope == pytest.approx((9.0, 0.2))  # no proof but the NLL's own
    assert found([0.1, -0.2], 5.0, nll=1e6)[0] == pytest.approx(0.2 + 0.2 * (LARGEST - 1))
    assert found([0.1, 0.2], 5.0, -LARGEST, nll=1e7)[0] == pytest.approx(0.3 * LARGEST + 0.4)
    assert found([0.1, 0.2], 0.5, nll=0.01)[0] == 0.01
    assert found([0.0, 0.0], 0.5) == (0.0, 0.0)
    at_the_bound = Moments(9.0, np.array([0.3, 0.2]), hessian, np.eye(2))
    assert _bounds(np.array([0.0, 1.0]), at_the_bound, 0.0, 5.0) == pytest.approx((0.2, 0.2))
    flat = at_the_bound._replace(hessian=np.diag([4.0, 1e-13]))
    assert _bounds(weights, flat, -LARGEST, 1e-9)[1] > 0.2


def test_a_step_stays_within_the_bounds_and_out_of_flat_directions():
    hessian = np.array([[2.0, 0.5], [0.5, 1.0]])
    gradient = np.array([1.0, -2.0])
    free = _step(np.array([9.0, 9.0]), gradient, hessian, 0.0, 1e-9)
    assert free == pytest.approx(-np.linalg.solve(hessian, gradient))
    held = _step(np.array([0.5, 9.0]), gradient, hessian, 0.0, 1e-9)
    assert held == pytest.approx([-0.5, 2.0 + 0.25])  # the best where the first is 0
    flat = _step(np.ones(2), np.ones(2), np.eye(2), 0.0, 1.0)
    assert flat == pytest.approx([0.0, 0.0])
    copies = _step(np.ones(2), np.ones(2) * 0.5, np.ones((2, 2)), 0.0, 1e-9)
    assert copies == pytest.approx([-0.25, -0.25])
    kept = _step(np.array([0.1, 1.0]), np.ones(2) * 0.5, np.ones((2, 2)), 0.0, 1e-9)
    assert kept == pytest.approx([-0.1, -0.4])  # the sum is lower by 0.5, whoever pays


@pytest.mark.parametrize(
    ("rise", "images", "taken"), [(0.01, 1000, True), (0.02, 1000, False), (0.02, 100, True)]
)
def test_the_smallest_weights_are_taken_where_images_cannot_tell(rise, images, taken):
    """Copies: the sum counts alone; the smallest pair is dearer by `rise`."""
    hessian, weights = np.ones((2, 2)), np.array([3.0, 1.0])
    start = Moments(1.0, np.zeros(2), hessian, np.eye(2))
    end = Descent([weights], start, 1e-13, 5, "unidentified")
    look = lambda w: start._replace(nll=1 + rise * (w.max() < 3))  # noqa: E731
    found = prefer_smallest(look, end, -LARGEST, width=1.0, images=images)
    assert (found.status, found.looks) == ("unidentified", 6)
    assert found.path[-1] == pytest.approx([2.0, 2.0] if taken else [3.0, 1.0])
    assert found.gap == pytest.approx(1e-13 + rise if taken else 1e-13)


@pytest.mark.parametrize(("curvature", "spread", "taken"), [(1e-9, 0.5, False), (1e-9, 0.0, True)])
def test_a_weight_that_can_grow_for_ever_is_no_copy(curvature, spread, taken):
    """Saturated: its images differ, yet the NLL is flat; a constant member's do not."""
    hessian, weights = np.diag([1.0, curvature]), np.array([1.0, 50.0])
    start = Moments(1.0, np.zeros(2), hessian, np.diag([1.0, spread]))
    end = Descent([weights], start, 0.0, 5, "unidentified")
    look = lambda w: start._replace(nll=1 + 1e-6 * (w[1] < 50))  # noqa: E731
    found = prefer_smallest(look, end, -LARGEST, width=1.0, images=1000)
    assert (len(found.path) == 2) == taken


@pytest.mark.parametrize(("gap", "looks"), [(1.0, 7), (0.0, 6)])
def test_the_smallest_weights_are_proven_a_step_further_on(gap, looks):
    """Near copies, of which nothing was proven, or everything was."""
    hessian, centre = np.array([[1.0, 1 - 1e-5], [1 - 1e-5, 1.0]]), np.array([3.0, 1.0])
    look = quadratic(centre if gap else np.full(2, 2.0), hessian)
    end = Descent([centre], look(centre), gap, 5, "unidentified")
    found = prefer_smallest(look, end, 0.0, width=1e6, images=1000)
    assert found.path[-1] == pytest.approx([2.0, 2.0], abs=1e-4)
    assert found.looks == looks
    # 1e-5 above the minimum; w.g is 4 * 2e-5 where the gradient is turned from -1e-5 to 2e-5
    assert found.gap == pytest.approx(9e-5 if gap else 0.0, rel=1e-3, abs=1e-15)
