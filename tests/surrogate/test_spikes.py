"""A spike in the beginning of a run does not move what an exact posterior says of its rest."""

import numpy as np
import pytest

import probscale as ps


@pytest.fixture(scope="module")
def begun():
    """A run that the surrogate does not know, seen half of its way."""
    other = ps.simulate_runs("law", n_runs=26, points=16, tasks=2, seed=5)
    return other.select(other.runs[24:25]).truncate(fraction=0.5)


def changed(log, where, factor):
    points = log.points.assign(**{log.output: log.points[log.output].to_numpy().copy()})
    points.iloc[where, points.columns.get_loc(log.output)] *= factor
    frame = points.drop(columns="diverged").merge(log.configs.reset_index(), on=log.roles.run)
    return ps.RunLog.from_frame(frame, **log.roles.arguments())


def rest(surrogate, log):
    asked = log.configs.reset_index()
    return surrogate.condition(log).predict(asked, [1e10, 5e10])


@pytest.mark.parametrize("where", [2, -1])
def test_a_spike_in_a_begun_run_moves_nothing(surrogate, begun, where):
    plain, spiked = (rest(surrogate, log) for log in (begun, changed(begun, [where], 1.4)))
    assert (np.abs(spiked.mean - plain.mean) < 0.5 * plain.std).all()
    assert spiked.std == pytest.approx(plain.std, rel=0.2)


def test_a_fall_is_no_spike(surrogate, begun):
    plain, fallen = (rest(surrogate, log) for log in (begun, changed(begun, [-1], 0.9)))
    assert (fallen.mean < plain.mean - 0.5 * plain.std).all()


def test_a_run_that_stays_above_what_is_expected_is_believed(surrogate, begun):
    above = changed(begun, np.arange(begun.n_points), 1.2)
    plain, higher = (rest(surrogate, log) for log in (begun, above))
    assert (higher.mean > 1.1 * plain.mean).all()


def test_the_spike_stays_among_the_data(surrogate, begun):
    spiked = changed(begun, [-1], 1.4)
    data = surrogate.condition(spiked).experts["all runs"].states[0].data
    assert len(data) == len(surrogate.experts["all runs"].states[0].data) + spiked.n_points
    assert int((data.weight < 1e-3).sum()) == 1
