import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from probscale.errors import RunLogError
from probscale.runs import RunLog, split_by_level, split_by_prefix, split_by_run, split_by_scale
from strategies import ROLES, run_frames

# Random tables rise as often as they fall.
pytestmark = pytest.mark.filterwarnings("ignore::probscale.errors.GoalWarning")

FRAMES = settings(max_examples=40, deadline=None)


def log():
    rows = [
        {
            "id": f"{size}-{task}-{seed}",
            "step": step,
            "loss": 4.0 / step,
            "task": task,
            "N": size,
            "seed": seed,
        }
        for size in (10, 20, 40)
        for task in ("en", "de")
        for seed in (0, 1)
        for step in (1, 2, 3, 4)
    ]
    return RunLog.from_frame(
        pd.DataFrame(rows), run="id", axis="step", output="loss", levels="task", params="N"
    )


def assert_parts(whole, split):
    train, test = split
    assert sorted([*train.runs, *test.runs]) == sorted(whole.runs)
    assert train.n_points + test.n_points == whole.n_points
    assert train.roles == test.roles == whole.roles
    for part in split:
        pd.testing.assert_frame_equal(part.points, whole.select(part.runs).points)


@FRAMES
@given(run_frames(), st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_a_split_by_run_parts_the_runs_and_depends_on_the_seed_alone(frame, fraction, seed):
    assume(frame["run_id"].nunique() > 1)
    whole = RunLog.from_frame(frame, **ROLES)
    split = split_by_run(whole, fraction, seed=seed)
    assert_parts(whole, split)
    again = split_by_run(whole, fraction, seed=seed)
    assert again.train.equals(split.train)


def test_different_seeds_hold_out_different_runs():
    held = {tuple(split_by_run(log(), 0.25, seed=seed).test.runs) for seed in range(10)}
    assert len(held) > 5
    assert all(len(runs) == 3 for runs in held)


def test_a_split_by_scale_holds_out_the_largest():
    split = split_by_scale(log())
    assert_parts(log(), split)
    assert set(split.test.configs["N"]) == {40}
    assert set(split_by_scale(log(), hold_out=2).test.configs["N"]) == {20, 40}
    assert set(split_by_scale(log(), threshold=15).test.configs["N"]) == {20, 40}
    assert set(split_by_scale(log(), "seed").test.configs["seed"]) == {1}


@FRAMES
@given(run_frames(), st.floats(0.05, 0.95))
def test_a_split_by_prefix_keeps_every_point_once_and_in_order(frame, fraction):
    whole = RunLog.from_frame(frame, **ROLES)
    last = whole.finals().points.set_index("run_id")["tokens"]
    early = whole.points["tokens"] <= fraction * whole.points["run_id"].map(last)
    assume(early.any() and not early.all())
    train, test = split_by_prefix(whole, fraction)
    pd.testing.assert_frame_equal(train.points, whole.points[early].reset_index(drop=True))
    pd.testing.assert_frame_equal(test.points, whole.points[~early].reset_index(drop=True))
    assert set(train.points["run_id"]) == set(train.runs)
    assert set(test.points["run_id"]) == set(test.runs)


def test_a_split_by_level_holds_out_values():
    split = split_by_level(log(), "task", "de")
    assert_parts(log(), split)
    assert set(split.test.configs["task"]) == {"de"}
    assert set(split_by_level(log(), "N", [10, 40]).test.configs["N"]) == {10, 40}
    assert split_by_level(log(), "N", n=2, seed=3).test.configs["N"].nunique() == 2
    assert set(split_by_level(log(), "N", np.int64(20)).test.configs["N"]) == {20}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda log: split_by_run(log, 1.0, seed=0), "strictly between 0 and 1"),
        (lambda log: split_by_run(log.select([log.runs[0]]), seed=0), "single run cannot be split"),
        (lambda log: split_by_scale(log, hold_out=3), "hold_out=3 of 3 distinct values of 'N'"),
        (lambda log: split_by_scale(log, hold_out=1, threshold=3), "not both"),
        (lambda log: split_by_scale(log, threshold=1), "leaves no runs for training"),
        (lambda log: split_by_scale(log, threshold=99), "leaves all runs for training"),
        (lambda log: split_by_scale(log, "task"), "'task' holds str, not numbers"),
        (lambda log: split_by_scale(log, "taks"), "did you mean 'task'"),
        (lambda log: split_by_prefix(log, 0.1), "truncation leaves no point"),
        (lambda log: split_by_prefix(log, 2), "strictly between"),
        (lambda log: split_by_prefix(log, "half"), "strictly between 0 and 1, got 'half'"),
        (lambda log: split_by_scale(log, hold_out=1.5), "hold_out=1.5 of 3"),
        (lambda log: split_by_scale(log, threshold="large"), "threshold is 'large'"),
        (lambda log: split_by_level(log, "task", "fr"), "task has no value 'fr'; its values are en, de"),
        (lambda log: split_by_level(log, "task"), "either values="),
        (lambda log: split_by_level(log, "task", n=1), "needs a seed="),
        (lambda log: split_by_level(log, "task", n=2, seed=0), "must leave one on each side"),
    ],
)
def test_a_split_without_two_sides_is_refused(split, message):
    with pytest.raises(RunLogError, match=message):
        split(log())
