"""The contract of fitting, asking, conditioning and choosing."""

import warnings

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, FitError, RunLogError, ShapeError, UnknownColumnWarning
from probscale.runs import RunLog
from probscale.surrogate.options import FitOptions
from tolerances import ALGEBRA, EXACT


def test_the_same_log_and_seed_give_the_same_surrogate(log, surrogate, new):
    again = ps.fit_surrogate(log, embedder=None, seed=0)
    one, two = (s.predict(new.configs, new.at) for s in (surrogate, again))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)


def test_the_report_says_what_was_fitted(surrogate, log):
    (expert,) = surrogate.report.experts
    assert expert.runs == log.n_runs
    assert expert.points == log.n_points - log.points["diverged"].sum()
    assert surrogate.report.levels == ("task",)
    assert 0 < expert.law["E"] < log.points["loss"].min()
    assert surrogate.report.seconds > 0
    assert "log(loss" in str(surrogate.report)
    assert repr(surrogate) == "CurveSurrogate(24 runs, 192 points, loss by tokens)"


@pytest.mark.parametrize("most", [15, 100])
def test_the_report_says_how_many_runs_a_thinned_log_still_has(log, most):
    options = FitOptions(iterations=2, rounds=1, most=most)
    report = ps.fit_surrogate(log.finals(), embedder=None, options=options).report
    held = min(most, log.n_runs)
    assert report.experts[0].learnt == report.experts[0].points == held
    assert ("holds points of 15 of the 24 runs" in str(report)) == (held < log.n_runs)


def test_new_runs_are_forecast_within_their_intervals():
    """Twelve of thirty-six simulated runs held out: means near the truth, intervals that hold it."""
    log = ps.simulate_runs("law", n_runs=36, points=6, seed=9)
    surrogate = ps.fit_surrogate(log.select(np.arange(36) >= 12), embedder=None)
    asked = log.select(np.arange(36) < 12)
    at = asked.points["tokens"].to_numpy(dtype=float).reshape(12, 6)
    truth = asked.points["loss"].to_numpy(dtype=float).reshape(12, 6)
    curves = surrogate.predict(asked.configs.reset_index(drop=True), at)
    lower, upper = curves.interval(0.9)
    assert 0.7 <= ((lower <= truth) & (truth <= upper)).mean() <= 1.0
    assert np.median(np.abs(curves.mean / truth - 1)) < 0.05


def test_conditioning_on_known_points_changes_nothing(surrogate, log, new):
    again = surrogate.condition(log)
    one, two = (s.predict(new.configs, new.at) for s in (surrogate, again))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)


def test_conditioning_returns_another_surrogate(surrogate, log, new):
    before = surrogate.predict(new.configs, new.at).mean
    more = _renamed(log, "more")
    other = surrogate.condition(more)
    assert other.log.n_runs == 2 * log.n_runs
    assert surrogate.log.n_runs == log.n_runs
    np.testing.assert_array_equal(surrogate.predict(new.configs, new.at).mean, before)
    assert other.report == surrogate.report


def test_the_order_of_conditioning_does_not_matter(surrogate, log, new):
    one, two = _renamed(log, "one").select(range_of(3)), _renamed(log, "two").select(range_of(5))
    forward = surrogate.condition(one).condition(two).predict(new.configs, new.at)
    backward = surrogate.condition(two).condition(one).predict(new.configs, new.at)
    at_once = surrogate.condition(one + two).predict(new.configs, new.at)
    for other in (backward, at_once):
        np.testing.assert_allclose(forward.mean, other.mean, rtol=ALGEBRA)
        np.testing.assert_allclose(forward.std, other.std, rtol=ALGEBRA)


def test_a_prefix_narrows_the_future_of_its_own_run(surrogate, log):
    run, config = "fresh", log.configs.iloc[[6]]
    end = float(config["horizon"].iloc[0])
    at = [end / 4, end]
    named = config.reset_index(drop=True).assign(run=run)
    frame = log.to_frame()
    prefix = frame[(frame["run"] == log.runs[6]) & (frame["tokens"] <= end / 2)].drop(columns="diverged")
    longer = surrogate.condition(RunLog.from_frame(prefix.assign(run=run), **log.roles.arguments()))
    before, after = surrogate.predict(named, at).latent(), longer.predict(named, at).latent()
    assert (after.std < before.std).all()
    # A stranger with the same configuration learns less from it than the run itself.
    stranger = longer.predict(config.reset_index(drop=True), at).latent()
    assert (after.std < stranger.std).all()


def test_a_continuation_needs_no_more_than_the_name_of_the_run(surrogate, log):
    run = log.runs[3]
    at = np.array([1.5, 2.0]) * log.points[log.points["run"] == run]["tokens"].max()
    whole = log.configs.loc[[run]].reset_index()
    short = [{"run": run, "task": log.configs.loc[run, "task"]}]
    np.testing.assert_allclose(
        surrogate.predict(whole, at).mean, surrogate.predict(short, at).mean, rtol=EXACT
    )


