"""replay: strategies played on finished runs, from files, resumed from a store."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.evaluate.replay.own_log import _spread, active_task, budget_task

COST = ps.FlopsCost(params="params")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, true_loss):
    """Ten finished runs of different lengths."""
    rows = [
        (f"r{i}", p, lr, at, true_loss(p, at, lr))
        for i, (p, lr) in enumerate((p, lr) for p in np.geomspace(1e6, 1e8, 5) for lr in (1e-3, 6e-3))
        for at in np.geomspace(1e8, 4e9 * (1 + i % 3), 6 + i % 2)
    ]
    path = tmp_path_factory.mktemp("sweep") / "runs.csv"
    pd.DataFrame(rows, columns=["run", "params", "lr", "tokens", "loss"]).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def log(sweep):
    return ps.read_runs(sweep, run="run", axis="tokens", output="loss", params="params")


def test_budget_games_of_a_log(sweep, invoke, roles, tmp_path):
    out, store, picture = tmp_path / "games.csv", tmp_path / "games.jsonl", tmp_path / "gains.png"
    plain = [a for name in ("uniform", "one_random", "halving, eta 3") for a in ("--strategy", name)]
    given = [*roles, *plain, "--seeds", "3", "--runs", "6", "--budget", "0.2", "--store", store]
    result = invoke("replay", "budget", sweep, *given, "--picture", picture, "-o", out)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert len(table) == 3 * 4
    assert (table["spent"] <= 1 + 1e-9).all()
    assert set(table["strategy"]) == {"uniform", "one_random", "halving, eta 3", "halving, eta 2"}
    assert "gain %" in result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    size = store.stat().st_size
    again = invoke("replay", "budget", sweep, *given, "-q", "-o", out)
    assert again.exit_code == 0
    assert again.output == ""
    assert store.stat().st_size == size


def test_active_games_of_a_log(sweep, invoke, roles, tmp_path):
    out, picture = tmp_path / "states.csv", tmp_path / "learning.svg"
    given = [*roles, "--strategy", "random full runs", "--seeds", "1", "--picture", picture, "-o", out]
    result = invoke("replay", "active", sweep, *given)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out)
    assert table["spent"].is_monotonic_increasing
    assert table["spent"].iloc[-1] == pytest.approx(1.0)
    assert table["frmse"].iloc[-1] < table["frmse"].iloc[0]
    assert table["frmse"].iloc[-1] < 1e-6
    assert "AUC AbC" in result.output
    assert picture.read_text().startswith("<?xml")


@pytest.mark.parametrize("game", ["budget", "active"])
def test_a_store_answers_for_its_own_log_alone(game, sweep, invoke, roles, tmp_path):
    """Both logs are called "log" in tables: games of one had been shown as those of the other."""
    other = tmp_path / "other.csv"
    table = pd.read_csv(sweep)
    table.assign(loss=table["loss"] + 0.5).to_csv(other, index=False)
    strategy = {"budget": "uniform", "active": "random full runs"}[game]
    given = [*roles, "--strategy", strategy, "--seeds", "1", "--store", tmp_path / "store.jsonl", "-q"]
    assert invoke("replay", game, sweep, *given, "-o", tmp_path / "a.csv").exit_code == 0
    again = invoke("replay", game, other, *given, "-o", tmp_path / "b.csv")
    assert again.exit_code == 2
    assert "of their own" in again.output or "of its own" in again.output
    assert not (tmp_path / "b.csv").exists()


def test_tasks_of_a_log_hold_its_own_points(log):
    task = active_task(log, COST)
    known = {
        (run, at): loss for run, at, loss in log.points[["run", "tokens", "loss"]].itertuples(index=False)
    }
    assert task.at.shape == (10, 6)
    for row, run in enumerate(task.configs["run"]):
        assert task.at[row, -1] == log.points.loc[log.points["run"] == run, "tokens"].max()
        assert [known[run, at] for at in task.at[row]] == task.truth[row].tolist()
    np.testing.assert_allclose(task.price, COST(task.configs, task.at))
    assert np.isfinite(task.frontier).all()
    budget = budget_task(log, COST)
    np.testing.assert_array_equal(budget.outputs, task.truth)
    assert budget.params == "params"
    assert "run" not in budget.configs


@pytest.mark.parametrize(("available", "count"), [(12, 12), (50, 12), (13, 12), (3, 3), (1000, 64)])
def test_points_are_spread_without_repeats(available, count):
    places = _spread(available, count)
    assert len(places) == count
    assert (np.diff(places) > 0).all()
    assert places[0] == 0
    assert places[-1] == available - 1


def test_logs_that_cannot_be_replayed_are_refused(log):
    with pytest.raises(ConfigError, match="at least 6 runs"):
        budget_task(log.select(np.arange(log.n_runs) < 4), COST)
    frame = log.to_frame().drop(columns="diverged", errors="ignore")
    scores = ps.RunLog.from_frame(frame, **log.roles.arguments() | {"goal": "max"})
    with pytest.raises(ConfigError, match="less is better"):
        active_task(scores, COST)


def test_refusals_are_one_paragraph(sweep, invoke, refused, roles, tmp_path):
    refused(invoke("replay", "chess", sweep, *roles), "'chess'", "AL-N")
    refused(invoke("replay", "budget", sweep), "--run, --axis, --output")
    refused(invoke("replay", "AL-G", tmp_path / "none.parquet"), "one file")
    refused(
        invoke("replay", "budget", sweep, *roles, "--strategy", "halvin", "-q"), "'halvin'", "halving, eta 2"
    )
    refused(invoke("replay", "active", sweep, *roles, "--strategy", "luck", "-q"), "'luck'", "cheapest")
    refused(invoke("replay", "budget", sweep, *roles, "--runs", "50", "-q"), "pool of 50 runs")
    refused(invoke("replay", "budget", sweep, *roles, "--budget", "-1", "-q"), "-1", "positive")
    picture = ["--picture", tmp_path / "games.gif"]
    refused(invoke("replay", "budget", sweep, *roles, *picture), "games.gif", ".png, .svg, .pdf")


@pytest.mark.parametrize("game", ["AL-N", "AL-G", "BA-nanogpt", "BA-gemstones", "BA-lcbench"])
def test_a_file_that_is_not_the_published_log_is_refused_by_name(game, sweep, invoke, refused):
    refused(
        invoke("replay", game, sweep, "-q"), Path(sweep).name, f"not the published log of {game}", '"budget"'
    )
