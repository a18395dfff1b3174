"""Scores against scoringrules, closed forms and simulation."""

import numpy as np
import pandas as pd
import pytest
import scoringrules as sr

import probscale as ps
from probscale.errors import ConfigError, ShapeError
from probscale.evaluate.scores import (
    clustered_mean,
    crps_from_samples,
    huber,
    interval_score,
    pooled,
    reliability,
    score_points,
    widening,
)
from probscale.model.marginals import mixture_crps, mixture_log_density
from probscale.model.transforms import Affine, LogFloor, LogOdds, LogScore
from tolerances import ALGEBRA, EXACT


@pytest.fixture(scope="module")
def log():
    return ps.simulate_runs("law", n_runs=20, points=8, tasks=2, seed=5)


@pytest.fixture(scope="module")
def curves(log):
    surrogate = ps.fit_surrogate(log.select(log.runs[:16]), embedder=None, seed=0)
    return surrogate.predict(log.configs.iloc[16:].reset_index(drop=True), [1e9, 4e9])


@pytest.fixture(scope="module")
def truth(curves):
    values = curves.sample(1, seed=3)[0]
    values[1, 0] = np.nan
    return values


def _normals(rng, shape, parts):
    weights = rng.dirichlet(np.ones(parts))
    return [(w, rng.normal(0, 0.3, shape), rng.uniform(0.001, 0.5, shape)) for w in weights]


def test_crps_of_many_normals_is_that_of_scoringrules():
    """Mixtures over settings that are not known have a hundred components, narrow ones beside wide ones."""
    rng = np.random.default_rng(1)
    m, v = rng.normal(0, 0.3, (40, 96)), np.exp(2 * rng.normal(-4, 0.6, (40, 96)))
    y, weights = rng.normal(0, 0.5, 40), np.full((40, 96), 1 / 96)
    ours = mixture_crps(Affine(0.0, 1.0), [(1 / 96, m[:, k], v[:, k]) for k in range(96)], y)
    np.testing.assert_allclose(ours, sr.crps_mixnorm(y, m, np.sqrt(v), weights), rtol=1e-6)


def test_crps_of_a_normal_mixture_is_that_of_scoringrules():
    rng = np.random.default_rng(0)
    normals, y = _normals(rng, (4, 3), 3), rng.normal(0, 1, (4, 3))
    ours = mixture_crps(Affine(0.0, 1.0), normals, y)
    m, v = (np.stack([part[i] for part in normals], axis=-1) for i in (1, 2))
    weights = np.broadcast_to([w for w, _, _ in normals], m.shape)
    np.testing.assert_allclose(ours, sr.crps_mixnorm(y, m, np.sqrt(v), weights), rtol=1e-6)


def test_weights_may_differ_between_runs():
    rng = np.random.default_rng(6)
    m, v, y = rng.normal(0, 1, (2, 4, 3)), rng.uniform(0.01, 1, (2, 4, 3)), rng.normal(0, 1, (4, 3))
    share = np.array([[0.0], [0.3], [0.7], [1.0]])
    normals = [(share, m[0], v[0]), (1 - share, m[1], v[1])]
    crps, density = (of(Affine(0.0, 1.0), normals, y) for of in (mixture_crps, mixture_log_density))
    for row, w in enumerate(share[:, 0]):
        own = [(w, m[0][row], v[0][row]), (1 - w, m[1][row], v[1][row])]
        np.testing.assert_allclose(crps[row], mixture_crps(Affine(0.0, 1.0), own, y[row]), rtol=EXACT)
        np.testing.assert_allclose(
            density[row], mixture_log_density(Affine(0.0, 1.0), own, y[row]), rtol=EXACT
        )


def test_crps_of_a_lognormal_is_that_of_scoringrules():
    rng = np.random.default_rng(1)
    m, s = rng.normal(0, 1, (5, 2)), rng.uniform(0.01, 1.5, (5, 2))
    y = 1.7 + rng.lognormal(0, 1, (5, 2))
    ours = mixture_crps(LogFloor(1.7), [(1.0, m, s**2)], y)
    np.testing.assert_allclose(ours, sr.crps_lognormal(y - 1.7, m, s), rtol=1e-6)


