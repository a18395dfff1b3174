"""Curves of runs longer or shorter than any that a functional model has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.surrogate.functional import FunctionalExpert

ROLES = {"run": "run", "axis": "step", "output": "loss", "params": "params", "horizon": "horizon"}
SHARE = np.linspace(0.02, 1.0, 30)


def table(horizons, seed=0, name="r"):
    """Runs that lose steeply over their first hundreds of steps, whatever their length, then anneal."""
    rng = np.random.default_rng(seed)
    frames = []
    for i, horizon in enumerate(horizons):
        size, rate = 10 ** rng.uniform(6, 8), 10 ** rng.uniform(-4, -2)
        step = horizon * SHARE
        start = 3 / (1 + (step / 150) ** 2)
        loss = 1.5 + 20 * size**-0.2 + 3 * (step + 100) ** -0.3 + start
        loss = loss + 0.05 * (np.log10(rate) + 3) ** 2 + 0.1 * np.sqrt(1 - SHARE) + rng.normal(0, 0.003)
        columns = {"params": size, "lr": rate, "horizon": horizon}
        frames.append(pd.DataFrame({"run": f"{name}{i}", "step": step, "loss": loss, **columns}))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def fitted():
    lengths = 1_000.0 * 2.0 ** (np.random.default_rng(3).integers(0, 5, 120) / 2)
    log = ps.RunLog.from_frame(table(lengths), **ROLES)
    return ps.fit_surrogate(log, embedder=None, model="functional")


def asked(horizon, runs=6, seed=5):
    log = ps.RunLog.from_frame(table([horizon] * runs, seed, "new "), **ROLES)
    at = log.points["step"].to_numpy().reshape(runs, -1)
    return log, at, log.points["loss"].to_numpy().reshape(at.shape)


def without(surrogate):
    """The surrogate whose shapes go on as they changed with length."""

    class Apart(FunctionalExpert):
        @property
        def lengths(self):
            return 0.0, np.inf

    experts = {name: Apart(**vars_of(expert)) for name, expert in surrogate.experts.items()}
    return replace(surrogate, experts=experts)


def vars_of(expert):
    return {name: getattr(expert, name) for name in expert.__dataclass_fields__}


@pytest.mark.parametrize("horizon", [12_000.0, 500.0])
def test_a_run_of_a_new_length_begins_as_the_nearest_known_one(fitted, horizon):
    log, at, truth = asked(horizon)
    early = at[0] <= 0.25 * horizon

    def error(surrogate):
        return np.abs(surrogate.predict(log.configs, at).mean - truth)[:, early].mean()

    assert error(fitted) < 0.6 * error(without(fitted))


def test_what_is_said_does_not_jump_at_the_longest_length(fitted):
    configs = asked(4_000.0)[0].configs
    at = np.linspace(100, 3_900, 20)
    known, beyond = (fitted.predict(configs.assign(horizon=end), at).mean for end in (4_000.0, 4_000.1))
    assert beyond == pytest.approx(known, abs=1e-4)


def test_only_lengths_that_no_run_had_are_drawn_to_others(fitted):
    expert = next(iter(fitted.experts.values()))
    configs = asked(2_000.0)[0].configs.assign(horizon=[1_000.0, 2_000.0, 4_000.0, 999.0, 4_001.0, 8_000.0])
    ends = configs["horizon"].to_numpy(dtype=float)
    rows = expert.rows(configs, np.full(6, -1.0), ends)
    assert expert.places(configs.iloc[:3], rows.take(slice(0, 3)), ends[:3]).alike is None
    alike = expert.places(configs, rows, ends).alike
    assert alike.where.tolist() == [-1, -1, -1, 0, 1, 2]
    assert alike.places.ends == pytest.approx([1_000, 4_000, 4_000])


def test_runs_that_were_observed_since_change_nothing_of_what_new_lengths_begin_like(fitted):
    log = asked(12_000.0)[0]
    known = fitted.condition(log.truncate(fraction=0.3))
    before, after = (next(iter(each.experts.values())) for each in (fitted, known))
    assert after.lengths == pytest.approx(before.lengths)
    ends = log.configs["horizon"].to_numpy(dtype=float)
    rows = before.rows(log.configs, np.full(log.n_runs, -1.0), ends)
    one, other = (each.places(log.configs, rows, ends).alike for each in (before, after))
    assert other.theirs == pytest.approx(one.theirs, abs=1e-9)
    assert other.own == pytest.approx(one.own, abs=1e-9)


def test_a_begun_run_of_a_new_length_goes_on_from_what_it_has_shown(fitted, tmp_path):
    log, at, truth = asked(12_000.0)
    known = fitted.condition(log.truncate(fraction=0.3))
    rest = at[0] > 0.3 * 12_000
    configs = log.configs.assign(run=log.runs)
    curves = known.predict(configs, at)
    new = fitted.predict(log.configs, at)
    assert np.abs(curves.mean - truth)[:, rest].mean() < np.abs(new.mean - truth)[:, rest].mean()
    assert np.abs(curves.mean - truth)[:, ~rest].max() < 0.1
    known.save(tmp_path / "known")
    assert ps.load_surrogate(tmp_path / "known").predict(configs, at).mean == pytest.approx(curves.mean)


def test_a_run_without_a_planned_end_is_drawn_like_one_that_ends_where_it_is_asked(fitted):
    log, at, _ = asked(12_000.0)
    free = fitted.predict(log.configs.drop(columns="horizon"), at)
    assert free.mean == pytest.approx(fitted.predict(log.configs, at).mean)