def test_an_unseen_level_is_an_ordinary_question_with_a_wider_answer(surrogate, new):
    known = surrogate.predict(new.configs, new.at).latent()
    unseen = surrogate.predict(new.configs.assign(task="never seen"), new.at).latent()
    assert np.isfinite(unseen.mean).all()
    assert (unseen.std > known.std).mean() > 0.9


def test_missing_optional_columns_are_fine(surrogate, new):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare = surrogate.predict(new.configs[["task", "params"]], new.at)
        least = surrogate.predict([{"task": "task-0"}], new.at)
    assert np.isfinite(bare.mean).all()
    assert np.isfinite(least.std).all()


def test_unknown_columns_are_named_and_ignored(surrogate, new):
    with pytest.warns(UnknownColumnWarning, match="colour"):
        odd = surrogate.predict(new.configs.assign(colour="red"), new.at)
    np.testing.assert_allclose(odd.mean, surrogate.predict(new.configs, new.at).mean, rtol=EXACT)


def test_what_cannot_be_asked_is_refused(surrogate, new):
    with pytest.raises(ConfigError, match="level 'task' is missing"):
        surrogate.predict(new.configs.drop(columns="task"), new.at)
    with pytest.raises(ConfigError, match="empty"):
        surrogate.predict([], new.at)
    with pytest.raises(ConfigError, match="params must be a positive number; row 1"):
        surrogate.predict(new.configs.assign(params=[1e8, -1.0, 1e8]), new.at)
    with pytest.raises(ShapeError, match="3 configurations"):
        surrogate.predict(new.configs, np.ones((2, 4)))
    with pytest.raises(ConfigError, match="finite and not negative"):
        surrogate.predict(new.configs, [-1.0])
    with pytest.raises(ConfigError, match="pass a DataFrame"):
        surrogate.predict(7, new.at)
    with pytest.raises(ConfigError, match="seed is 'a'"):
        surrogate.sample_outputs(new.configs, new.at, 2, seed="a")
    for within in (-0.1, np.nan, "near"):
        with pytest.raises(ConfigError, match=f"within is {within!r}; pass a margin"):
            surrogate.best(new.configs, 1e10, within=within)
    with pytest.raises((ConfigError, ShapeError), match="at is not an array of numbers"):
        surrogate.best(new.configs, "end")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("transform", "sqrt"), ("model", "gp"), ("seed", "a"), ("seed", -1), ("seed", 0.5)],
)
def test_settings_that_do_not_exist_are_refused_before_the_fit(log, argument, value):
    with pytest.raises(ConfigError, match=f"{argument} is {value!r}"):
        ps.fit_surrogate(log, embedder=None, **{argument: value})


def test_a_log_with_other_roles_is_refused(surrogate, log):
    frame = log.to_frame().drop(columns="diverged").rename(columns={"tokens": "steps"})
    other = RunLog.from_frame(frame, **log.roles.arguments() | {"axis": "steps"})
    with pytest.raises(RunLogError):
        surrogate.condition(other)


def test_too_few_points_cannot_be_fitted():
    frame = pd.DataFrame({"run": ["a", "b"], "tokens": [1.0, 1.0], "loss": [2.0, 3.0]})
    log = RunLog.from_frame(frame, run="run", axis="tokens", output="loss")
    with pytest.raises(FitError, match="2 finite value"):
        ps.fit_surrogate(log, embedder=None)


def test_three_points_are_enough():
    frame = pd.DataFrame({"run": ["a", "b", "b"], "tokens": [1.0, 1.0, 2.0], "loss": [2.0, 3.0, 2.5]})
    log = RunLog.from_frame(frame, run="run", axis="tokens", output="loss")
    curves = ps.fit_surrogate(log, embedder=None).predict([{}], [1.0, 2.0, 4.0])
    assert np.isfinite(curves.mean).all()
    assert (curves.std > 0).all()


def test_missing_outputs_are_kept_out_of_the_fit(log, surrogate, new):
    frame = log.to_frame().drop(columns="diverged")
    frame.loc[frame.index[::9], "loss"] = np.nan
    holed = RunLog.from_frame(frame, **log.roles.arguments(), nonfinite="diverged")
    fitted = ps.fit_surrogate(holed, embedder=None)
    assert fitted.report.experts[0].points == (~holed.points["diverged"]).sum()
    curves = fitted.predict(new.configs, new.at)
    np.testing.assert_allclose(curves.mean, surrogate.predict(new.configs, new.at).mean, rtol=0.1)


