import time

import numpy as np
import pandas as pd
import pytest

from probscale import theory
from probscale.errors import ConfigError
from probscale.runs import RunLog
from probscale.theory import LawConstants, LawFamily, NoiseModel, RandomFeatureFamily, simulate_runs

QUIET = NoiseModel(seed=0.0, points=0.0)


@pytest.mark.parametrize("kind", ["law", "plrf"])
def test_quiet_runs_are_their_expectation(kind):
    log = simulate_runs(kind, n_runs=12, points=8, noise=QUIET, seed=1)
    at = log.points[log.roles.axis].to_numpy().reshape(12, 8)
    expected = log.truth.expected(log.configs, at)
    calm = ~log.points["diverged"].to_numpy().reshape(12, 8)
    losses = log.points["loss"].to_numpy().reshape(12, 8)
    assert losses[calm] == pytest.approx(expected[calm], rel=1e-9)
    assert at[:, -1] == pytest.approx(log.configs["horizon"].to_numpy(), rel=1e-12)


@pytest.mark.parametrize(("kind", "tasks"), [("law", 3), ("plrf", [(0.75, 0.25), (1.0, 1.5)])])
def test_logs_are_run_logs_whose_verbs_keep_the_truth(kind, tasks):
    log = simulate_runs(kind, n_runs=30, points=5, tasks=tasks, seed=2)
    assert isinstance(log, RunLog)
    assert (log.n_runs, log.n_points, log.roles.levels) == (30, 150, ("task",))
    assert log.select(log.runs[:4]).truth is log.truth
    assert set(log.configs["task"]) <= set(log.truth.tasks)
    again = RunLog.from_frame(log.to_frame(), **log.roles.arguments())
    assert again.equals(log)


def test_same_seed_gives_the_same_log_and_another_seed_another():
    one, two, three = (simulate_runs("law", n_runs=6, points=4, seed=s) for s in (3, 3, 4))
    assert one.equals(two)
    assert not one.equals(three)


def test_law_frontier_is_the_minimum_over_sizes():
    family, compute = LawFamily(), 1e20
    sizes = np.geomspace(1e8, 1e10, 2001)
    configs = pd.DataFrame({"params": sizes, "horizon": compute / 6 / sizes, "schedule": "wsd"})
    configs["learning_rate"] = family.best_rate(sizes, configs["horizon"])
    configs["batch_tokens"] = family.best_batch(configs["horizon"])
    losses = family.expected(configs, configs["horizon"].to_numpy()[:, None])[:, 0]
    assert family.frontier(compute) == pytest.approx(losses.min(), rel=1e-6)
    assert family.optimum(compute) == pytest.approx(sizes[losses.argmin()], rel=0.01)
    step = np.log(family.optimum(1e21) / family.optimum(compute)) / np.log(10)
    assert step == pytest.approx(family.exponents().params, rel=1e-9)


def test_best_learning_rate_and_batch_minimise_the_loss():
    family = LawFamily()
    shifts = np.linspace(-1, 1, 21)
    base = {"params": 1e8, "horizon": 2e9, "schedule": "cosine"}
    for name, best in (
        ("learning_rate", family.best_rate(1e8, 2e9)),
        ("batch_tokens", family.best_batch(2e9)),
    ):
        rows = pd.DataFrame([base] * 21)
        rows["learning_rate"], rows["batch_tokens"] = family.best_rate(1e8, 2e9), family.best_batch(2e9)
        rows[name] = best * np.exp(shifts)
        assert family.expected(rows, [2e9])[:, 0].argmin() == 10


def test_annealed_schedules_end_below_the_constant_one():
    family = LawFamily()
    rows = pd.DataFrame({"params": [1e8] * 3, "horizon": 2e9, "schedule": ["constant", "cosine", "wsd"]})
    rows["learning_rate"], rows["batch_tokens"] = family.best_rate(1e8, 2e9), family.best_batch(2e9)
    middle, end = family.expected(rows, [1e9, 2e9]).T
    assert middle[0] == pytest.approx(middle[2], rel=1e-12)
    assert end[2] < end[1] < end[0]


