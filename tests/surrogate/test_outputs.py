"""Several outputs of one log: each as good as alone, and better where others say more."""

import numpy as np
import pytest
import torch

import probscale as ps
from probscale.errors import ConfigError, FitError, RunLogError
from probscale.runs import RunLog
from probscale.surrogate import FitOptions
from probscale.surrogate.curves import run_codes
from probscale.surrogate.fitting import encoders_of, fit_output
from probscale.surrogate.outputs import paired_subset
from tolerances import ALGEBRA, monte_carlo

QUICK = FitOptions(rounds=1, iterations=15)
CUT = 0.2


def two_outputs(runs, seed=0):
    """Frame with a training loss, a validation loss that follows it run by run, and an accuracy."""
    rng = np.random.default_rng(seed)
    frame, codes = runs.to_frame().drop(columns="diverged"), runs.codes
    shift = rng.normal(0, 0.03, runs.n_runs)[codes]
    own = rng.normal(0, 0.006, runs.n_runs)[codes]
    frame["loss"] *= np.exp(shift)
    frame["val"] = 1.1 * frame["loss"] * np.exp(own) + 0.2 + rng.normal(0, 0.002, len(frame))
    frame["accuracy"] = np.clip(1.1 - 0.2 * frame["loss"] + rng.normal(0, 0.003, len(frame)), 0.01, 0.99)
    return frame


def read(frame, runs, outputs, goal="min"):
    return RunLog.from_frame(frame, **runs.roles.arguments() | {"output": outputs, "goal": goal})


def dense_mean(process, data, rows):
    """Posterior mean of rows by one solve with the full covariance."""
    with torch.no_grad():
        mean, slopes = (v.numpy() for v in process.mean.linearised(data.rows))
        mean_asked, slopes_asked = (v.numpy() for v in process.mean.linearised(rows))
        noise = (process.noise(data.rows) / data.weight).numpy()
        inner = process.kernel(data.rows.x).numpy() + slopes @ slopes.T + np.diag(noise)
        cross = process.kernel(rows.x, data.rows.x).numpy() + slopes_asked @ slopes.T
    return mean_asked + cross @ np.linalg.solve(inner, data.y.numpy() - mean)


@pytest.fixture(scope="module")
def runs():
    return ps.simulate_runs("law", n_runs=16, points=6, seed=5)


@pytest.fixture(scope="module")
def frame(runs):
    return two_outputs(runs)


@pytest.fixture(scope="module")
def cut(runs, frame):
    """Rows of the runs whose validation loss stops early, though training loss goes on."""
    late = frame["tokens"] > CUT * frame.groupby("run")["tokens"].transform("max")
    return (frame["run"].isin(runs.runs[[3, 7, 11, 15]]) & late).to_numpy()


@pytest.fixture(scope="module")
def log(runs, frame, cut):
    return read(frame.assign(val=frame["val"].mask(cut)), runs, ("val", "loss"))


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None, options=QUICK)


@pytest.fixture(scope="module")
def alone(log):
    return ps.fit_surrogate(log.measured("val"), embedder=None, options=QUICK)


@pytest.fixture(scope="module")
def asked(runs, frame, cut):
    """The four runs, the axis values where their validation loss is missing, and its true values."""
    names = list(runs.runs[[3, 7, 11, 15]])
    tables = [frame[cut & (frame["run"] == name).to_numpy()] for name in names]
    count = min(len(table) for table in tables)
    at = np.array([table["tokens"].to_numpy()[-count:] for table in tables])
    truth = np.array([table["val"].to_numpy()[-count:] for table in tables])
    return [{"run": name} for name in names], at, truth


def test_an_output_measured_further_improves_the_other(surrogate, alone, asked):
    configs, at, truth = asked
    joint, single = surrogate.predict(configs, at), alone.predict(configs, at)
    error, error_single = (np.abs(curves.mean - truth).mean() for curves in (joint, single))
    assert error < 0.5 * error_single
    assert joint.std.mean() < 0.5 * single.std.mean()
    lower, upper = joint.interval(0.9)
    assert np.mean((lower <= truth) & (truth <= upper)) > 0.75


def test_the_first_output_answers_by_default_and_others_by_name(surrogate, asked):
    configs, at, _ = asked
    first, named = surrogate.predict(configs, at), surrogate.predict(configs, at, output="val")
    np.testing.assert_array_equal(first.mean, named.mean)
    other = surrogate.predict(configs, at, output="loss")
    assert (first.output, other.output) == ("val", "loss")
    assert (other.mean < first.mean).all()