def test_scores_to_be_maximised_stay_below_their_bound(scores):
    surrogate = ps.fit_surrogate(scores, embedder=None)
    configs = scores.configs.reset_index(drop=True).head(6)
    at = configs["horizon"].to_numpy()[:, None] * [0.1, 1.0, 3.0]
    curves = surrogate.predict(configs, at)
    lower, upper = curves.interval(0.9)
    assert (lower < upper).all()
    assert (upper < 1.0).all()
    assert (curves.sample(200, seed=0) <= 1.0).all()
    np.testing.assert_allclose(curves.prob_below(curves.quantile(0.3)), 0.3, atol=ALGEBRA)
    finals = scores.finals().points["accuracy"].to_numpy(dtype=float)[:6]
    assert np.mean(np.abs(curves.mean[:, 1] - finals)) < 0.05
    best = surrogate.best(configs, configs["horizon"].to_numpy())
    assert best.mean == pytest.approx(
        surrogate.predict(configs, configs["horizon"].to_numpy()[:, None]).latent().mean.max()
    )


def test_signed_outputs_are_modelled_as_they_are():
    rng = np.random.default_rng(0)
    rows = [
        (r, t, np.log(t) - 3 + 0.2 * r + 0.01 * rng.standard_normal())
        for r in range(8)
        for t in (1.0, 4.0, 16.0)
    ]
    frame = pd.DataFrame(rows, columns=["run", "step", "gain"]).assign(width=lambda f: f["run"] * 0.2 + 1)
    log = RunLog.from_frame(frame, run="run", axis="step", output="gain", goal="max")
    curves = ps.fit_surrogate(log, embedder=None).predict([{"width": 1.7}], [1.0, 16.0])
    assert curves.mean[0, 0] < 0
    np.testing.assert_allclose(curves.mean[0], [-2.3, -2.3 + np.log(16)], atol=0.3)


def test_best_is_the_smallest_expected_loss_and_its_odds_add_up(surrogate, new):
    found = surrogate.best(new.configs, 1e10, within=0.05)
    latent = surrogate.predict(new.configs, [1e10]).latent()
    assert found.position == int(np.argmin(latent.mean[:, 0]))
    assert found.mean == pytest.approx(latent.mean.min(), rel=ALGEBRA)
    assert found.table["prob_best"].sum() == pytest.approx(1.0)
    assert (found.table["prob_within"] >= found.table["prob_best"] - EXACT).all()
    assert found.interval[0] < found.mean < found.interval[1]
    assert found.config["task"] == new.configs["task"].iloc[found.position]


def test_the_seed_of_the_best_is_that_of_its_odds(surrogate, new):
    one, same, other = (surrogate.best(new.configs, 1e10, within=0.05, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.table, same.table)
    assert one.position == other.position
    assert one.mean == other.mean
    assert not np.array_equal(one.table["prob_best"], other.table["prob_best"])


def test_the_best_configuration_keeps_its_whole_numbers():
    log = RunLog.from_frame(
        pd.DataFrame({"run": list("aabb"), "step": [1, 2, 1, 2], "loss": [3.0, 2.0, 2.5, 1.9]}).assign(
            batch=[8, 8, 16, 16], lr=[0.1, 0.1, 0.2, 0.2]
        ),
        run="run",
        axis="step",
        output="loss",
    )
    config = ps.fit_surrogate(log, embedder=None).best([{"batch": 8, "lr": 0.1}], 2.0).config
    assert [type(value) for value in config.values()] == [int, float]


def test_words_become_coordinates_of_the_language_model(texts):
    """With the bundled language model: labels with text, a run of one point, a field missing here and there."""
    surrogate = ps.fit_surrogate(texts)
    (expert,) = surrogate.report.experts
    assert surrogate.report.embedder is not None
    assert "optimizer" in expert.text
    ask = pd.DataFrame({"optimizer": ["adamw", "sgd", "adafactor"], "lr": 3e-3})
    curves = surrogate.predict(ask, [4e8])
    truth = 2 + np.array([0.0, 0.4]) + 40 * 4e8**-0.25
    np.testing.assert_allclose(curves.mean[:2, 0], truth, atol=0.15)
    assert curves.latent().std[2, 0] > curves.latent().std[:2, 0].max()


def range_of(n):
    """A selection of the first `n` runs."""
    return lambda configs: np.arange(len(configs)) < n


def _renamed(log, prefix):
    """The same runs under other names: replicates."""
    frame = log.to_frame().drop(columns="diverged")
    frame["run"] = prefix + " " + frame["run"].astype(str)
    return RunLog.from_frame(frame, **log.roles.arguments())


def test_the_cpu_by_name_changes_no_bit(log, surrogate, new):
    again = ps.fit_surrogate(log, embedder=None, seed=0, device="cpu")
    np.testing.assert_array_equal(
        again.predict(new.configs, new.at).mean, surrogate.predict(new.configs, new.at).mean
    )


def test_an_absent_device_is_named_before_anything_is_fitted(log):
    with pytest.raises(ConfigError, match="'cuda:99', but this PyTorch finds"):
        ps.fit_surrogate(log, embedder=None, device="cuda:99")
