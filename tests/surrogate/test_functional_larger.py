"""Curves of runs larger than any that a functional model has seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.runs import split_by_scale
from probscale.surrogate.functional import FunctionalExpert

SIZES = (3e6, 1e7, 3e7, 6e7)
ROLES = {"run": "run", "axis": "step", "output": "loss", "params": "params", "horizon": "horizon"}
AT = np.array([40.0, 200.0, 900.0, 1_600.0, 2_000.0])


def table(sizes, runs=26, seed=0, name="r"):
    """Curves of a law whose size term is added; the best rate drifts with size, and rates matter early."""
    rng = np.random.default_rng(seed)
    frames = []
    for k, size in enumerate(sizes):
        for i in range(runs):
            horizon, share = 1_000.0 * 4.0 ** rng.uniform(), np.linspace(0.02, 1.0, 30)
            step, off = horizon * share, rng.normal(0, 0.5)
            rate = 10 ** (-3 - 0.3 * np.log10(size / 1e7) + off)
            loss = 1.5 + 30 * size**-0.2 + 8 * (step + 20) ** -0.45 + 0.1 * np.sqrt(1 - share)
            loss = loss + 0.1 * off**2 * (1 + 2 * np.exp(-5 * share)) + rng.normal(0, 0.01)
            columns = {"params": size, "lr": rate, "horizon": horizon}
            frames.append(
                pd.DataFrame({"run": f"{name}{k}-{i}", "step": step, "loss": loss, **columns})
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def fit(frame, roles=ROLES):
    log = ps.RunLog.from_frame(frame, **roles)
    return ps.fit_surrogate(log, embedder=None, model="functional")


@pytest.fixture(scope="module")
def fitted():
    return fit(table(SIZES))


def without(surrogate):
    """The surrogate whose shapes go on as they changed with size."""

    class Apart(FunctionalExpert):
        @property
        def sizes_add_up(self):
            return False

    experts = {name: Apart(**vars_of(expert)) for name, expert in surrogate.experts.items()}
    return replace(surrogate, experts=experts)


def vars_of(expert):
    return {name: getattr(expert, name) for name in expert.__dataclass_fields__}


def new(size, count=4):
    return pd.DataFrame({"params": size, "lr": np.geomspace(3e-4, 3e-3, count), "horizon": 2_000.0})


def only(surrogate):
    return next(iter(surrogate.experts.values()))


def modelled(surrogate, configs):
    """Medians on the modelled scale."""
    return only(surrogate).transform.forward(surrogate.predict(configs, AT).quantile(0.5))


def places(surrogate, configs):
    expert = only(surrogate)
    ends = configs["horizon"].to_numpy(dtype=float)
    return expert.places(configs, expert.rows(configs, np.full(len(configs), -1.0), ends), ends)


def test_half_of_the_way_of_a_larger_run_is_that_of_a_law_whose_size_is_added(fitted):
    larger, largest = new(3e8), new(6e7)
    plain, known = modelled(without(fitted), larger), modelled(fitted, largest)
    own, beside = plain - plain[:, -1:], known - known[:, -1:]
    added = np.exp(-np.maximum(beside, 0)) * (plain - known)[:, -1:] + known
    assert np.abs(own - beside).max() > 0.05
    assert modelled(fitted, larger) == pytest.approx(0.5 * (plain + added), abs=1e-9)


def test_the_way_of_larger_runs_is_foretold_better(fitted):
    log = ps.RunLog.from_frame(table([3e8], seed=7, name="new "), **ROLES)
    at = log.points["step"].to_numpy().reshape(log.n_runs, -1)
    truth = log.points["loss"].to_numpy().reshape(at.shape)
    error, plain = (
        np.abs(each.predict(log.configs, at).mean - truth).mean() for each in (fitted, without(fitted))
    )
    assert error < 0.95 * plain


def test_what_is_said_of_observed_sizes_and_of_ends_stays_the_same(fitted):
    configs = pd.concat([new(1e7), new(6e7), new(3e8)], ignore_index=True)
    curves, plain = (each.predict(configs, AT).mean for each in (fitted, without(fitted)))
    assert (curves[:8] == plain[:8]).all()
    assert (curves[8:, :-1] != plain[8:, :-1]).all()
    assert curves[8:, -1] == pytest.approx(plain[8:, -1], rel=1e-12)
    assert places(fitted, configs).larger.where.tolist() == [-1] * 8 + [0, 1, 2, 3]
    assert places(fitted, configs.iloc[:8]).larger is None


def test_what_is_said_does_not_jump_at_the_largest_size(fitted):
    before, after = (fitted.predict(new(size), AT).mean for size in (6.3e7, 6.31e7))
    assert (after[:, :-1] != without(fitted).predict(new(6.31e7), AT).mean[:, :-1]).all()
    assert after == pytest.approx(before, rel=0.01)


def test_two_sizes_and_runs_without_a_planned_end_go_on_as_they_changed():
    assert places(fit(table(SIZES[:2])), new(3e8)).larger is None
    roles = ROLES | {"horizon": None}
    free = fit(table(SIZES).drop(columns="horizon"), roles)
    assert places(free, new(3e8)).larger is None


def test_runs_that_were_observed_since_change_nothing_of_the_way(fitted):
    log = ps.RunLog.from_frame(table([3e8], runs=3, seed=7, name="new "), **ROLES)
    known = fitted.condition(log.truncate(fraction=0.3))
    one, other = (places(each, new(3e8)).larger for each in (fitted, known))
    for name in ("gain", "own", "theirs"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9)


def test_a_begun_larger_run_goes_on_from_what_it_has_shown(fitted, tmp_path):
    log = ps.RunLog.from_frame(table([3e8], runs=3, seed=7, name="new "), **ROLES)
    at = log.points["step"].to_numpy().reshape(log.n_runs, -1)
    truth = log.points["loss"].to_numpy().reshape(at.shape)
    known = fitted.condition(log.truncate(fraction=0.3))
    configs = log.configs.assign(run=log.runs)
    curves, fresh = known.predict(configs, at), fitted.predict(log.configs, at)
    seen = np.linspace(0.02, 1.0, 30) <= 0.3
    assert np.abs(curves.mean - truth)[:, seen].max() < 0.1
    assert np.abs(curves.mean - truth)[:, ~seen].mean() < np.abs(fresh.mean - truth)[:, ~seen].mean()
    assert np.abs(curves.mean - without(known).predict(configs, at).mean)[:, ~seen].max() > 1e-3
    known.save(tmp_path / "known")
    assert (ps.load_surrogate(tmp_path / "known").predict(configs, at).mean == curves.mean).all()


def test_draws_of_larger_runs_lie_about_what_is_said_of_them(fitted):
    curves = fitted.predict(new(3e8), AT)
    draws = curves.sample(4_000, seed=0)
    assert draws.std(axis=0) == pytest.approx(curves.std, rel=0.1)
    spread = curves.std / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - curves.mean) < 5 * spread).all()
    assert (np.abs(draws.mean(axis=0) - without(fitted).predict(new(3e8), AT).mean) > 5 * spread).any()


def test_doubt_about_larger_runs_stays_what_it_was(fitted):
    curves, plain = (each.predict(new(3e8), AT) for each in (fitted, without(fitted)))
    wide, width = (np.log(each.quantile(0.75) / each.quantile(0.25)) for each in (plain, curves))
    assert curves.std[:, -1] == pytest.approx(plain.std[:, -1], rel=1e-12)
    assert width.mean() == pytest.approx(wide.mean(), rel=0.1)


def test_covariance_of_larger_runs_is_that_of_their_draws(fitted):
    expert, configs = only(fitted), new(3e8, 2)
    block = expert.block(configs, np.full(2, -1.0), np.tile(AT, (2, 1)))
    views = block.draws
    centre, deviation = views.draw(np.random.default_rng(0), 20_000, noisy=False)
    draws = (centre + deviation).reshape(len(centre), -1)
    joint = views.covariance()
    scale = np.sqrt(np.diag(joint))
    assert np.cov(draws.T) / np.outer(scale, scale) == pytest.approx(joint / np.outer(scale, scale), abs=0.05)


BEGUN = table((2.5e8,), runs=6, seed=3, name="b")


def beginning(share):
    return BEGUN[BEGUN["step"] <= share * BEGUN["horizon"]]


def test_a_size_that_has_only_begun_does_not_count_as_observed(monkeypatch):
    asked = new(2.5e8)
    begun = fit(pd.concat([table(SIZES), beginning(0.1)]))
    far = fit(pd.concat([table(SIZES), beginning(0.7)]))
    assert only(begun).largest[0] == pytest.approx(np.log(SIZES[-1]))
    assert only(begun).scores.states[0].process.mean.scale.top[0] == pytest.approx(np.log(SIZES[-1]))
    assert only(far).largest[0] == pytest.approx(np.log(2.5e8))
    monkeypatch.setattr("probscale.surrogate.functional_curves.FAR", 0.0)
    taken = fit(pd.concat([table(SIZES), beginning(0.1)]))
    width = [np.diff(s.predict(asked, AT).interval(0.9), axis=0)[0, :, -1] for s in (begun, taken)]
    assert (width[0] > 1.3 * width[1]).all()


def test_without_a_planned_end_any_point_counts():
    roles = {name: column for name, column in ROLES.items() if name != "horizon"}
    frame = pd.concat([table(SIZES), beginning(0.1)]).drop(columns="horizon")
    assert only(fit(frame, roles)).largest[0] == pytest.approx(np.log(2.5e8))


def without_drift(monkeypatch):
    for name in ("DRIFT_GAIN", "DRIFT_SIZE"):
        monkeypatch.setattr(f"probscale.surrogate.functional_drift.{name}", 0.0)


def drift_of(surrogate, configs, at, monkeypatch):
    """Standard deviations that drifts add at points, modelled scale."""
    expert = only(surrogate)

    def spread(of):
        parts = of.block(configs, np.full(len(configs), -1.0), at).components
        centre = sum(part.weight * part.location for part in parts)
        own = [part.variance + part.noise + (part.location - centre) ** 2 for part in parts]
        return sum(part.weight * each for part, each in zip(parts, own, strict=True))

    added = spread(expert)
    with monkeypatch.context() as patch:
        without_drift(patch)
        return np.sqrt(np.maximum(added - spread(expert), 0.0))


def test_what_beginnings_of_a_larger_size_promise_is_less_sure_the_further_ahead(
    fitted, monkeypatch, tmp_path
):
    log = ps.RunLog.from_frame(beginning(0.2), **ROLES)
    known = fitted.condition(log)
    at = np.linspace(0.05, 1.0, 12) * log.configs["horizon"].to_numpy()[:, None]
    asked = {"begun": log.configs.reset_index(), "new": log.configs.reset_index(drop=True)}
    drifting = {name: known.predict(configs, at) for name, configs in asked.items()}
    draws = drifting["begun"].latent().sample(4000, seed=0)
    assert draws.std(0) == pytest.approx(drifting["begun"].latent().std, rel=0.15)
    known.save(tmp_path / "known")
    again = ps.load_surrogate(tmp_path / "known").predict(asked["new"], at)
    assert again.std == pytest.approx(drifting["new"].std, rel=1e-10)
    without_drift(monkeypatch)
    for name, configs in asked.items():
        widened = drifting[name].std / known.predict(configs, at).std
        assert widened[:, :2] == pytest.approx(np.ones((6, 2)))
        assert (widened[:, 4:] > 1).all()
        if name == "new":
            assert (np.diff(widened[:, 4:], axis=1) > -1e-3).mean() > 0.6


def test_drift_comes_as_the_gain_of_a_larger_size_does(fitted, monkeypatch):
    configs, share = new(2.5e8), np.array([0.3, 0.6, 1.0])
    drift = {
        seen: drift_of(
            fitted.condition(ps.RunLog.from_frame(beginning(seen), **ROLES)),
            configs,
            np.tile(2_000 * share, (4, 1)),
            monkeypatch,
        )
        for seen in (0.05, 0.5)
    }
    assert (drift[0.5][:, 0] < 1e-6).all()
    assert (drift[0.05][:, 2] > 2 * drift[0.5][:, 2]).all()
    curve = modelled(fitted, configs)
    there = np.exp(-(np.array([np.interp(0.5, AT / 2_000, row) for row in curve]) - curve[:, -1]))
    larger = places(fitted.condition(ps.RunLog.from_frame(beginning(0.5), **ROLES)), configs).larger
    scale = np.hypot(0.4 * larger.gain, 0.1 * np.log(2.5e8 / 6e7))
    assert drift[0.5][:, 2] == pytest.approx(scale * (1 - there), rel=0.25)


def test_two_sizes_leave_doubt_about_what_follows_beginnings_of_a_third(monkeypatch):
    known = fit(table(SIZES[:2])).condition(ps.RunLog.from_frame(beginning(0.1), **ROLES))
    drifting = known.predict(new(2.5e8), AT).std
    without_drift(monkeypatch)
    assert (drifting[:, -1] > 1.02 * known.predict(new(2.5e8), AT).std[:, -1]).all()


def test_a_beginning_never_leaves_more_doubt_than_no_beginning(fitted, monkeypatch):
    monkeypatch.setattr("probscale.surrogate.functional_drift.DRIFT_SIZE", 50.0)
    first = BEGUN["run"] == BEGUN["run"].iloc[0]
    log, others = (
        ps.RunLog.from_frame(rows[rows["step"] <= 0.2 * rows["horizon"]], **ROLES)
        for rows in (BEGUN[first], BEGUN[~first])
    )
    at = np.linspace(0.3, 1.0, 8) * log.configs["horizon"].to_numpy()[:, None]
    for before in (fitted, fitted.condition(others)):
        begun = before.condition(log).predict(log.configs.reset_index(), at)
        unseen = before.predict(log.configs.reset_index(drop=True), at)
        assert begun.std == pytest.approx(unseen.std, rel=0.1)


def test_a_beginning_of_a_larger_size_may_mislead_the_more_of_its_gain_is_to_come(fitted, monkeypatch):
    odd = BEGUN.assign(loss=BEGUN["loss"] * 1.04)
    ends = BEGUN.groupby("run")["horizon"].first().to_numpy()
    at = np.linspace(0.02, 1.0, 9) * ends[:, None]
    toward = {}
    for share in (0.1, 0.6):
        log = ps.RunLog.from_frame(odd[odd["step"] <= share * odd["horizon"]], **ROLES)
        known, asked = fitted.condition(log.select([log.runs[0]])), log.configs.iloc[:1].reset_index()
        perhaps = known.predict(asked, at[:1])
        with monkeypatch.context() as patch:
            patch.setattr("probscale.surrogate.functional_drift.MISLEADS", 0.0)
            sure = known.predict(asked, at[:1])
        fresh = fitted.predict(asked.drop(columns="run"), at[:1])
        moved = (perhaps.mean - sure.mean) / (fresh.mean - sure.mean)
        assert moved[0, 0] == pytest.approx(0.0, abs=1e-6)
        toward[share] = moved[0, -1]
        draws = perhaps.latent().sample(8_000, seed=0)
        assert draws.std(0) == pytest.approx(perhaps.latent().std, rel=0.1)
    assert 0.1 < toward[0.1] < 0.4
    assert 0.0 < toward[0.6] < 0.5 * toward[0.1]


def test_one_run_that_comes_to_its_end_ends_the_drift_of_its_size(fitted, monkeypatch):
    ended = BEGUN["run"] == BEGUN["run"].iloc[0]
    frame = BEGUN[ended | (BEGUN["step"] <= 0.2 * BEGUN["horizon"])]
    known = fitted.condition(ps.RunLog.from_frame(frame, **ROLES))
    drifting = known.predict(new(2.5e8), AT).std
    without_drift(monkeypatch)
    assert known.predict(new(2.5e8), AT).std == pytest.approx(drifting, rel=1e-12)


@pytest.mark.parametrize("n_runs", [60, 200])
def test_ends_of_larger_models_without_a_floor_are_foretold_by_either_engine(n_runs):
    """Losses of the solvable model fall by decades with size: a floor below the smallest of them is none."""
    log = ps.simulate_runs("plrf", n_runs=n_runs, points=20, seed=0)
    smaller, larger = split_by_scale(log, hold_out=1)
    ends = larger.finals().to_frame()
    surrogate = ps.fit_surrogate(smaller, embedder=None, seed=0)
    assert surrogate.report.experts[0].engine.startswith("exact" if n_runs == 60 else "functional")
    asked = surrogate.predict(larger.configs.reset_index(drop=True), ends["steps"].to_numpy()[:, None])
    error = np.log(asked.median[:, 0] / ends["loss"])
    assert np.abs(error).mean() < 0.03
    lower, upper = asked.interval(0.9)
    assert ((lower[:, 0] <= ends["loss"]) & (ends["loss"] <= upper[:, 0])).mean() >= 0.8