def test_parameters_of_the_first_output_are_those_of_a_fit_without_the_others(surrogate, log):
    encoders, generator = encoders_of(log, None), np.random.default_rng(0)
    expert, _, _ = fit_output(log.measured("val"), encoders, QUICK, generator)
    (state,), (single,) = surrogate.experts["all runs"].states, expert.states
    for mine, theirs in zip(state.process.each[0].parameters(), single.process.parameters(), strict=True):
        np.testing.assert_allclose(mine.detach(), theirs.detach(), rtol=ALGEBRA)


def test_both_outputs_follow_the_dense_solve(surrogate, asked):
    configs, at, _ = asked
    frame = surrogate.log.configs.loc[[c["run"] for c in configs]].reset_index(drop=True)
    codes = run_codes([c["run"] for c in configs])
    index = np.repeat(np.arange(len(at)), at.shape[1])
    for output in ("val", "loss"):
        expert = {"val": surrogate.experts, "loss": surrogate.others["loss"]}[output]["all runs"]
        (state,), data = expert.states, expert.states[0].data
        rows = expert.rows(frame, codes, index, at.ravel())
        location = dense_mean(state.process, data, rows)
        curves = surrogate.predict(configs, at, output=output)
        median = expert.transform.inverse(location.reshape(at.shape))
        np.testing.assert_allclose(curves.latent().median, median, rtol=1e-7)


def test_conditioning_on_one_output_of_a_new_run_updates_the_other(surrogate):
    later = ps.simulate_runs("law", n_runs=18, points=6, seed=5).select(lambda c: np.arange(len(c)) >= 16)
    at = later.points["tokens"].to_numpy().reshape(2, -1)
    fresh = surrogate.predict(later.configs.reset_index(drop=True), at)
    known = surrogate.condition(later)
    begun = known.predict([{"run": run} for run in later.runs], at)
    assert (begun.std < 0.6 * fresh.std).all()
    assert known.log.n_runs == 18
    # The same observations in two parts lead to the same posterior.
    twice = surrogate.condition(later.truncate(fraction=0.4)).condition(later)
    np.testing.assert_allclose(
        twice.predict([{"run": run} for run in later.runs], at).mean, begun.mean, rtol=1e-6
    )


def test_a_gap_of_one_output_is_filled_by_condition(surrogate, runs, frame, asked):
    configs, at, truth = asked
    full = read(frame, runs, ("val", "loss"))
    known = surrogate.condition(full)
    np.testing.assert_allclose(known.predict(configs, at).mean, truth, rtol=0.02)
    assert known.predict(configs, at).std.mean() < surrogate.predict(configs, at).std.mean()


def test_a_saved_surrogate_answers_for_every_output(surrogate, asked, tmp_path):
    configs, at, _ = asked
    surrogate.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    for output in ("val", "loss"):
        mine, theirs = (x.predict(configs, at, output=output) for x in (surrogate, loaded))
        np.testing.assert_allclose(mine.mean, theirs.mean, rtol=1e-10)
        np.testing.assert_allclose(mine.std, theirs.std, rtol=1e-9)
    assert loaded.report == surrogate.report


def test_draws_of_outputs_are_joint(surrogate, runs):
    configs, at = runs.configs.reset_index(drop=True).iloc[[0, 5]], [1e9, 4e9]
    draws = surrogate.sample_outputs(configs, at, 3_000, seed=1)
    for output, drawn in draws.items():
        curves = surrogate.predict(configs, at, output=output)
        np.testing.assert_allclose(drawn.mean(0), curves.mean, atol=monte_carlo(3_000, curves.std).max())
    both = np.corrcoef(draws["val"][:, 0, 0], draws["loss"][:, 0, 0])[0, 1]
    assert both > 0.8


def test_report_says_how_outputs_go_together(surrogate):
    (other,) = surrogate.report.others
    assert other.output == "loss"
    assert other.couplings["runs"] > 0.5
    text = str(surrogate.report)
    assert "val of all runs" in text
    assert "correlation with the principal output" in text


def test_outputs_may_have_goals_of_their_own(runs, frame):
    goals = {"val": "min", "accuracy": "max"}
    log = read(frame, runs, ("val", "accuracy"), goals)
    assert (log.roles.goal, log.roles.goal_of("accuracy")) == ("min", "max")
    assert read(log.to_frame(), log, ("val", "accuracy"), goals).equals(log)
    surrogate = ps.fit_surrogate(log, embedder=None, options=QUICK)
    configs = runs.configs.reset_index(drop=True).head(3)
    score = surrogate.predict(configs, [1e9, 8e9], output="accuracy")
    assert ((score.mean > 0) & (score.mean < 1)).all()
    assert (np.diff(score.mean) > 0).all()
    assert surrogate.report.others[0].transform.startswith("log(1 - score") or "score" in (
        surrogate.report.others[0].transform
    )


