import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from probscale.errors import ConfigError, RunLogError
from probscale.integrations import from_wandb, from_wandb_export, from_wandb_offline, read_wandb_offline

SCRIPT = """
import math, os, sys, wandb
for rate in (1e-3, 3e-3):
    run = wandb.init(project="sweep", mode="offline", name=f"lr{rate}", dir=sys.argv[1],
                     config={"lr": rate, "opt": {"name": "adamw", "betas": [0.9, 0.95]}, "text": "x" *
                     70_000})
    for i in range(1, 601):
        run.log({"train/loss": 3 / i, "tokens": 1024 * i, "image": wandb.Histogram([1, 2])})
        if i % 100 == 0:
            run.log({"eval": {"loss": math.nan if i == 600 and rate > 2e-3 else 3.1 / i}})
    run.config.update({"n_params": 5})
    run.finish()
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """Two real offline runs of 600 steps, with a setting longer than a block of the file format."""
    pytest.importorskip("wandb", reason="writes the files that are read here")
    root = tmp_path_factory.mktemp("wandb")
    keep = {**os.environ, "WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "HOME": str(root)}
    run = [sys.executable, "-P", "-c", SCRIPT, root]
    subprocess.run(run, check=True, capture_output=True, cwd=root, env=keep, timeout=120)
    return root


def test_an_offline_folder_becomes_a_log(offline):
    log = from_wandb_offline(offline / "wandb")
    assert list(log.runs) == ["lr0.001", "lr0.003"]
    assert (log.output, log.roles.axis, log.roles.params) == ("eval.loss", "tokens", "n_params")
    assert log.points["tokens"].tolist()[:6] == [1024 * i for i in range(100, 601, 100)]
    np.testing.assert_allclose(log.points["eval.loss"][:6], 3.1 / np.arange(100, 601, 100), rtol=1e-15)
    assert log.points["diverged"].tolist() == [False] * 11 + [True]


def test_no_row_of_a_long_history_is_lost(offline):
    log = from_wandb_offline(offline, output="train/loss")
    assert log.n_points == 1200
    run = log.points[log.points["run"] == "lr0.001"]
    np.testing.assert_allclose(run["train/loss"], 3 / np.arange(1, 601), rtol=1e-15)


def test_offline_records_agree_with_the_protocol_buffers_of_wandb(offline):
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    from probscale.integrations.wandb_files import _records

    file = sorted(offline.rglob("*.wandb"))[0]
    history, config = [], {}
    for body in _records(file.read_bytes()):
        record = proto.Record.FromString(body)
        if record.HasField("history"):
            history.append({".".join(i.nested_key) or i.key: i.value_json for i in record.history.item})
        for part in (record.run.config, record.config):
            config |= {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in part.update}
    mine = next(run for run in read_wandb_offline(file))
    assert len(mine.rows) == len(history)
    for row, item in zip(mine.rows, history, strict=True):
        assert row.get("train/loss") == (float(item["train/loss"]) if "train/loss" in item else None)
    assert dict(mine.config) == {k: v for k, v in config.items() if not k.startswith("_")}


def test_a_file_cut_short_by_a_kill_gives_the_rows_before_the_cut(offline, tmp_path):
    whole = sorted(offline.rglob("*.wandb"))[0].read_bytes()
    (tmp_path / "run-x.wandb").write_bytes(whole[: len(whole) // 2])
    (run,) = read_wandb_offline(tmp_path)
    assert 0 < len(run.rows) < 606
    assert run.warning == "not finished"


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "run.wandb").write_bytes(b"something else")
    with pytest.raises(RunLogError, match="not a W&B run file"):
        from_wandb_offline(tmp_path)


class OnlineRun:
    """The part of a run of `wandb.Api` that an import uses, over rows in memory."""

    def __init__(self, name, identifier, config, rows):
        self.name, self.id, self.project, self.config, self._rows = name, identifier, "p", config, rows

    def scan_history(self, page_size=1000):
        yield from self._rows

    def history(self):
        raise AssertionError("history() is a sample")


def test_online_runs_are_read_through_scan_history():
    rows = [{"_step": i, "train/loss": 3 / (i + 1), "grad": {"_type": "histogram"}} for i in range(2000)]
    log = from_wandb(
        [OnlineRun("a", "i1", {"lr": 1, "_wandb": {}}, rows), OnlineRun("a", "i2", {"lr": 2}, rows)]
    )
    assert log.n_points == 4000
    assert list(log.runs) == ["a (i1)", "a (i2)"]
    assert log.roles.axis == "step"


def test_projects_are_asked_for_with_the_filters_and_the_patience_of_the_caller(monkeypatch):
    wandb = pytest.importorskip("wandb", reason="whose Api is asked")
    asked = []

    class Server:
        """As much of `wandb.Api` as an import uses, of one project."""

        def __init__(self, *, timeout):
            asked.append(timeout)

        def runs(self, project, filters, per_page):
            asked.append((project, filters))
            return [OnlineRun("a", "i1", {"lr": 1}, [{"_step": i, "loss": 3 / (i + 1)} for i in range(3)])]

    monkeypatch.setattr(wandb, "Api", Server)
    assert from_wandb("me/sweep", filters={"state": "finished"}, timeout=7).n_points == 3
    assert asked == [7, ("me/sweep", {"state": "finished"})]
    from_wandb("me/sweep")
    assert asked[2:] == [60, ("me/sweep", {})]


def test_a_project_must_name_its_entity():
    with pytest.raises(ConfigError, match="entity/project"):
        from_wandb("project")


def test_a_long_export_with_configuration_objects_is_read(tmp_path):
    rows = [
        {"run_id": r, "_step": s, "loss": 3.0 / s, "config": json.dumps({"opt": {"lr": lr}})}
        for r, lr in (("a", 0.1), ("b", 0.2))
        for s in (1, 2, 3)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "export.parquet")
    log = from_wandb_export(tmp_path / "export.parquet")
    assert log.n_points == 6
    assert log.configs["opt.lr"].tolist() == [0.1, 0.2]


def test_a_setting_that_is_logged_too_stays_as_it_was_logged(tmp_path):
    rows = [
        {
            "run_id": r,
            "_step": s,
            "loss": 3.0 / s,
            "lr": lr / s,
            "config": json.dumps({"lr": lr, "width": 64}),
        }
        for r, lr in (("a", 0.1), ("b", 0.2))
        for s in (1, 2)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "history.csv", index=False)
    log = from_wandb_export(tmp_path / "history.csv")
    assert log.n_points == 4
    assert "lr" not in log.configs


def test_histories_of_single_runs_are_named_after_their_files(tmp_path):
    for name in ("a", "b"):
        pd.DataFrame({"_step": [1, 2], "loss": [2.0, 1.0]}).to_parquet(tmp_path / f"{name}.parquet")
    log = from_wandb_export(tmp_path, configs={"a": {"lr": 1.0}, "b": {"lr": 2.0}})
    assert log.configs["lr"].to_dict() == {"a": 1.0, "b": 2.0}


def test_the_table_of_a_chart_is_read(tmp_path):
    text = '"Step","my run - 1 - loss","my run - 1 - loss__MIN","my run - 1 - loss__MAX","b - loss"\n1,3,3,3,\n2,2,2,2,5\n'
    (tmp_path / "chart.csv").write_text(text)
    log = from_wandb_export(tmp_path / "chart.csv")
    assert log.points.groupby("run", sort=False)["loss"].apply(list).to_dict() == {
        "my run - 1": [3.0, 2.0],
        "b": [5.0],
    }


def test_values_that_are_no_numbers_are_left_out_of_rows():
    rows = [{"_step": 1, "loss": "NaN", "note": "hello", "flag": True}, {"_step": 2, "loss": 1.0}]
    log = from_wandb([SimpleNamespace(name="a", id="x", config={}, scan_history=lambda page_size: rows)])
    assert log.points["diverged"].tolist() == [True, False]


def test_labels_of_online_runs_are_kept_where_they_are_named():
    rows = [{"_step": step, "loss": 3.0 / (step + 1)} for step in range(3)]
    runs = [OnlineRun(name, name, {"lr": rate}, rows) for name, rate in (("a", 1), ("b", 2))]
    for run, group in zip(runs, ("small", "large"), strict=True):
        run.group, run.tags, run.job_type = group, ["x", "y"], None
    log = from_wandb(runs)
    assert list(log.configs) == ["lr"]
    assert any("wandb_group, wandb_tags" in note for note in log.notes)
    assert from_wandb(runs, levels="wandb_group").configs["wandb_group"].tolist() == ["small", "large"]


RESUMED = """
import sys, wandb
for part in range(2):
    run = wandb.init(project="sweep", mode="offline", name="r", id="abc12345", resume="allow", dir=sys.argv[1],
                     group="g", tags=["x", "y"], config={"lr": 0.1, "part": part})
    for i in range(5):
        run.log({"loss": 3.0 - 0.1 * (5 * part + i)})
    run.finish()
