"""The same runs in another order are the same data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probscale.runs import RunLog, split_by_level, split_by_run
from probscale.runs.order import canonical, table_order
from strategies import ROLES, run_frames

# Random tables rise as often as they fall.
pytestmark = pytest.mark.filterwarnings("ignore::probscale.errors.GoalWarning")

FRAMES = settings(max_examples=60, deadline=None)


def in_other_order(log, seed):
    """The same runs, their first rows in another order."""
    place = np.random.default_rng(seed).permutation(log.n_runs)
    rows = log.to_frame().iloc[np.argsort(place[log.codes], kind="stable")]
    return RunLog.from_frame(rows, **log.roles.arguments())


def table():
    """Two seeds of each setting, some of them with the same outcome; a value missing."""
    rows = [
        {
            "id": f"{task}-{rate}-{seed}",
            "task": task,
            "lr": None if seed == 2 else rate,
            "optimizer": "muon" if rate > 0.002 else "adamw",
            "step": step,
            "loss": 4 / step + 0.1 * seed * (rate > 0.002),
        }
        for task in ("en", "de", "fr")
        for rate in (0.01, 0.001, 0.003)
        for seed in (0, 1, 2)
        for step in (1, 2, 4)
    ]
    return pd.DataFrame(rows)


def read(frame):
    return RunLog.from_frame(frame, run="id", axis="step", output="loss", levels="task")


@FRAMES
@given(run_frames(), st.integers(0, 2**32))
def test_any_order_of_the_runs_becomes_the_same_one(frame, seed):
    log = RunLog.from_frame(frame, **ROLES)
    assert canonical(in_other_order(log, seed)).equals(canonical(log))


@FRAMES
@given(run_frames(), st.integers(0, 2**32))
def test_no_run_and_no_point_is_lost_on_the_way(frame, seed):
    log = in_other_order(RunLog.from_frame(frame, **ROLES), seed)
    ordered = canonical(log)
    assert sorted(ordered.runs) == sorted(log.runs)
    back = pd.concat([ordered.select([run]).points for run in log.runs], ignore_index=True)
    pd.testing.assert_frame_equal(back, log.points)
    pd.testing.assert_frame_equal(ordered.configs.loc[log.runs], log.configs)
    assert canonical(ordered) is ordered


def test_names_decide_only_between_runs_that_are_the_same_in_everything():
    log = read(table())
    other = log.to_frame()
    names = dict(zip(log.runs, np.random.default_rng(3).permutation(100)[: log.n_runs], strict=True))
    other["id"] = other["id"].map(names)
    one, two = canonical(log), canonical(read(other))
    columns = ["step", "loss"]
    pd.testing.assert_frame_equal(one.points[columns], two.points[columns])
    pd.testing.assert_frame_equal(one.configs.reset_index(drop=True), two.configs.reset_index(drop=True))


def test_runs_go_by_levels_then_numbers_by_size_with_missing_values_last():
    configs = canonical(read(table())).configs
    assert list(configs["task"].unique()) == ["de", "en", "fr"]
    first = configs[configs["task"] == "de"]["lr"].to_numpy()
    np.testing.assert_array_equal(first, [0.001, 0.001, 0.003, 0.003, 0.01, 0.01, np.nan, np.nan, np.nan])


def test_curves_that_differ_only_in_the_middle_are_told_apart():
    rows = [(name, step, loss) for name, middle in (("a", 2.5), ("b", 2.2))
            for step, loss in ((1, 3.0), (2, middle), (3, 2.0))]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["id", "step", "loss"])
    log = RunLog.from_frame(frame, run="id", axis="step", output="loss")
    assert list(canonical(log).runs) == ["b", "a"]


@pytest.mark.parametrize("seed", range(4))
def test_logs_added_the_other_way_round_are_the_same_data(seed):
    whole = read(table())
    first = np.random.default_rng(seed).random(whole.n_runs) < 0.5
    one, two = whole.select(first), whole.select(~first)
    assert canonical(one + two).equals(canonical(two + one))


@pytest.mark.parametrize("seed", range(4))
def test_a_split_holds_out_the_same_runs_in_any_order(seed):
    log = read(table())
    other = in_other_order(log, seed + 10)
    held = [set(split_by_run(each, 0.3, seed=seed).test.runs) for each in (log, other)]
    assert held[0] == held[1]
    held = [set(split_by_level(each, "task", n=1, seed=seed).test.runs) for each in (log, other)]
    assert held[0] == held[1]


def test_a_split_leaves_the_order_of_the_log_as_it_is():
    log = in_other_order(read(table()), 1)
    train = split_by_run(log, 0.3, seed=0).train
    assert list(train.runs) == [run for run in log.runs if run in set(train.runs)]


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_a_table_go_by_what_they_hold_and_by_their_labels_where_it_is_the_same(seed):
    rows = {"run": ["b", "a", None, "a", "c"], "lr": [0.01, 0.001, None, 0.01, 0.001], "note": list("xyzzy")}
    table = pd.DataFrame({**rows, "until": 1.0}, index=list("pqrst"))
    ordered = table.iloc[table_order(table, "run")]
    assert list(ordered.index) == ["q", "t", "p", "s", "r"]
    place = np.random.default_rng(seed).permutation(len(table))
    other = table.iloc[place][["until", "note", "run", "lr"]]
    pd.testing.assert_frame_equal(other.iloc[table_order(other, "run")][list(table)], ordered)
    at = np.array([2.0, 1.0, 3.0, 4.0, 0.5])[:, None]
    same = table.assign(lr=1.0, note="", run="a")
    assert list(same.iloc[place].index[table_order(same.iloc[place], "run", at[place])]) == list("tqprs")
    assert list(same.iloc[place].index[table_order(same.iloc[place], "run")]) == list("pqrst")