def test_final_values_inform_each_other_run_by_run():
    rng = np.random.default_rng(0)
    runs = ps.simulate_runs("law", n_runs=40, points=2, seed=2).finals()
    frame = runs.to_frame().drop(columns="diverged")
    frame["loss"] *= np.exp(rng.normal(0, 0.02, 40))
    frame["val"] = 1.2 * frame["loss"] + rng.normal(0, 0.001, 40)
    truth, held = frame["val"].to_numpy(), np.arange(40) % 4 == 0
    frame["val"] = frame["val"].mask(held)
    log = read(frame, runs, ("val", "loss"))
    at = frame["tokens"].to_numpy()[held][:, None]
    joint = ps.fit_surrogate(log, embedder=None)
    own = joint.predict([{"run": run} for run in runs.runs[held]], at)
    fresh = joint.predict(runs.configs[held].reset_index(drop=True), at)
    errors = [np.abs(curves.mean[:, 0] - truth[held]).mean() for curves in (own, fresh)]
    assert errors[0] < 0.6 * errors[1]
    assert own.std.mean() < 0.7 * fresh.std.mean()


def test_other_engines_model_outputs_apart(runs, frame):
    log = read(frame, runs, ("val", "loss"))
    surrogate = ps.fit_surrogate(log, embedder=None, options=QUICK, model="functional")
    configs = runs.configs.reset_index(drop=True).head(2)
    for output in ("val", "loss"):
        alone = ps.fit_surrogate(log.measured(output), embedder=None, options=QUICK, model="functional")
        mine = surrogate.predict(configs, [1e9], output=output)
        np.testing.assert_allclose(mine.mean, alone.predict(configs, [1e9]).mean, rtol=ALGEBRA)
    draws = surrogate.sample_outputs(configs, [1e9], 50)
    assert {name: drawn.shape for name, drawn in draws.items()} == {"val": (50, 2, 1), "loss": (50, 2, 1)}
    known = surrogate.condition(log.truncate(fraction=0.5))
    assert known.log.n_points == log.n_points


def test_an_output_that_was_hardly_measured_is_left_out_and_said_so(runs, frame):
    rare = read(frame.assign(val=frame["val"].where(np.arange(len(frame)) == 5)), runs, ("loss", "val"))
    few = rare.select(list(runs.runs[:6]))
    surrogate = ps.fit_surrogate(few, embedder=None, options=QUICK)
    assert "output 'val' was left out: fewer than 3 finite values" in str(surrogate.report)
    with pytest.raises(ConfigError, match="fitted to: loss"):
        surrogate.predict([{}], [1e9], output="val")
    assert surrogate.condition(rare).log.n_runs == 16
    assert list(surrogate.sample_outputs([{}], [1e9], 10)) == ["loss"]


def test_errors_name_the_output(surrogate, runs, frame):
    with pytest.raises(ConfigError, match="no output 'bleu'; the surrogate was fitted to: val, loss"):
        surrogate.predict([{}], [1e9], output="bleu")
    empty = read(frame.assign(val=np.nan), runs, ("val", "loss"))
    with pytest.raises(FitError, match="0 finite value\\(s\\) of 'val'"):
        ps.fit_surrogate(empty, embedder=None)
    with pytest.raises(RunLogError, match="does not name 'val'"):
        read(frame, runs, ("loss", "val"), {"loss": "min"})
    with pytest.raises(RunLogError, match="no output 'bleu'; outputs are: val, loss"):
        surrogate.log.measured("bleu")
    turned = RunLog.from_frame(frame, **runs.roles.arguments() | {"output": "val", "goal": "max"})
    with pytest.raises(RunLogError, match="goals that differ"):
        surrogate.condition(turned)


def test_a_subset_keeps_whole_runs_at_shared_points(surrogate):
    rows = surrogate.experts["all runs"].states[0].data.rows
    chosen = rows.take(paired_subset(rows, 60, np.random.default_rng(0))).x.numpy()
    assert 60 <= len(chosen) < 80
    both = [len(np.unique(chosen[chosen[:, -2] == run, -1])) for run in np.unique(chosen[:, -2])]
    assert min(both) == 2
