import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import RunLogError
from probscale.integrations import LoggedRun, assemble, from_table
from probscale.integrations.flatten import config_table, flatten
from probscale.integrations.hints import guess_goal, guess_output, tokens_per_step
from probscale.surrogate import FitOptions

pl = pytest.importorskip("polars", reason="polars frames are read here")
pa = pytest.importorskip("pyarrow", reason="pyarrow tables are read here")


def sweep(**extra):
    rows = [
        {
            "run_id": f"r{i}",
            "lr": lr,
            "batch_size": 8,
            "seq_len": 128,
            "step": 100 * s,
            "eval/loss": round(3 + lr / s, 6),
        }
        for i, lr in enumerate((1e-3, 3e-3, 1e-2))
        for s in range(1, 8)
    ]
    return pd.DataFrame(rows).assign(**extra)


def runs_of(*rows, config=None, **more):
    return [LoggedRun("a", config or {}, rows, **more)]


def test_tables_of_three_libraries_give_the_same_log():
    frame = sweep()
    log = from_table(frame)
    for other in (pl.DataFrame(frame), pl.DataFrame(frame).lazy(), pa.Table.from_pandas(frame)):
        assert from_table(other).equals(log)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_files_give_the_same_log_as_frames_and_as_read_runs(tmp_path, suffix):
    frame, path = sweep(), tmp_path / f"runs.{suffix}"
    writer = {"csv": frame.to_csv, "parquet": frame.to_parquet}.get(suffix)
    if writer is None:
        frame.to_json(path, orient="records", lines=True)
    else:
        writer(path, index=False)
    inferred = from_table(path, axis="step")
    assert inferred.equals(from_table(frame, axis="step"))
    spelt = ps.read_runs(path, run="run_id", axis="step", output="eval/loss", config=["lr"])
    assert inferred.points["eval/loss"].tolist() == spelt.points["eval/loss"].tolist()
    assert inferred.configs["lr"].tolist() == spelt.configs["lr"].tolist()


def test_tokens_are_steps_times_batch_times_sequence():
    log = from_table(sweep(max_steps=700))
    assert log.points["tokens"].tolist()[:2] == [100 * 8 * 128, 200 * 8 * 128]
    assert log.roles.horizon == "planned_tokens"
    assert set(log.configs["planned_tokens"]) == {700 * 8 * 128}


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"batch_tokens": 4096, "batch_size": 8, "seq_len": 3}, 4096),
        ({"global_batch_size": 64, "batch_size": 8, "seq_len": 10}, 640),
        ({"data.batch_size": 8, "model.block_size": 16, "gradient_accumulation_steps": 4, "n_gpu": 2}, 1024),
        ({"per_device_train_batch_size": 2, "max_seq_length": 5}, 10),
        ({"batch_size": 8}, None),
        ({"seq_len": 8}, None),
        ({"batch_size": 0, "seq_len": 8}, None),
    ],
)
def test_tokens_per_step_follow_from_the_settings(config, tokens):
    found = tokens_per_step(config)
    assert (None if found is None else found.value) == tokens


def test_tokens_per_step_can_be_given_as_a_number_or_as_a_setting():
    assert from_table(sweep(), tokens_per_step=10).points["tokens"].iloc[0] == 1000
    frame = sweep().assign(width=np.repeat([1.0, 2.0, 3.0], 7))
    assert from_table(frame, tokens_per_step="width").points["tokens"].tolist()[::7] == [100, 200, 300]
    with pytest.raises(RunLogError, match="tokens_per_step must be a positive number"):
        from_table(sweep(), tokens_per_step="depth")


def test_tokens_that_cannot_be_derived_are_refused_with_the_remedy():
    with pytest.raises(RunLogError, match="axis='step'"):
        from_table(sweep().drop(columns="seq_len"), axis="tokens")


def test_evaluation_logged_apart_from_progress_takes_the_last_progress():
    rows = ({"tokens": 5.0}, {"val_loss": 3.0}, {"tokens": 9.0, "lr": 1.0}, {"val_loss": 2.0})
    log, _ = assemble(runs_of(*rows), source="a test")
    assert log.points["tokens"].tolist() == [5, 9]