@pytest.mark.parametrize(
    "transform",
    [LogFloor(0.4), LogFloor(0.2, upper=1.0), LogScore(0.05), LogOdds(0.05, 9.0), Affine(2.0, -0.3)],
)
def test_crps_agrees_with_samples_under_every_transform(transform):
    rng = np.random.default_rng(2)
    normals = [(0.8, np.array([-1.0]), np.array([0.04])), (0.2, np.array([-1.2]), np.array([1.0]))]
    wide = rng.random(200_000) < 0.2
    draws = transform.inverse(
        np.where(wide, rng.normal(-1.2, 1.0, wide.shape), rng.normal(-1.0, 0.2, wide.shape))
    )
    for y in (draws[0], draws.min(), float(np.median(draws)), 3.0):
        exact = mixture_crps(transform, normals, np.array([y]))
        assert crps_from_samples(draws[:, None], np.array([y]))[0] == pytest.approx(exact[0], rel=0.01)


def test_crps_of_an_output_below_the_floor_counts_the_distance_to_it():
    normals = [(1.0, np.array([0.0]), np.array([0.01]))]
    at, below = (mixture_crps(LogFloor(2.0), normals, np.array([y]))[0] for y in (2.0, 1.0))
    assert below - at == pytest.approx(1.0, rel=ALGEBRA)


def test_density_is_the_slope_of_the_distribution(curves, truth):
    width = 1e-5
    slope = (curves.prob_below(truth + width) - curves.prob_below(truth - width)) / (2 * width)
    measured = np.isfinite(truth)
    np.testing.assert_allclose(np.exp(curves.log_density(truth))[measured], slope[measured], rtol=1e-4)
    assert np.isnan(curves.log_density(truth)[1, 0])


def test_density_of_an_impossible_output_is_zero():
    normals = [(1.0, np.array([0.0]), np.array([0.01]))]
    assert mixture_log_density(LogFloor(2.0), normals, np.array([1.9]))[0] == -np.inf


def test_crps_of_curves_agrees_with_their_joint_samples(curves, truth):
    filled = np.where(np.isfinite(truth), truth, curves.mean)
    np.testing.assert_allclose(
        crps_from_samples(curves.sample(20_000, seed=1), filled), curves.crps(filled), rtol=0.05
    )


def test_sample_crps_is_that_of_scoringrules():
    rng = np.random.default_rng(4)
    draws, y = rng.normal(size=(50, 3, 2)), rng.normal(size=(3, 2))
    np.testing.assert_allclose(
        crps_from_samples(draws, y),
        sr.crps_ensemble(y, np.moveaxis(draws, 0, -1), estimator="fair"),
        rtol=ALGEBRA,
    )


def test_interval_score_is_that_of_scoringrules():
    rng = np.random.default_rng(5)
    y, lower = rng.normal(size=30), rng.normal(-1, 0.3, 30)
    upper = lower + 2
    np.testing.assert_allclose(
        interval_score(y, lower, upper, 0.8), sr.interval_score(y, lower, upper, 0.2), rtol=EXACT
    )


def test_huber_loss_joins_its_two_branches():
    np.testing.assert_allclose(huber(np.array([0.005, -0.01, 1.0])), [1.25e-5, 5e-5, 0.00995], rtol=EXACT)


def test_points_leave_out_what_was_not_measured(curves, truth):
    points = score_points(curves, truth, runs=["a", "b", "c", "d"])
    assert len(points) == 7
    assert list(points.loc[points["run"] == "b", "at"]) == [4e9]
    row = points.iloc[0]
    assert row["pit"] == pytest.approx(curves.prob_below(truth)[0, 0], rel=EXACT)
    assert row["lower_90"] == pytest.approx(curves.interval(0.9)[0][0, 0], rel=EXACT)


def test_an_interval_holds_the_truth_when_its_rank_is_central(curves, truth):
    points = score_points(curves, truth)
    held = (points["lower_80"] <= points["truth"]) & (points["truth"] <= points["upper_80"])
    assert (held == (np.abs(points["pit"] - 0.5) <= 0.4)).all()


