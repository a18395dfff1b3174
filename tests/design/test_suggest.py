"""suggest: criteria, batches, constraints and refusals."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from botorch.acquisition import LogExpectedImprovement

import probscale as ps
from probscale.design import CRITERIA, Situation, acquisition, after_survey, suggest
from probscale.design.pool import Constraints, actions_of, depths_of, grid_of
from probscale.design.suggest import score_actions, situation_of
from probscale.errors import ConfigError, UnknownColumnWarning

STEPS = np.geomspace(1e8, 1e10, 6)


@pytest.fixture
def now(small_surrogate, small_log, big_pool, flops):
    grid = grid_of(big_pool, small_log, None)
    stops = depths_of(grid, small_log, "any")
    actions = actions_of(big_pool, small_log, flops, grid=grid, depths=stops, constraints=Constraints())
    return situation_of(small_surrogate, big_pool, actions, seed=0)


def test_rows_that_name_runs_of_the_log_need_no_more(small_surrogate, flops):
    at = np.r_[STEPS, 1.2 * STEPS[-1]]
    (row,) = suggest(small_surrogate, [{"run": "r1"}], cost=flops, n=1, at=at).to_dict("records")
    size = small_surrogate.log.configs["N"]["r1"]
    assert (row["N"], row["until"]) == (size, at[-1])
    assert row["cost"] == pytest.approx(6 * size * 0.2 * STEPS[-1])


@pytest.mark.parametrize(
    ("options", "message"), [({"n": 2.5}, "whole number"), ({"criterion": None}, "no criterion")]
)
def test_counts_and_criteria_of_the_wrong_kind_are_refused(
    options, message, small_surrogate, big_pool, flops
):
    with pytest.raises(ConfigError, match=message):
        suggest(small_surrogate, big_pool, cost=flops, **options)


def test_default_grid_is_that_of_the_log(small_log, big_pool):
    np.testing.assert_allclose(grid_of(big_pool, small_log, None)[3], STEPS)


def test_default_grid_of_many_epochs_holds_whole_ones(big_pool):
    rows = [(run, epoch, 1 + 2 / epoch, run) for run in range(1, 5) for epoch in range(1, 31)]
    log = ps.RunLog.from_frame(
        pd.DataFrame(rows, columns=["run", "epoch", "loss", "N"]), run="run", axis="epoch", output="loss"
    )
    (grid,) = np.unique(grid_of(big_pool, log, None), axis=0)
    assert set(grid) <= set(range(1, 31))
    assert 8 <= len(grid) <= 12
    assert grid[-1] == 30


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"target"}))
def test_every_criterion_gives_affordable_actions(name, small_surrogate, big_pool, flops):
    chosen = suggest(small_surrogate, big_pool, 3, name, cost=flops, seed=0)
    assert list(chosen.columns) == ["N", "depth", "until", "score", "cost"]
    assert len(chosen) == 3
    assert np.isfinite(chosen["score"]).all()
    np.testing.assert_allclose(chosen["cost"], 6 * chosen["N"] * chosen["until"], rtol=1e-12)
    again = suggest(small_surrogate, big_pool, 3, name, cost=flops, seed=0)
    pd.testing.assert_frame_equal(chosen, again)


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"improvement"}))
def test_deeper_training_never_teaches_less(name, now):
    values = CRITERIA[name](now)
    assert (values >= -1e-12).all()
    table = now.actions.table.assign(value=values)
    assert (table.groupby("config")["value"].diff().dropna() >= -1e-12).all()


def test_weighted_reduction_is_the_drop_that_measuring_brings(now):
    weights = np.random.default_rng(0).random(now.cells.shape)
    values = now.weighted_reductions(weights)
    for position in (0, 17, len(values) - 1):
        config, point = now.actions.table.loc[position, ["config", "point"]].astype(int)
        after = now.cells.measured(now.actions.block(config, point))
        drop = ((now.cells.variance - after.variance) * weights).sum()
        np.testing.assert_allclose(values[position], drop, rtol=1e-6)


def test_functional_reduction_is_the_drop_that_measuring_brings(now):
    rows = np.random.default_rng(0).standard_normal((2, now.cells.variance.size))
    values = now.reductions(rows)
    config, point = now.actions.table.loc[25, ["config", "point"]].astype(int)
    after = now.cells.measured(now.actions.block(config, point))
    drop = np.trace(rows @ (now.cells.covariance - after.covariance) @ rows.T)
    np.testing.assert_allclose(values[25], drop, rtol=1e-6)


def test_frontier_weights_are_probabilities(now):
    np.testing.assert_allclose(now.frontier_weights.sum(axis=0), 1.0)
    assert (now.frontier_weights >= 0).all()


def test_frontier_criterion_is_the_weighted_drop_on_the_logarithm(now):
    weights = now.crossings.spread(now.frontier_weights) / len(now.levels)
    relative = weights * (now.cells.slope / now.cells.output) ** 2
    np.testing.assert_allclose(CRITERIA["frontier"](now), now.weighted_reductions(relative))


@pytest.mark.parametrize("span", [None, (1e14, 1e22)])
def test_law_criterion_is_the_drop_in_variance_of_lines_fitted_to_the_frontier(span, now):
    """Each effect of a measurement as a change of the curves: what it does to a fitted line, squared."""
    now = replace(now, span=span)
    values, x = CRITERIA["law"](now), np.log(now.levels)
    low, high = np.log(span) if span else (x[0], x[-1])
    for position in (0, 17, len(values) - 1):
        config, point = now.actions.table.loc[position, ["config", "point"]].astype(int)
        effects = now.cells.whitened(now.actions.block(config, point))
        changes = now.crossings.at(effects.reshape(-1, *now.cells.shape) * now.cells.elasticity)
        frontier = np.sum(np.where(now.frontier_weights > 0, changes * now.frontier_weights, 0.0), axis=1)
        lines = np.polyfit(x, frontier.T, 1)
        start, middle, end = (np.square(lines[0] * at + lines[1]) for at in (low, (low + high) / 2, high))
        # Simpson's rule is exact for a squared line.
        np.testing.assert_allclose(values[position], ((start + 4 * middle + end) / 6).sum(), rtol=1e-6)


def test_survey_narrows_the_whole_pool_until_enough_runs_are_known(now):
    staged = after_survey(CRITERIA["law"], runs=9)
    few, enough = replace(now, runs=8), replace(now, runs=9)
    np.testing.assert_array_equal(staged(few), CRITERIA["integrated variance"](few))
    np.testing.assert_array_equal(staged(enough), CRITERIA["law"](enough))


def test_survey_counts_the_runs_of_the_log(small_surrogate, make_log, big_pool, flops):
    more = small_surrogate.condition(make_log([("r4", 1e8, 8.0), ("r5", 1e7, 4.0)]))
    for surrogate, alike in ((small_surrogate, "integrated variance"), (more, "law")):
        staged, plain = (
            suggest(surrogate, big_pool, 2, name, cost=flops, seed=0) for name in ("survey, then law", alike)
        )
        pd.testing.assert_frame_equal(staged, plain)


def test_expected_improvement_matches_draws(now):
    values = CRITERIA["improvement"](now)
    table = now.actions.table
    generator = np.random.default_rng(0)
    for position in np.argsort(values)[-3:]:
        config, point = table.loc[position, ["config", "point"]].astype(int)
        mean = now.cells.output[config, point]
        std = np.sqrt(now.cells.variance[config, point]) * now.cells.slope[config, point]
        gains = np.maximum(now.incumbent - (mean + std * generator.standard_normal(40_000)), 0)
        assert abs(gains.mean() - values[position]) < 5 * gains.std() / 200


def test_a_pool_of_one_may_be_a_dict(small_surrogate, big_pool, flops):
    row = big_pool.iloc[0].to_dict()
    alone, listed = (suggest(small_surrogate, pool, 1, "variance", cost=flops) for pool in (row, [row]))
    pd.testing.assert_frame_equal(alone, listed)


def test_batch_spreads_instead_of_repeating(small_surrogate, big_pool, flops):
    chosen = suggest(small_surrogate, big_pool, 4, "integrated variance", cost=flops, cost_power=0.0)
    assert chosen.index.is_unique
    assert (np.diff(chosen["score"]) <= 1e-12).all()


def test_known_runs_are_continued_at_the_price_of_the_increment(small_log, flops):
    early = small_log.truncate({"r0": STEPS[2], "r1": STEPS[-1], "r2": STEPS[-1], "r3": STEPS[-1]})
    surrogate = ps.fit_surrogate(early, embedder=None, seed=0)
    pool = early.configs.reset_index().loc[[0, 1]]
    (chosen,) = suggest(surrogate, pool, 9, "variance", cost=flops).to_dict("records")
    assert chosen["run"] == "r0"
    assert chosen["until"] > STEPS[2] * 1.001
    np.testing.assert_allclose(chosen["cost"], 6 * chosen["N"] * (chosen["until"] - STEPS[2]))


def test_constraints_hold(small_surrogate, big_pool, flops):
    chosen = suggest(
        small_surrogate,
        big_pool.assign(memory=big_pool["N"] / 1e7),
        50,
        cost=flops,
        max_cost=1e17,
        allowed={"depth": [8.0]},
        where=lambda pool: pool["memory"] < 30,
    )
    assert (chosen["cost"] <= 1e17).all()
    assert (chosen["depth"] == 8.0).all()
    assert (chosen["N"] < 3e8).all()


def test_depths_limit_where_runs_stop(small_surrogate, big_pool, flops):
    whole = suggest(small_surrogate, big_pool, 3, cost=flops, depths="full")
    assert (whole["until"] == STEPS[-1]).all()
    some = suggest(small_surrogate, big_pool, 3, cost=flops, depths=[STEPS[1], STEPS[3]])
    assert set(np.round(some["until"])) <= set(np.round(STEPS[[1, 3]]))


def test_target_criterion_prefers_runs_near_the_target(small_surrogate, big_pool, flops):
    target = [{"N": 1e9, "depth": 8.0}]
    chosen = suggest(small_surrogate, big_pool, 1, "target", cost=flops, cost_power=0.0, targets=target)
    assert chosen["N"].iloc[0] >= 1e8


def test_botorch_acquisition_agrees_with_ours(now):
    from botorch.acquisition import ExpectedImprovement, LogExpectedImprovement

    def plain(model, situation):
        with pytest.warns(Warning, match="LogExpectedImprovement|numerical"):
            return ExpectedImprovement(model, best_f=model.goal_sign * situation.incumbent)

    def logarithmic(model, situation):
        return LogExpectedImprovement(model, best_f=model.goal_sign * situation.incumbent)

    ours = CRITERIA["improvement"](now)
    theirs = acquisition(logarithmic, logarithm=True)(now)
    large = ours > 1e-4 * ours.max()
    np.testing.assert_allclose(theirs[large], ours[large], rtol=1e-3)
    np.testing.assert_allclose(acquisition(plain)(now)[large], ours[large], rtol=1e-3)


def test_own_criterion_is_a_function_of_the_situation(small_surrogate, big_pool, flops):
    def smallest(situation: Situation):
        return -situation.actions.table["config"].to_numpy(dtype=float)

    chosen = suggest(small_surrogate, big_pool, 1, smallest, cost=flops, cost_power=0.0)
    assert chosen.index[0] == 0


def test_pool_beyond_one_posterior_is_thinned_and_says_so(small_surrogate, flops):
    pool = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 400), "depth": 8.0})
    chosen = suggest(small_surrogate, pool, 1, cost=flops)
    assert "333 of 400" in chosen.attrs["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least one"),
        ({"criterion": "frontal"}, "did you mean 'frontier'"),
        ({"criterion": "target"}, "targets="),
        (
            {
                "criterion": "target",
                "targets": pd.DataFrame({"N": np.geomspace(1e6, 1e9, 400), "depth": 8.0}),
            },
            "targets has 400 configurations; at 6 points each at most 333",
        ),
        ({"at": [2e9, 1e9]}, "rising"),
        ({"depths": [3.3e9]}, "no point of the grid"),
        ({"depths": "half"}, "full"),
        ({"depths": []}, "depths is empty"),
        ({"allowed": {"depth": 8.0}}, r"pass a list of values, \[8.0\]"),
        ({"allowed": ["depth"]}, "allowed is a list; pass a dict"),
        ({"where": "depth < 9"}, "pass a function of the pool"),
        ({"where": lambda pool: pool["depth"].where(pool["depth"] < 8)}, "where gave nan for row 9"),
        ({"max_cost": np.nan}, "max_cost is nan"),
        ({"budget": "all"}, "budget is 'all'"),
        ({"compute": [0.0, 1e18]}, "positive levels"),
        (
            {"criterion": LogExpectedImprovement},
            r"pass an acquisition function of BoTorch as .*acquisition\(lambda",
        ),
        ({"criterion": lambda now: np.full(now.actions.legal.sum(), np.nan)}, "no number for any action"),
        ({"seed": -1}, "seed is -1"),
        ({"allowed": {"width": [1]}}, "width"),
        ({"allowed": {"depth": [99.0]}}, "relax"),
    ],
)
def test_refusals_name_the_remedy(arguments, message, small_surrogate, big_pool, flops):
    with pytest.raises(ConfigError, match=message):
        suggest(small_surrogate, big_pool, **{"cost": flops} | arguments)


@pytest.mark.parametrize("asked", [suggest, score_actions])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": lambda situation: np.zeros(3)}, "shape \\(3,\\) for .* one value each"),
        ({"overhead": -0.1}, "overhead is -0.1"),
        ({"overhead": np.nan}, "overhead is nan"),
        ({"overhead": np.inf}, "overhead is inf"),
        ({"cost_power": np.nan}, "cost_power is nan"),
    ],
)
def test_scores_that_would_be_none_are_refused(asked, arguments, message, small_surrogate, big_pool, flops):
    with pytest.raises(ConfigError, match=message):
        asked(small_surrogate, big_pool, cost=flops, **arguments)


def test_an_answer_is_a_pool_again(small_surrogate, big_pool, flops):
    """What was chosen may be chosen from, from the file that the command line wrote too."""
    chosen = suggest(small_surrogate, big_pool, cost=flops, n=3)
    with pytest.warns(UnknownColumnWarning, match="until, score, cost of the pool are those of an earlier"):
        again = suggest(small_surrogate, chosen.reset_index(drop=True), cost=flops, n=1)
    plain = chosen.reset_index(drop=True).drop(columns=["until", "score", "cost"])
    pd.testing.assert_frame_equal(again, suggest(small_surrogate, plain, cost=flops, n=1))


def test_few_rows_that_may_be_trained_are_not_thinned_away(small_surrogate, flops):
    """The lot that makes a large pool small knows which rows it must not miss."""
    pool = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 2_000), "depth": 8.0, "gpus": np.arange(2_000)})
    chosen = suggest(small_surrogate, pool, 3, cost=flops, allowed={"gpus": [7, 1_100, 1_999]}, depths="full")
    assert set(chosen["gpus"]) == {7, 1_100, 1_999}
    cheap = suggest(small_surrogate, pool, 1, cost=flops, max_cost=flops(pool, STEPS[0])[0])
    assert cheap["gpus"].tolist() == [0]


def test_truth_values_are_read_by_their_labels(small_surrogate, big_pool, flops):
    pool = big_pool.iloc[ORDER]
    chosen = suggest(
        small_surrogate, pool, 4, cost=flops, where=lambda rows: (rows["depth"] > 4).sort_index()
    )
    assert (chosen["depth"] > 4).all()


def test_what_is_no_surrogate_or_acquisition_is_refused(small_log, big_pool, flops):
    with pytest.raises(ConfigError, match="suggest needs a fitted surrogate, got RunLog"):
        suggest(small_log, big_pool, cost=flops)
    with pytest.raises(ConfigError, match="pass a function of the model and the situation"):
        acquisition(LogExpectedImprovement)


def test_reserved_columns_are_refused(small_surrogate, big_pool, flops):
    with pytest.raises(ConfigError, match="rename"):
        suggest(small_surrogate, big_pool.assign(cost=1.0), cost=flops)


def test_decision_is_fast(small_surrogate, flops):
    """330 cells, as in the replay of whole runs; the bound leaves room for a busy machine."""
    pool = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 55), "depth": 8.0})
    suggest(small_surrogate, pool, 1, cost=flops)
    start = time.process_time()
    suggest(small_surrogate, pool, 1, cost=flops)
    assert time.process_time() - start < 1.0


def test_almost_free_beginnings_are_no_bargain(small_surrogate, big_pool, flops):
    at = np.geomspace(1e6, 1e10, 12)
    asked = {"cost": flops, "at": at, "depths": "any", "seed": 0}
    careless = suggest(small_surrogate, big_pool, 5, overhead=0.0, **asked)
    sensible = suggest(small_surrogate, big_pool, 5, **asked)
    assert careless["until"].median() < 1e-3 * at[-1]
    assert sensible["until"].min() > 1e-3 * at[-1]
    assert sensible["until"].median() > 30 * careless["until"].median()


def test_scores_divide_by_increment_and_start(now, small_surrogate, big_pool, flops):
    asked = {"cost": flops, "depths": "any", "overhead": 0.1, "seed": 0}
    table = score_actions(small_surrogate, big_pool, "integrated variance", **asked)
    whole = 6 * table["N"] * STEPS[-1]
    expected = CRITERIA["integrated variance"](now)
    np.testing.assert_allclose(table["score"] * (table["cost"] + 0.1 * whole), expected, rtol=1e-6)


def test_whole_runs_are_chosen_alike_whatever_a_start_costs(small_surrogate, big_pool, flops):
    asked = {"cost": flops, "depths": "full", "seed": 0}
    cheap, dear = (suggest(small_surrogate, big_pool, 4, overhead=o, **asked) for o in (0.0, 0.5))
    assert cheap.index.equals(dear.index)


def test_a_pool_that_costs_nothing_is_refused_in_words(small_surrogate, big_pool):
    def free(_, at):
        return np.zeros_like(at)

    with pytest.raises(ConfigError, match=r"costs nothing.*pass a cost that rises with the axis"):
        suggest(small_surrogate, big_pool, cost=free)


ORDER = np.random.default_rng(2).permutation(18)


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_choices_do_not_depend_on_the_order_of_the_pool(name, small_surrogate, big_pool, flops):
    wanted = pd.DataFrame({"N": [2e9, 1e9], "depth": 8.0}) if name == "target" else None
    picks, scores = [], []
    for pool, targets in (
        (big_pool, wanted),
        (big_pool.iloc[ORDER], None if wanted is None else wanted[::-1]),
    ):
        options = {"cost": flops, "seed": 0, "samples": 64, "targets": targets}
        picks.append(suggest(small_surrogate, pool, 4, name, **options))
        scores.append(score_actions(small_surrogate, pool, name, **options))
        assert list(scores[-1].index.unique()) == list(pool.index)
    pd.testing.assert_frame_equal(*picks, check_exact=True)
    one, two = (table.sort_values(["until"]).sort_index(kind="stable") for table in scores)
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_pool_too_large_is_thinned_to_the_same_rows_in_any_order(small_surrogate, flops):
    pool = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 60), "depth": 8.0})
    options = {"cost": flops, "at": np.geomspace(1e8, 1e10, 50), "samples": 64, "criterion": "variance"}
    order = np.random.default_rng(3).permutation(60)
    one, two = (suggest(small_surrogate, each, 3, **options) for each in (pool, pool.iloc[order]))
    assert one.attrs["notes"] == ["40 of 60 configurations, drawn at random, were compared"]
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_functions_of_the_pool_are_given_its_rows_in_its_own_order(small_surrogate, big_pool, flops):
    pool = big_pool.iloc[ORDER]
    mask, prices, seen = np.arange(18) % 3 == 1, np.linspace(1.0, 2.0, 18), []

    def where(frame):
        seen.append(list(frame.index))
        return mask

    chosen = suggest(
        small_surrogate, pool, 6, "variance", cost=lambda rows, at: prices[:, None] * at, where=where
    )
    assert seen == [list(pool.index)]
    assert set(chosen.index) <= set(pool.index[mask])
    np.testing.assert_allclose(chosen["cost"], prices[pool.index.get_indexer(chosen.index)] * chosen["until"])
