"""The arithmetic of envelopes: interpolation, its transpose, lines and areas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probscale.envelope import area_between, best_of, crossings, line_through

COST = np.array([[1.0, 10.0, 100.0], [2.0, 20.0, 40.0]])
VALUES = np.array([[3.0, 2.0, 1.0], [4.0, 2.0, 1.5]])


def test_curves_are_interpolated_in_the_logarithm_and_kept_beyond_their_end():
    found = crossings(COST, [0.5, 1.0, np.sqrt(10), 10.0, 1e6]).at(VALUES)
    np.testing.assert_allclose(found[0], [np.nan, 3.0, 2.5, 2.0, 1.0])
    assert np.isnan(found[1, :2]).all()
    assert found[1, -1] == 1.5


def test_nearest_point_is_nearest_in_the_cost_itself():
    found = crossings(COST, [0.1, 5.4, 5.6, 54.0, 56.0, 1e9], nearest=True).at(VALUES)
    np.testing.assert_array_equal(found[0], [3.0, 3.0, 2.0, 2.0, 1.0, 1.0])


def test_spreading_is_the_transpose_of_reading():
    generator = np.random.default_rng(0)
    meets = crossings(COST, np.geomspace(2, 200, 7))
    weights, values = generator.random((2, 7)), generator.random((2, 3))
    np.testing.assert_allclose((weights * meets.at(values)).sum(), (meets.spread(weights) * values).sum())


def test_best_of_ignores_what_has_not_begun():
    values = np.array([[np.nan, 3.0, 1.0], [np.nan, np.nan, 2.0]])
    best, position = best_of(values)
    np.testing.assert_array_equal(best, [np.nan, 3.0, 1.0])
    np.testing.assert_array_equal(position[1:], [0, 0])
    np.testing.assert_array_equal(best_of(values, "max")[0], [np.nan, 3.0, 2.0])


def test_lines_are_those_of_polyfit():
    generator = np.random.default_rng(0)
    x, y = generator.random(9), generator.random((4, 9))
    slope, intercept = line_through(x, y)
    np.testing.assert_allclose(np.stack([slope, intercept]), np.polyfit(x, y.T, 1), rtol=1e-10)


@given(*[st.floats(-2, 2) for _ in range(4)])
def test_area_is_that_of_a_fine_sum(a, b, c, d):
    x = np.linspace(-2.0, 3.0, 50_001)
    fine = np.trapezoid(np.abs((a - c) * x + b - d), x)
    assert area_between((a, b), (c, d), (-2.0, 3.0)) == pytest.approx(fine, abs=1e-6)


def test_a_line_through_a_constant_has_no_slope_of_rounding():
    slope, intercept = line_through(np.log(np.geomspace(1e18, 1e20, 20)), np.full((3, 20), np.log(1.32e9)))
    np.testing.assert_array_equal(slope, np.zeros(3))
    np.testing.assert_allclose(intercept, np.log(1.32e9))
