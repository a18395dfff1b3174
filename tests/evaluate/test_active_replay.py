"""Replays of active learning: protocol figures, measures, and a store that resumes."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probscale.errors import BudgetError, ConfigError
from probscale.evaluate.replay.active import ActiveTask, Stopwatch, Strategy, replay_active
from probscale.evaluate.replay.active_tables import (
    active_table,
    area_under,
    find_game,
    measures,
    replay_strategies,
    slope_coverage,
    sustained,
)

DATA = Path(os.environ.get("PROBSCALE_DATA", Path(__file__).parents[3] / "shared" / "data"))
NANOGPT, GEMSTONES = DATA / "schram" / "nanogpt_large.parquet", DATA / "gemstones" / "curves.parquet"
needs_data = pytest.mark.skipif(
    not NANOGPT.is_file(), reason="the development data are not beside the project"
)


@pytest.fixture(scope="module")
def task():
    """Six sizes on a Chinchilla law, three depths each."""
    sizes, tokens = np.geomspace(1e6, 1e8, 6), np.geomspace(1e8, 1e10, 4)
    at = np.broadcast_to(tokens, (6, 4))
    compute = 6 * sizes[:, None] * tokens
    return ActiveTask(
        name="small",
        configs=pd.DataFrame({"run": [f"r{i}" for i in range(6)], "N": sizes}),
        params="N",
        axis="tokens",
        output="loss",
        at=at,
        truth=1.7 + 300 * sizes[:, None] ** -0.35 + 1200 * at**-0.35,
        compute=compute,
        price=compute,
        depths=np.array([False, True, True, True]),
        start=lambda seed: [(0, 3), (1 + seed % 2, 3)],
        levels=np.geomspace(1e16, 1e18, 10),
        nearest=False,
        span=(1e16, 1e18),
        thresholds=(0.05, 0.01),
    )


@pytest.fixture(scope="module")
def states(task):
    return replay_active(task, Strategy("frontier / cost", "frontier"), 0)


def test_replay_buys_everything_once(task, states):
    assert states["spent"].iloc[-1] == pytest.approx(1.0)
    assert (np.diff(states["spent"]) > 0).all()
    first = task.price[[0, 1], 3].sum() / task.price[:, -1].sum()
    assert states["spent"].iloc[0] == pytest.approx(first)


def test_a_column_that_the_start_does_not_vary_is_no_surprise(task):
    # Warnings are errors here: a game had warned of it before each of its decisions.
    some = replace(task, configs=task.configs.assign(heads=[8, 8, 8, 16, 16, 16]))
    states = replay_active(some, Strategy("cheapest", "cheapest"), 0, until=0.01)
    assert np.isfinite(states["abc"]).all()


def test_knowing_everything_leaves_no_error(states):
    last = states.iloc[-1]
    assert last["abc"] < 1e-9
    assert last["frmse"] < 1e-12
    assert last["slope_lower"] == pytest.approx(last["slope_upper"])


def test_true_frontier_and_law_are_those_of_the_curves(task):
    line = np.polyfit(np.log(task.levels), task.frontier, 1)
    np.testing.assert_allclose(task.law, line, rtol=1e-9)


def test_same_seed_same_choices_and_paired_starts(task, states):
    again = replay_active(task, Strategy("frontier / cost", "frontier"), 0, until=0.3)
    np.testing.assert_array_equal(again["spent"], states["spent"][: len(again)])
    np.testing.assert_array_equal(again["abc"], states["abc"][: len(again)])
    other = replay_active(task, Strategy("random", "random", 0.0), 0, until=0.01)
    assert other["spent"].iloc[0] == states["spent"].iloc[0]
    assert other["abc"].iloc[0] == states["abc"].iloc[0]


@pytest.mark.parametrize("strategy", [Strategy("a", "cheapest"), Strategy("b", "random", 0.0, full=True)])
def test_simple_strategies_play_by_their_rule(task, strategy):
    spent = replay_active(task, strategy, 1, until=0.5)["spent"].to_numpy() * task.price[:, -1].sum()
    steps = np.diff(spent)
    if strategy.full:
        assert all(np.isclose(task.price[:, -1], step).any() for step in steps)
    else:
        assert steps[0] == pytest.approx(task.price[1:, 1].min())


def test_area_is_a_step_function_of_the_budget():
    spent, error = np.array([0.1, 0.4]), np.array([3.0, 1.0])
    budgets = np.array([0.05, 0.1, 0.39, 0.4, 1.0])
    assert area_under(spent, error, budgets) == pytest.approx((3 + 3 + 3 + 1 + 1) / 5)


def test_sustained_counts_from_the_last_violation():
    spent = np.array([0.1, 0.2, 0.3, 0.4])
    assert sustained(spent, np.array([0.0, 9.0, 0.0, 0.0]), 1.0) == 0.3
    assert sustained(spent, np.zeros(4), 1.0) == 0.1
    assert sustained(spent, np.full(4, 9.0), 1.0) == np.inf


def test_a_slope_known_to_rounding_error_says_nothing_about_coverage():
    known = -0.05 + 1e-17
    table = pd.DataFrame(
        {"slope_lower": [-0.06, -0.06, known, known], "slope_upper": [-0.04, -0.055, known, known]}
    )
    assert slope_coverage(table, -0.05) == 0.5
    assert slope_coverage(table.iloc[:1], -0.05) == 1.0
    assert np.isnan(slope_coverage(table.iloc[2:], -0.05))


def test_table_divides_by_the_baselines(task, states):
    both = pd.concat([states, states.assign(strategy="random", abc=2 * states["abc"])])
    table = active_table(task, both, ["random"]).set_index("strategy")
    assert table.loc["frontier / cost", "AUC / random"] == pytest.approx(0.5)
    assert table.loc["random", "seeds"] == 1
    assert set(measures(task, both)["seed"]) == {0}


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="AL-N, AL-G"):
        find_game("AL-X", "nowhere")


@needs_data
def test_whole_run_game_has_the_figures_of_its_protocol():
    task, strategies = find_game("AL-N", NANOGPT)
    np.testing.assert_allclose(task.law, [-0.05515, 3.4918], atol=5e-5)
    assert task.price[:, -1].sum() == pytest.approx(6.08e20, rel=1e-3)
    assert task.truth.shape == (30, 11)
    assert sorted(task.configs["n_layer"].iloc[[c for c, _ in task.start(0)]]) == [8] * 5
    assert len(task.start(1)) == 4
    assert {"random", "cheapest", "max variance"} <= {s.name for s in strategies}


@needs_data
def test_run_and_depth_game_has_the_figures_of_its_protocol():
    task, _ = find_game("AL-G", GEMSTONES)
    assert task.truth.shape == (16, 12)
    np.testing.assert_array_equal(np.flatnonzero(task.depths) + 1, [4, 6, 8, 10, 12])
    assert task.levels[0] == 1e19
    assert task.levels[-1] <= task.compute.max()
    assert len(task.start(3)) == 3


@needs_data
def test_store_resumes_and_refuses_other_settings(tmp_path):
    def run(**options):
        store = tmp_path / "store.jsonl"
        given = {"seeds": [0], "strategies": ["random full runs"], "store": store} | options
        return replay_strategies("AL-G", GEMSTONES, **given)

    first = run()
    lines = (tmp_path / "store.jsonl").read_text()
    pd.testing.assert_frame_equal(first, run())
    assert (tmp_path / "store.jsonl").read_text() == lines
    with pytest.raises(BudgetError, match="growth"):
        run(growth=3.0)
    with pytest.raises(ConfigError, match="no strategy"):
        run(strategies=["luck"])


def test_a_stopwatch_counts_what_is_inside_its_blocks_alone():
    def work(seconds):
        begun = time.process_time()
        while time.process_time() - begun < seconds:
            pass

    clock = Stopwatch()
    for _ in range(2):
        with clock:
            work(0.05)
        work(0.2)
    assert 0.1 <= clock.seconds < 0.2
