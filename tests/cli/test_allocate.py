"""allocate: real training by a runner of the user's, in processes, resumed from the ledger."""

import json

import numpy as np
import pandas as pd
import pytest

from probscale.cli.allocate import read_option
from probscale.ledger import read_ledger

TRAINER = """
import math, os

def loss(config, at):
    return 1.7 + 300 * config["params"] ** -0.35 + 1200 * at ** -0.35 + 0.05 * math.log(config["lr"] / 3e-3) ** 2

def runner(config, until, state):
    begun = 0.0 if state is None else state["tokens"]
    with open(os.path.join(os.path.dirname(__file__), "paid"), "a") as file:
        file.write(f"{config['per_token'] * (until - begun)}\\n")
    return [(begun + (until - begun) * k / 4, loss(config, begun + (until - begun) * k / 4)) for k in (1, 2, 3, 4)], {"tokens": until}

def failing(config, until, state):
    if config["lr"] == 1e-3:
        raise MemoryError("out of memory")
    return runner(config, until, state)
"""


@pytest.fixture
def trainer(tmp_path):
    (tmp_path / "trainer.py").write_text(TRAINER)
    return tmp_path


def spend(invoke, home, trainer, *options, name="runner"):
    return invoke(
        "allocate",
        home / "pool.csv",
        "--runner",
        f"{trainer}/trainer.py:{name}",
        *("--total", "1e18", "--rate", "per_token", "--unit", "FLOPs", "--params", "params"),
        *("--ledger", trainer / "alloc.jsonl", "-o", trainer / "runs.csv", *options),
    )


def paid(trainer):
    return sum(map(float, (trainer / "paid").read_text().split()))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_budget_is_spent_recorded_and_not_spent_again(workers, home, invoke, trainer):
    extra = ["--strategy", "halving", "--workers", workers, "--curves", trainer / "log.csv"]
    extra += ["--picture", trainer / "runs.png"]
    result = spend(invoke, home, trainer, *extra, "--json", trainer / "facts.json")
    assert result.exit_code == 0, result.output
    assert paid(trainer) == pytest.approx(1e18)
    assert (trainer / "runs.png").read_bytes().startswith(b"\x89PNG")
    table, facts = pd.read_csv(trainer / "runs.csv"), json.loads((trainer / "facts.json").read_text())
    assert table["spent"].sum() == pytest.approx(1e18)
    assert facts["output"] == table["loss"].min()
    assert facts["best"]["params"] == table.loc[table["loss"].idxmin(), "params"]
    assert "rung 1 of 2: train runs" in result.stderr
    assert table["run"].tolist() == list(range(len(table)))
    assert "spent 1e+18 FLOPs" in result.stdout
    log = pd.read_csv(trainer / "log.csv")
    assert log["loss"].min() == facts["output"]
    again = spend(invoke, home, trainer, *extra)
    assert again.exit_code == 0
    assert paid(trainer) == pytest.approx(1e18)


def test_runs_given_up_are_tried_again_on_request(home, invoke, trainer):
    extra = ["--strategy", "halving", "--retries", "0"]
    first = spend(invoke, home, trainer, *extra, name="failing")
    assert first.exit_code == 0, first.output
    statuses = []
    for total, options in (("2e18", []), ("3e18", ["--retry-failed"])):
        more = spend(invoke, home, trainer, *extra, "--total", total, *options)
        assert more.exit_code == 0, more.output
        statuses.append(set(pd.read_csv(trainer / "runs.csv")["status"]))
    assert "failed" in statuses[0]
    assert "given up before and tried again" in more.stderr
    assert "failed" not in statuses[1]


def test_a_larger_budget_goes_on_and_a_smaller_one_is_refused(home, invoke, trainer):
    first = spend(invoke, home, trainer, "--strategy", "halving")
    assert first.exit_code == 0, first.output
    extra = ["--strategy", "halving", "--total", "2e18", "--json", trainer / "facts.json"]
    more = spend(invoke, home, trainer, *extra)
    assert more.exit_code == 0, more.output
    assert "the budget grows from 1e+18 to 2e+18 FLOPs" in more.stderr
    assert paid(trainer) == pytest.approx(2e18)
    rungs = json.loads((trainer / "facts.json").read_text())["rungs"]
    assert sum(rung["FLOPs"] for rung in rungs) == pytest.approx(2e18)
    assert sorted({rung["total"] for rung in rungs}) == [1e18, 2e18]
    less = spend(invoke, home, trainer, "--strategy", "halving")
    assert less.exit_code == 2
    assert "was given 2e+18 already" in less.output


def test_what_it_observed_is_a_log_for_fit(home, invoke, trainer):
    assert (
        spend(invoke, home, trainer, "--strategy", "uniform", "--curves", trainer / "log.csv", "-q").output
        == ""
    )
    described = invoke(
        "describe", trainer / "log.csv", "--run", "run", "--axis", "tokens", "--output", "loss"
    )
    assert "4 runs, 16 points" in described.output


def test_failures_are_said_and_do_not_stop_the_others(home, invoke, trainer):
    result = spend(invoke, home, trainer, "--strategy", "uniform", "--retries", "1", name="failing")
    assert result.exit_code == 0, result.output
    assert "run 3 raised: MemoryError: out of memory; it is tried again" in result.stderr
    assert "run 3 raised: MemoryError: out of memory; given up" in result.stderr
    table = pd.read_csv(trainer / "runs.csv")
    assert table["status"].tolist() == ["trained"] * 3 + ["failed"]
    events = [e["event"] for e in read_ledger(trainer / "alloc.jsonl").events]
    assert events.count("failed") == 2


def test_the_surrogate_of_earlier_runs_may_decide(home, invoke, trainer):
    warm = ["--surrogate", home / "s.safetensors", "--strategy", "surrogate", "--horizon", "1e10"]
    result = spend(invoke, home, trainer, *warm)
    assert result.exit_code == 0, result.output
    assert np.isfinite(pd.read_csv(trainer / "runs.csv")["loss"]).any()


def test_threads_by_name(home, invoke, trainer):
    result = spend(invoke, home, trainer, "--executor", "threads", "-w", "2", "--strategy", "uniform", "-q")
    assert result.exit_code == 0, result.output
    assert paid(trainer) == pytest.approx(1e18)


def test_refusals_are_one_paragraph(home, invoke, refused, trainer):
    refused(spend(invoke, home, trainer, name="walk"), "no 'walk'", "it has loss, runner, failing")
    refused(spend(invoke, home, trainer, "--executor", "process"), "'processes'")
    refused(spend(invoke, home, trainer, "--executor-option", "gpus"), "NAME=VALUE")
    refused(spend(invoke, home, trainer, "--executor", "slurm"), "slurm")
    refused(spend(invoke, home, trainer, "--horizon", "D"), "no column 'D'")
    refused(spend(invoke, home, trainer, "--strategy", "halvin"), "'halving'")
    refused(spend(invoke, home, trainer, "--timeout", "0"), "timeout is 0")
    assert spend(invoke, home, trainer, "--strategy", "uniform", "-q").exit_code == 0
    refused(spend(invoke, home, trainer, "--strategy", "halving"), "other settings", "strategy")


def test_options_of_executors_are_numbers_where_they_can_be():
    assert [read_option(t) for t in ("a=3", "b=0.5", "c=gpu", "d=x=y")] == [
        ("a", 3),
        ("b", 0.5),
        ("c", "gpu"),
        ("d", "x=y"),
    ]