def _forecasts(runs, points, *, shared, seed, width=1.0):
    """Standard normal forecasts of truths whose errors are shared within a run to some degree."""
    rng = np.random.default_rng(seed)
    error = np.sqrt(shared) * rng.normal(size=(runs, 1)) + np.sqrt(1 - shared) * rng.normal(
        size=(runs, points)
    )
    from scipy.stats import norm

    z = error.ravel() / width
    table = {"run": np.repeat(np.arange(runs), points), "truth": error.ravel(), "median": 0.0, "mean": 0.0}
    table |= {"pit": norm.cdf(z), "crps": np.abs(z), "log_density": norm.logpdf(z)}
    for level in (50, 80, 90, 95):
        half = width * norm.ppf(0.5 + level / 200)
        table |= {f"lower_{level}": -half, f"upper_{level}": half}
    return pd.DataFrame(table)


def test_standard_errors_respect_runs():
    """Over repetitions, coverage scatters as its standard error says: far more than points would suggest."""
    results = [pooled(_forecasts(40, 25, shared=0.95, seed=s)).iloc[0] for s in range(200)]
    scatter = np.std([r["coverage_90"] for r in results])
    stated = np.mean([r["coverage_90_se"] for r in results])
    assert stated == pytest.approx(scatter, rel=0.15)
    assert stated > 2 * np.sqrt(0.09 / 1000)


def test_widening_undoes_intervals_that_are_too_narrow():
    points = _forecasts(400, 10, shared=0.0, seed=1, width=0.5)
    assert widening(points["pit"].to_numpy()) == pytest.approx(2.0, rel=0.1)


def test_scores_per_run_average_to_the_pooled_ones():
    points = _forecasts(6, 5, shared=0.3, seed=2)
    per_run, all_runs = pooled(points, "run"), pooled(points).iloc[0]
    assert len(per_run) == 6
    for name in ("mae", "crps", "nlpd", "coverage_90", "interval_score", "huber", "bias"):
        assert per_run[name].mean() == pytest.approx(all_runs[name], rel=ALGEBRA)
    assert per_run["mae_se"].isna().all()


def test_reliability_of_perfect_forecasts_lies_on_the_diagonal():
    table = reliability(_forecasts(500, 8, shared=0.0, seed=3))
    assert (np.abs(table["observed"] - table["promised"]) < 5 * table["se"].clip(lower=0.004)).all()


def test_a_single_cluster_has_no_standard_error():
    mean, error = clustered_mean(np.array([1.0, 2.0]), np.array([0, 0]))
    assert mean == 1.5
    assert np.isnan(error)


def test_scores_refuse_shapes_that_do_not_match(curves):
    with pytest.raises(ShapeError, match="does not broadcast"):
        score_points(curves, np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="give one each"):
        score_points(curves, 3.0, runs=["a"])
    with pytest.raises(ShapeError, match="at least 2"):
        crps_from_samples(np.zeros((1, 3)), np.zeros(3))
    with pytest.raises(ConfigError, match=r"such as 0\.9"):
        interval_score(np.zeros(1), np.zeros(1), np.ones(1), 90)


def test_points_that_cannot_be_pooled_are_refused_in_words(curves, truth):
    points = score_points(curves, truth)
    for ask in (pooled, reliability):
        with pytest.raises(ConfigError, match="there are no points to score"):
            ask(points.head(0))
    with pytest.raises(ConfigError, match="no column 'regime'; they have run, at, truth"):
        pooled(points, by="regime")
    with pytest.raises(ConfigError, match="no column 'task'"):
        pooled(points, cluster="task")
    with pytest.raises(ConfigError, match=r"shares is \[90\]"):
        reliability(points, [90])


def test_pooled_scores_are_means_of_what_was_scored():
    points = _forecasts(6, 5, shared=0.3, seed=3, width=1.3)
    points["lower_90"] -= 0.2
    row, error = pooled(points, delta=0.5).iloc[0], (points["median"] - points["truth"]).to_numpy()
    assert row["nlpd"] == pytest.approx(-points["log_density"].mean())
    assert row["bias"] == pytest.approx(error.mean())
    assert row["mae"] == pytest.approx(np.abs(error).mean())
    small, large = 0.5 * error**2, 0.5 * (np.abs(error) - 0.25)
    assert row["huber"] == pytest.approx(np.where(np.abs(error) <= 0.5, small, large).mean())
    assert row["sharpness"] == pytest.approx((points["upper_90"] - points["lower_90"]).mean())
    missed = (points["lower_90"] - points["truth"]).clip(lower=0) + (
        points["truth"] - points["upper_90"]
    ).clip(lower=0)
    assert row["interval_score"] == pytest.approx(row["sharpness"] + 20 * missed.mean())