def test_the_account_says_what_was_left_out_and_why():
    runs = [
        LoggedRun(
            "good", {"lr": 1.0, "output_dir": "/x", "_wandb": 1, "a": 3, "b": 3}, [{"step": 1, "loss": 2.0}]
        ),
        LoggedRun(
            "other",
            {"lr": 2.0, "a": 2, "b": 2},
            [{"step": 1, "loss": 2.0}, {"step": 1, "loss": 1.0, "acc": 1}],
        ),
        LoggedRun("none", {}, [{"step": 1}]),
    ]
    log, summary = assemble(runs, source="a test")
    assert (summary.runs_found, summary.runs_kept, summary.points_kept) == (3, 2, 2)
    assert summary.dropped_runs == {"none": "never logged loss"}
    assert summary.dropped_points == {"logged again at the same step, the later value kept": 1}
    assert (
        summary.dropped_columns["output_dir"]
        == summary.dropped_columns["_wandb"]
        == "bookkeeping, not training"
    )
    assert summary.dropped_columns["b"] == "repeats a"
    assert summary.other_metrics == ("acc",)
    assert log.points["loss"].tolist() == [2.0, 1.0]
    assert set(summary.notes()) <= set(log.notes)
    assert "imported 2 of 3 runs from a test" in str(summary)


def test_runs_of_several_projects_form_a_level():
    runs = [
        LoggedRun(f"{g}{i}", {"lr": i}, [{"step": 1, "loss": 2.0}], group=g) for g in "ab" for i in range(2)
    ]
    assert assemble(runs, source="a test")[0].roles.levels == ("group",)
    assert assemble(runs[:2], source="a test")[0].roles.levels == ()


def test_several_outputs_share_rows_and_the_first_decides_the_goal():
    rows = ({"step": 1, "acc": 0.1}, {"step": 1, "loss": 3.0}, {"step": 2, "acc": 0.2})
    log, _ = assemble(runs_of(*rows), source="a test", output=("acc", "loss"))
    assert log.roles.goal == "max"
    assert log.points["acc"].tolist() == [0.1, 0.2]
    assert log.points["loss"].isna().tolist() == [False, True]


def test_points_before_the_first_progress_are_counted_as_left_out():
    log, summary = assemble(runs_of({"loss": 4.0}, {"step": 1, "loss": 3.0}), source="a test")
    assert log.n_points == 1
    assert sum(summary.dropped_points.values()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": "eval_loss"}, "did you mean 'eval/loss'"),
        ({"output": "bleu"}, "logged are"),
        ({"axis": "hours"}, "was not logged by every run"),
        ({"params": "size"}, "no setting 'size'"),
        ({"horizon": "stop"}, "no setting 'stop'"),
        ({"levels": "task"}, "no setting 'task'"),
        ({"config": ["rate"]}, "no setting 'rate'"),
        ({"run": "who"}, "no column 'who'"),
    ],
)
def test_wrong_names_are_refused_with_what_there_is(arguments, message):
    with pytest.raises(RunLogError, match=message):
        from_table(sweep(), **arguments)


def test_an_unclear_output_must_be_named():
    with pytest.raises(RunLogError, match="name it, for example"):
        assemble(runs_of({"step": 1, "x": 1.0, "y": 2.0}), source="a test")
    with pytest.raises(RunLogError, match="no run found"):
        assemble([], source="a test")
    with pytest.raises(RunLogError, match="measures progress"):
        assemble(runs_of({"loss": 1.0}), source="a test")
    with pytest.raises(RunLogError, match="cannot read a int"):
        from_table(3)


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"train/loss": 3, "eval/loss": 3}, "eval/loss"),
        ({"train_loss": 9, "eval_loss": 2}, "train_loss"),
        ({"eval/c4_en/loss": 2, "train/loss_total": 2}, "eval/c4_en/loss"),
        ({"bleu": 2}, "bleu"),
        ({"x": 2, "y": 2}, None),
        ({}, None),
    ],
)
def test_the_output_is_guessed_from_names(counts, output):
    assert guess_output(counts) == output


