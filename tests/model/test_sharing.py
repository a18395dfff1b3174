"""Effects of axis values on all runs: found where runs share them, none where chance explains them."""

import numpy as np
import pytest

from probscale.model.baseline import Baseline
from probscale.model.basis import fit_basis
from probscale.model.sharing import fit_shared

RUNS, STEPS = 160, 60
NOISE = 0.004


def curves(*, effect, seed=0, shared=True):
    """Runs of different length at the same steps, or each at steps of its own."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(30, STEPS + 1, RUNS)
    codes = np.repeat(np.arange(RUNS), lengths)
    step = np.concatenate([np.arange(1.0, n + 1) for n in lengths])
    v = step / lengths[codes]
    common = effect * rng.standard_normal(STEPS + 1)
    heights = 0.1 * rng.standard_normal((RUNS, 2))
    residual = heights[codes, 0] + heights[codes, 1] * (1 - v) + NOISE * rng.standard_normal(len(v))
    at = step if shared else step + rng.uniform(0, 0.5, len(v))
    return v, residual + common[step.astype(int)], codes, at, common


def found(v, residual, codes, at):
    basis = fit_basis(v, residual, codes, rank=3)
    return fit_shared(basis, v, residual, codes, at)


def test_effects_of_shared_steps_are_recovered():
    *points, common = curves(effect=0.01)
    marks, effects = found(*points)
    assert len(marks) >= STEPS - 10
    truth = common[marks.astype(int)]
    slow = np.polynomial.Polynomial.fit(marks, truth - effects, 3)(marks)
    assert np.std(truth - effects - slow) < 0.35 * np.std(truth)


def test_a_few_wild_points_hardly_move_an_effect():
    v, residual, codes, at, _ = curves(effect=0.01)
    wild = residual.copy()
    wild[np.flatnonzero(at == 20)[:3]] += 5.0
    calm, moved = found(v, residual, codes, at), found(v, wild, codes, at)
    np.testing.assert_array_equal(calm[0], moved[0])
    assert np.abs(moved[1] - calm[1])[calm[0] == 20] < 2 * NOISE


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_not_taken_for_effects(seed):
    *points, _ = curves(effect=0.0, seed=seed)
    marks, effects = found(*points)
    assert len(marks) == 0 or np.std(effects) < 0.1 * NOISE


def test_steps_of_a_single_run_have_no_effects():
    *points, _ = curves(effect=0.01, shared=False)
    assert len(found(*points)[0]) == 0


def test_a_baseline_adds_effects_at_their_marks_and_nothing_between():
    baseline = Baseline(np.zeros(2), np.ones(1), np.zeros(1), np.array([1.0, 3.0]), np.array([0.5, -0.5]))
    np.testing.assert_array_equal(
        baseline.shared_at(np.array([0.0, 1.0, 2.0, 3.0, 9.0])), [0, 0.5, 0, -0.5, 0]
    )
    plain = Baseline(np.zeros(2), np.ones(1), np.zeros(1))
    np.testing.assert_array_equal(plain.shared_at(np.array([1.0, 3.0])), [0, 0])
