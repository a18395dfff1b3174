"""Frontier: recovery of a known one, summaries that agree with each other, refusals."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, ExtrapolationWarning, MisfitWarning, ShapeError
from probscale.scaling import fit_frontier
from probscale.scaling.doubts import warn_bent
from probscale.scaling.law_posterior import fit_laws
from probscale.surrogate import FitOptions

TOKENS = np.geomspace(1e8, 1e11, 8)
SIZES = np.geomspace(1e6, 1e9, 10)
COMPUTE = np.geomspace(1e17, 3e19, 12)
COST = ps.FlopsCost(params="N")


def loss_of(size, tokens):
    return 1.7 + 300 * size**-0.35 + 1200 * tokens**-0.35


def frame_of(sizes):
    rows = [(f"r{i}", n, d, loss_of(n, d)) for i, n in enumerate(sizes) for d in TOKENS]
    return pd.DataFrame(rows, columns=["run", "N", "tokens", "loss"])


def true_frontier(sizes=SIZES):
    tokens = COMPUTE[:, None] / (6 * np.asarray(sizes))
    values = np.where(tokens >= TOKENS[0], loss_of(np.asarray(sizes), tokens), np.inf)
    return values.min(axis=1), np.asarray(sizes)[values.argmin(axis=1)]


def log_of(frame, **roles):
    return ps.RunLog.from_frame(
        frame, **{"run": "run", "axis": "tokens", "output": "loss", "params": "N"} | roles
    )


@pytest.fixture(scope="module")
def log():
    return log_of(frame_of(SIZES))


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None, seed=0)


@pytest.fixture(scope="module")
def frontier(surrogate):
    pool = pd.DataFrame({"N": SIZES})
    return fit_frontier(surrogate, pool, compute=COMPUTE, cost=COST, target=2.2, seed=0)


def test_a_frontier_and_its_parts_are_short_to_read(frontier):
    for value in (frontier, frontier.loss, frontier.law, frontier.optimum, frontier.law.draws["slope"]):
        assert len(repr(value)) < 300
    assert "90 % interval" in repr(frontier.law.draws["slope"])


def test_known_frontier_is_recovered(frontier):
    truth, _ = true_frontier()
    np.testing.assert_allclose(frontier.loss.mean, truth, rtol=5e-3)
    lower, upper = frontier.loss.interval(0.99)
    assert np.mean((lower <= truth) & (truth <= upper)) > 0.8
    assert frontier.frmse(truth) < 5e-3


def test_known_law_is_recovered(frontier):
    truth, _ = true_frontier()
    slope, intercept = np.polyfit(np.log(COMPUTE), np.log(truth), 1)
    assert frontier.law.mean["slope"] == pytest.approx(slope, abs=3e-3)
    assert frontier.abc(truth) < 0.03
    assert frontier.abc({"slope": slope, "intercept": intercept}) == pytest.approx(
        frontier.abc(truth), rel=1e-6
    )


def test_optimum_spends_the_compute_on_the_right_size(frontier):
    _, best = true_frontier()
    params, axis = frontier.optimum.params.values, frontier.optimum.axis.values
    np.testing.assert_allclose(6 * params * axis, np.broadcast_to(COMPUTE, params.shape), rtol=1e-6)
    assert (
        np.abs(np.log(frontier.optimum.params.quantile(0.5) / best)).max()
        < np.log(SIZES[1] / SIZES[0]) * 1.01
    )
    assert 0.3 < frontier.optimum.params_exponent.mean < 0.7
    total = frontier.optimum.params_exponent.values + frontier.optimum.axis_exponent.values
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    np.testing.assert_allclose(frontier.optimum.probability.sum(axis=0), 1.0)


def test_expected_best_is_no_worse_than_best_expectation(surrogate, frontier):
    tokens = COMPUTE / (6 * SIZES[:, None])
    known = tokens >= TOKENS[0]
    mean = surrogate.predict(pd.DataFrame({"N": SIZES}), np.maximum(tokens, TOKENS[0])).latent().mean
    best = np.where(known, mean, np.inf).min(axis=0)
    error = 5 * frontier.loss.std / np.sqrt(len(frontier.loss))
    assert (frontier.loss.mean <= best + error + 1e-4).all()


def test_probability_of_reaching_rises_with_budget_and_target(frontier):
    chances = [frontier.prob_reach(2.2, budget) for budget in COMPUTE]
    assert (np.diff(chances) >= 0).all()
    targets = np.quantile(frontier.loss.values[:, -1], [0.1, 0.5, 0.9])
    reached = [frontier.prob_reach(t, COMPUTE[-1]) for t in targets]
    np.testing.assert_allclose(reached, [0.1, 0.5, 0.9], atol=0.02)
    assert frontier.prob_reach() == frontier.prob_reach(2.2, COMPUTE[-1])


def test_smallest_budget_has_the_probability_asked_for(frontier):
    target = float(frontier.loss.mean[6])
    budget = frontier.smallest_budget(target, 0.5)
    assert COMPUTE[4] < budget < COMPUTE[8]
    assert frontier.prob_reach(target, budget) == pytest.approx(0.5, abs=1e-9)
    assert frontier.smallest_budget(1.0) == np.inf
    assert frontier.smallest_budget(99.0) == COMPUTE[0]


def test_area_and_error_vanish_against_itself(frontier):
    mean = frontier.law.mean
    assert frontier.abc({"slope": mean["slope"], "intercept": mean["intercept"]}) == 0.0
    crossing = {"slope": mean["slope"] + 0.1, "intercept": mean["intercept"] - 0.1 * math.log(1e20)}
    for span in ((1e19, 1e20), (1e19, 1e22)):
        x = np.linspace(*np.log(span), 20_001)
        area = np.trapezoid(np.abs(0.1 * (x - math.log(1e20))), x)
        assert frontier.abc(crossing, span=span) == pytest.approx(area, rel=1e-6)
    own = np.exp(np.log(frontier.loss.values).mean(axis=0))
    assert frontier.frmse(own) < 1e-12


def test_same_seed_same_frontier(surrogate, frontier):
    again = fit_frontier(surrogate, pd.DataFrame({"N": SIZES}), compute=COMPUTE, cost=COST, seed=0)
    assert (again.loss.values == frontier.loss.values).all()


def test_without_luck_alike_configurations_do_not_lower_the_best():
    log = ps.simulate_runs(n_runs=14, points=4, sizes=[1e7, 1e8], seed=2)
    fitted = ps.fit_surrogate(log, embedder=None, seed=0)
    pool, compute = log.configs.iloc[:1].drop(columns="horizon"), np.geomspace(2e16, 6e16, 4)
    crowd = pool.iloc[[0] * 30].reset_index(drop=True)

    def fall(*, luck):
        asked = {"compute": compute, "cost": ps.FlopsCost(params="params"), "luck": luck, "until": 5e8}
        one, many = (fit_frontier(fitted, part, **asked).loss.mean for part in (pool, crowd))
        return float(np.mean(np.log(one / many)))

    assert abs(fall(luck=False)) < 2e-3
    assert fall(luck=True) > 5e-3


def test_table_has_one_row_per_level(frontier):
    table = frontier.to_frame()
    assert list(table["compute"]) == list(COMPUTE)
    assert (table["lower"] <= table["mean"]).all()
    assert (table["params_lower"] <= table["params_upper"]).all()


def test_log_alone_gives_the_frontier_of_its_runs(surrogate, log):
    found = fit_frontier(surrogate, compute=COMPUTE, cost=COST, seed=0)
    observed = log.to_frame().assign(compute=lambda f: 6 * f["N"] * f["tokens"])
    for level, value, spread in zip(COMPUTE, found.loss.mean, found.loss.std, strict=True):
        within = observed[observed["compute"] <= level]["loss"].min()
        assert value <= within + 5 * spread + 5e-3
    assert set(found.optimum.config) <= set(found.pool.index)
    assert set(log.runs) <= set(found.pool.index)


def test_extrapolation_warns_by_how_much(surrogate):
    beyond = np.geomspace(1e19, 1e23, 5)
    pool = pd.DataFrame({"N": [1e8, 1e9, 1e10]})
    with pytest.warns(
        ExtrapolationWarning, match=r"compute up to 1e\+23 is 167 times.*N up to 1e\+10 is 10 times"
    ):
        found = fit_frontier(surrogate, pool, compute=beyond, cost=COST)
    assert (np.diff(found.loss.std) > 0).any()


def test_runs_longer_than_any_observed_are_pointed_out_until_they_end_earlier(surrogate):
    asked = {"pool": pd.DataFrame({"N": [1e6, 4e6]}), "compute": 6e6 * np.geomspace(1e10, 4e11, 5)}
    with pytest.warns(ExtrapolationWarning, match=r"of up to 4e\+11 tokens, 4 times the longest.*until="):
        fit_frontier(surrogate, **asked | {"pool": pd.DataFrame({"N": [1e6]})}, cost=COST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_frontier(surrogate, **asked, cost=COST, until=TOKENS[-1])


def test_runs_end_where_until_says(surrogate):
    pool = pd.DataFrame({"N": SIZES})
    with pytest.warns(
        MisfitWarning, match=r"4 of the 12 levels of compute are more than any run .*\(6e\+18\)"
    ):
        found = fit_frontier(surrogate, pool, compute=COMPUTE, cost=COST, until=1e9)
    assert (found.optimum.axis.values <= 1e9 * (1 + 1e-9)).all()
    assert (found.loss.mean >= true_frontier()[0] - 0.01).all()


def test_scores_are_maximised():
    frame = frame_of(SIZES[::2]).assign(score=lambda f: 1 - f.pop("loss") / 8)
    log = log_of(frame, output="score", goal="max")
    surrogate = ps.fit_surrogate(log, embedder=None, seed=0)
    found = fit_frontier(surrogate, pd.DataFrame({"N": SIZES[::2]}), compute=COMPUTE, cost=COST)
    np.testing.assert_allclose(found.loss.mean, 1 - true_frontier(SIZES[::2])[0] / 8, atol=0.02)
    assert found.law.mean["slope"] > 0
    assert {"ceiling", "exponent"} <= set(found.law.mean)
    assert found.prob_reach(0.01) == 1.0
    assert found.prob_reach(0.9) == 0.0
    np.testing.assert_allclose(found.law.predict(COMPUTE).mean, found.loss.mean, atol=0.02)


@pytest.fixture(scope="module")
def planned():
    """Runs of several planned lengths each, whose prefixes are not shorter runs."""
    rows = [
        (f"r{i}-{j}", n, d, t, loss_of(n, t) + 0.1 * (1 - t / d))
        for i, n in enumerate(SIZES[::3])
        for j, d in enumerate(TOKENS[1::2])
        for t in d * np.array([0.25, 0.5, 1.0])
    ]
    frame = pd.DataFrame(rows, columns=["run", "N", "D", "tokens", "loss"])
    return ps.fit_surrogate(log_of(frame, horizon="D"), embedder=None, seed=0)


def test_planned_ends_follow_the_compute(planned):
    with pytest.warns(MisfitWarning, match=r"the frontier bends: .* lower half .* in the upper half"):
        found = fit_frontier(planned, pd.DataFrame({"N": SIZES[::3]}), compute=COMPUTE, cost=COST)
    np.testing.assert_allclose(found.loss.mean, true_frontier(SIZES[::3])[0], rtol=0.02)


def test_a_given_planned_end_is_kept(planned):
    pool = pd.DataFrame({"N": [1e7, 1e8], "D": [1e10, 1e10]})
    with pytest.warns(MisfitWarning, match=r"any run of the pool costs \(6e\+18\): the frontier stays level"):
        found = fit_frontier(planned, pool, compute=COMPUTE, cost=COST)
    assert np.isnan(found.loss.mean[COMPUTE < 6e17]).all()
    assert np.isfinite(found.loss.mean[COMPUTE >= 6e17]).all()
    later = COMPUTE >= 6e18
    np.testing.assert_allclose(found.loss.mean[later], loss_of(1e8, 1e10), rtol=0.02)
    assert np.isfinite(found.law.mean["slope"])


def test_runs_planned_beyond_until_are_left_out(planned):
    pool = pd.DataFrame({"N": [1e7, 1e8, 1e8], "D": [1e9, 1e9, 1e10]})
    levels = np.geomspace(6e16, 6e17, 6)
    found = fit_frontier(planned, pool, compute=levels, cost=COST, until=2e9)
    np.testing.assert_allclose(found.optimum.axis.values[:, -1], 1e9)
    alone = fit_frontier(planned, pool.iloc[:2], compute=levels, cost=COST)
    np.testing.assert_allclose(found.loss.mean, alone.loss.mean, rtol=2e-3)
    with pytest.raises(
        ConfigError, match=r"planned to go beyond until=5e\+08; the first to end does so at 1e\+09"
    ):
        fit_frontier(planned, pool, compute=levels, cost=COST, until=5e8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"compute": [1e19, 1e18, 1e20]}, "must rise"),
        ({"compute": [1e18, 1e19]}, "at least three"),
        ({"compute": [-1.0, 1e18, 1e19]}, "positive"),
        ({"pool": []}, "empty"),
        ({"pool": 3}, "pool is a int; pass a DataFrame"),
        ({"pool": "runs.csv"}, "pool is a str; pass a DataFrame"),
        ({"compute": np.geomspace(1, 100, 5)}, "cheapest"),
        ({"compute": "all"}, "positive levels"),
        ({"samples": 1}, "samples is 1; pass a whole number of at least 2"),
        ({"samples": 2.5}, "samples is 2.5"),
        ({"seed": -1}, "seed is -1"),
        ({"until": 0.0}, "until is 0.0"),
        ({"until": "1e9"}, "until is '1e9'"),
    ],
)
def test_refusals_name_the_remedy(arguments, message, surrogate):
    given = {"pool": pd.DataFrame({"N": SIZES}), "compute": COMPUTE, "cost": COST} | arguments
    with pytest.raises(ConfigError, match=message):
        fit_frontier(surrogate, **given)


def test_questions_outside_the_frontier_are_refused(surrogate, frontier):
    with pytest.raises(ConfigError, match="outside"):
        frontier.prob_reach(2.0, 1e30)
    with pytest.raises(ConfigError, match="strictly between"):
        frontier.smallest_budget(2.0, 1.0)
    with pytest.raises(ShapeError, match="one value per level"):
        frontier.frmse([1.0, 2.0])
    with pytest.raises(ConfigError, match="strictly between"):
        frontier.smallest_budget(2.0, "most")
    with pytest.raises(ConfigError, match="target is nan"):
        frontier.prob_reach(np.nan)
    with pytest.raises(ConfigError, match="slope and intercept"):
        frontier.abc({"slope": -0.1})
    with pytest.raises(ConfigError, match="two rising amounts"):
        frontier.abc({"slope": -0.1, "intercept": 3.0}, span=(1e20, 1e15))
    with pytest.raises(ConfigError, match="losses are all positive"):
        frontier.frmse(-frontier.loss.mean)
    with pytest.raises(ConfigError, match="fit_frontier needs a fitted surrogate, got str"):
        fit_frontier("runs", pd.DataFrame({"N": SIZES}), compute=COMPUTE, cost=COST)
    plain = fit_frontier(surrogate, pd.DataFrame({"N": SIZES}), compute=COMPUTE, cost=COST, samples=16)
    with pytest.raises(ConfigError, match="no target"):
        plain.prob_reach()


@pytest.mark.parametrize(("goal", "name"), [("min", "floor"), ("max", "ceiling")])
def test_a_law_whose_limit_is_passed_already_is_called_a_misfit(goal, name):
    compute = np.geomspace(1e15, 1e20, 12)
    first_fall = 4 / (1 + (compute / 3e15) ** 2)
    draws = first_fall + 3 * (compute / 1e15) ** -0.06
    draws = draws * np.exp(1e-3 * np.random.default_rng(0).standard_normal((16, 12)))
    values = draws if goal == "min" else 10 - draws
    with pytest.warns(MisfitWarning, match=f"has a {name} of"):
        warn_bent(fit_laws(compute, values, goal=goal), values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        late = values[:, 7:]
        warn_bent(fit_laws(compute[7:], late, goal=goal), late)
        flat = np.full((4, 5), 2.0)
        warn_bent(fit_laws(compute[:5], flat, goal=goal), flat)


def test_a_pool_that_reaches_too_few_levels_is_refused_with_the_remedy():
    log = ps.simulate_runs("law", n_runs=8, points=3, seed=0)
    fitted = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=5, rounds=1))
    cost = ps.FlopsCost(params="params")
    cheapest = float(cost.spent(log).min())
    compute = cheapest * np.array([0.1, 0.2, 0.5, 1.5])
    with pytest.raises(ConfigError, match=r"reaches 1 of the 4 levels.*leave 'horizon' out"):
        fit_frontier(fitted, log.configs, compute=compute, cost=cost)


def test_a_pool_beyond_all_levels_is_told_what_its_first_points_cost():
    log = ps.simulate_runs("law", n_runs=8, points=3, seed=0)
    fitted = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=5, rounds=1))
    cost = ps.FlopsCost(params="params")
    pool = log.configs.drop(columns="horizon")
    first = float(cost(pool, np.full((8, 1), log.points[log.roles.axis].min())).min())
    with pytest.raises(ConfigError, match="reaches its first point within compute 1e\\+05") as caught:
        fit_frontier(fitted, pool, compute=[1e2, 1e3, 1e4, 1e5], cost=cost)
    assert caught.value.context["cheapest"] == pytest.approx(first)
