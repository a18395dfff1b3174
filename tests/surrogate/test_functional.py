from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.model.exact import solve_exactly
from probscale.model.straying import RunDeviations

END = 1000.0


def table(runs=120, points=30, seed=0, partial=0.3):
    """Curves of a decaying schedule with a known law; some runs unfinished, two unstable."""
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(runs):
        size = 10 ** rng.uniform(6, 8)
        rate = 10 ** rng.uniform(-4, -2)
        horizon = END * 2.0 ** rng.integers(0, 4)
        share = np.linspace(0.02, 1.0, points)
        penalty = 0.05 * (np.log10(rate) + 3) ** 2
        loss = 1.5 + 20 * size**-0.2 + 3 * (horizon * share) ** -0.3 + penalty * (1 + 2 * np.exp(-4 * share))
        loss = loss + 0.15 * np.sqrt(1 - share) + rng.normal(0, 0.004)
        loss = loss * (1 + rng.normal(0, 0.001, points))
        if i in (7, 31):
            loss = loss + 0.6 * np.exp(-(((share - 0.4) / 0.1) ** 2))
        keep = share <= (rng.uniform(0.2, 0.9) if i % 10 < 10 * partial and i > 20 else 1.0)
        frames.append(
            pd.DataFrame(
                {
                    **{"run": f"r{i}", "step": (horizon * share)[keep], "loss": loss[keep]},
                    **{"params": size, "lr": rate, "horizon": horizon},
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


ROLES = {"run": "run", "axis": "step", "output": "loss", "params": "params", "horizon": "horizon"}


@pytest.fixture(scope="module")
def fitted():
    log = ps.RunLog.from_frame(table(), **ROLES)
    return ps.fit_surrogate(log, embedder=None, model="functional")


@pytest.fixture(scope="module")
def fresh():
    frame = table(30, seed=1, partial=0.0)
    return ps.RunLog.from_frame(frame.assign(run="new " + frame["run"]), **ROLES)


def asked(log):
    at = log.points["step"].to_numpy().reshape(log.n_runs, -1)
    return log.configs, at, log.points["loss"].to_numpy().reshape(at.shape)


def test_a_long_log_of_many_curves_chooses_the_functional_engine(fitted):
    assert fitted.report.experts[0].engine.startswith("functional")
    from probscale.surrogate.functional_fit import is_functional

    assert is_functional(fitted.log, 2_000)
    assert not is_functional(fitted.log, 10_000)


def test_new_curves_are_foretold_with_honest_intervals(fitted, fresh):
    configs, at, truth = asked(fresh)
    curves = fitted.predict(configs, at)
    stable = np.delete(np.arange(len(configs)), 7)
    assert np.abs(curves.mean - truth)[stable].mean() < 0.02
    lower, upper = curves.interval(0.9)
    assert 0.75 <= ((truth >= lower) & (truth <= upper))[stable].mean() <= 1.0


def test_a_prefix_sharpens_what_is_left_of_a_run(fitted, fresh):
    configs, at, truth = asked(fresh)
    known = fitted.condition(fresh.truncate(fraction=0.5))
    rest = at.shape[1] // 2 + 1
    before = fitted.predict(configs, at[:, rest:])
    after = known.predict(configs.reset_index(), at[:, rest:])
    stable = np.delete(np.arange(len(configs)), 7)
    error = [np.abs(c.mean - truth[:, rest:])[stable].mean() for c in (before, after)]
    assert error[1] < 0.8 * error[0]
    assert np.median(after.std) < np.median(before.std)


def test_after_a_spike_a_run_is_foretold_with_much_more_doubt(fitted, fresh):
    configs, at, truth = asked(fresh)
    known = fitted.condition(fresh.select(["new r7"]).truncate(fraction=0.45))
    after = known.predict(configs.reset_index().iloc[[7]], at[[7], 24:])
    calm = fitted.condition(fresh.select(["new r8"]).truncate(fraction=0.45))
    usual = calm.predict(configs.reset_index().iloc[[8]], at[[8], 24:])
    assert np.median(after.std) > 5 * np.median(usual.std)
    # The spike was 0.6 high.
    assert np.abs(after.median[0] - truth[7, 24:]).mean() < 0.25


def test_factors_of_runs_leave_doubt_far_from_all_runs_alone():
    typical = np.array([1.0, 1.0])
    runs = RunDeviations(np.eye(2), np.array([[1.0, 1.0]]), np.ones(1), typical, np.ones(1))
    assert runs.root(np.array([0.25, 1.0]), 4.0).diagonal() ** 2 == pytest.approx([4.0, 16.0])
    assert runs.root(np.array([100.0, 1.0]), 4.0).diagonal() ** 2 == pytest.approx([115.0, 16.0])


def test_points_of_a_prefix_that_are_marked_as_diverged_do_not_enter(fitted, fresh):
    prefix = fresh.select([fresh.runs[0]]).truncate(fraction=0.4)
    marked = prefix.points.copy()
    at = len(marked) // 2
    marked.loc[at, prefix.output] *= 5
    marked.loc[at, "diverged"] = True
    spiked = replace(prefix, points=marked)
    without = replace(prefix, points=marked.drop(index=at).reset_index(drop=True))
    asked = prefix.configs.reset_index()
    ends = prefix.configs[prefix.roles.horizon].to_numpy(dtype=float)[:, None]
    with_mark = fitted.condition(spiked).predict(asked, ends)
    assert with_mark.mean == pytest.approx(fitted.condition(without).predict(asked, ends).mean, rel=1e-9)


def test_the_same_points_at_once_or_in_two_parts_say_the_same(fitted, fresh):
    one = fresh.select(list(fresh.runs[:1]))
    at = one.points["step"].to_numpy()[-3:]
    once = fitted.condition(one.truncate(fraction=0.6))
    twice = fitted.condition(one.truncate(fraction=0.3)).condition(one.truncate(fraction=0.6))
    first, second = (s.predict(one.configs.reset_index(), at) for s in (once, twice))
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-6)
    np.testing.assert_allclose(first.std, second.std, rtol=1e-4)


def test_a_prefix_enters_as_if_everything_were_solved_again(fitted, fresh):
    known = fitted.condition(fresh.select(list(fresh.runs[:5])).truncate(fraction=0.3))
    known = known.condition(fresh.select(list(fresh.runs[3:6])).truncate(fraction=0.6))
    expert = known.experts["all runs"]
    assert expert.scores.states[0].factor.lead is fitted.experts["all runs"].scores.states[0].factor.lead
    states = tuple(solve_exactly(state.process, state.data) for state in expert.scores.states)
    again = replace(
        known, experts={"all runs": replace(expert, scores=replace(expert.scores, states=states))}
    )
    configs, at, _ = asked(fresh)
    for frame in (configs, configs.reset_index()):
        first, second = (s.predict(frame, at) for s in (known, again))
        np.testing.assert_allclose(first.mean, second.mean, rtol=1e-8)
        np.testing.assert_allclose(first.std, second.std, rtol=1e-8)


def test_draws_have_the_moments_of_the_marginals(fitted, fresh):
    configs, at, _ = asked(fresh)
    curves = fitted.predict(configs.iloc[:4], at[:4, ::6])
    draws = curves.sample(4000, seed=0)
    error = curves.std / np.sqrt(4000)
    assert np.all(np.abs(draws.mean(0) - curves.mean) < 5 * error + 1e-4)
    middle = np.quantile(draws, [0.25, 0.75], axis=0)
    expected = np.stack([curves.quantile(0.25), curves.quantile(0.75)])
    assert np.all(np.abs(middle - expected) < 0.1 * curves.std)


def test_neighbouring_points_of_a_curve_move_together(fitted, fresh):
    configs, at, _ = asked(fresh)
    draws = fitted.predict(configs.iloc[:1], at[:1, 20:22]).sample(2000, seed=0)[:, 0]
    assert np.corrcoef(draws.T)[0, 1] > 0.5


def test_saved_and_loaded_it_says_the_same(fitted, fresh, tmp_path):
    configs, at, _ = asked(fresh)
    known = fitted.condition(fresh.truncate(fraction=0.4))
    known.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors", embedder=None)
    for frame in (configs, configs.reset_index()):
        first, second = (s.predict(frame, at) for s in (known, loaded))
        np.testing.assert_allclose(first.mean, second.mean, rtol=1e-10)
        np.testing.assert_allclose(first.std, second.std, rtol=1e-8)


def test_a_log_without_a_horizon_is_fitted_too():
    frame = table(110, seed=3, partial=0.0).drop(columns="horizon")
    log = ps.RunLog.from_frame(frame, run="run", axis="step", output="loss", params="params")
    surrogate = ps.fit_surrogate(log, embedder=None, model="functional")
    curves = surrogate.predict(log.configs.iloc[:3], [500.0, 1000.0])
    assert np.isfinite(curves.mean).all()
    assert (curves.std > 0).all()


@pytest.fixture(scope="module")
def one_size():
    frame = table(runs=110, partial=0.0)
    log = ps.RunLog.from_frame(frame.assign(params=1e7), **ROLES)
    return ps.fit_surrogate(log, embedder=None, model="functional")


def test_a_size_beyond_the_only_one_matters_more_and_more_as_a_run_goes_on(one_size):
    surrogate = one_size
    share = np.linspace(0.1, 1.0, 10)
    small, large = (
        surrogate.predict([{"params": size, "lr": 1e-3, "horizon": 2 * END}], 2 * END * share).quantile(0.5)[
            0
        ]
        for size in (1e7, 3e7)
    )
    floor = float(surrogate.experts["all runs"].transform.inverse(np.array([-30.0]))[0])
    moved = np.log(large - floor) - np.log(small - floor)
    assert moved[-1] < -0.01
    above = np.log(small - floor) - np.log(small[-1] - floor)
    assert moved == pytest.approx(moved[-1] * np.exp(-2.5 * above), rel=0.05)


def test_how_a_begun_run_of_a_new_size_goes_on_is_less_sure_the_further_ahead(one_size, monkeypatch):
    frame = table(runs=3, seed=4, partial=0.0).assign(params=5e7)
    log = ps.RunLog.from_frame(frame.assign(run="new " + frame["run"]), **ROLES)
    at = log.points["step"].to_numpy().reshape(3, -1)
    known = one_size.condition(log.truncate(fraction=0.3))
    asked = log.configs.reset_index()
    drifting = known.predict(asked, at)
    draws = drifting.latent().sample(4000, seed=0)
    assert draws.std(0) == pytest.approx(drifting.latent().std, rel=0.15)
    for name in ("DRIFT_GAIN", "DRIFT_SIZE"):
        monkeypatch.setattr(f"probscale.surrogate.functional_drift.{name}", 0.0)
    widened = drifting.std / known.predict(asked, at).std
    assert widened[:, :9] == pytest.approx(np.ones((3, 9)))
    assert (widened[:, 9:] > 1).all()
    assert (widened[:, -1] > 1.5 * widened[:, 10]).all()


def test_a_single_spike_does_not_move_what_is_foretold(fitted, fresh):
    configs, at, _ = asked(fresh)
    seen = fresh.truncate(fraction=0.5)
    spiked = seen.points.assign(loss=seen.points["loss"].to_numpy().copy())
    spiked.loc[spiked.groupby("run", sort=False).head(1).index, "loss"] *= 1.25
    rows = configs.reset_index()
    plain, after = (
        fitted.condition(replace(seen, points=points)).predict(rows, at) for points in (seen.points, spiked)
    )
    moved = np.abs(after.mean - plain.mean)[:, -10:]
    assert np.median(moved / plain.std[:, -10:]) < 0.5


@pytest.fixture(scope="module")
def corpora():
    """Runs on five corpora that differ by an offset of the log loss, with warm-ups of a fixed length."""
    frame = table(110, seed=5, partial=0.0)
    number = frame["run"].str[1:].astype(int)
    shift = np.random.default_rng(5).normal(0, 0.1, 5)[number % 5]
    share = frame["step"] / frame["horizon"]
    risen = np.minimum(share / (400.0 / frame["horizon"]), 1.0)
    frame["loss"] = frame["loss"] * np.exp(shift + 0.3 * (1 - risen))
    frame = frame.assign(corpus=("corpus " + (number % 5).astype(str)), warmup_steps=400)
    log = ps.RunLog.from_frame(frame.rename(columns={"horizon": "max_steps"}), **ROLES | LEVELS)
    return log, ps.fit_surrogate(log, embedder=None, model="functional")


LEVELS = {"levels": ("corpus",), "horizon": "max_steps"}


def test_a_new_corpus_has_a_spread_of_its_own(corpora):
    log, surrogate = corpora
    (expert,) = surrogate.experts.values()
    assert expert.unseen is not None
    assert surrogate.report.experts[0].tails["unseen level values"]["scale"] == expert.unseen
    doubled = replace(surrogate, experts={"all runs": replace(expert, unseen=2 * expert.unseen)})
    config = log.configs.iloc[:1]
    for asked, ratio in ((config, 1.0), (config.assign(corpus="new"), 2.0)):
        before, after = (
            np.diff(s.predict(asked, [500.0, 1000.0]).interval(), axis=0) for s in (surrogate, doubled)
        )
        assert np.log(after / before) == pytest.approx(np.full((1, 1, 2), np.log(ratio)), abs=0.15)


def test_warm_ups_are_read_and_kept(corpora, tmp_path):
    log, surrogate = corpora
    assert surrogate.report.experts[0].schedule == ("warmup_steps", "max_steps")
    (expert,) = surrogate.experts.values()
    places = expert.places(
        log.configs,
        expert.rows(log.configs, np.zeros(log.n_runs), expert.horizons(log.configs)),
        expert.horizons(log.configs),
    )
    assert places.warm == pytest.approx(400 / log.configs["max_steps"].to_numpy())
    surrogate.save(tmp_path / "s.safetensors")
    again = ps.load_surrogate(tmp_path / "s.safetensors", embedder=None)
    first, second = (s.predict(log.configs.iloc[:3], [100.0, 1000.0]) for s in (surrogate, again))
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-10)


def test_ends_that_are_measured_with_noise_are_foretold_with_it(tmp_path):
    def noisy(seed, runs):
        frame = table(runs, seed=seed, partial=0.0)
        noise = np.random.default_rng(seed + 9).normal(1, 0.015, len(frame))
        return ps.RunLog.from_frame(frame.assign(loss=frame.loss * noise), **ROLES)

    surrogate = ps.fit_surrogate(noisy(0, 120), embedder=None, model="functional")
    (expert,) = surrogate.experts.values()
    assert expert.basis.rest > 0
    configs, at, truth = asked(noisy(1, 40))
    lower, upper = surrogate.predict(configs, at[:, -1:]).interval(0.9)
    assert 0.75 <= ((truth[:, -1:] >= lower) & (truth[:, -1:] <= upper)).mean() <= 1.0
    surrogate.save(tmp_path / "noisy.safetensors")
    again = ps.load_surrogate(tmp_path / "noisy.safetensors").predict(configs, at[:, -1:])
    np.testing.assert_array_equal(again.interval(0.9)[0], lower)


def test_repetitions_of_one_configuration_differ_as_much_as_a_new_one_will():
    rng = np.random.default_rng(0)
    steps = np.geomspace(1, 500, 20)
    ends, falls = 0.3 * rng.normal(size=160), np.exp(0.3 * rng.normal(size=160))
    curves = 2 + ends[:, None] + falls[:, None] * steps**-0.5 + 0.01 * rng.normal(size=(160, 20))
    frame = pd.DataFrame(
        {"run": np.repeat(np.arange(100), 20), "step": np.tile(steps, 100), "loss": curves[:100].ravel()}
    )
    log = ps.RunLog.from_frame(frame, run="run", axis="step", output="loss")
    surrogate = ps.fit_surrogate(log, embedder=None, model="functional")
    lower, upper = surrogate.predict([{}], at=steps).interval(0.9)
    held = ((lower < curves[100:]) & (curves[100:] < upper)).mean()
    assert 0.8 < held < 0.99
