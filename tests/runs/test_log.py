import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probscale.errors import GoalWarning, RunLogError
from probscale.runs import RunLog
from strategies import ROLES, run_frames

# Random tables rise as often as they fall.
pytestmark = pytest.mark.filterwarnings("ignore::probscale.errors.GoalWarning")

FRAMES = settings(max_examples=40, deadline=None)


def small():
    return pd.DataFrame(
        {
            "id": ["a", "a", "a", "b", "b", "c"],
            "step": [10, 20, 40, 10, 20, 10],
            "loss": [4.0, 3.0, 2.5, 4.2, 3.5, 4.1],
            "task": ["en", "en", "en", "de", "de", "en"],
            "N": [100, 100, 100, 100, 100, 400],
            "end": [40, 40, 40, 40, 40, 40],
            "lr": [0.1, 0.1, 0.1, 0.2, 0.2, np.nan],
        }
    )


def read(frame=None, **changes):
    roles = {"run": "id", "axis": "step", "output": "loss", "levels": "task", "params": "N", "horizon": "end"}
    return RunLog.from_frame(small() if frame is None else frame, **(roles | changes))


def test_a_frame_becomes_configurations_and_points():
    log = read()
    assert list(log.runs) == ["a", "b", "c"]
    assert log.configs.index.name == "id"
    assert list(log.configs.columns) == ["task", "N", "end", "lr"]
    assert list(log.points.columns) == ["id", "step", "loss", "diverged"]
    assert log.points["step"].tolist() == [10, 20, 40, 10, 20, 10]
    assert (log.output, log.n_runs, log.n_points) == ("loss", 3, 6)
    assert log.roles.config == ("lr",)
    assert log.notes == ()


def test_whole_numbers_and_text_keep_their_types():
    log = read(config=None)
    assert log.points["step"].dtype == np.int64
    assert log.points["loss"].dtype == np.float64
    assert log.configs["N"].dtype == np.int64


@pytest.mark.parametrize(
    "convert",
    [
        lambda column: column.astype("category"),
        lambda column: column.astype("string"),
        lambda column: column.astype(object),
        lambda column: pd.Series([np.str_(value) for value in column]),
    ],
    ids=["category", "string", "object", "numpy scalars"],
)
@pytest.mark.parametrize("name", ["id", "task"])
def test_text_of_every_dtype_reads_alike(name, convert):
    frame = small()
    frame[name] = convert(frame[name])
    log = read(frame)
    assert list(log.runs) == ["a", "b", "c"]
    assert list(log.configs["task"]) == ["en", "de", "en"]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", object, "category", "uint64"])
def test_numbers_of_every_dtype_read_alike(dtype):
    frame = small()
    for name in ("step", "N"):
        frame[name] = frame[name].astype(dtype)
    log = read(frame)
    assert log.points["step"].tolist() == [10, 20, 40, 10, 20, 10]
    assert log.finals().points["step"].tolist() == [40, 20, 10]


def test_numbers_may_name_runs_and_levels():
    frame = small().assign(id=[7, 7, 7, 3, 3, 5], task=[512, 512, 512, 256, 256, 512])
    log = read(frame)
    assert list(log.runs) == [7, 3, 5]
    assert log.configs["task"].tolist() == [512, 256, 512]
    assert log.select([3]).n_points == 2


def test_numbers_and_text_stored_as_objects_get_dtypes_of_their_own():
    frame = small().assign(heads=pd.Series([8, 8, 8, None, None, 4], dtype=object))
    assert read(frame).configs["heads"].dtype == np.float64


def test_the_frame_of_the_user_stays_untouched_and_later_changes_do_not_reach_the_log():
    frame = small()
    log = read(frame)
    pd.testing.assert_frame_equal(frame, small())
    frame.loc[:, "loss"] = 0.0
    assert log.points["loss"].iloc[0] == 4.0


def test_columns_that_are_no_configuration_are_noted():
    frame = small().assign(
        seconds=range(6), empty=np.nan, stamp=pd.Timestamp("2024-01-01"), shape=[[1, 2]] * 6, peak=np.inf
    )
    log = read(frame)
    assert log.roles.config == ("lr",)
    notes = " ".join(log.notes)
    for name in ("seconds", "empty", "stamp", "shape", "peak"):
        assert name in notes


def test_a_log_of_finals_notes_that_every_column_became_configuration():
    log = read(small().drop_duplicates("id", keep="last"))
    assert "name config=" in log.notes[0]
    assert read(small().drop_duplicates("id", keep="last"), config=["lr"]).notes == ()


