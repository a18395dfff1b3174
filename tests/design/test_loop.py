"""ActiveLoop: spends its budget once, whatever happens in between."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from probscale.design import CRITERIA, ActiveLoop
from probscale.design.loop import named_pool
from probscale.encode.embedders import HashedNgramEmbedder
from probscale.errors import BudgetError, ConfigError
from probscale.ledger import read_ledger
from probscale.runs.pools import row_names

STEPS = np.geomspace(1e8, 1e10, 6)
DEPTHS = STEPS[[2, 5]]
BUDGET = 6e17


@pytest.fixture(scope="module")
def pool():
    return pd.DataFrame({"N": np.geomspace(1e6, 3e6, 4), "depth": 8.0})


class Trainer:
    """A runner that follows the true law and remembers what it was asked."""

    def __init__(self, loss, *, broken=(), diverging=()):
        self.loss, self.broken, self.diverging, self.calls = loss, broken, diverging, []

    def __call__(self, config, until, state):
        begun = 0.0 if state is None else state["tokens"]
        self.calls.append((config["run"], begun, until))
        if config["run"] in self.broken:
            raise RuntimeError("out of memory")
        places = STEPS[(begun * 1.0001 < STEPS) & (until * 1.0001 >= STEPS)]
        values = [float(self.loss(config["N"], at, config["depth"])) for at in places]
        if config["run"] in self.diverging:
            values[-1] = float("nan")
        return list(zip(places.tolist(), values, strict=True)), {"tokens": until}


def loop_of(small_log, pool, runner, flops, path, **options):
    return ActiveLoop(
        small_log,
        pool,
        runner,
        cost=flops,
        **({"budget": BUDGET, "ledger": path, "embedder": None, "depths": DEPTHS, "growth": 1.8} | options),
    )


@pytest.fixture(scope="module")
def whole(small_log, pool, true_loss, flops, tmp_path_factory):
    """A loop that nothing interrupted: its log, ledger and the runner's calls."""
    path = tmp_path_factory.mktemp("whole") / "a.jsonl"
    runner = Trainer(true_loss)
    return loop_of(small_log, pool, runner, flops, path).run(), path, runner.calls


def paid(path):
    return sum(e["cost"] for e in read_ledger(path).events if e["event"] in ("done", "failed"))


def test_loop_spends_within_budget_and_returns_what_it_learnt(whole, small_log, true_loss, flops):
    log, path, _ = whole
    assert 0 < paid(path) <= BUDGET
    assert log.n_runs > small_log.n_runs
    fresh = log.to_frame()[lambda f: ~f["run"].isin(small_log.runs)]
    np.testing.assert_allclose(fresh["loss"], true_loss(fresh["N"], fresh["tokens"], fresh["depth"]))
    np.testing.assert_allclose(flops.spent(log).loc[fresh["run"].unique()].sum(), paid(path))


def test_a_loop_trains_the_same_runs_in_any_order_of_its_pool(
    whole, small_log, pool, true_loss, flops, tmp_path
):
    runner, turned, names = Trainer(true_loss), pool.iloc[[2, 0, 3, 1]], row_names(pool)
    loop_of(small_log, turned, runner, flops, tmp_path / "a.jsonl").run()
    named = dict(zip(row_names(turned), [names[row] for row in (2, 0, 3, 1)], strict=True))
    assert [(named[run], *rest) for run, *rest in runner.calls] == whole[2]
    one, two = (
        [order["score"] for event in read_ledger(path).events for order in event.get("orders", ())]
        for path in (whole[1], tmp_path / "a.jsonl")
    )
    assert one == two


def test_increments_continue_from_the_state_and_never_repeat(whole):
    reached = {}
    for run, begun, until in whole[2]:
        assert begun == reached.get(run, 0.0)
        assert until > begun
        reached[run] = until
    assert len(whole[2]) > len(reached)


def test_a_watching_function_is_told_what_the_ledger_holds(whole, small_log, pool, true_loss, flops):
    """Also of what happened before it watched."""
    _, path, _ = whole
    told = []
    loop = loop_of(small_log, pool, Trainer(true_loss), flops, path, watch=told.append)
    loop.run()
    events = read_ledger(path).events
    assert told == [event for event in events if event["event"] in ("decision", "done", "failed")]
    assert told[0]["event"] == "decision"
    assert told[1]["event"] == "done"


