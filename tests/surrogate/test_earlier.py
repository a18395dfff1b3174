"""Fits that begin at an earlier one: the same model of the same points, for less."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.model.tying import Tie, apply_tie, find_tie
from probscale.surrogate.earlier import LASTING
from probscale.surrogate.options import FitOptions
from tolerances import EXACT

QUICK = FitOptions(iterations=10, rounds=1)
AT = np.geomspace(1e9, 1e11, 5)


def grown(n_runs, seed=4):
    """The first runs of a family."""
    log = ps.simulate_runs("law", n_runs=24, points=5, seed=seed)
    return log.select(np.arange(24) < n_runs)


@pytest.fixture(scope="module")
def short():
    return ps.fit_surrogate(grown(12), embedder=None)


@pytest.fixture(scope="module")
def long(short):
    return ps.fit_surrogate(grown(18), embedder=None, start=short)


@pytest.fixture(scope="module")
def anew():
    return ps.fit_surrogate(grown(18), embedder=None)


def asked():
    return grown(24).configs.reset_index(drop=True).drop(columns="run", errors="ignore").iloc[18:]


def test_forecasts_are_those_of_a_fit_from_scratch(long, anew):
    one, other = (surrogate.predict(asked(), AT) for surrogate in (long, anew))
    assert (np.abs(one.mean - other.mean) < 0.3 * other.std).all()


def test_parameters_are_about_as_probable_as_those_of_a_fit_from_scratch(long, anew):
    one, other = (surrogate.report.experts[0] for surrogate in (long, anew))
    assert one.log_posterior > other.log_posterior - 2.0
    assert one.evaluations < 0.7 * other.evaluations


def test_the_same_start_gives_the_same_surrogate(long, short):
    again = ps.fit_surrogate(grown(18), embedder=None, start=short)
    np.testing.assert_array_equal(again.predict(asked(), AT).mean, long.predict(asked(), AT).mean)


def test_a_conditioned_start_begins_like_the_fit_it_came_from(long, short):
    again = ps.fit_surrogate(grown(18), embedder=None, start=short.condition(grown(15)))
    np.testing.assert_array_equal(again.predict(asked(), AT).mean, long.predict(asked(), AT).mean)


def test_a_start_from_a_file_is_as_good(long, short, tmp_path):
    short.save(tmp_path / "short")
    again = ps.fit_surrogate(grown(18), embedder=None, start=ps.load_surrogate(tmp_path / "short"))
    np.testing.assert_allclose(again.predict(asked(), AT).mean, long.predict(asked(), AT).mean, rtol=EXACT)


def test_choices_are_kept_until_the_log_has_grown_much(long, short):
    (first,), (expert,) = (tuple(surrogate.experts.values()) for surrogate in (short, long))
    assert expert.beyond == first.beyond
    assert expert.decided == first.decided == grown(12).n_points
    assert long.report.experts[0].kept == first.decided
    assert f"as decided on {first.decided} points" in str(long.report)
    old = aged(short, grown(24).n_points / LASTING - 1)
    later = ps.fit_surrogate(grown(24), embedder=None, options=QUICK, start=old)
    assert later.report.experts[0].kept == 0
    assert next(iter(later.experts.values())).decided == grown(24).n_points


def aged(surrogate, decided):
    """A surrogate whose choices were made on so many points."""
    experts = {name: replace(expert, decided=int(decided)) for name, expert in surrogate.experts.items()}
    return replace(surrogate, experts=experts)


def test_a_log_with_other_columns_is_fitted_from_scratch(short):
    log = grown(14)
    frame = log.to_frame()
    frame["width"] = frame.groupby(log.roles.run).ngroup() + 1.0
    richer = ps.RunLog.from_frame(frame, **log.roles.arguments() | {"config": None})
    begun, scratch = (
        ps.fit_surrogate(richer, embedder=None, options=QUICK, start=start)
        for start in (aged(short, 0), None)
    )
    assert begun.report.experts[0].log_posterior == scratch.report.experts[0].log_posterior


def with_another(log):
    """The same log with a loss on other data, which follows from the loss but for its noise."""
    frame = log.to_frame()
    frame["other"] = 1.3 * frame[log.output] * (1 + 0.003 * np.sin(np.arange(len(frame))))
    roles = log.roles.arguments() | {"output": [log.output, "other"], "goal": "min"}
    return ps.RunLog.from_frame(frame, **roles)


@pytest.fixture(scope="module")
def joint():
    """Several outputs: a short log, a longer one from there, and the longer one from scratch."""
    short = ps.fit_surrogate(with_another(grown(12)), embedder=None)
    begun = ps.fit_surrogate(with_another(grown(18)), embedder=None, start=short)
    return short, begun, ps.fit_surrogate(with_another(grown(18)), embedder=None)


def test_joined_outputs_begin_where_they_ended(joint):
    short, begun, anew = joint
    for output in begun.log.roles.outputs:
        one, other = (surrogate.predict(asked(), AT, output=output) for surrogate in (begun, anew))
        assert (np.abs(one.mean - other.mean) < 0.5 * other.std).all()
    second = begun.report.experts[0]
    assert second.kept == short.log.n_points
    assert second.evaluations < 0.7 * anew.report.experts[0].evaluations


def test_what_an_output_took_over_lasts(joint):
    for surrogate in joint[:2]:
        (lead,), (other,) = surrogate.experts.values(), surrogate.others["other"].values()
        found = find_tie(other.own_process(0), lead.own_process(0))
        assert found is not None


@pytest.mark.parametrize("proportional", [True, False])
def test_a_tie_between_processes_is_told_by_their_parameters(joint, proportional):
    (lead,), (other,) = joint[0].experts.values(), joint[0].others["other"].values()
    lead, process, data = lead.own_process(0), copy.deepcopy(other.own_process(0)), other.states[0].data
    for parameter in process.parameters():
        parameter.data += 0.1
    assert find_tie(process, lead) is None
    apply_tie(process, Tie(lead, proportional=proportional), data.take(data.rows.x[:, -1] == 1))
    assert find_tie(process, lead).proportional is proportional


def test_finals_begin_where_they_ended_too():
    log = ps.simulate_runs("law", n_runs=40, points=2, seed=5)
    frame = log.to_frame().groupby(log.roles.run, sort=False).tail(1)
    few, many = (ps.RunLog.from_frame(frame.iloc[:n], **log.roles.arguments()) for n in (24, 36))
    short = ps.fit_surrogate(few, embedder=None, options=QUICK)
    begun, scratch = (
        ps.fit_surrogate(many, embedder=None, options=options, start=start)
        for options, start in ((QUICK, short), (None, None))
    )
    configs = log.configs.iloc[36:].reset_index(drop=True)
    one, other = (surrogate.predict(configs, [1e10]) for surrogate in (begun, scratch))
    assert (np.abs(one.mean - other.mean) < 0.4 * other.std).all()
    one, other = (surrogate.report.experts[0].tails["beyond"] for surrogate in (begun, scratch))
    assert one.keys() == other.keys()


def test_text_that_was_dropped_is_not_read_again():
    rng = np.random.default_rng(0)
    names = ["alpha one", "beta two", "gamma three", "delta four"]
    frame = pd.DataFrame(
        {
            "run": [f"r{i}" for i in range(40)],
            "optimizer": [names[i % 4] for i in range(40)],
            "tokens": np.geomspace(1e8, 1e10, 40),
            "loss": 2 + 30 * np.geomspace(1e8, 1e10, 40) ** -0.2 + 0.01 * rng.standard_normal(40),
        }
    )
    roles = {"run": "run", "axis": "tokens", "output": "loss", "levels": ("optimizer",)}
    short, full = (ps.RunLog.from_frame(frame.iloc[:n], **roles) for n in (28, 40))
    before = ps.fit_surrogate(short, options=QUICK)
    after = ps.fit_surrogate(full, options=QUICK, start=before)
    one, other = before.report.experts[0], after.report.experts[0]
    assert one.text_gain is not None
    assert (other.text, other.text_gain) == (one.text, one.text_gain)


def test_a_start_of_another_kind_of_log_is_refused(short):
    other = ps.simulate_runs("law", n_runs=6, points=3, seed=0)
    frame = other.to_frame().rename(columns={other.output: "error"})
    log = ps.RunLog.from_frame(frame, **other.roles.arguments() | {"output": "error", "config": None})
    with pytest.raises(
        ConfigError, match=r"start was fitted to a log whose output is .*; pass a surrogate of a"
    ):
        ps.fit_surrogate(log, embedder=None, start=short)
    with pytest.raises(ConfigError, match="start is a str; pass the surrogate"):
        ps.fit_surrogate(log, embedder=None, start="before")
