"""The check of a log: what is left out, what is scored, and what is said about it."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, RunLogError
from probscale.evaluate import CheckReport, check
from probscale.evaluate.baselines import forecasts_of_continuations, forecasts_of_new_runs, power_law
from probscale.evaluate.calibration import padded
from probscale.evaluate.checkreport import report_of, verdict
from probscale.evaluate.regimes import folds_of, possible_regimes, thinned_points
from probscale.surrogate.options import FitOptions
from tolerances import ALGEBRA, EXACT

QUICK = FitOptions(subset=80, iterations=4, rounds=1)


@pytest.fixture(scope="module")
def log():
    """Three tasks, seven sizes."""
    return ps.simulate_runs("law", n_runs=24, points=8, tasks=3, seed=5)


@pytest.fixture(scope="module")
def report(log):
    return check(log, embedder=None, folds=2, seed=0, options=QUICK)


def test_every_regime_that_the_log_allows_is_checked(log, report):
    expected = (
        "in-distribution",
        "prefix 10 %",
        "prefix 20 %",
        "prefix 50 %",
        "larger scale",
        "unseen level",
    )
    assert report.regimes == expected
    assert possible_regimes(log.finals()) == ("in-distribution", "larger scale", "unseen level")
    assert len(report.points) == report.table["points"].sum()


def test_a_fold_asks_only_about_runs_it_did_not_see(log):
    for fold in folds_of(log, possible_regimes(log), folds=3, seed=1):
        assert not set(fold.train.runs) & set(fold.test.runs)
        if fold.regime == "larger scale":
            size = log.roles.params
            assert fold.test.configs[size].min() > fold.train.configs[size].max()
        if fold.regime == "unseen level":
            assert not set(fold.train.configs["task"]) & set(fold.test.configs["task"])


def test_random_folds_leave_each_run_out_once_at_most(log):
    folds = [fold for fold in folds_of(log, ("in-distribution",), folds=3, seed=1)]
    held = [run for fold in folds for run in fold.test.runs]
    assert len(held) == len(set(held)) == 15


def test_scores_are_those_of_a_fit_by_hand(log, report):
    fold = folds_of(log, possible_regimes(log), folds=2, seed=0)[0]
    surrogate = ps.fit_surrogate(fold.train, embedder=None, seed=0, options=QUICK)
    measured = fold.test.points[fold.test.codes == 0]
    curves = surrogate.predict(fold.test.configs.iloc[[0]].reset_index(drop=True), measured["tokens"])
    mine = report.points.query("regime == 'in-distribution' and run == @fold.test.runs[0]")
    np.testing.assert_allclose(mine["median"], curves.median[0], rtol=ALGEBRA)
    np.testing.assert_allclose(mine["crps"], curves.crps(measured["loss"])[0], rtol=ALGEBRA)
    lower, upper = curves.interval(0.9)
    np.testing.assert_allclose(
        mine[["lower_90", "upper_90"]].to_numpy().T, [lower[0], upper[0]], rtol=ALGEBRA
    )


def test_a_prefix_is_scored_beyond_its_end_only(log, report):
    ends = log.configs[log.roles.horizon]
    for share in (0.1, 0.2, 0.5):
        points = report.points.query(f"regime == 'prefix {share * 100:g} %'")
        assert (points["at"].to_numpy() > share * ends.loc[points["run"]].to_numpy()).all()


def test_where_runs_end_is_counted_by_itself(report):
    """Of curves: many points of a run say little of where it ends."""
    for name in report.regimes:
        points = report.points[report.points["regime"] == name]
        last = points[points["at"] == points.groupby("run")["at"].transform("max")]
        inside = last["truth"].between(last["lower_90"], last["upper_90"])
        assert len(last) == points["run"].nunique()
        assert report.table.loc[name, "ends_90"] == pytest.approx(inside.mean())
        assert f"{100 * inside.mean():.0f} % of their last points" in report.verdicts[name]
    assert "90 % at the end" in report.to_markdown()


def test_finals_have_no_ends_of_their_own(log):
    small = check(log.finals(), regimes="in-distribution", embedder=None, folds=1, options=QUICK)
    assert "ends_90" not in small.table or small.table["ends_90"].isna().all()
    assert "last points" not in str(small)


def test_a_longer_prefix_forecasts_better(report):
    error = report.table["crps"]
    assert error["prefix 50 %"] < error["prefix 10 %"] < error["in-distribution"]


def test_refits_elsewhere_give_the_same_report(log, report):
    with ThreadPoolExecutor(2) as pool:
        again = check(log, regimes="larger scale", embedder=None, folds=2, options=QUICK, executor=pool)
    pd.testing.assert_series_equal(
        again.table.loc["larger scale"], report.table.loc["larger scale"], check_exact=False, rtol=1e-9
    )


def test_long_logs_are_thinned_and_the_report_says_so(log):
    small = check(log, regimes="in-distribution", embedder=None, folds=1, most_runs=12, options=QUICK)
    assert "checked on 12 of 24 runs" in small.notes[0]
    assert small.table.loc["in-distribution", "runs"] == 3


def test_the_report_is_readable_and_travels(report):
    assert isinstance(report, CheckReport)
    lines = report.to_markdown().splitlines()
    assert len(lines) == 2 + len(report.regimes)
    assert len({line.count("|") for line in lines}) == 1
    text = str(report)
    for name in report.regimes:
        assert f"{name}: 90 % intervals hold" in text
    stored = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert stored["regimes"]["larger scale"]["points"] == report.table.loc["larger scale", "points"]
    assert list(report.to_frame()["regime"]) == list(report.regimes)


def _row(coverage, se, widen, clusters=30, **more):
    row = {"runs": clusters, "points": 300, "coverage_90": coverage, "coverage_90_se": se, "widen": widen}
    return pd.Series({**row, "clusters": clusters} | more)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_row(0.89, 0.02, 1.02), "well calibrated"),
        (_row(0.75, 0.02, 1.4), "too narrow, by 1.40 ×"),
        (_row(0.99, 0.01, 0.5), "wider than needed, by 2.00 ×"),
        (_row(0.84, 0.05, 1.2), "narrow, though 30 runs cannot tell that from chance"),
        (_row(0.84, 0.05, 1.2, runs=90), "narrow, though 30 independent groups of runs cannot tell that"),
        (_row(0.5, 0.2, 3.0, clusters=3), "too few runs to judge"),
        (_row(0.9, 0.1, 1.0, mae=0.1, baseline="law", baseline_mae=0.2, ratio=0.5), "2.00 × better than law"),
        (_row(0.9, 0.1, 1.0, mae=0.3, baseline="law", baseline_mae=0.2, ratio=1.5), "1.50 × that of law"),
        (_row(0.9, 0.1, 1.0, mae=0.1, baseline="law", baseline_mae=2.5, ratio=0.04), " 25 × better than"),
    ],
)
def test_verdicts_say_what_the_figures_mean(row, words):
    assert words in verdict(row)


def test_coverage_is_judged_between_one_and_two_standard_errors_from_ninety():
    assert "narrow, though" in verdict(_row(0.84, 0.035, 1.2))
    assert "too narrow" in verdict(_row(0.84, 0.029, 1.2))
    assert "too narrow" in verdict(_row(0.5, 0.02, 0.9))


def _points(regime, clusters, size=2):
    """Scored points of eight runs, two each, whose plain methods are off by 2 on either side and by 3."""
    rng = np.random.default_rng(0)
    runs = np.repeat([f"r{i}" for i in range(8)], size)
    truth = rng.normal(0, 1, len(runs))
    curves = pd.DataFrame(
        {"regime": regime, "fold": 0, "run": runs, "at": np.tile(np.arange(size), 8), "truth": truth}
    )
    side = np.where(np.arange(len(runs)) % 2, 2.0, -2.0)
    mean, off = truth + 1.0, 1.0 + np.arange(len(runs)) % size
    told = {
        "mean": mean,
        "median": mean,
        "crps": 0.5,
        "log_density": -1.0,
        "pit": rng.uniform(size=len(runs)),
    }
    for level in (50, 80, 90, 95):
        told |= {f"lower_{level}": truth - 1.5 + off, f"upper_{level}": truth + 1.0 + off}
    cluster = np.array([f"c{i % clusters}" for i in range(8)])[np.repeat(np.arange(8), size)]
    plain = {"baseline near": truth + side, "baseline far": truth - 3.0}
    return curves.assign(**told, cluster=cluster, **plain)


@pytest.mark.parametrize(
    ("regime", "clusters", "counted"),
    [("unseen level", 6, 6), ("unseen level", 3, 8), ("in-distribution", 6, 8)],
)
def test_rows_of_a_report_are_counted_by_what_is_wrong_together(log, regime, clusters, counted):
    row = report_of(_points(regime, clusters), log, (), 0.0).table.loc[regime]
    assert row["clusters"] == counted
    assert (row["baseline"], row["baseline_mae"]) == ("near", pytest.approx(2.0))
    assert row["ratio"] == pytest.approx(row["mae"] / 2.0)
    # Of each run the first point lies inside, the last outside.
    assert row["ends_90"] == 0.0
    assert "ends_90" not in report_of(_points(regime, clusters, size=1), log, (), 0.0).table


def test_boosting_and_the_law_follow_the_points_of_the_log():
    log = ps.simulate_runs("law", n_runs=30, points=6, seed=3)
    plain = forecasts_of_new_runs(log, log, seed=0)
    truth = log.points[log.output].to_numpy()
    assert set(plain) == {"boosting", "law"}
    for forecast in plain.values():
        assert np.corrcoef(np.log(forecast), np.log(truth))[0, 1] > 0.8


def test_a_column_without_values_in_the_training_runs_is_nothing_to_boosting():
    log = ps.simulate_runs("law", n_runs=30, points=6, seed=3)
    frame = log.to_frame().assign(warmup=np.nan)
    last = frame["run"].isin(log.runs[20:])
    frame.loc[last, "warmup"] = 100.0
    told = ps.RunLog.from_frame(frame, **log.roles.arguments() | {"config": ["learning_rate", "warmup"]})
    plain = ps.RunLog.from_frame(frame, **log.roles.arguments() | {"config": ["learning_rate"]})
    chosen = np.arange(30) < 20
    found, expected = (
        forecasts_of_new_runs(each.select(chosen), each.select(~chosen), seed=0)["boosting"]
        for each in (told, plain)
    )
    np.testing.assert_array_equal(found, expected)


def test_a_power_law_is_continued_exactly():
    x = np.array([1.0, 2.0, 4.0, 8.0])
    exponent = np.geomspace(0.05, 2.0, 30)[17]
    ahead = np.array([16.0, 64.0])
    np.testing.assert_allclose(power_law(x, 2 + 3 * x**-exponent, ahead), 2 + 3 * ahead**-exponent, rtol=1e-8)
    np.testing.assert_allclose(power_law(x[:3], np.array([3.0, 2.0, 1.5]), ahead), [1.5, 1.5], rtol=EXACT)


def test_continuations_begin_where_the_prefix_ends(log):
    seen = log.truncate(fraction=0.5)
    plain = forecasts_of_continuations(seen, log.select(seen.runs))
    last = seen.finals().points.set_index(log.roles.run)[log.output]
    runs = log.select(seen.runs).points[log.roles.run]
    np.testing.assert_allclose(plain["last value"], last.loc[runs], rtol=EXACT)


def test_padding_keeps_every_point_in_its_place():
    log = ps.simulate_runs("law", n_runs=6, points=5, seed=2)
    log = log.truncate(until={run: 1e9 * 3.0**i for i, run in enumerate(log.runs)})
    at, truth, place = padded(log)
    row, column = np.nonzero(np.isfinite(truth))
    np.testing.assert_allclose(truth[row, column], log.points[log.output].to_numpy()[place], rtol=EXACT)
    np.testing.assert_allclose(at[row, column], log.points[log.roles.axis].to_numpy()[place], rtol=EXACT)
    assert np.isfinite(at).all()


def test_thinning_keeps_the_first_and_the_last_point(log):
    thin = thinned_points(log, 3)
    assert thin.n_points == 3 * log.n_runs
    pd.testing.assert_frame_equal(thin.finals().points, log.finals().points)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"regimes": "bigger"}, "accepted are auto, in-distribution"),
        ({"regimes": ()}, 'pass "auto"'),
        ({"regimes": "unseen source"}, "one level, which is checked as 'unseen level'"),
        ({"folds": 0}, "at least one refit"),
        ({"folds": 1.5}, "folds is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"most_runs": 3}, "at least 6"),
    ],
)
def test_bad_requests_are_refused_with_what_is_accepted(log, arguments, words):
    with pytest.raises(ConfigError, match=words):
        check(log, embedder=None, **arguments)


def test_what_is_no_log_is_refused():
    with pytest.raises(RunLogError, match="check needs a RunLog, got str"):
        check("runs.csv")


def test_regimes_the_log_cannot_tell_about_are_refused():
    frame = pd.DataFrame(
        {"run": range(8), "step": 1.0, "loss": np.linspace(3, 2, 8), "lr": np.geomspace(1e-4, 1, 8)}
    )
    log = ps.RunLog.from_frame(frame, run="run", axis="step", output="loss")
    for regime, words in (
        ("larger scale", "no params role"),
        ("prefix", "fewer than 5 points"),
        ("unseen level", "it has no levels"),
    ):
        with pytest.raises(ConfigError, match=words):
            check(log, regimes=regime, embedder=None)
    with pytest.raises(ConfigError, match="needs at least 6"):
        check(log.select([0, 1, 2]), embedder=None)