def test_a_new_loop_tells_of_each_step_as_it_goes(small_log, pool, true_loss, flops, tmp_path):
    told = []

    def watch(event):
        lines = (tmp_path / "l.jsonl").read_text().splitlines()
        told.append((event["event"], json.loads(lines[-1]) == json.loads(json.dumps(event))))

    loop = loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "l.jsonl", watch=watch)
    assert repr(loop).startswith("ActiveLoop(4 configurations, ")
    assert len(repr(loop)) < 200
    loop.run()
    assert told[:2] == [("decision", True), ("done", True)]


def test_running_again_does_nothing_more(whole, small_log, pool, true_loss, flops):
    idle = Trainer(true_loss)
    again = loop_of(small_log, pool, idle, flops, whole[1]).run()
    assert not idle.calls
    assert whole[0].equals(again)


@pytest.mark.parametrize("cut", [1, 6])
def test_resumed_loop_ends_as_an_uninterrupted_one(cut, whole, small_log, pool, true_loss, flops, tmp_path):
    lines = whole[1].read_text().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(lines[: 1 + cut]) + lines[1 + cut][:20])
    resumed = loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "b.jsonl").run()
    assert whole[0].equals(resumed)
    assert paid(whole[1]) == pytest.approx(paid(tmp_path / "b.jsonl"), rel=1e-12)


def test_a_larger_budget_goes_on_from_the_ledger(whole, small_log, pool, true_loss, flops, tmp_path):
    path, calls = tmp_path / "a.jsonl", []
    for budget in (BUDGET / 4, BUDGET):
        runner = Trainer(true_loss)
        log = loop_of(small_log, pool, runner, flops, path, budget=budget).run()
        assert runner.calls
        assert 0 < paid(path) <= budget
        calls += runner.calls
    assert sum(6 * pool["N"][int(run[-1])] * (b - a) for run, a, b in calls) == pytest.approx(paid(path))
    assert log.equals(whole[0])


def aged(path, target, *absent):
    """A ledger as an earlier version wrote it, without some of the settings."""
    header, *events = path.read_text().splitlines(keepends=True)
    known = json.loads(header)
    known["settings"] = {name: value for name, value in known["settings"].items() if name not in absent}
    target.write_text(json.dumps(known) + "\n" + "".join(events))


def test_a_ledger_without_costs_in_its_settings_goes_on(whole, small_log, pool, true_loss, flops, tmp_path):
    aged(whole[1], tmp_path / "a.jsonl", "cost")
    idle = Trainer(true_loss)
    assert loop_of(small_log, pool, idle, flops, tmp_path / "a.jsonl").run().equals(whole[0])
    assert not idle.calls


def test_another_language_model_is_refused_on_a_resume(small_log, pool, true_loss, flops, tmp_path):
    options = {"budget": BUDGET / 4, "embedder": HashedNgramEmbedder(dim=8)}
    first = loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "a.jsonl", **options).run()
    with pytest.raises(BudgetError, match=r'embedder: "hashed-ngram/1 dim=8 .* there, "none" now'):
        loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "a.jsonl", budget=BUDGET / 4).run()
    aged(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "embedder")
    again = loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "b.jsonl", **options).run()
    assert again.equals(first)


def test_a_ledger_without_an_overhead_began_without_one(small_log, pool, true_loss, flops, tmp_path):
    options = {"overhead": 0.0, "budget": BUDGET / 4}
    first = loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "new.jsonl", **options).run()
    aged(tmp_path / "new.jsonl", tmp_path / "old.jsonl", "cost", "overhead")
    with pytest.raises(BudgetError, match=r"overhead: 0.0 there, 0.05 now"):
        loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "old.jsonl").run()
    idle = Trainer(true_loss)
    again = loop_of(small_log, pool, idle, flops, tmp_path / "old.jsonl", **options).run()
    assert again.equals(first)
    assert not idle.calls


def test_a_runner_that_does_not_move_is_given_up(small_log, pool, flops, tmp_path):
    def stuck(config, until, state):
        return [], {"tokens": 0.0}

    log = loop_of(small_log, pool, stuck, flops, tmp_path / "a.jsonl", retries=0).run()
    assert log.equals(small_log)
    assert {e["problem"] for e in read_ledger(tmp_path / "a.jsonl").events if e["event"] == "failed"} == {
        "stalled"
    }


