import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from probscale.runs import RunLog
from strategies import ROLES, run_frames

# Random tables rise as often as they fall.
pytestmark = pytest.mark.filterwarnings("ignore::probscale.errors.GoalWarning")


def log():
    rows = []
    for run, task, width, steps in (
        ("a", "en", 64, (1, 2, 3, 4)),
        ("b", "en", 128, (1, 2, 3, 20, 21, 22)),
        ("c", "de", 64, (1, 2, 40)),
    ):
        rows += [
            {
                "id": run,
                "step": step,
                "loss": 3.0 - step / 50,
                "task": task,
                "width": width,
                "end": 40,
                "opt": "adamw",
            }
            for step in steps
        ]
    frame = pd.DataFrame(rows)
    frame.loc[[2, 9], "loss"] = np.inf
    return RunLog.from_frame(
        frame,
        run="id",
        axis="step",
        output="loss",
        levels=("task", "width"),
        horizon="end",
        nonfinite="diverged",
    )


def test_a_summary_counts_runs_cells_gaps_and_unfinished_runs():
    summary = log().describe()
    assert (summary.runs, summary.points, summary.points_per_run) == (3, 13, (3, 4.0, 6))
    assert summary.axis == ("step", 1.0, 40.0)
    assert summary.outputs == (("loss", 3.0 - 40 / 50, 3.0 - 1 / 50, 2),)
    assert summary.empty_cells == (1, 4)
    assert summary.unfinished == ("a", "b")
    assert (summary.diverged, summary.recovered) == (("b",), ("a",))
    assert [(gap.run, gap.start, gap.end) for gap in summary.gaps] == [("b", 3.0, 20.0)]
    assert summary.levels[0].common == (("en", 2), ("de", 1))
    assert (summary.levels[1].kind, summary.levels[1].low, summary.levels[1].high) == ("number", 64.0, 128.0)


def test_a_summary_reads_as_a_page():
    text = str(log().describe())
    for part in (
        "3 runs, 13 points (3 to 6 a run, median 4)",
        "axis step: 1 to 40",
        "level task: en (2), de (1)",
        "cells without a run: 1 of 4",
        "config opt: adamw (3)",
        "unfinished runs: 2 (a, b)",
        "gaps: 1 (b from 3 to 20)",
        "diverged runs: 1 (b)",
        "runs with a spike: 1 (a)",
        "note: marked 2 points in 2 runs",
    ):
        assert part in text


def curves(ends, horizons, steps=(0.1, 0.3, 0.6, 1.0), **roles):
    """Runs of four points that end at the given places."""
    rows = [
        {"id": f"r{i}", "tokens": share * end, "loss": 3 - share, "budget": horizon, "lr": 1e-3 * (i + 1)}
        for i, (end, horizon) in enumerate(zip(ends, horizons, strict=True))
        for share in steps
    ]
    return RunLog.from_frame(pd.DataFrame(rows), run="id", axis="tokens", output="loss", **roles)


def test_a_run_that_ends_a_few_steps_early_is_finished():
    log = curves([99.6, 50.0, 200.0], [100.0, 100.0, 200.0], horizon="budget")
    assert log.describe().unfinished == ("r1",)


def test_a_column_that_may_be_the_planned_end_is_pointed_out():
    hint = "horizon='budget'"
    ends, planned = [99.9, 200.0, 50.0, 400.0, 100.0], [100.0, 200.0, 200.0, 400.0, 400.0]
    assert any(hint in note and "3 of 5" in note for note in curves(ends, planned).notes)
    assert not any(hint in note for note in curves(ends, planned, horizon="budget").notes)
    beyond = [100.0, 200.0, 50.0, 300.0, 100.0]
    assert not any(hint in note for note in curves(ends, beyond).notes)
    assert not any(hint in note for note in curves(ends, [1e3 * end for end in planned]).notes)
    assert not any(hint in note for note in curves(ends, [400.0] * 5).notes)
    assert not any(hint in note for note in curves(ends, planned, steps=(1.0,)).notes)


@settings(max_examples=30, deadline=None)
@given(run_frames())
def test_every_log_has_a_summary(frame):
    whole = RunLog.from_frame(frame, **ROLES)
    summary = whole.describe()
    assert (summary.runs, summary.points) == (whole.n_runs, whole.n_points)
    assert str(summary)
