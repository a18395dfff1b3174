"""Rows that name a run of the log need say no more than that."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, ExtrapolationWarning, RunLogError
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


@pytest.mark.parametrize("name", ["R-1", "r_01", " r 1", "r/001"])
def test_a_name_that_differs_in_writing_alone_is_taken_for_a_slip(name):
    log = named_log(["r-1", "r-2", "r-3"])
    with pytest.raises(ConfigError, match="but 'r-1' is"):
        read_configs([{"run": name, "rate": 0.1}], log)


def test_a_number_in_text_is_taken_for_a_slip():
    with pytest.raises(ConfigError, match="but 17 is"):
        read_configs([{"run": "17", "rate": 0.1}], named_log([16, 17, 18]))
    assert read_configs([{"run": 17.0}], named_log([16, 17, 18]))["rate"].tolist() == [0.1]


def test_an_unknown_name_alone_is_refused_and_with_a_configuration_is_a_new_run():
    log = named_log(["r-1", "r-2", "r-3"])
    with pytest.raises(ConfigError, match=r"'r-4' \(row 1\) is not in the log, which holds 'r-"):
        read_configs([{"run": "r-1"}, {"run": "r-4"}], log)
    with pytest.warns(ExtrapolationWarning, match="rate is 0.1 in every run"):
        rows = read_configs([{"run": "r-4", "rate": 0.3}, {"run": None, "rate": 0.2}, {"run": "r-2"}], log)
    assert rows["rate"].tolist() == [0.3, 0.2, 0.1]


def test_where_nothing_describes_runs_a_new_name_is_enough():
    bare = named_log(["a", "b", "c"], config=())
    assert read_configs([{"run": "d"}], bare)["run"].tolist() == ["d"]


def named_log(names, **roles):
    rows = [{"run": n, "step": t, "loss": 3.0 / t, "rate": 0.1} for n in names for t in (1, 2)]
    return ps.RunLog.from_frame(pd.DataFrame(rows), run="run", axis="step", output="loss", **roles)


@pytest.mark.parametrize("asked", ["r-1", ["r-1", "r-2"]])
def test_a_text_where_a_row_belongs_is_refused_with_the_row_it_should_be(asked):
    with pytest.raises(ConfigError, match=r"the text 'r-1'; a configuration is a dict, \[\{'run': 'r-1'\}\]"):
        read_configs(asked, named_log(["r-1", "r-2", "r-3"]))


def test_a_table_where_a_log_belongs_is_refused_with_the_way_to_make_one(surrogate):
    with pytest.raises(
        RunLogError, match=r"fit_surrogate needs a RunLog, got DataFrame; make one with RunLog"
    ):
        ps.fit_surrogate(surrogate.log.to_frame())
    with pytest.raises(RunLogError, match="fit_surrogate needs a RunLog, got str"):
        ps.fit_surrogate("runs.csv")
    with pytest.raises(RunLogError, match="condition needs a RunLog, got DataFrame"):
        surrogate.condition(surrogate.log.to_frame())