def test_a_criterion_may_be_a_function_and_targets_may_count(small_log, pool, true_loss, flops, tmp_path):
    def nearest(situation):
        return 1.0 / situation.actions.table["cost"].to_numpy()

    aims = {"criterion": "target", "targets": [{"N": 1e8, "depth": 8.0}]}
    for name, options in (("a", {"criterion": nearest}), ("b", aims)):
        options |= {"budget": 4e16, "growth": 9.0, "batch": 2}
        log = loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / name, **options).run()
        assert log.n_points > small_log.n_points


def test_a_large_pool_is_thinned_to_one_joint_posterior_each_turn(small_log, true_loss, flops, tmp_path):
    """A pool of hundreds would have a covariance of gigabytes; runs once begun stay in sight."""
    pool = pd.DataFrame({"N": np.geomspace(1e6, 3e6, 400), "depth": 8.0})
    sizes, begun = [], []

    def surveyed(now):
        sizes.append(now.cells.shape[0])
        begun.append(int((now.actions.reached > 0).sum()))
        return CRITERIA["integrated variance"](now)

    loop = loop_of(
        small_log, pool, Trainer(true_loss), flops, tmp_path / "l.jsonl", criterion=surveyed, budget=1e16
    )
    log = loop.run()
    assert set(sizes) == {333}
    assert begun == sorted(begun)
    assert begun[-1] == log.n_runs - small_log.n_runs - 1
    again = loop_of(
        small_log, pool, Trainer(true_loss), flops, tmp_path / "l.jsonl", criterion=surveyed, budget=1e16
    )
    assert again.run().equals(log)


def test_a_pool_that_names_runs_of_the_log_needs_no_more(small_log, true_loss, flops, tmp_path):
    early = small_log.truncate({"r0": STEPS[2], "r1": STEPS[-1], "r2": STEPS[-1], "r3": STEPS[-1]})
    named = [{"run": name} for name in early.runs]
    log = loop_of(early, named, Trainer(true_loss), flops, tmp_path / "a.jsonl").run()
    assert log.equals(small_log)


def test_the_ledger_of_an_earlier_version_goes_on_under_the_names_it_knows(
    whole, small_log, pool, true_loss, flops, tmp_path
):
    path, trainer = tmp_path / "a.jsonl", Trainer(true_loss)
    former = named_pool(pool, small_log, numbered=True)
    assert former["run"].tolist()[:2] == ["pool row 0", "pool row 1"]
    # The earlier version: rows of the pool under numbers alone.
    log = loop_of(small_log, former, Trainer(true_loss), flops, path, budget=BUDGET / 2).run()
    more = loop_of(small_log, pool, trainer, flops, path).run()
    assert {name for name in more.runs if name.startswith("pool")} <= set(former["run"])
    assert set(log.runs) <= set(more.runs)
    assert trainer.calls


def test_a_budget_that_pays_for_nothing_is_refused(small_log, pool, true_loss, flops, tmp_path):
    with pytest.raises(BudgetError, match="the cheapest action costs"):
        loop_of(small_log, pool, Trainer(true_loss), flops, tmp_path / "a", budget=1.0).run()


def test_what_one_loop_learnt_begins_the_next(whole, pool, true_loss, flops, tmp_path):
    fresh = pd.DataFrame({"N": [5e6, 7e6], "depth": 8.0})
    log = loop_of(whole[0], fresh, Trainer(true_loss), flops, tmp_path / "a", growth=9.0).run()
    name = row_names(fresh)[0]
    assert {name, row_names(pool)[0]} <= set(log.runs)
    assert log.configs["N"][name] == 5e6
    points = log.points[log.points["run"].isin(whole[0].runs)]
    assert len(points) == whole[0].n_points