def test_a_named_configuration_column_may_repeat_a_role():
    log = read(config=["lr", "N", "task"])
    assert log.roles.config == ("lr",)
    assert list(log.configs.columns) == ["task", "N", "end", "lr"]


def test_several_outputs_may_miss_values_as_long_as_a_row_has_one():
    frame = small().assign(bleu=[np.nan, 1.0, 2.0, np.nan, 3.0, 4.0])
    frame.loc[1, "loss"] = np.nan
    log = read(frame, output=["loss", "bleu"])
    assert log.roles.outputs == ("loss", "bleu")
    assert np.isnan(log.points["loss"].iloc[1])
    assert log.points["bleu"].iloc[1] == 1.0
    assert not log.points["diverged"].any()
    frame.loc[3, "loss"] = np.nan
    with pytest.raises(RunLogError, match=r"run 'b' has none of loss, bleu \(row 3"):
        read(frame, output=["loss", "bleu"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_points_without_a_finite_output_are_marked_or_dropped_on_request(bad):
    frame = small()
    frame.loc[[2, 5], "loss"] = bad
    marked = read(frame, nonfinite="diverged")
    assert marked.n_points == 6
    assert marked.points["diverged"].tolist() == [False, False, True, False, False, True]
    assert marked.points["loss"].isna().sum() == 2
    assert "2 points in 2 runs" in marked.notes[0]
    dropped = read(frame, nonfinite="drop")
    assert dropped.n_points == 4
    assert list(dropped.runs) == ["a", "b"]
    assert "1 whole runs" in dropped.notes[0]


def test_an_explosion_is_marked_and_a_noisy_start_is_not():
    frame = pd.DataFrame(
        {
            "id": list("aaaabbbbcccc"),
            "step": [1, 2, 3, 4] * 3,
            "loss": [4.0, 3.0, 6.2, 3.1, 4.0, 4.1, 3.9, 4.2, 4.0, 2.0, 2.5, 4.3],
        }
    )
    log = RunLog.from_frame(frame, run="id", axis="step", output="loss")
    assert np.flatnonzero(log.points["diverged"]).tolist() == [2]
    assert "1 point in 1 run " in log.notes[0]
    assert (
        not RunLog.from_frame(frame, run="id", axis="step", output="loss", goal="max")
        .points["diverged"]
        .any()
    )


def test_marks_given_by_the_user_decide():
    frame = small().assign(diverged=[False, True, False, False, False, False])
    assert read(frame).points["diverged"].tolist() == frame["diverged"].tolist()
    with pytest.raises(RunLogError, match="reserved"):
        read(small().assign(diverged="yes"))


@FRAMES
@given(run_frames())
def test_a_log_survives_the_way_through_its_frame(frame):
    log = RunLog.from_frame(frame, **ROLES)
    again = RunLog.from_frame(log.to_frame(), **log.roles.arguments())
    assert again.equals(log)


@FRAMES
@given(run_frames(interleaved=False), st.randoms(use_true_random=False))
def test_rows_of_different_runs_may_alternate(frame, random):
    queues = [group for _, group in frame.groupby("run_id", sort=False)]
    picks = [i for i, group in enumerate(queues) for _ in range(len(group))]
    random.shuffle(picks)
    taken = [itertools.count() for _ in queues]
    mixed = pd.concat([queues[i].iloc[[next(taken[i])]] for i in picks])
    left, right = RunLog.from_frame(frame, **ROLES), RunLog.from_frame(mixed, **ROLES)
    for run in left.runs:
        pd.testing.assert_frame_equal(left.select([run]).points, right.select([run]).points)
        assert left.configs.loc[run].equals(right.configs.loc[run].reindex(left.configs.columns))


@FRAMES
@given(run_frames())
def test_finals_are_the_points_of_the_largest_axis_value(frame):
    log = RunLog.from_frame(frame, **ROLES)
    finals = log.finals()
    expected = frame.sort_values("tokens").groupby("run_id")["loss"].last().reindex(log.runs)
    np.testing.assert_array_equal(finals.points["loss"], expected)
    assert finals.n_runs == finals.n_points == log.n_runs


@FRAMES
@given(run_frames(), st.floats(0, 1), st.floats(0, 1))
def test_truncating_twice_is_truncating_at_the_earlier_place(frame, first, second):
    log = RunLog.from_frame(frame, **ROLES)
    low, high = log.points["tokens"].min(), log.points["tokens"].max()
    places = [low + share * (high - low) for share in (first, second)]
    once, twice = log.truncate(min(places)), log.truncate(max(places)).truncate(min(places))
    assert once.equals(twice)
    assert once.n_points == (frame["tokens"] <= min(places)).sum()


@FRAMES
@given(run_frames())
def test_a_prefix_plus_the_log_is_the_log(frame):
    log = RunLog.from_frame(frame, **ROLES)
    assert (log + log).equals(log)
    assert (log + log.finals()).equals(log)
    prefix = log.truncate(float(log.points["tokens"].median()))
    joined = prefix + log
    assert sorted(joined.runs) == sorted(log.runs)
    for run in log.runs:
        pd.testing.assert_frame_equal(joined.select([run]).points, log.select([run]).points)


def test_fraction_means_of_the_horizon_or_of_the_last_point():
    assert read().truncate(fraction=0.5).points["step"].tolist() == [10, 20, 10, 20, 10]
    without = read(horizon=None)
    assert without.truncate(fraction=0.5).points["step"].tolist() == [10, 20, 10]
    assert "left out 1 runs" in without.truncate(fraction=0.5).notes[-1]


def test_limits_that_are_no_numbers_are_refused():
    with pytest.raises(RunLogError, match="until is 'end'; pass an axis value"):
        read().truncate("end")
    with pytest.raises(RunLogError, match="got 'half'"):
        read().truncate(fraction="half")


def test_each_run_may_have_its_own_limit():
    limits = pd.Series({"b": 10, "a": 25, "c": np.inf})
    assert read().truncate(limits).points["step"].tolist() == [10, 20, 10, 10]
    assert read().truncate(limits.to_dict()).equals(read().truncate(limits))


def test_runs_are_selected_by_name_mask_or_function():
    log = read()
    expected = ["a", "c"]
    wanted = [
        ["c", "a"],
        pd.Index(["a", "c"]),
        np.array([True, False, True]),
        [True, False, True],
        pd.Series([True, True, False], index=["c", "a", "b"]),
        lambda configs: configs["task"] == "en",
        lambda configs: configs.index[configs["task"] == "en"],
    ]
    for choice in wanted:
        part = log.select(choice)
        assert list(part.runs) == expected
        assert part.points["id"].unique().tolist() == expected
    assert list(log.select("b").runs) == ["b"]


def test_adding_extends_runs_and_unites_configuration():
    more = pd.DataFrame(
        {
            "id": ["b", "d"],
            "step": [40, 10],
            "loss": [3.0, 4.0],
            "task": "de",
            "N": [100, 900],
            "end": 40,
            "wd": 0.1,
        }
    )
    log = read() + read(more)
    assert list(log.runs) == ["a", "b", "c", "d"]
    assert log.select("b").points["step"].tolist() == [10, 20, 40]
    assert log.roles.config == ("lr", "wd")
    assert log.configs["wd"].tolist()[1] == 0.1
    assert np.isnan(log.configs["wd"].iloc[0])


def test_adding_new_runs_is_reading_both_tables_as_one():
    first = small().assign(kind="a", stage=pd.Categorical(["x"] * 6), fast=True, depth=3)
    second = small().assign(kind="b", stage=pd.Categorical(["y"] * 6), fast=False, depth=4.5)
    second["id"] = "new " + second["id"]
    both, whole = read(first) + read(second), read(pd.concat([first, second], ignore_index=True))
    pd.testing.assert_frame_equal(both.configs, whole.configs)
    pd.testing.assert_frame_equal(both.points, whole.points)


def test_adding_fills_outputs_that_one_log_misses():
    frame = small().assign(bleu=1.0)
    left = read(frame.assign(bleu=np.nan).assign(x=1), output=("loss", "bleu"), config=["lr"])
    right = read(frame, output=("loss", "bleu"), config=["lr"])
    assert (left + right).equals(right)


def test_adding_refuses_contradictions():
    with pytest.raises(RunLogError, match=r"loss of run 'a' at step 10 is 4 in one log and 5"):
        read() + read(small().assign(loss=[5.0, 3.0, 2.5, 4.2, 3.5, 4.1]))
    with pytest.raises(RunLogError, match=r"lr of run 'a' is 0.1 in one log and 0.3"):
        read() + read(small().assign(lr=0.3))
    with pytest.raises(RunLogError, match=r"goal is 'min' in one and 'max'"):
        read() + read(goal="max")


def test_the_repr_says_what_is_in_the_log():
    assert repr(read()) == "RunLog(3 runs, 6 points, loss by step, levels: task, config: lr)"


def test_a_quarter_of_a_million_rows_are_read_in_under_a_second():
    import time

    points, runs = 62, 4032
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.repeat([f"run-{i}" for i in range(runs)], points),
            "step": np.tile(np.arange(points), runs),
            "loss": rng.uniform(2, 3, runs * points),
        }
    )
    for i in range(20):
        frame[f"c{i}"] = np.repeat(rng.uniform(size=runs), points)
        frame[f"t{i}"] = np.repeat(rng.choice(["x", "y"], runs), points)
    start = time.process_time()
    log = RunLog.from_frame(frame, run="id", axis="step", output="loss")
    assert time.process_time() - start < 1.0
    assert log.n_points == 249_984
    assert len(log.roles.config) == 40