"""


def test_a_run_that_was_resumed_offline_is_one_run(tmp_path):
    pytest.importorskip("wandb", reason="writes the files that are read here")
    keep = {**os.environ, "WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "HOME": str(tmp_path)}
    run = [sys.executable, "-P", "-c", RESUMED, tmp_path]
    subprocess.run(run, check=True, capture_output=True, cwd=tmp_path, env=keep, timeout=120)
    assert len(list(tmp_path.rglob("*.wandb"))) >= 2
    log = from_wandb_offline(tmp_path)
    assert (list(log.runs), log.n_points) == (["r"], 10)
    assert log.points["step"].tolist() == list(range(10))
    np.testing.assert_allclose(log.points["loss"], 3.0 - 0.1 * np.arange(10))
    assert any("resumed without a server" in note for note in log.notes)
    (found,) = read_wandb_offline(tmp_path)
    assert (found.config["wandb_group"], found.config["wandb_tags"]) == ("g", "x, y")


def test_the_table_that_the_guide_of_wandb_writes_is_read(tmp_path):
    """Names, settings and summaries, as `str` of dicts, NaN among them."""
    rows = [
        {
            "summary": {"eval/loss": 2.0 + rate, "_step": 100, "acc": float("nan"), "_wandb": {"runtime": 3}},
            "config": {"lr": rate, "net": {"width": 64, "act": None}},
            "name": "same name",
        }
        for rate in (0.1, 0.2)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "project.csv")
    log = from_wandb_export(tmp_path / "project.csv")
    assert (log.n_runs, log.output, log.roles.axis) == (2, "eval/loss", "step")
    assert log.points["eval/loss"].tolist() == [2.1, 2.2]
    assert log.configs["lr"].tolist() == [0.1, 0.2]
    (tmp_path / "project.csv").write_text('name,config,summary\na,"{broken",{}\n')
    with pytest.raises(RunLogError, match="neither JSON nor a dict of Python"):
        from_wandb_export(tmp_path / "project.csv")


def test_the_table_of_runs_is_read_with_a_run_per_row(tmp_path):
    text = (
        '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","lr","_step","eval/loss"\n'
        '"a","finished","-","me","x","2026-01-01T00:00:00.000Z","10","s","0.1","100","2.5"\n'
        '"a","finished","-","me","","2026-01-02T00:00:00.000Z","11","s","0.2","100","2.4"\n'
    )
    (tmp_path / "runs.csv").write_text(text)
    log = from_wandb_export(tmp_path / "runs.csv")
    assert log.points["eval/loss"].tolist() == [2.5, 2.4]
    assert list(log.configs) == ["lr"]


def test_settings_of_an_unknown_run_are_refused(tmp_path):
    (tmp_path / "chart.csv").write_text('"Step","b - loss"\n1,3\n2,2\n')
    with pytest.raises(RunLogError, match="unknown run 'c'; runs are: b"):
        from_wandb_export(tmp_path / "chart.csv", configs={"c": {"lr": 0.1}})
