"""Runs whose beginning is known have a spread of their own."""

from dataclasses import replace

import numpy as np
import pytest

import probscale as ps
from probscale.model.exact import solve_exactly
from probscale.surrogate.continuation import continuation_scale
from tolerances import ALGEBRA, EXACT


@pytest.fixture(scope="module")
def expert(surrogate):
    return surrogate.experts["all runs"]


def scaled(surrogate, scale):
    experts = {name: replace(expert, continued=scale) for name, expert in surrogate.experts.items()}
    return replace(surrogate, experts=experts)


def test_the_spread_of_begun_runs_replaces_that_of_new_ones(surrogate, log, expert):
    known, at = log.configs.iloc[:3].reset_index(drop=True), [5e9, 2e10]
    begun = known.assign(**{log.roles.run: list(log.runs[:3])})
    for configs, expected in ((begun, 2.0), (known, 1.0)):
        one, two = (scaled(surrogate, s).predict(configs, at).latent() for s in (1.0, 2.0))
        z = [
            np.log(c.quantile(0.9) - expert.transform.floor) - np.log(c.median - expert.transform.floor)
            for c in (one, two)
        ]
        np.testing.assert_allclose(z[1] / z[0], expected, rtol=1e-6)


def test_conditioning_makes_a_new_run_a_begun_one(surrogate, log):
    other = ps.simulate_runs("law", n_runs=26, points=8, tasks=2, seed=5)
    begun = other.select(other.runs[24:25]).truncate(fraction=0.5)
    asked = begun.configs.reset_index(drop=True).assign(**{log.roles.run: list(begun.runs)})
    widths = [
        np.subtract(*scaled(surrogate, s).condition(begun).predict(asked, [1e10]).interval(0.9))[0, 0]
        for s in (1.0, 1.5)
    ]
    assert widths[1] / widths[0] == pytest.approx(1.5, rel=0.05)


def test_the_report_and_a_saved_surrogate_keep_it(surrogate, expert, tmp_path):
    assert expert.continued is not None
    assert surrogate.report.experts[0].tails["continued runs"]["scale"] == pytest.approx(
        expert.continued, rel=EXACT
    )
    surrogate.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors")
    assert again.experts["all runs"].continued == expert.continued


def test_the_rest_of_a_run_is_judged_without_it(expert):
    """One run's rest, left out by a fresh solve, gives the residuals that the scale is fitted to."""
    state = expert.states[0]
    rows = state.data.rows
    codes = np.unique(rows.x[:, expert.encoder.run_column].numpy(), return_inverse=True)[1]
    at = np.exp(rows.progress.numpy())
    late = (codes == 3) & (at > 0.5 * at[codes == 3].max())
    groups = np.where(late, 0, 1 + np.arange(len(codes)))
    residual, variance = state.leave_groups_out(groups)
    fresh = solve_exactly(state.process, state.data.take(np.flatnonzero(~late)))
    mean, latent = fresh.marginals(rows.take(np.flatnonzero(late)))
    np.testing.assert_allclose(residual[late], state.data.y[late] - mean, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(variance[late], latent, rtol=1e-3, atol=1e-9)


def test_logs_with_too_few_runs_keep_the_spread_of_new_ones(expert):
    state = expert.states[0]
    assert continuation_scale(state, np.arange(len(state.data)) % 4, expert.tail, 0) is None


def test_the_same_seed_gives_the_same_scale(expert):
    state = expert.states[0]
    codes = np.unique(state.data.rows.x[:, expert.encoder.run_column].numpy(), return_inverse=True)[1]
    one, two = (continuation_scale(state, codes, expert.tail, 7) for _ in range(2))
    assert one == pytest.approx(two, rel=ALGEBRA)


def test_a_begun_run_of_a_larger_size_comes_to_the_spread_of_begun_ones(surrogate, log, expert):
    """Twice the spread of new runs beyond the sizes: all of it far ahead, none where half of the way is seen."""
    larger = float(np.exp(expert.largest[0])) * 2

    def widths(beyond, params):
        changed = replace(expert, continued=0.5 * float(expert.tail.scale), beyond=beyond)
        known = replace(surrogate, experts={name: changed for name in surrogate.experts})
        seen = {log.roles.run: "new", log.roles.axis: 1e9, log.output: float(log.points[log.output].median())}
        frame = log.configs.iloc[:1].reset_index(drop=True).assign(params=params, **seen)
        begun = ps.RunLog.from_frame(frame, **log.roles.arguments())
        asked = begun.configs.reset_index()
        curves = known.condition(begun).predict(asked, [1e9, 1.9e9, 4e9, 1e12]).latent()
        low, high = (np.log(curves.quantile(q)[0] - expert.transform.floor) for q in (0.25, 0.75))
        return high - low

    wide, narrow = (widths(beyond, larger) for beyond in (2.0, 1.0))
    assert wide / narrow == pytest.approx([1.0, 1.0, np.sqrt(2), 2 ** (1 - 2e-3)], rel=1e-3)
    within = float(log.configs["params"].median())
    assert widths(2.0, within) == pytest.approx(widths(1.0, within), rel=EXACT)
