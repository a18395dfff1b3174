"""Forecasters and the pieces of commitment, each against a second route."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.budget.bench import Decision, Order, equal_orders
from probscale.budget.commitment import (
    Commitment,
    affordable,
    early_commitment,
    finishable,
    interleaved,
    ladder_orders,
    size_weights,
    with_leader,
)
from probscale.budget.coregional import CoregionalForecaster
from probscale.budget.forecast import JointForecaster, first_point, thinned
from probscale.budget.parametric import EnsembleForecaster, PowerForecaster, config_features
from probscale.budget.record import Expectation, Record
from probscale.budget.rungs import halving_rounds, kept
from probscale.budget.strategies import chances, smallest_set
from probscale.budget.worlds import WorldBench, WorldForecaster, imagined
from probscale.evaluate.replay.budget import BudgetTask, ReplayBench
from probscale.surrogate import FitOptions

POOL = pd.DataFrame({"N": np.geomspace(1e7, 1e9, 6)})
COST = ps.FlopsCost(params="N")


def bench(total=1e20, seed=0, sized=True):
    params = "N" if sized else None
    last = np.full(len(POOL), np.inf)
    worlds = imagined(
        POOL, COST, total, axis="tokens", params=params, last=last, worlds=400, surrogate=None, seed=seed
    )
    return worlds, WorldBench(worlds, 0)


def train(game, compute):
    game.train(Decision(tuple(Order(run, compute) for run in range(len(game.configs))), "test"))


def test_the_power_forecaster_recovers_a_power_law_with_floor():
    _, game = bench()
    game._curves = 1.5 + 40.0 * game._worlds.at**-0.3
    train(game, 1e18)
    until = np.full(6, 1e19)
    draws = PowerForecaster().sample(game, range(6), until, 3, 0)
    truth = 1.5 + 40.0 * game.axis_at(range(6), until) ** -0.3
    assert draws.shape == (3, 6)
    assert draws[0] == pytest.approx(truth, rel=2e-3)


def test_the_coregional_forecaster_learns_one_run_from_its_siblings():
    _, game = bench()
    shapes = np.linspace(0.8, 1.2, 6)[:, None] * game._worlds.at.mean(axis=0) ** -0.3
    game._curves = 1.5 + 40.0 * shapes
    for run in range(5):
        game.train(Decision((Order(run, 1e19),), "test"))
    game.train(Decision((Order(5, 1e17),), "test"))
    until = np.full(6, 1e19)
    draws = CoregionalForecaster().sample(game, range(6), until, 200, 0)
    truth = np.array([np.interp(1e19, game._worlds.price[run], game._curves[run]) for run in range(6)])
    start = game.points(5)[-1][1]
    assert abs(draws[:, 5].mean() - truth[5]) < 0.5 * abs(start - truth[5])
    assert draws[:, 5].std() > draws[:, :5].std(axis=0).max()


def test_the_joint_forecaster_says_what_a_surrogate_of_the_same_points_says():
    _, game = bench()
    train(game, 2e18)
    rows = [
        {"run": f"old {n:g}", "N": n, "tokens": t, "output": 1.7 + 400 * n**-0.34 + 410 * t**-0.28}
        for n in (5e6, 5e7, 5e8)
        for t in np.geomspace(1e8, 1e10, 6)
    ]
    log = ps.RunLog.from_frame(pd.DataFrame(rows), run="run", axis="tokens", output="output", params="N")
    earlier = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=8, rounds=1))
    until = np.full(6, 1e19)
    draws = JointForecaster(earlier, points=5).sample(game, range(6), until, 2000, 0)
    more = [
        {"run": f"pool row {row}", "N": POOL.N[row], "tokens": at, "output": y}
        for row in range(6)
        for at, y in thinned(game.points(row), 5)
    ]
    roles = {"run": "run", "axis": "tokens", "output": "output", "params": "N"}
    known = earlier.condition(ps.RunLog.from_frame(pd.DataFrame(more), **roles))
    asked = POOL.assign(run=[f"pool row {row}" for row in range(6)])
    latent = known.predict(asked, game.axis_at(range(6), until)[:, None]).latent()
    assert draws == pytest.approx(latent.sample(2000, seed=0)[:, :, 0])


def test_conditioning_in_steps_is_conditioning_at_once():
    worlds, game = bench()
    grid = worlds.price[0]
    options = {"points": 100, "refit": 1e9}
    steps, until = JointForecaster(**options), np.full(6, 5e19)
    train(game, grid[10])
    steps.sample(game, range(6), until, 10, 0)
    fitted, used = steps._current, dict(steps._used)
    train(game, grid[13])
    steps.sample(game, range(6), until, 10, 0)
    train(game, grid[15])
    in_steps = steps.sample(game, range(6), until, 10, 0)
    at_once = JointForecaster(**options)
    at_once._current, at_once._used, at_once._fitted = fitted, used, steps._fitted
    assert at_once.sample(game, range(6), until, 10, 0) == pytest.approx(in_steps, rel=1e-6)


def test_the_ensemble_forecasts_curves_it_has_seen_most_of():
    _, game = bench()
    train(game, 5e18)
    until = np.full(6, 8e18)
    draws = EnsembleForecaster(steps=400).sample(game, range(6), until, 100, 0)
    after = np.array([np.interp(8e18, game._worlds.price[run], game._curves[run]) for run in range(6)])
    before = np.array([game.points(run)[0][1] for run in range(6)])
    assert np.abs(draws.mean(axis=0) - after).max() < 0.25 * (before - after).max()


def test_world_forecasts_condition_like_a_gaussian_regression():
    worlds, game = bench(sized=False)
    train(game, 1e18)
    draws = WorldForecaster(worlds).sample(game, range(6), np.full(6, 1e20), 4000, 0)
    final = worlds.outputs[:, :, -1]
    assert (draws.std(axis=0) < final.std(axis=0)).all()
    errors = draws.mean(axis=0) - game.final()
    assert (np.abs(errors) < 4 * draws.std(axis=0)).all()


def test_features_are_standardised_and_constants_left_out():
    table = pd.DataFrame({"lr": [1e-3, 1e-2, 1e-1], "same": [1, 1, 1], "kind": ["a", "b", "a"]})
    features = config_features(table)
    assert features.shape == (3, 3)
    assert features.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert features.std(axis=0) == pytest.approx(1)
    assert features[:, 0] == pytest.approx([-1.224744871, 0, 1.224744871])


def test_thinning_keeps_the_last_point_and_spaces_evenly_in_logarithms():
    points = [(float(at), 1.0) for at in range(1, 1001)]
    kept = [at for at, _ in thinned(points, 4)]
    assert kept == [1.0, 10.0, 100.0, 1000.0]
    assert thinned(points[:3], 4) == points[:3]


def test_chances_and_the_smallest_set_agree_with_counting():
    draws = np.array([[1, 2, 3], [2, 1, 3], [1, 2, 3], [3, 2, 1]], dtype=float)
    assert chances(draws).tolist() == [0.5, 0.25, 0.25]
    assert sorted(smallest_set(np.array([0.5, 0.3, 0.2]), 0.8)) == [0, 1]
    assert sorted(smallest_set(np.array([0.5, 0.3, 0.2]), 0.81)) == [0, 1, 2]


def test_interleaving_takes_turns_and_keeps_the_observed_leader_where_there_is_room():
    assert interleaved([3, 1, 2], [2, 3, 1], 1) == [3]
    assert interleaved([3, 1, 2], [2, 3, 1], 2) == [3, 2]
    assert interleaved([3, 1, 2], [3, 2, 1], 3) == [3, 1, 2]


class Shown:
    """A bench that shows given last points."""

    def __init__(self, outputs):
        self.outputs = outputs

    def points(self, run):
        return [(1.0, 0.0), (2.0, self.outputs[run])]


def test_errors_larger_than_forecast_widen_what_follows_and_small_ones_do_not_narrow_it():
    count = 40
    runs, places = tuple(range(count)), (1.0,) * count
    zeros, ones = np.zeros(count), np.ones(count)
    expected = Expectation(runs, places, zeros, zeros, ones)
    wide = Record(True).after(expected, Shown(3.0 * (-1.0) ** np.arange(count)), False)
    assert wide.spread == pytest.approx(np.sqrt((9 * count + 10) / (count + 10)))
    narrow = Record(True).after(expected, Shown(0.1 * (-1.0) ** np.arange(count)), False)
    assert narrow.spread == 1.0


def test_a_forecast_that_ranks_worse_than_the_last_outputs_loses_its_say():
    runs, places, new = (0, 1, 2, 3), (1.0,) * 4, np.array([1.0, 2.0, 3.0, 4.0])
    wrong = Expectation(runs, places, last=new + 1, mean=new[::-1].copy(), std=np.ones(4))
    right = Expectation(runs, places, last=new[::-1].copy(), mean=new, std=np.ones(4))
    assert Record(False).after(right, Shown(new), True).trusted
    record = Record(True).after(right, Shown(new), True).after(wrong, Shown(new), True)
    assert not record.trusted


def test_the_ladder_stays_within_its_budget_and_below_the_favoured_size():
    _, game = bench(total=1e20)
    weight = size_weights(game, 0.5)
    favoured = POOL.N[int(np.argmax(weight))]
    assert abs(np.log(favoured / np.sqrt(1e20 / 120))) == np.abs(np.log(POOL.N / np.sqrt(1e20 / 120))).min()
    orders = ladder_orders(game, range(6), weight, 1e19)
    assert sum(order.until for order in orders) <= 1e19
    for order in orders:
        assert POOL.N[order.run] < favoured / 1.5
        assert order.until == pytest.approx(120 * POOL.N[order.run] ** 2)


def test_the_observed_leader_stays_where_there_is_room():
    likeliest = [4, 2, 7, 1]
    assert with_leader(likeliest, 7, few=1, most=2) == [4, 7]
    assert with_leader(likeliest, 7, few=2, most=2) == [4, 7]
    assert with_leader(likeliest, 2, few=2, most=2) == [4, 2]
    assert with_leader(likeliest, 7, few=2, most=4) == [4, 2, 7]
    assert with_leader(likeliest, 7, few=1, most=1) == [4]


def sized_game(total, count=12, worlds=4000):
    pool = pd.DataFrame({"N": np.geomspace(1e7, 1e10, count)})
    last = np.full(count, np.inf)
    options = {"axis": "tokens", "params": "N", "last": last, "worlds": worlds, "surrogate": None, "seed": 0}
    drawn = imagined(pool, COST, total, **options)
    return drawn, WorldBench(drawn, 0)


def started(game, forecaster):
    settings = Commitment(screened=True, horizon=1.0)
    strategy = early_commitment(game, np.random.default_rng(0), forecaster=forecaster, settings=settings)
    return {order.run for order in next(strategy).orders}


@pytest.mark.parametrize(("share", "least", "most"), [(1e-6, 12, 12), (0.003, 5, 11), (1.0, 4, 4)])
def test_where_earlier_runs_are_known_no_more_start_than_the_budget_takes_to_a_first_point(
    share, least, most
):
    worlds, game = sized_game(1e20)
    # The likeliest run gets there with this share of the budget.
    wins = np.bincount(worlds.outputs[:, :, -1].argmin(axis=1), minlength=12) / 4000
    first = share * 1e20 / (6 * game.configs["N"][int(wins.argmax())])
    chosen = started(game, WorldForecaster(worlds, first))
    assert least <= len(chosen) <= most
    # Chances counted in 512 of the 4000 worlds are off by some hundredths.
    assert wins[list(chosen)].sum() >= np.sort(wins)[-len(chosen) :].sum() - 0.05
    assert wins[list(chosen)].sum() >= 0.65


def test_without_earlier_runs_every_run_starts():
    worlds, game = sized_game(1e20)
    assert started(game, WorldForecaster(worlds)) == set(range(12))


def test_the_affordable_count_is_the_largest_that_a_search_of_all_finds():
    _, game = sized_game(1e20)
    order = [5, 2, 8, 0, 1, 11, 3, 4, 6, 7, 9, 10]
    sizes = game.configs["N"].to_numpy()[order]
    for first in np.geomspace(1e6, 1e12, 13):
        fits = [
            n
            for n in range(1, 13)
            if 1e20 / (n * halving_rounds(n, 2.0)) / (6 * sizes[:n].max()) >= first * (1 + 1e-6)
        ]
        assert affordable(order, game, float(first), 2.0) == max(fits, default=0)


def epochs_game(total, runs=20):
    """Runs of 52 epochs, some of them dearer than others."""
    at = np.tile(np.arange(1.0, 53.0), (runs, 1))
    dear = np.random.default_rng(3).uniform(0.5, 2.0, (runs, 1))
    configs = pd.DataFrame({"rate": np.linspace(0, 1, runs)})
    return ReplayBench(BudgetTask("epochs", configs, "epoch", at, 1 / at, dear * at), total)


@pytest.mark.parametrize("total", [30.0, 100.0, 200.0, 400.0, 2000.0])
def test_as_many_runs_compete_as_let_a_halving_that_is_played_finish_its_winner(total):
    order, rounds = list(np.random.default_rng(0).permutation(20)), 4
    finished = []
    for count in range(1, 21):
        game, alive = epochs_game(total), order[:count]
        for number in range(rounds):
            game.train(Decision(equal_orders(game, alive, game.remaining / (rounds - number)), "rung"))
            alive = alive[: kept(len(alive), 2.0)]
        if game.spent[order[0]] >= game.ends[order[0]] * (1 - 1e-9):
            finished.append(count)
    expected = max((count for count in finished if count > 3), default=3)
    assert finishable(order, epochs_game(total), rounds, 2.0, 3) == expected


def test_runs_without_an_end_are_kept_no_longer_than_the_forecast_asks():
    _, game = bench()
    assert np.isinf(game.ends).all()
    assert finishable(range(6), game, 3, 2.0, 2) == 2


def test_the_first_point_is_that_of_runs_observed_again():
    rows = [("a", 3.0), ("a", 9.0), ("b", 2.0), ("c", 5.0), ("c", 6.0)]
    frame = pd.DataFrame(rows, columns=["run", "epoch"]).assign(loss=[5.0, 4.0, 3.0, 2.0, 1.0])
    roles = {"run": "run", "axis": "epoch", "output": "loss"}
    assert first_point(ps.RunLog.from_frame(frame, **roles)) == 3.0
    assert first_point(ps.RunLog.from_frame(frame[frame.run == "b"], **roles)) == 0.0
