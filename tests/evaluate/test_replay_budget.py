"""The replay of budgets: its protocol against a second, plain implementation of halving on the same curves."""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from probscale.budget.bench import Decision, Order, drive
from probscale.budget.registry import STRATEGIES
from probscale.errors import BudgetError, ConfigError
from probscale.evaluate.replay.budget import (
    BudgetTask,
    ReplayBench,
    finite_outputs,
    frontier_line,
    gain_table,
    law_distance,
    play,
    replay_budgets,
)
from probscale.evaluate.replay.spenders import spenders_named


def family(runs=12, points=20, seed=0, sized=True):
    generator = np.random.default_rng(seed)
    sizes = np.geomspace(1e7, 1e9, runs)
    at = np.tile(np.geomspace(1e7, 1e10, points), (runs, 1))
    noise = 0.01 * generator.standard_normal((runs, points))
    loss = 1.7 + 400 * sizes[:, None] ** -0.34 + 410 * at**-0.28 + noise
    configs = pd.DataFrame({"N": sizes})
    law = ((1e17, 1e19), (1e16, 1e20)) if sized else None
    return BudgetTask(
        "family", configs, "tokens", at, loss, 6 * sizes[:, None] * at, "N" if sized else None, law
    )


def spender(name, eta=2.0):
    def spend(bench, seed):
        drive(bench, STRATEGIES[name](bench, np.random.default_rng(seed), None, eta))

    return spend