@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("val/acc", "max"),
        ("eval_accuracy", "max"),
        ("BLEU", "max"),
        ("val_loss", "min"),
        ("score_loss", "min"),
        ("q", "min"),
    ],
)
def test_the_goal_follows_from_the_name(name, goal):
    assert guess_goal(name) == goal


def test_settings_are_flattened_and_typed():
    nested = {
        "opt": {"betas": (0.9, 0.95), "name": "adamw"},
        "layers": [1, 2, 3, 4, 5],
        "none": None,
        "inf": np.inf,
    }
    assert flatten(nested) == {
        "opt.betas.0": 0.9,
        "opt.betas.1": 0.95,
        "opt.name": "adamw",
        "layers": "[1, 2, 3, 4, 5]",
    }
    table, converted = config_table(
        {
            "a": {"lr": "1e-3", "amp": "True", "k": 1, "s": "None"},
            "b": {"lr": "0.1", "amp": "False", "k": "auto", "s": "x"},
        }
    )
    assert table["lr"].tolist() == [1e-3, 0.1]
    assert table["amp"].tolist() == [True, False]
    assert table["k"].tolist() == ["1", "auto"]
    assert table["s"].isna().tolist() == [True, False]
    assert converted == {
        "lr": "text read as numbers",
        "amp": "text read as truth values",
        "k": "mixed types written as text",
    }


def test_an_imported_log_fits_and_predicts():
    log = from_table(sweep())
    surrogate = ps.fit_surrogate(log, embedder=None, options=FitOptions(iterations=5, rounds=1))
    curves = surrogate.predict([{"lr": 2e-3}], at=[7e5])
    assert np.isfinite(curves.mean).all()


def test_nested_cells_are_settings_of_their_own():
    frame = pd.DataFrame(
        {
            "run": ["a", "a", "b", "b"],
            "step": [1, 2, 1, 2],
            "loss": [3.0, 2.0, 3.0, 2.0],
            "betas": [[0.9, 0.95]] * 2 + [[0.9, 0.99]] * 2,
            "config": [{"width": 64, "data": {"mix": [0.5, 0.5]}}] * 2 + [{"width": 128}] * 2,
        }
    )
    log = from_table(frame)
    assert log.configs["betas.1"].tolist() == [0.95, 0.99]
    assert log.configs["config.width"].tolist() == [64.0, 128.0]
    assert log.configs["config.data.mix.0"].tolist()[0] == 0.5


def test_names_tell_measurements_from_settings_where_each_run_has_one_row():
    frame = pd.DataFrame(
        {
            **{
                "run": list("abc"),
                "step": [10] * 3,
                "val_loss": [1.0, 2.0, 3.0],
                "train_acc": [0.3, 0.2, 0.1],
            },
            **{"lr": [1.0, 2.0, 4.0], "loss_weight": [0.1, 0.2, 0.5], "seq_tokens": [1.0, 2.0, 5.0]},
        }
    )
    log = from_table(frame)
    assert (log.output, log.n_points) == ("val_loss", 3)
    assert list(log.configs) == ["lr", "loss_weight", "seq_tokens"]
    assert list(from_table(frame, config=["train_acc"]).configs) == ["train_acc"]
    with pytest.raises(RunLogError, match="a column of steps that is the same in all rows"):
        from_table(frame.drop(columns="step"))


def test_a_table_says_that_rows_without_a_value_were_left_out():
    frame = pd.DataFrame(
        {"run": ["a"] * 3 + ["b"] * 3, "step": [1, 2, 3] * 2, "loss": [3.0, 2.0, np.nan, 3.0, 2.0, np.inf]}
    )
    log = from_table(frame)
    assert log.points["diverged"].tolist() == [False, False, False, False, True]
    assert (
        "partly read: a: rows without loss count as not logged; where a run diverged, write inf" in log.notes
    )
    sparse = frame.assign(accuracy=[0.1, np.nan, 0.2] * 2)
    assert not any("write inf" in note for note in from_table(sparse, output="loss").notes)
