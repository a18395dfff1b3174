import json

import pytest

from probscale.errors import RunLogError
from probscale.integrations import from_tune


def write(folder, trial, config, values, *, tail="", error=False):
    """A trial as Tune's own logger keeps it."""
    place = folder / f"train_{trial}"
    place.mkdir(parents=True)
    lines = [
        {"eval": {"loss": value}, "training_iteration": i, "trial_id": trial, "pid": 7, "done": False}
        | {"time_total_s": 0.5 * i, "time_this_iter_s": 0.5, "date": "2026-01-01", "config": config}
        for i, value in enumerate(values, start=1)
    ]
    (place / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    (place / "params.json").write_text(json.dumps(config))
    if error:
        (place / "error.txt").write_text("out of memory")


def config(rate, depth=None):
    return {"optimizer": {"lr": rate, "betas": [0.9, 0.95]}, "depth": depth}


def test_trials_become_a_log_with_the_names_of_tune(tmp_path):
    write(tmp_path / "one", "a1", config(0.1), [3.0, 2.0, float("nan")])
    write(tmp_path / "one", "b2", config(0.2, 8), [3.0, 2.5], tail='{"eval": {"lo')
    write(tmp_path / "one", "c3", config(0.3), [], error=True)
    log = from_tune(tmp_path)
    assert list(log.runs) == ["a1", "b2"]
    assert (log.output, log.roles.axis, log.roles.goal, log.roles.levels) == (
        "eval/loss",
        "training_iteration",
        "min",
        (),
    )
    assert log.points["diverged"].tolist() == [False, False, True, False, False]
    assert log.configs["optimizer/lr"].tolist() == [0.1, 0.2]
    assert "pid" not in log.configs
    assert "left out runs (ended with an error): train_c3" in log.notes
    assert from_tune(tmp_path, axis="time_total_s").points["time_total_s"].tolist()[:2] == [0.5, 1.0]


def test_several_experiments_form_a_level(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, f"{name}1", config(0.1), [3.0, 2.0])
    log = from_tune(tmp_path)
    assert log.roles.levels == ("group",)
    assert log.configs["group"].tolist() == ["one", "two"]


def test_a_damaged_result_is_refused_by_line(tmp_path):
    (tmp_path / "result.json").write_text("much\n{}\n")
    with pytest.raises(RunLogError, match=r"line 1 of .* is not a report of Tune"):
        from_tune(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunLogError, match=r"no result.json below"):
        from_tune(tmp_path / "empty")