def halving_by_hand(task, total, order, eta):
    """Halving and the left-over rule, written from the protocol with plain loops."""
    spent = {run: 0.0 for run in range(len(task.configs))}

    def seen(run):
        return [
            y for c, y in zip(task.price[run], task.outputs[run], strict=True) if c <= spent[run] * (1 + 1e-9)
        ]

    def best(run):
        return min(seen(run), default=math.inf)

    def pay(run, amount):
        left = total - sum(spent.values())
        amount = min(max(amount, task.price[run][0] - spent[run]), task.price[run][-1] - spent[run], left)
        spent[run] += amount

    alive = list(order)
    rounds = math.ceil(round(math.log(len(alive), eta), 9))
    for number in range(rounds):
        share = (total - sum(spent.values())) / (rounds - number)
        able = [run for run in alive if spent[run] < task.price[run][-1] * (1 - 1e-9)]
        for run in able:
            pay(run, share / len(able))
        alive = sorted(alive, key=best)[: max(1, len(alive) // eta)]
    while total - sum(spent.values()) > 1e-9 * total:
        able = [run for run in range(len(spent)) if spent[run] < task.price[run][-1] * (1 - 1e-9)]
        if not able:
            break
        run = min(able, key=best)
        pay(run, math.inf)
    return np.array([spent[run] for run in range(len(spent))])


@pytest.mark.parametrize("total", [3e18, 3e19, 3e20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_halving_spends_as_a_plain_implementation_of_the_protocol_does(total, seed):
    task = family(seed=seed)
    bench = ReplayBench(task, total)
    drive(bench, STRATEGIES["halving"](bench, np.random.default_rng(seed), None, 2.0))
    order = np.random.default_rng(seed).permutation(np.arange(len(task.configs)))
    expected = halving_by_hand(task, total, [int(run) for run in order], 2)
    assert bench.spent == pytest.approx(expected, rel=1e-9)
    assert bench.found() == min(
        y
        for run in range(len(expected))
        for c, y in zip(task.price[run], task.outputs[run], strict=True)
        if c <= expected[run] * (1 + 1e-9)
    )


@pytest.mark.parametrize(
    "strategy", [name for name, maker in STRATEGIES.items() if maker.forecasts != "joint"]
)
@pytest.mark.parametrize("total", [1e17, 5e19, 0.3])
def test_no_strategy_spends_more_than_the_budget_or_finds_better_than_possible(strategy, total):
    game = play(family(), spender(strategy), runs=8, total=total, seed=3)
    assert 0 < game["spent"] <= 1 + 1e-9
    assert game["started"] >= 1
    if strategy == "one_random":
        assert game["regret"] >= -1e-12


def test_a_run_pays_at_least_to_its_first_point():
    task = family()
    bench = ReplayBench(task, 1e19)
    bench.train(Decision((Order(3, 1.0),), "test"))
    assert bench.spent[3] == task.price[3, 0]
    assert len(bench.points(3)) == 1


def test_paid_compute_between_points_counts_though_it_shows_nothing():
    task = family()
    bench = ReplayBench(task, 1e19)
    half = 0.5 * (task.price[0, 2] + task.price[0, 3])
    bench.train(Decision((Order(0, half),), "test"))
    assert bench.remaining == pytest.approx(1e19 - half)
    assert len(bench.points(0)) == 3


def test_runs_whose_first_point_is_beyond_the_budget_are_not_begun():
    task = family()
    bench = ReplayBench(task, 0.5 * task.price[-1, 0])
    assert not bench.usable[-1]
    bench.train(Decision((Order(len(task.configs) - 1, 1e30),), "test"))
    assert bench.spent[-1] == 0


def test_diverged_cells_are_three_times_the_worst_first_output():
    outputs = np.array([[2.0, np.nan, np.inf], [4.0, 3.0, 1.0]])
    assert finite_outputs(outputs).tolist() == [[2.0, 12.0, 12.0], [4.0, 3.0, 1.0]]


def test_the_whole_budget_on_the_best_run_has_no_regret():
    task = family()

    def oracle(bench, seed):
        affordable = bench.task.price <= bench.total * (1 + 1e-9)
        best = np.where(affordable, bench.task.outputs, np.inf).min(axis=1).argmin()
        bench.train(Decision((Order(int(best), bench.total),), "oracle"))

    assert play(task, oracle, runs=12, total=1e20, seed=0)["regret"] == 0.0


def test_overspending_is_an_error_of_the_strategy():
    def cheat(bench, seed):
        bench.spent[:] = bench.total

    with pytest.raises(BudgetError, match="spent"):
        play(family(), cheat, runs=4, total=1e18, seed=0)


def test_a_fully_trained_pool_gives_the_law_of_the_task():
    task = family()
    assert law_distance(task, task, task.price[:, -1]) == pytest.approx(0.0, abs=1e-12)


def test_the_frontier_line_of_a_power_law_has_its_exponent():
    compute = np.geomspace(1e17, 1e20, 30)[None]
    line = frontier_line(compute, 5.0 * compute**-0.07, compute[:, -1], (1e18, 1e19))
    assert line == pytest.approx([-0.07, math.log(5.0)], abs=1e-9)


def test_replays_are_paired_and_resume(tmp_path):
    calls = []

    def counted(bench, seed):
        calls.append(seed)
        spender("uniform")(bench, seed)

    options = {"settings": [(4, 1e19)], "ledger": tmp_path / "games.jsonl"}
    names = {"halving, eta 2": spender("halving"), "uniform": counted}
    first = replay_budgets([family()], names, seeds=range(2), **options)
    again = replay_budgets([family()], names, seeds=range(3), **options)
    assert calls == [0, 1, 2]
    assert len(first) == 4
    assert len(again) == 6
    table = gain_table(again).set_index("strategy")
    assert table.loc["halving, eta 2", "gain %"] == 0.0
    direct = [
        play(family(), spender(name), runs=4, total=1e19, seed=1)["output"] for name in ("halving", "uniform")
    ]
    row = again[(again.seed == 1)].set_index("strategy")["output"]
    assert row[["halving, eta 2", "uniform"]].tolist() == direct


def test_games_of_other_runs_of_the_same_name_are_refused(tmp_path):
    options = {"settings": [(4, 1e19)], "seeds": range(1), "ledger": tmp_path / "games.jsonl"}
    played = replay_budgets([family()], {"uniform": spender("uniform")}, **options)
    assert "runs digest" not in played
    for change in ({"outputs": family().outputs + 1.0}, {"price": 2 * family().price}):
        with pytest.raises(BudgetError, match=r"other runs, or at other costs.*file of their own"):
            replay_budgets([replace(family(), **change)], {"uniform": spender("uniform")}, **options)
    lines = (tmp_path / "games.jsonl").read_text()
    (tmp_path / "games.jsonl").write_text(re.sub(',"runs digest":"[0-9a-f]+"', "", lines))
    older = replay_budgets([family()], {"uniform": spender("uniform")}, **options)
    pd.testing.assert_frame_equal(older, played)


def test_names_with_commas_are_listed_apart_and_the_nearest_first():
    with pytest.raises(
        ConfigError, match=r"did you mean 'halving, eta 2' or 'halving, eta 3'\? known are .*'asha, eta 2', "
    ):
        spenders_named(["halving"], sized=True)
    with pytest.raises(ConfigError, match="did you mean 'uniform'"):
        spenders_named(["unifrom"], sized=True)
