import numpy as np
import pytest

from probscale import theory
from probscale.errors import ConfigError
from probscale.theory.phases import A_SPLIT


@pytest.mark.parametrize("name", theory.PHASES)
def test_example_points_lie_in_their_phase(name):
    assert theory.phase(*theory.EXAMPLE_POINTS[name]) == name
    assert theory.adjacent_phases(*theory.EXAMPLE_POINTS[name]) == (name,)


def test_programme_agrees_with_closed_forms_on_20_000_random_points():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.01, 3, (2, 40_000))
    keep = np.flatnonzero(2 * (a + b) > 1)[:20_000]
    a, b = a[keep], b[keep]
    params, loss = theory.exponents_by_programme(a, b)
    closed = [theory.exponents(x, y) for x, y in zip(a, b, strict=True)]
    assert len(closed) == 20_000
    assert set(theory.phase(a, b)) == set(theory.PHASES)
    assert params == pytest.approx(np.array([each.params for each in closed]), abs=1e-10)
    assert loss == pytest.approx(np.array([each.loss for each in closed]), abs=1e-10)


def test_loss_exponent_is_continuous_across_every_boundary():
    for line in theory.boundaries()[1:]:
        start, end = np.array(line.start), np.minimum(line.end, np.array(line.start) + 1.0)
        normal = np.array([-(end - start)[1], (end - start)[0]]) / np.linalg.norm(end - start)
        for share in (0.2, 0.7):
            middle = start + share * (end - start)
            sides = [middle + sign * 1e-7 * normal for sign in (1, -1)]
            assert {theory.phase(*side) for side in sides} == set(line.between)
            losses = [theory.exponents(*side).loss for side in sides]
            assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_boundary_points_go_to_the_phase_listed_first():
    assert theory.phase(0.5, 0.5) == "Ia"
    assert theory.phase(0.5, 0.3) == "Ia"
    assert theory.phase(1.0, 1.0) == "II"
    assert theory.phase(0.25, 0.9) == "Ic"
    assert theory.phase(A_SPLIT, 0.9) == "IVa"
    assert theory.adjacent_phases(0.5, 0.5) == ("Ia", "Ib", "II", "III", "IVa")


def test_phases_within_a_tolerance_of_a_point_are_adjacent():
    near = 0.6, 0.49
    assert theory.adjacent_phases(*near) == ("Ia",)
    assert theory.adjacent_phases(*near, tolerance=0.02) == ("Ia", "II")


def test_arrays_mark_points_without_a_power_law():
    assert theory.phase(np.array([0.1, 1.0]), 0.3).tolist() == ["none", "Ia"]


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, 0.0), (float("inf"), 1.0), ("x", 1.0)])
def test_exponents_outside_the_positive_numbers_are_refused(a, b):
    with pytest.raises(ConfigError, match="finite number above 0"):
        theory.phase(a, b)


def test_exponents_take_one_pair_and_say_so():
    with pytest.raises(ConfigError, match=r"finite number above 0; got \[0.75, 1.0\]"):
        theory.exponents([0.75, 1.0], [0.25, 0.7])


@pytest.mark.parametrize("model", [{}, {"batch": 8}, {"dim": 10**7}], ids=str)
@pytest.mark.parametrize("name", ["Ia", "II", "III"])
def test_asymptotic_terms_approach_the_expected_loss(name, model):
    a, b = theory.EXAMPLE_POINTS[name]
    rate = 0.1 * theory.max_learning_rate(a, b, params=10**6, **model)
    steps = np.array([1e4, 1e6])
    terms = theory.asymptotic_terms(a, b, params=10**6, steps=steps, learning_rate=rate, **model)
    ours = theory.expected_loss(a, b, params=10**6, steps=steps, learning_rate=rate, **model)
    assert ours / terms.total == pytest.approx(1.0, abs=0.3)


def test_target_term_is_exact_when_it_dominates():
    terms = theory.asymptotic_terms(0.75, 0.25, params=10**8, steps=[10**6], learning_rate=0.01)
    ours = theory.expected_loss(0.75, 0.25, params=10**8, steps=[10**6], learning_rate=0.01)
    assert ours == pytest.approx(terms.total, rel=0.02)
    assert terms.target > 5 * (terms.total - terms.target)
