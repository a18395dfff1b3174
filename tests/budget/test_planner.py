"""Plans: their arithmetic is that of the rungs, their probabilities those of direct simulation."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.budget.bench import drive
from probscale.budget.registry import STRATEGIES, strategy_named
from probscale.budget.worlds import WorldBench, WorldForecaster, imagined
from probscale.cost import RateCost
from probscale.errors import BudgetError, ExtrapolationWarning
from probscale.surrogate import FitOptions

COST = ps.FlopsCost(params="N")
POOL = [{"N": 1e8, "lr": 1e-3 * (1 + i)} for i in range(9)]
SIZES = [{"N": n} for n in (1e7, 3e7, 1e8, 3e8, 1e9)]


def test_a_halving_plan_has_the_rungs_of_the_arithmetic():
    plan = ps.plan_budget(POOL, total=9e18, cost=COST, strategy="halving", eta=3)
    table = plan.table()
    # Nine runs at eta 3 are two rounds of half the budget each: nine runs get .5e18, the best three 1.5e18 more.
    assert table["runs"].tolist() == [9, 3]
    assert table["FLOPs"].to_numpy() == pytest.approx([4.5e18, 4.5e18])
    assert table["tokens"].to_numpy() == pytest.approx([0.5e18 / 6e8, 2e18 / 6e8], rel=1e-6)
    assert table["share"].sum() == pytest.approx(1.0)


def test_whole_steps_are_planned_as_allocate_trains_them():
    given = {"total": 9e18, "cost": COST, "strategy": "halving", "eta": 3, "resolution": 1e8}
    table = ps.plan_budget(POOL, **given).table()
    # 8.33e8 tokens a run are eight whole steps.
    assert table["tokens"][0] == pytest.approx(8e8)
    assert table["FLOPs"][0] == pytest.approx(9 * 8e8 * 6e8)
    assert table["share"].sum() <= 1 + 1e-9
    trained = []

    def train(config, until, state):
        trained.append(until)
        return [(until, 2 + config["lr"] + until**-0.3)], None

    ps.allocate(POOL, train, ledger=None, **given)
    assert trained[:9] == pytest.approx([8e8] * 9)
    assert table["tokens (most)"].iloc[-1] == pytest.approx(max(trained), rel=1e-9)


@pytest.mark.parametrize("strategy", ["halving", "asha", "uniform", "surrogate"])
def test_each_outcome_of_a_plan_ends_at_whole_steps_within_the_total(strategy):
    pool = pd.DataFrame(POOL).assign(batch=np.linspace(1e7, 9e7, 9))
    last = np.full(9, 1.05e9)
    options = {"axis": "tokens", "params": "N", "last": last, "worlds": 4, "surrogate": None, "seed": 0}
    drawn = imagined(pool, COST, 4e18, resolution=pool["batch"].to_numpy(), **options)
    maker = strategy_named(strategy)
    for number in range(4):
        bench = WorldBench(drawn, number)
        forecaster = WorldForecaster(drawn) if maker.forecasts else None
        drive(bench, maker.make(bench, np.random.default_rng(number), forecaster, 3.0))
        places = bench.axis_at(range(9), bench.spent)
        steps = places / pool["batch"]
        whole = np.abs(steps - np.round(steps)) < 1e-6
        assert (whole | np.isclose(places, last, rtol=1e-6)).all()
        assert 3.5e18 < bench.spent.sum() <= 4e18 * (1 + 1e-9)


def test_a_total_that_pays_for_no_step_is_refused():
    with pytest.raises(BudgetError, match=r"no run .* total of 1e\+16.* raise the total"):
        ps.plan_budget(POOL, total=1e16, cost=COST, strategy="halving", resolution=1e9)
    with pytest.raises(ps.errors.ConfigError, match="resolution must be positive"):
        ps.plan_budget(POOL, total=1e18, cost=COST, strategy="halving", resolution=-1.0)


def test_prob_best_kept_falls_along_the_rungs_and_starts_at_one():
    table = ps.plan_budget(POOL, total=9e18, cost=COST, strategy="halving", eta=3).table()
    kept = table["prob_best_kept"].to_numpy()
    assert kept[0] == 1.0
    assert (np.diff(kept) <= 1e-12).all()
    assert 1 / 9 < kept[-1] < 1.0


def test_prob_best_kept_matches_a_direct_simulation():
    n = 4000
    plan = ps.plan_budget(POOL[:4], total=4e18, cost=COST, strategy="halving", eta=4, worlds=1000, seed=1)
    # One rung: every run is trained to a quarter of the budget and none is dropped before the left-over goes on.
    assert plan.table()["prob_best_kept"][0] == 1.0
    generator = np.random.default_rng(7)
    size = (
        406.4
        * 1e8**-0.34
        * np.exp(0.5 * generator.standard_normal((n, 1)))
        * np.exp(0.05 * generator.standard_normal((n, 4)))
    )
    data = 410.7 * np.exp(0.05 * generator.standard_normal((n, 4)))
    early, late = (size + data * (flops / 6e8) ** -0.28 for flops in (1e18, 4e18))
    agree = np.mean(early.argmin(1) == late.argmin(1))
    error = 5 * np.sqrt(agree * (1 - agree) * (1 / 1000 + 1 / n))
    assert plan.prob_best == pytest.approx(agree, abs=error)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_can_be_planned(strategy):
    plan = ps.plan_budget(SIZES, total=1e19, cost=COST, strategy=strategy, worlds=20)
    table = plan.table()
    assert isinstance(table, pd.DataFrame)
    assert table["FLOPs"].to_numpy() @ table["happens"].to_numpy() == pytest.approx(1e19, rel=1e-6)
    assert 0 <= plan.prob_best <= 1
    assert plan.regret >= -1e-12


def test_plans_from_a_surrogate_rest_on_its_posterior():
    log = earlier_log()
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=8, rounds=1))
    plan = ps.plan_budget(
        SIZES, total=1e19, cost=COST, strategy="one_chinchilla", surrogate=surrogate, worlds=50
    )
    assert plan.basis == "the surrogate's posterior"
    assert plan.prob_best > 0.3


def test_a_planned_end_that_ends_nothing_is_pointed_out():
    frame = earlier_log().to_frame().assign(end=1e10)
    log = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N", horizon="end")
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=8, rounds=1))
    pool = [{"N": n, "end": 1e10} for n in (1e7, 4e7)]
    given = {"total": 1e19, "cost": COST, "strategy": "halving", "surrogate": surrogate, "worlds": 4}
    with pytest.warns(ExtrapolationWarning, match="planned end of each run, 'end'.* pass horizon='end'"):
        ps.plan_budget(pool, **given)
    ps.plan_budget(pool, horizon="end", **given)


def earlier_log():
    rows = [
        {"run": f"{n:g}", "N": n, "tokens": t, "loss": 1.7 + 400 * n**-0.34 + 410 * t**-0.28}
        for n in (5e6, 1e7, 4e7, 2e8, 8e8)
        for t in np.geomspace(1e8, 1e10, 6)
    ]
    return ps.RunLog.from_frame(pd.DataFrame(rows), run="run", axis="tokens", output="loss", params="N")


def test_refusals_are_those_of_allocate():
    with pytest.raises(BudgetError, match="positive number"):
        ps.plan_budget(POOL, total=-1.0, cost=COST)
    with pytest.raises(BudgetError, match="no strategy"):
        ps.plan_budget(POOL, total=1.0, cost=COST, strategy="grid")
    with pytest.raises(BudgetError, match="at least 2"):
        ps.plan_budget(POOL, total=1.0, cost=COST, worlds=1)
    with pytest.raises(BudgetError, match=r"worlds is 2\.5"):
        ps.plan_budget(POOL, total=1.0, cost=COST, worlds=2.5)
    with pytest.raises(BudgetError, match="seed is -1"):
        ps.plan_budget(POOL, total=1.0, cost=COST, seed=-1)


@pytest.mark.parametrize("axis", ["step", "kept", "game"])
def test_no_name_of_the_axis_is_in_the_way(axis):
    cost = RateCost(1.0, unit=axis)
    plan = ps.plan_budget(
        [{"lr": 0.1}, {"lr": 0.2}], total=20.0, cost=cost, strategy="halving", axis=axis, worlds=4
    )
    table = plan.table()
    assert table[plan.unit].sum() == pytest.approx(20.0, rel=0.2)
    assert (table[axis] > 0).all()
