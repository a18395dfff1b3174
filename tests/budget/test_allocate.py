"""allocate: budgets are kept, failures stay with the run that fails, refusals say what is accepted."""

import functools
import math
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.budget.registry import STRATEGIES
from probscale.cost import FlopsCost, FunctionCost, TableCost
from probscale.errors import BudgetError, ConfigError, RunLogError
from probscale.ledger import read_ledger

POOL = [{"N": 10.0 * 2**i, "lr": 0.1 * (1 + i % 3)} for i in range(6)]
COST = FlopsCost(params="N", per_param_token=1.0)


def curve(config, at):
    return 1.0 + abs(math.log(config["lr"] / 0.2)) + 3.0 / config["N"] ** 0.5 + 5.0 * at**-0.5


class Trainer:
    """Exact trainer that counts what it was asked to pay."""

    def __init__(self, fails=lambda config, attempt: None):
        self.paid = 0.0
        self.calls = []
        self.fails = fails
        self.lock = threading.Lock()

    def __call__(self, config, until, state):
        with self.lock:
            self.calls.append(config["N"])
            attempt = self.calls.count(config["N"])
        value = self.fails(config, attempt)
        start = 0.0 if state is None else state["at"]
        with self.lock:
            self.paid += config["N"] * (until - start)
        points = [
            (at, curve(config, at) if value is None else value) for at in np.linspace(start, until, 6)[1:]
        ]
        return points, {"at": until}


def spend(trainer, tmp_path, pool=POOL, **options):
    options = {"total": 1e4, "cost": COST, "axis": "tokens", "ledger": tmp_path / "a.jsonl"} | options
    return ps.allocate(pool, trainer, **options)


CASES = [(name, None) for name in STRATEGIES]
# Fits take seconds, so runs with an end are tried with the strategies that need none.
CASES += [(name, 60.0) for name, maker in STRATEGIES.items() if maker.forecasts != "joint"]