def test_runs_diverge_only_above_the_threshold_and_are_marked():
    log = simulate_runs(LawFamily(rate_spread=1.5), n_runs=400, points=20, noise=QUIET, seed=5)
    marked = log.points.groupby("run", sort=False)["diverged"].any().to_numpy()
    above = log.truth.diverges(log.configs)
    assert above.any()
    assert marked.tolist() == above.tolist()
    ends = log.points.groupby("run", sort=False)["loss"].agg(["first", "last"]).to_numpy()
    assert (ends[above, 1] > ends[above, 0]).mean() > 0.9
    assert (ends[~above, 1] < ends[~above, 0]).all()


def test_noise_has_the_size_it_names_and_outliers_are_wider():
    plain = NoiseModel(0.02, 0.01).draw((4000, 5), np.random.default_rng(0))
    assert plain.mean(axis=1).std() == pytest.approx(np.sqrt(0.02**2 + 0.01**2 / 5), rel=0.05)
    wild = NoiseModel(0.02, 0.01, outliers=0.1).draw((4000, 5), np.random.default_rng(0))
    assert np.isfinite(wild).all()
    assert np.abs(wild).max() > 5 * np.abs(plain).max()


def test_sampled_features_scatter_around_the_expectation():
    family = RandomFeatureFamily(sizes=(128,), rate_shares=(0.25,), batches=(1,), sampled=True)
    log = simulate_runs(family, n_runs=40, points=6, noise=QUIET, seed=6)
    losses = log.points["loss"].to_numpy().reshape(40, 6)
    expected = family.expected(log.configs, log.points["steps"].to_numpy().reshape(40, 6))
    ratio = losses / expected
    assert np.abs(ratio.mean(axis=0) - 1).max() < 5 * ratio.std(axis=0, ddof=1).max() / np.sqrt(40) + 0.01


def test_twenty_thousand_runs_take_seconds():
    start = time.perf_counter()
    log = simulate_runs("law", n_runs=20_000, points=50)
    assert log.n_points == 1_000_000
    assert time.perf_counter() - start < 10


@pytest.mark.slow
def test_feature_frontier_is_below_every_run():
    log = simulate_runs("plrf", n_runs=200, points=10, noise=QUIET, seed=7)
    ends = log.finals()
    compute = (log.configs["params"] * log.configs["horizon"] * log.configs["batch"]).to_numpy()
    best = log.truth.frontier(compute[:20])
    assert (ends.points["loss"].to_numpy()[:20] > best * (1 - 5e-3)).all()
    assert log.truth.exponents().loss == pytest.approx(theory.exponents(0.75, 0.25).loss)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "other"}, "kind must be"),
        ({"n_runs": 0}, "n_runs is 0"),
        ({"points": 1}, "points is 1; pass a whole number of at least 2"),
        ({"n_runs": 2.5}, "n_runs is 2.5"),
        ({"start": 1.0}, "start is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"tasks": [(1.0, 1.0)]}, "is their number"),
        ({"tasks": 0}, "tasks must be"),
        ({"kind": "plrf", "tasks": 2}, "are pairs"),
        ({"kind": "plrf", "sizes": [12.5]}, "whole numbers"),
        ({"kind": "plrf", "points": 5000}, "do not fit"),
        ({"sizes": [-1.0]}, "sizes must be"),
        ({"kind": LawFamily(), "sizes": [1e8]}, "fields of the family"),
    ],
)
def test_options_outside_their_range_are_refused(arguments, words):
    with pytest.raises(ConfigError, match=words):
        simulate_runs(**arguments)


def test_unknown_tasks_and_constants_are_refused():
    with pytest.raises(ConfigError, match="unknown task 'x'"):
        LawFamily().frontier(1e20, task="x")
    with pytest.raises(ConfigError, match="law constants"):
        LawConstants(params_exponent=-0.1)
    with pytest.raises(ConfigError, match="noise must be"):
        NoiseModel(seed=-1.0)
    with pytest.raises(ConfigError, match="rate_shares"):
        RandomFeatureFamily(rate_shares=(1.2,))