def test_failing_runs_are_recorded_retried_and_left_behind(
    whole, small_log, pool, true_loss, flops, tmp_path
):
    path = tmp_path / "a.jsonl"
    broken, diverging, *_ = dict.fromkeys(run for run, _, _ in whole[2])
    runner = Trainer(true_loss, broken=(broken,), diverging=(diverging,))
    log = loop_of(small_log, pool, runner, flops, path, retries=2).run()
    failed = [e for e in read_ledger(path).events if e["event"] == "failed"]
    assert [e["run"] for e in failed] == [broken] * 3
    assert [e["final"] for e in failed] == [False, False, True]
    assert all("out of memory" in e["message"] for e in failed)
    calls = [run for run, _, _ in runner.calls]
    assert calls.count(diverging) == 1
    assert broken not in log.runs
    assert paid(path) <= BUDGET
    assert log.n_runs > small_log.n_runs + 1


def failures(path):
    return [e["run"] for e in read_ledger(path).events if e["event"] == "failed"]


def test_runs_given_up_stay_out_unless_they_may_be_tried_again(
    whole, small_log, pool, true_loss, flops, tmp_path
):
    path, broken = tmp_path / "a.jsonl", whole[2][0][0]
    part = {"budget": BUDGET / 2, "retries": 0}
    loop_of(small_log, pool, Trainer(true_loss, broken=(broken,)), flops, path, **part).run()
    assert failures(path) == [broken]
    idle = Trainer(true_loss)
    loop_of(small_log, pool, idle, flops, path, retries=0).run()
    assert broken not in {run for run, _, _ in idle.calls}
    mended = Trainer(true_loss)
    more = {"budget": 1.5 * BUDGET, "retries": 0, "retry_failed": True}
    log = loop_of(small_log, pool, mended, flops, path, **more).run()
    assert broken in {run for run, _, _ in mended.calls}
    assert broken in log.runs
    assert failures(path) == [broken]
    assert paid(path) <= 1.5 * BUDGET


def test_a_retry_that_was_killed_resumes_as_it_was(whole, small_log, pool, true_loss, flops, tmp_path):
    path, broken = tmp_path / "a.jsonl", whole[2][0][0]

    def run(path, **options):
        options = {"retries": 0, "retry_failed": True, "budget": 1.5 * BUDGET} | options
        return loop_of(small_log, pool, Trainer(true_loss, broken=(broken,)), flops, path, **options).run()

    run(path, budget=BUDGET / 2)
    log = run(path)
    assert failures(path) == [broken] * 2
    lines = path.read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if '"failed"' in line)
    (tmp_path / "cut.jsonl").write_text("".join(lines[: last + 1]))
    assert run(tmp_path / "cut.jsonl").equals(log)
    assert failures(tmp_path / "cut.jsonl") == [broken] * 2
    run(path, budget=2 * BUDGET)
    assert failures(path) == [broken] * 3


def test_invalid_answers_are_failures(small_log, pool, flops, tmp_path):
    path = tmp_path / "a.jsonl"
    log = loop_of(small_log, pool, lambda config, until, state: None, flops, path, retries=0).run()
    assert log.equals(small_log)
    events = [e for e in read_ledger(path).events if e["event"] == "failed"]
    assert events
    assert {e["problem"] for e in events} == {"invalid"}


@pytest.mark.parametrize("executor", [None, functools.partial(ThreadPoolExecutor, 2)])
def test_hanging_run_does_not_stop_the_others(executor, small_log, pool, true_loss, flops, tmp_path):
    trainer, first = Trainer(true_loss), row_names(pool)[0]

    def runner(config, until, state):
        if config["run"] == first:
            time.sleep(1.5)
        return trainer(config, until, state)

    path = tmp_path / "a.jsonl"
    options = {"batch": 2, "executor": executor, "timeout": 0.5, "retries": 0}
    log = loop_of(small_log, pool, runner, flops, path, **options).run()
    hung = [e for e in read_ledger(path).events if e["event"] == "failed"]
    assert [(e["run"], e["problem"]) for e in hung] == [(first, "timeout")]
    assert log.n_runs > small_log.n_runs


def test_pool_may_continue_runs_of_the_log(small_log, true_loss, flops, tmp_path):
    early = small_log.truncate({"r0": STEPS[2], "r1": STEPS[-1], "r2": STEPS[-1], "r3": STEPS[-1]})
    runner = Trainer(true_loss)
    pool = early.configs.reset_index()
    log = loop_of(early, pool, runner, flops, tmp_path / "a.jsonl").run()
    assert {run for run, _, _ in runner.calls} == {"r0"}
    assert log.equals(small_log)