@pytest.mark.parametrize(("rising", "marked"), [(0.2, 8), (0.4, 1)])
def test_where_many_runs_rise_only_explosions_are_marked(rising, marked):
    runs = 40
    late = np.where(np.arange(runs) < rising * runs, 6.0, 2.0)
    late[0] = 100.0
    rows = [(f"r{i}", step, value) for i in range(runs) for step, value in ((1, 4.0), (2, 3.0), (3, late[i]))]
    frame = pd.DataFrame(rows, columns=["run", "step", "loss"])
    assert RunLog.from_frame(frame, run="run", axis="step", output="loss").points["diverged"].sum() == marked


def test_scores_read_as_losses_are_pointed_out():
    rows = [(run, i, 0.2 * i) for run in "abc" for i in (1, 2, 3)]
    frame = pd.DataFrame(rows, columns=["run", "step", "accuracy"])
    with pytest.warns(GoalWarning, match=r'rises in 3 of 3 runs.*give goal="max"'):
        RunLog.from_frame(frame, run="run", axis="step", output="accuracy")
    RunLog.from_frame(frame, run="run", axis="step", output="accuracy", goal="max")
    falling = frame.assign(accuracy=[1.0, 0.5, 0.4, 1.0, 0.5, 0.4, 0.2, 0.4, 0.6])
    assert RunLog.from_frame(falling, run="run", axis="step", output="accuracy").points["diverged"].sum() == 2


