"""Learning rates read from configurations: forms, floors, unknown names, and what they change in rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from probscale.encode.annealing import Annealing, find_annealing
from probscale.encode.annealing import rates as read_rates
from probscale.encode.encoder import fit_encoder
from probscale.laws.schedule import Schedule
from probscale.runs import RunLog

STEPS = np.linspace(1, 1_000, 21)


def table(kind, **columns):
    return pd.DataFrame({"lr_schedule": [kind], **{name: [value] for name, value in columns.items()}})


def rates(kind, share, **columns):
    frame = table(kind, **columns)
    found = find_annealing(frame, list(frame))
    assert found is not None
    share = np.asarray(share, dtype=float)
    return read_rates(found.forms(frame)[np.zeros(len(share), dtype=np.intp)], share)


def test_cosine_rates_are_those_of_the_law_package():
    schedule = Schedule.cosine(1.0, 0.1, total=1_000, knots=2_000)
    expected = schedule.rate(STEPS)
    assert rates("cosine", STEPS / 1_000, min_lr_ratio=0.1) == pytest.approx(expected, abs=2e-3)


def test_a_stable_schedule_stays_at_its_peak_until_its_decay():
    got = rates("WSD", [0.1, 0.5, 0.75, 0.875, 1.0], decay_fraction=0.25)
    assert got == pytest.approx([1, 1, 1, 0.5, 0])


def test_linear_and_constant_schedules():
    assert rates("linear", [0.0, 0.25, 1.0], min_lr_ratio=0.2) == pytest.approx([1, 0.8, 0.2])
    assert rates("constant", [0.0, 0.25, 1.0], min_lr_ratio=0.2) == pytest.approx([1, 1, 1])


def test_a_schedule_that_is_not_known_is_not_guessed():
    frame = pd.DataFrame({"scheduler": ["cosine", "mystery", None]})
    found = find_annealing(frame, ["scheduler"])
    got = read_rates(found.forms(frame), np.full(3, 0.5))
    assert got[0] == pytest.approx(0.5)
    assert np.isnan(got[1:]).all()
    assert find_annealing(frame.iloc[1:], ["scheduler"]) is None
    assert find_annealing(frame, []) is None


def test_names_are_read_whatever_their_spelling():
    frame = pd.DataFrame({"LR Scheduler Type": ["Cosine-With-Min-LR"], "min-lr-ratio": [0.5]})
    assert find_annealing(frame, list(frame)) == Annealing("LR Scheduler Type", "min-lr-ratio", None)


@pytest.mark.parametrize("prefix", ["config.", "config/", "trainer.optim."])
def test_nested_names_count_as_their_last_part(prefix):
    frame = pd.DataFrame({f"{prefix}schedule": ["cosine"], f"{prefix}min_lr_ratio": [0.5], "lr": [1e-3]})
    assert find_annealing(frame, list(frame)) == Annealing(f"{prefix}schedule", f"{prefix}min_lr_ratio")


def test_a_last_part_that_two_columns_share_is_not_guessed():
    frame = pd.DataFrame({"actor.schedule": ["cosine"], "critic.schedule": ["linear"]})
    assert find_annealing(frame, list(frame)) is None
    named = frame.assign(schedule="constant")
    assert find_annealing(named, list(named)) == Annealing("schedule")


def test_a_missing_column_of_a_query_means_that_nothing_is_known():
    forms = Annealing("lr_schedule").forms(pd.DataFrame({"lr": [1.0]}))
    assert np.isnan(read_rates(forms, np.ones(1)))


@pytest.mark.parametrize("absent", [None, np.nan, pd.NA])
def test_a_schedule_that_is_not_given_is_not_known_while_none_by_name_is_constant(absent):
    frame = pd.DataFrame({"lr_schedule": pd.Series([absent, "none", "cosine"], dtype=object)})
    known = read_rates(Annealing("lr_schedule").forms(frame), np.full(3, 0.5))
    assert known == pytest.approx([np.nan, 1.0, 0.5], nan_ok=True)


def log_of(kinds):
    frames = [
        pd.DataFrame(
            {
                "run": f"{kind} {lr}",
                "step": STEPS,
                "loss": 2 + lr + STEPS**-0.3,
                "lr": lr,
                "schedule": kind,
                "total": 1_000,
            }
        )
        for kind in kinds
        for lr in (0.1, 0.2, 0.4)
    ]
    frame = pd.concat(frames, ignore_index=True)
    return RunLog.from_frame(
        frame, run="run", axis="step", output="loss", horizon="total", config=["lr", "schedule"]
    )


def test_rows_of_a_constant_schedule_do_not_bend_at_the_end():
    log = log_of(["constant", "linear"])
    encoder = fit_encoder(log, None)
    column = encoder.continuous.index("share of horizon")
    index = np.array([0, 0, 3, 3])
    rows = encoder.encode(log.configs, np.arange(6.0), index, np.array([500.0, 1_000.0] * 2))
    constant, linear = rows.x[:2, column], rows.x[2:, column]
    assert np.diff(constant) == pytest.approx(1.5 * 0.5)
    assert np.diff(linear) == pytest.approx(1.5 * 0.5 + 1.5 * np.sqrt(0.5))


def test_a_share_of_decay_without_a_schedule_tells_a_stable_one():
    frame = pd.DataFrame({"warmdown_ratio": [0.5, 0.2], "final_lr_ratio": [0.0, 0.1]})
    found = find_annealing(frame, list(frame))
    assert found == Annealing(None, "final_lr_ratio", "warmdown_ratio")
    assert found.columns == ("final_lr_ratio", "warmdown_ratio")
    assert read_rates(found.forms(frame), np.array([0.75, 0.9])) == pytest.approx([0.5, 0.55])
    assert find_annealing(frame, ["final_lr_ratio"]) is None
