import importlib.util
import sqlite3
from pathlib import Path

import pytest
from mlflow_store import LOSSES, write

from probscale.errors import MissingExtraError, RunLogError
from probscale.integrations import from_mlflow

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module", params=["folder", "database"])
def store(request, tmp_path_factory):
    """A store of each kind: written now where mlflow is installed, else one that mlflow 3.17 wrote."""
    root = tmp_path_factory.mktemp("mlflow")
    if importlib.util.find_spec("mlflow") is not None:
        address = f"file:{root}/mlruns" if request.param == "folder" else f"sqlite:///{root}/mlflow.db"
        write(address)
        return address
    if request.param == "folder":
        return DATA / "mlruns"
    with sqlite3.connect(root / "mlflow.db") as database:
        database.executescript((DATA / "mlflow.sql").read_text(encoding="utf-8"))
    database.close()
    return root / "mlflow.db"


def test_a_real_store_becomes_a_log_with_its_whole_history(store):
    log = from_mlflow(store)
    assert (log.n_runs, log.output, log.roles.axis, log.roles.goal) == (3, "val/loss", "tokens", "min")
    assert log.roles.levels == ("group",)
    assert sorted(log.configs["group"]) == ["dense", "dense", "sparse"]
    assert sorted(log.configs["lr"]) == [1e-3, 1e-3, 3e-3]
    assert set(log.configs["planned_tokens"]) == {50 * 8 * 128}
    first = log.points[log.points["run"] == log.runs[0]]
    assert first["val/loss"].tolist() == list(LOSSES)
    assert first["tokens"].tolist() == [10 * i * 8 * 128 for i in range(1, 6)]


def test_a_nan_that_was_logged_marks_divergence(store):
    log = from_mlflow(store)
    assert log.points["diverged"].sum() == 1
    assert log.points.loc[log.points["diverged"], "run"].tolist() == ["b"]


def test_tags_of_users_are_kept_where_they_are_named(store):
    log = from_mlflow(store)
    assert not any("corpus" in name for name in log.configs)
    assert any("tags.corpus" in note for note in log.notes)
    assert sorted(from_mlflow(store, levels="tags.corpus").configs["tags.corpus"]) == [
        "corpus of a",
        "corpus of a",
        "corpus of b",
    ]


def small_store(folder, metrics):
    """A file store of one experiment with two runs."""
    (folder / "1").mkdir()
    (folder / "1" / "meta.yaml").write_text("experiment_id: '1'\nname: small\n")
    for number in range(2):
        run = folder / "1" / f"{number:032x}"
        for part in ("params", "metrics"):
            (run / part).mkdir(parents=True)
        (run / "meta.yaml").write_text(f"run_name: r{number}\nstart_time: {number}\n")
        (run / "params" / "lr").write_text(str(number + 1))
        for key, points in metrics.items():
            lines = [f"{1000 + i} {value} {step}\n" for i, (step, value) in enumerate(points)]
            (run / "metrics" / key).write_text("".join(lines))
    return folder


def test_values_logged_without_steps_are_counted_in_their_order(tmp_path):
    log = from_mlflow(small_store(tmp_path, {"val_loss": [(0, 3.0), (0, 2.0), (0, 1.5)]}))
    assert log.points["step"].tolist() == [0, 1, 2, 0, 1, 2]
    assert log.points["val_loss"].tolist() == [3.0, 2.0, 1.5] * 2
    assert any("without steps, counted in their order: val_loss" in note for note in log.notes)


def test_a_final_metric_without_a_step_is_not_taken_for_the_curve(tmp_path):
    curve = [(step, 3.0 / step) for step in (1, 2, 3)]
    store = small_store(tmp_path, {"train_loss": curve, "test_loss": [(0, 1.1)]})
    assert from_mlflow(store).output == "train_loss"
    assert from_mlflow(store, output="test_loss").n_points == 2


def test_runs_of_one_name_are_told_apart_and_deleted_ones_left_out(store):
    names = list(from_mlflow(store).runs)
    assert "b" in names
    assert sum(name.startswith("a (") for name in names) == 2
    assert "deleted" not in names


def test_experiments_are_chosen_by_name(store):
    log = from_mlflow(store, experiments="dense", output="acc", axis="step")
    assert (log.n_runs, log.roles.goal, log.roles.levels) == (2, "max", ())
    with pytest.raises(RunLogError, match="no experiment 'missing'"):
        from_mlflow(store, experiments="missing")


def test_a_place_without_a_store_is_refused(tmp_path):
    with pytest.raises(RunLogError, match="no MLflow store"):
        from_mlflow(tmp_path / "mlruns")
    with pytest.raises(RunLogError, match="no MLflow file store"):
        from_mlflow(tmp_path)
    (tmp_path / "x.db").write_text("text, not a database")
    with pytest.raises(RunLogError, match="not an MLflow database"):
        from_mlflow(tmp_path / "x.db")


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_server_without_mlflow_names_the_extra():
    with pytest.raises(MissingExtraError, match=r"probscale-surrogates\[mlflow\]"):
        from_mlflow("http://localhost:1")