def test_signed_outputs_diverge_by_how_far_outputs_spread_not_by_where_their_zero_lies():
    starts = np.linspace(-1, 1, 12)
    rows = [(f"r{i}", t, v) for i, s in enumerate(starts) for t, v in enumerate((s, s - 0.5, s + 0.3))]
    frame = pd.DataFrame([*rows, ("r0", 3, 50.0)], columns=["run", "step", "margin"])
    log = RunLog.from_frame(frame, run="run", axis="step", output="margin")
    assert log.points.loc[log.points["diverged"], "margin"].tolist() == [50.0]


def test_numbers_written_as_text_are_pointed_out_and_names_are_not():
    told = {"lr": ["1e-4", "3e-4"], "width": ["64", None], "version": ["1.10", "1.9"], "name": ["007", "12"]}
    told["size"] = ["1.2M", "30M"]
    rows = [
        {"run": run, "step": step, "loss": 1.0 / step} | {key: value[run] for key, value in told.items()}
        for run in (0, 1)
        for step in (1, 2)
    ]
    log = RunLog.from_frame(pd.DataFrame(rows), run="run", axis="step", output="loss")
    assert log.notes == (
        "columns that hold numbers as text are read as labels: lr, version, size; convert them, for example "
        "with pd.to_numeric (1.2M is 1200000), where they count or measure something",
    )
    numbers = pd.DataFrame(rows).assign(lr=1e-4, version=1.0)
    assert RunLog.from_frame(numbers.drop(columns="size"), run="run", axis="step", output="loss").notes == ()


def test_a_size_with_its_unit_is_refused_with_the_number_to_write():
    frame = pd.DataFrame({"run": ["a", "b"], "step": [1, 1], "loss": [3.0, 2.0], "size": ["1.2M", "7B"]})
    with pytest.raises(RunLogError, match=r"has '1\.2M', .*write numbers out, such as 1200000 in"):
        RunLog.from_frame(frame, run="run", axis="step", output="loss", params="size")


@pytest.mark.parametrize("unit", [pd.Timestamp("2026-01-01"), pd.Timedelta(0)])
def test_clock_times_as_an_axis_are_refused_with_what_to_give_instead(unit):
    times = unit + pd.to_timedelta([10, 20, 30], unit="s")
    frame = pd.DataFrame({"run": "a", "time": times, "loss": [3.0, 2.0, 1.5]})
    with pytest.raises(RunLogError, match="the time since the start of the run as a number"):
        RunLog.from_frame(frame, run="run", axis="time", output="loss")