@pytest.mark.parametrize(("strategy", "horizon"), CASES)
def test_every_strategy_spends_what_it_counts_and_no_more_than_the_budget(tmp_path, strategy, horizon):
    trainer = Trainer()
    result = spend(trainer, tmp_path, strategy=strategy, horizon=horizon)
    assert result.spent == pytest.approx(trainer.paid, rel=1e-9)
    assert result.spent <= 1e4 * (1 + 1e-9)
    assert result.spent >= 0.999 * 1e4
    assert result.best.output == pytest.approx(result.log.points["loss"].min())
    config, output = result.best
    at = result.log.points.loc[result.log.points["loss"].idxmin(), "tokens"]
    assert output == pytest.approx(curve(config, at))
    assert COST.spent(result.log).sum() == pytest.approx(result.spent, rel=1e-9)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Surrogate of what an earlier allocation observed: its runs are named as rows of a pool."""
    result = spend(Trainer(), tmp_path_factory.mktemp("earlier"), strategy="uniform")
    return ps.fit_surrogate(result.log, embedder=None)


def test_what_one_allocation_learnt_forecasts_the_next(tmp_path, earlier):
    pool = [{"N": 1.5 * config["N"], "lr": 1.1 * config["lr"]} for config in POOL]
    result = spend(Trainer(), tmp_path, pool=pool, strategy="early_commitment", surrogate=earlier)
    assert any(decision.prob_best for decision in result.decisions)
    assert not any("because" in decision.note for decision in result.decisions)
    assert result.spent == pytest.approx(1e4)


def test_the_planned_end_of_runs_is_a_role_of_what_was_observed(tmp_path):
    pool = [config | {"end": 40.0 + config["N"]} for config in POOL]
    result = spend(Trainer(), tmp_path, pool=pool, strategy="uniform", horizon="end")
    assert result.log.roles.horizon == "end"
    known = ps.fit_surrogate(result.log, embedder=None)
    more = spend(Trainer(), tmp_path / "more", pool=pool, strategy="halving", horizon="end", surrogate=known)
    assert known.condition(more.log).log.roles.horizon == "end"
    assert spend(Trainer(), tmp_path / "number", horizon=50.0, strategy="uniform").log.roles.horizon is None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"axis": "steps"}, "axis"), ({"output": "error"}, "output"), ({"goal": "max"}, "goal")],
)
def test_a_surrogate_of_something_else_is_refused(tmp_path, earlier, options, message):
    with pytest.raises(ConfigError, match=f"the {message} of the surrogate's log"):
        spend(Trainer(), tmp_path, surrogate=earlier, **options)


def test_executors_change_nothing_but_the_order_of_events(tmp_path):
    results = []
    for name, executor in [("none", None), ("threads", ThreadPoolExecutor(3))]:
        results.append(spend(Trainer(), tmp_path / name, strategy="hyperband", executor=executor))
    assert results[0].best == results[1].best
    assert results[0].spent == results[1].spent
    assert results[0].log.equals(results[1].log)


def raise_on(*attempts):
    def fails(config, attempt):
        if config["N"] == 20.0 and (not attempts or attempt in attempts):
            raise OSError("disk gone")

    return fails


def test_a_run_that_raises_once_is_tried_again(tmp_path):
    result = spend(Trainer(raise_on(1)), tmp_path, strategy="uniform")
    assert (result.runs.status == "trained").all()
    problems = [e for e in read_ledger(result.ledger).events if e["event"] == "failed"]
    assert [(e["problem"], e["final"]) for e in problems] == [("raised", False)]
    assert "disk gone" in problems[0]["trace"]
    assert result.spent == pytest.approx(1e4)


def test_a_run_that_always_raises_is_given_up_after_bounded_attempts_and_the_others_go_on(tmp_path):
    trainer = Trainer(raise_on())
    result = spend(trainer, tmp_path, strategy="halving", retries=2)
    assert trainer.calls.count(20.0) == 3
    assert list(result.runs.status).count("failed") == 1
    assert "disk gone" in result.runs.problem[1]
    assert result.spent == pytest.approx(1e4)
    assert result.lost > 0


def test_what_two_pools_taught_adds_up_to_one_log(tmp_path):
    """Runs of different pools have different names; those of one pool the same, and the same curves."""
    larger = [config | {"N": 3 * config["N"]} for config in POOL]
    one, again, other = (
        spend(Trainer(), tmp_path, strategy="halving", pool=pool, ledger=tmp_path / name)
        for pool, name in ((POOL, "a"), (POOL, "b"), (larger, "c"))
    )
    both = one.log + other.log
    assert both.n_runs == one.log.n_runs + other.log.n_runs
    assert set(both.configs.N) == {*one.log.configs.N, *other.log.configs.N}
    assert (one.log + again.log).equals(one.log)


def test_a_run_that_diverges_is_paid_recorded_and_stopped(tmp_path):
    trainer = Trainer(lambda config, attempt: math.nan if config["N"] == 20.0 else None)
    result = spend(trainer, tmp_path, strategy="halving")
    assert result.runs.status[1] == "diverged"
    assert trainer.calls.count(20.0) == 1
    assert result.log.points.loc[result.log.points.diverged, "run"].unique().tolist() == [result.runs.name[1]]
    assert math.isfinite(result.best.output)


@pytest.mark.parametrize(
    "executor", [None, functools.partial(ThreadPoolExecutor, 1), functools.partial(ThreadPoolExecutor, 3)]
)
def test_a_hanging_run_is_given_up_and_does_not_stop_the_others(tmp_path, executor):
    release = threading.Event()

    def hangs(config, attempt):
        if config["N"] == 20.0:
            release.wait(20)

    try:
        result = spend(Trainer(hangs), tmp_path, strategy="uniform", executor=executor, timeout=0.5)
    finally:
        release.set()
    assert result.runs.status.tolist() == ["trained", "failed", "trained", "trained", "trained", "trained"]
    assert "timeout" in result.runs.problem[1]


def dying(config, until, state):
    if config["N"] == 20.0:
        import os

        os._exit(3)
    return [(until, curve(config, until))], None


def test_a_worker_that_dies_costs_its_run_and_not_the_allocation(tmp_path):
    executor = functools.partial(ProcessPoolExecutor, 1)
    result = spend(dying, tmp_path, strategy="one_random", executor=executor, retries=1, seed=1)
    assert np.isfinite(result.best.output)
    assert result.runs.status[1] in ("failed", "waiting")


def test_runners_that_return_something_else_are_failures_that_say_so(tmp_path):
    with pytest.raises(BudgetError, match="must return \\(points, state\\)"):
        spend(lambda config, until, state: 3.0, tmp_path / "a")
    with pytest.raises(BudgetError, match="do not rise"):
        spend(lambda config, until, state: ([(2, 1.0), (1, 1.0)], None), tmp_path / "b")
    with pytest.raises(BudgetError, match="not JSON"):
        spend(lambda config, until, state: ([(until, 1.0)], object()), tmp_path / "c")


def test_a_state_that_names_the_axis_says_how_far_the_run_went(tmp_path):
    def rounds_up(config, until, state):
        at = 8.0 * math.ceil(until / 8.0)
        return [(at, curve(config, at))], {"tokens": at}

    result = spend(rounds_up, tmp_path, strategy="uniform", resolution=8.0)
    assert (result.runs.tokens % 8 == 0).all()
    assert result.spent <= 1e4


def test_a_runner_that_does_not_move_is_given_up(tmp_path):
    def stuck(config, until, state):
        if config["N"] == 20.0:
            return [], {"tokens": 0.0}
        return [(until, curve(config, until))], None

    result = spend(stuck, tmp_path, strategy="uniform")
    assert "no further than 0 before" in result.runs.problem[1]
    assert result.spent == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("value", "message"),
    [([math.nan], "6 of 6 runs that began diverged"), ([], "the runner returned no points")],
)
def test_an_allocation_that_found_nothing_says_why(tmp_path, value, message):
    def runner(config, until, state):
        return [(until, y) for y in value], None

    with pytest.raises(BudgetError, match=message):
        spend(runner, tmp_path, strategy="uniform")


@pytest.mark.parametrize("kept", [True, False])
def test_a_failure_is_looked_up_in_a_ledger_only_where_one_is_kept(tmp_path, kept):
    def broken(config, until, state):
        raise RuntimeError("out of memory")

    path = tmp_path / "ledger.jsonl" if kept else None
    with pytest.raises(BudgetError, match="first failure: raised: RuntimeError: out of memory") as refused:
        ps.allocate(POOL, broken, total=100.0, cost=COST, strategy="halving", ledger=path, retries=0)
    assert (f"See {path}" in str(refused.value)) if kept else (".jsonl" not in str(refused.value))


def test_recorded_costs_pay_for_an_allocation_up_to_their_end(tmp_path):
    rows = [{"id": i, "tokens": at, "cost": POOL[i]["N"] * at} for i in range(6) for at in (10.0, 60.0)]
    cost = TableCost.from_frame(pd.DataFrame(rows), run="id", axis="tokens", cost="cost")
    pool = [{"id": i, **config} for i, config in enumerate(POOL)]
    result = spend(Trainer(), tmp_path, pool=pool, cost=cost, horizon=60.0, strategy="halving", total=5e3)
    assert result.spent == pytest.approx(5e3)


def test_scores_are_raised_and_not_lowered(tmp_path):
    def score(config, until, state):
        return [(until, 1 - math.exp(-0.01 * until * config["lr"]))], None

    result = spend(score, tmp_path, goal="max", strategy="halving")
    assert result.best.output == result.log.points["loss"].max()


def test_decisions_carry_probabilities_into_the_ledger(tmp_path):
    result = spend(Trainer(), tmp_path, strategy="early_commitment", eta=2)
    events = [e for e in read_ledger(result.ledger).events if e["event"] == "decision"]
    with_chances = [e for e in events if e["prob_best"]]
    assert with_chances
    for event in with_chances:
        assert sum(event["prob_best"].values()) == pytest.approx(1.0)


def test_costs_that_are_not_proportional_are_inverted(tmp_path):
    quadratic = FunctionCost(lambda configs, at: configs["N"].to_numpy()[:, None] * at**2 + at)
    result = spend(Trainer(), tmp_path, cost=quadratic, strategy="uniform")
    assert quadratic.spent(result.log).sum() == pytest.approx(1e4, rel=1e-6)


def test_one_configuration_gets_the_whole_budget(tmp_path):
    result = spend(Trainer(), tmp_path, pool=POOL[:1])
    assert result.spent == pytest.approx(1e4)


def test_duplicate_configurations_are_separate_runs(tmp_path):
    result = spend(Trainer(), tmp_path, pool=[POOL[0], POOL[0], POOL[1]], strategy="uniform")
    assert (result.runs.spent > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total": 0.0}, "positive number"),
        ({"total": math.nan}, "positive number"),
        ({"pool": []}, "empty"),
        ({"pool": "pool.csv"}, "DataFrame with one row"),
        ({"pool": [{**POOL[0], "diverged": True}]}, "'diverged'"),
        ({"pool": [{**POOL[0], "shape": {"depth": 2}}]}, "nested values"),
        ({"total": "1e4"}, "positive number"),
        ({"timeout": "5"}, "timeout is .5.; pass positive seconds"),
        ({"eta": "3"}, "exceed 1"),
        ({"seed": None}, "whole number"),
        ({"retries": -1}, "whole number"),
        ({"strategy": None}, "no strategy"),
        ({"surrogate": 3}, "what fit_surrogate"),
        ({"executor": 3}, "pass a concurrent.futures.Executor"),
        ({"total": 1.0, "resolution": 100.0}, "does not pay for the first step"),
        ({"strategy": "halvin"}, "did you mean 'halving'"),
        ({"goal": "low"}, '"min" and "max"'),
        ({"eta": 1.0}, "exceed 1"),
        ({"horizon": "D"}, "no column 'D'"),
        ({"horizon": -1.0}, "positive"),
        ({"strategy": "one_chinchilla", "cost": FunctionCost(lambda configs, at: at)}, "needs model sizes"),
    ],
)
def test_refusals_name_the_value_and_what_is_accepted(tmp_path, options, message):
    trainer = Trainer()
    with pytest.raises((BudgetError, ConfigError, RunLogError), match=message):
        spend(trainer, tmp_path, **options)
    assert not trainer.calls


@pytest.mark.parametrize("strategy", ["uniform", "halving"])
def test_whole_steps_end_at_a_horizon_that_is_none(tmp_path, strategy):
    stops = []

    def train(config, until, state):
        stops.append(until)
        return [(until, curve(config, until))], None

    spend(train, tmp_path, strategy=strategy, resolution=8.0, horizon=20.0)
    assert max(stops) == 20.0
    assert set(stops) <= {8.0, 16.0, 20.0}


def test_a_ledger_in_use_is_refused(tmp_path):
    def nested(config, until, state):
        spend(Trainer(), tmp_path)
        return [(until, 1.0)], None

    with pytest.raises(BudgetError, match="another loop"):
        spend(nested, tmp_path, retries=0)


def test_waiting_does_not_poll_without_a_timeout(tmp_path):
    def slow(config, until, state):
        time.sleep(0.02)
        return [(until, curve(config, until))], None

    with ThreadPoolExecutor(2) as executor:
        start = time.process_time()
        spend(slow, tmp_path, strategy="uniform", executor=executor)
    assert time.process_time() - start < 2.0
