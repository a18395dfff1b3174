"""Rows that name a run of the log need say no more than that."""

import numpy as np
import pytest

import probscale as ps
from probscale.surrogate.query import read_configs


@pytest.fixture(scope="module")
def surrogate():
    return ps.fit_surrogate(ps.simulate_runs("law", n_runs=12, points=3, tasks=2, seed=0), embedder=None)


def test_a_run_named_alone_brings_its_levels_and_settings(surrogate):
    run = surrogate.log.runs[2]
    short = surrogate.predict([{"run": run}], at=[1e10])
    whole = surrogate.predict(surrogate.log.configs.loc[[run]].reset_index(), at=[1e10])
    np.testing.assert_array_equal(short.mean, whole.mean)
    np.testing.assert_array_equal(short.std, whole.std)


def test_gaps_are_filled_beside_rows_of_new_runs(surrogate):
    run = surrogate.log.runs[2]
    rows = [{"run": run}, {"task": "new", "params": 1e9, "schedule": "cosine"}]
    frame = read_configs(rows, surrogate.log)
    assert frame.loc[0, "task"] == surrogate.log.configs.loc[run, "task"]
    assert frame.loc[0, "params"] == surrogate.log.configs.loc[run, "params"]
    assert frame.loc[1, "task"] == "new"
    assert np.isnan(frame.loc[1, "learning_rate"])
    both, alone = surrogate.predict(rows, [1e10]), surrogate.predict(rows[:1], [1e10])
    np.testing.assert_allclose(both.mean[0], alone.mean[0], rtol=1e-10)


def test_what_is_said_of_a_known_run_is_not_overwritten(surrogate):
    run = surrogate.log.runs[2]
    frame = read_configs([{"run": run, "params": 123.0}], surrogate.log)
    assert frame.loc[0, "params"] == 123.0