KILLED = """
import sys, time
import numpy as np, pandas as pd
import probscale as ps
from probscale.design import ActiveLoop
STEPS = np.geomspace(1e8, 1e10, 6)
def loss_of(size, tokens, depth):
    return 1.7 + 300 * size**-0.35 + 1200 * tokens**-0.35 + 0.02 * np.log(depth / 8) ** 2
def runner(config, until, state):
    begun = 0.0 if state is None else state["tokens"]
    places = STEPS[(STEPS > begun * 1.0001) & (STEPS <= until * 1.0001)]
    time.sleep(0.02)
    with open(sys.argv[2], "a") as file:
        file.write(f"{config['run']} {begun} {until}\\n")
    return [(float(at), float(loss_of(config["N"], at, config["depth"]))) for at in places], {"tokens": until}
log = ps.read_runs(sys.argv[3], run="run", axis="tokens", output="loss", params="N")
pool = pd.DataFrame({"N": np.geomspace(1e6, 3e6, 4), "depth": 8.0})
ActiveLoop(log, pool, runner, cost=ps.FlopsCost(params="N"), budget=6e17, ledger=sys.argv[1], embedder=None,
           depths=STEPS[[2, 5]], growth=1.8).run()
"""


@pytest.mark.slow
def test_loop_killed_at_random_pays_once_and_ends_alike(whole, small_log, tmp_path):
    small_log.to_frame().drop(columns="diverged").to_csv(tmp_path / "log.csv", index=False)
    generator = np.random.default_rng(0)
    command = [sys.executable, "-c", KILLED, *(str(tmp_path / n) for n in ("b.jsonl", "calls", "log.csv"))]
    for kill in range(6):
        with subprocess.Popen(command) as process:
            if kill < 5:
                until = time.monotonic() + 60
                lines = (tmp_path / "b.jsonl").read_text().count("\n") if kill else 0
                wanted = lines + int(generator.integers(2, 6))
                while process.poll() is None and time.monotonic() < until:
                    known = tmp_path / "b.jsonl"
                    if known.exists() and known.read_text().count("\n") >= wanted:
                        os.kill(process.pid, signal.SIGKILL)
                        break
                    time.sleep(0.005)
            assert process.wait(120) in (0, -signal.SIGKILL)
    events = read_ledger(tmp_path / "b.jsonl").events
    done = [e for e in events if e["event"] == "done"]
    spans = [(e["run"], e["points"][0][0]) for e in done]
    assert len(spans) == len(set(spans))
    assert paid(tmp_path / "b.jsonl") == pytest.approx(paid(whole[1]), rel=1e-9)
    seen = {(e["run"], at) for e in done for at, _ in e["points"]}
    fresh = whole[0].points[lambda p: ~p["run"].isin(small_log.runs)]
    assert seen == set(zip(fresh["run"], fresh["tokens"], strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0.0}, BudgetError, "positive"),
        ({"runner": 3}, BudgetError, "runner"),
        ({"batch": 0}, ConfigError, "batch is 0; .* at least 1"),
        ({"batch": 1.5}, ConfigError, "batch is 1.5"),
        ({"retries": -1}, ConfigError, "retries is -1; .* at least 0"),
        ({"growth": 0.5}, ConfigError, "growth is 0.5"),
        ({"growth": float("nan")}, ConfigError, "growth is nan"),
        ({"timeout": 0.0}, BudgetError, "timeout"),
        ({"criterion": "frontal"}, ConfigError, "frontier"),
        ({"criterion": "target"}, ConfigError, "targets="),
        ({"budget": "1e17"}, BudgetError, "positive"),
    ],
)
def test_refusals_name_the_remedy(options, error, message, small_log, pool, true_loss, flops, tmp_path):
    arguments = {"runner": Trainer(true_loss), "budget": BUDGET} | options
    with pytest.raises(error, match=message):
        ActiveLoop(small_log, pool, cost=flops, ledger=tmp_path / "a.jsonl", **arguments).run()


def test_ledger_of_another_loop_is_refused(whole, small_log, pool, true_loss, flops):
    with pytest.raises(BudgetError, match="other settings"):
        loop_of(small_log, pool.iloc[:3], Trainer(true_loss), flops, whole[1]).run()
    with pytest.raises(BudgetError, match="cost:"):
        loop_of(small_log, pool, Trainer(true_loss), lambda configs, at: at, whole[1]).run()
