"""The same runs in another order, or under other names, give the same surrogate."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.evaluate import check
from probscale.runs import RunLog
from probscale.scaling import fit_isoflops
from probscale.surrogate import FitOptions
from tolerances import EXACT

QUICK = FitOptions(subset=40, most=120, iterations=4, rounds=1)
SHORT = FitOptions(iterations=4, rounds=1)


def _frame(log):
    frame = log.to_frame()
    return frame if frame["diverged"].any() else frame.drop(columns="diverged")


def shuffled(log, seed=1):
    """The same runs with their rows in another order."""
    place = np.random.default_rng(seed).permutation(log.n_runs)
    rows = _frame(log).iloc[np.argsort(place[log.codes], kind="stable")]
    return RunLog.from_frame(rows, **log.roles.arguments())


def alternating(log):
    """The same rows with those of different runs in turn, the last run first."""
    rows = _frame(log).iloc[::-1].sort_values(log.roles.axis, kind="stable")
    return RunLog.from_frame(rows, **log.roles.arguments())


def renamed(log, seed=1):
    """The same runs under other names."""
    numbers = np.random.default_rng(seed).permutation(log.n_runs)
    names = pd.Series([f"job {number}" for number in numbers], index=log.runs)
    frame = _frame(log)
    return RunLog.from_frame(
        frame.assign(**{log.roles.run: frame[log.roles.run].map(names)}), **log.roles.arguments()
    )


def halves_swapped(log):
    """The same log as a sum of two, the second part first."""
    first = np.arange(log.n_runs) < log.n_runs // 2
    return log.select(~first) + log.select(first)


def law(runs=40, points=8, **options):
    return ps.simulate_runs("law", n_runs=runs, points=points, tasks=2, seed=5, **options)


def grid():
    """Two levels crossed, the same axis values in every run."""
    rng = np.random.default_rng(0)
    steps = np.geomspace(10, 1000, 8)
    frames = [
        pd.DataFrame({"run": f"{w}x{d}", "width": w, "depth": d, "step": steps,
                      "loss": (2 + 30 * w**-0.4 + d**-0.5 + 4 * steps**-0.5) * rng.normal(1, 0.003, 8)})
        for w in (128, 256, 512, 1024, 2048) for d in (4, 8, 16, 32)
    ]  # fmt: skip
    levels = ("width", "depth")
    return RunLog.from_frame(pd.concat(frames), run="run", axis="step", output="loss", levels=levels)


def two_outputs():
    log = law(12, 5)
    frame = _frame(log)
    frame["val"] = 1.1 * frame["loss"] + np.random.default_rng(0).normal(0, 0.01, len(frame))
    return RunLog.from_frame(frame, **log.roles.arguments() | {"output": ("loss", "val")})


def with_words():
    """Labels and free text that a language model reads."""
    log = law(24, 3)
    words = ["web pages", "source code", "news", "mathematics", "novels"]
    numbers = np.arange(log.n_runs)
    configs = log.configs.assign(
        data=[words[n % 5] for n in numbers], note=[f"{words[n % 3]}, attempt {n}" for n in numbers]
    )
    frame = log.points.join(configs, on=log.roles.run).drop(columns="diverged")
    return RunLog.from_frame(frame, **log.roles.arguments() | {"config": None})


CASES = {
    "finals": (lambda: law(80).finals(), {"options": QUICK}),
    "curves": (law, {"options": QUICK}),
    "few runs": (lambda: law(4), {"options": SHORT}),
    "functional": (lambda: law(40, 12), {"options": QUICK, "model": "functional"}),
    "grid": (grid, {"options": SHORT, "model": "grid"}),
    "latent": (grid, {"options": SHORT, "model": "latent"}),
    "several outputs": (two_outputs, {"options": QUICK}),
    "restarts": (lambda: law(12).finals(), {"options": FitOptions(iterations=4, rounds=1, restarts=2)}),
    "text": (with_words, {"options": QUICK, "embedder": "default"}),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    make, options = CASES[request.param]
    log, options = make(), {"embedder": None, **options}
    return log, options, forecast(log, options)


def forecast(log, options):
    """Means and deviations of new runs; of all outputs."""
    surrogate = ps.fit_surrogate(log, seed=0, **options)
    asked = log.configs.sort_values(list(log.configs), kind="stable").iloc[::5].reset_index(drop=True)
    at = np.quantile(np.unique(log.points[log.roles.axis]), [0.3, 0.7, 1.0])
    outputs = (surrogate.log.output, *surrogate.others)
    curves = [surrogate.predict(asked, at, output=output) for output in outputs]
    return np.stack([(each.mean, each.std) for each in curves])


@pytest.mark.parametrize("change", [shuffled, alternating, renamed, halves_swapped])
def test_a_surrogate_follows_from_the_runs_and_not_from_their_order_or_names(case, change):
    log, options, expected = case
    np.testing.assert_array_equal(forecast(change(log), options), expected)


@pytest.fixture(scope="module")
def log():
    return law(16)


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log.select(np.arange(16) < 10), embedder=None, options=SHORT)


def test_what_users_see_of_their_log_keeps_its_order(log):
    other = shuffled(log)
    found = ps.fit_surrogate(other, embedder=None, options=SHORT)
    assert found.log is other


@pytest.mark.parametrize("change", [shuffled, alternating, renamed])
def test_new_runs_may_be_given_in_any_order(log, surrogate, change):
    more = log.truncate(fraction=0.4).select(np.arange(16) >= 10)
    asked, at = log.configs.iloc[:3].reset_index(drop=True), np.geomspace(1e9, 1e10, 3)
    one, two = (surrogate.condition(each).predict(asked, at) for each in (more, change(more)))
    np.testing.assert_array_equal(one.mean, two.mean)
    np.testing.assert_array_equal(one.std, two.std)


@pytest.mark.parametrize("known", [False, True])
def test_each_row_of_a_question_has_its_answer_wherever_it_stands(log, surrogate, known):
    asked = log.configs.reset_index() if known else log.configs.reset_index(drop=True)
    at = np.geomspace(1e9, 1e10, 3) * np.linspace(1, 2, len(asked))[:, None]
    order = np.random.default_rng(0).permutation(len(asked))
    known_runs = surrogate.condition(log.truncate(fraction=0.4).select(np.arange(16) >= 10))
    one = known_runs.predict(asked, at)
    two = known_runs.predict(asked.iloc[order], at[order])
    np.testing.assert_allclose(one.mean[order], two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std[order], two.std, rtol=1e3 * EXACT)
    np.testing.assert_allclose(one.quantile(0.9)[order], two.quantile(0.9), rtol=1e3 * EXACT)


def test_the_frontier_of_a_log_does_not_depend_on_its_order(log):
    cost = ps.FlopsCost(params=log.roles.params)
    found = []
    for each in (log, shuffled(log)):
        fitted = ps.fit_surrogate(each, embedder=None, options=SHORT)
        frontier = ps.fit_frontier(fitted, cost=cost, samples=64)
        chance = pd.DataFrame(frontier.optimum.probability, index=frontier.optimum.index).sort_index()
        found.append((frontier.loss.values, frontier.law.mean["exponent"], chance))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_check_leaves_out_the_same_runs_in_any_order(log):
    options = {"embedder": None, "folds": 1, "regimes": "in-distribution", "options": SHORT}
    one, two = (check(each, **options).points for each in (log, shuffled(log)))
    pd.testing.assert_frame_equal(one, two)


def a_pool(log):
    """Sizes and learning rates, some of which are near one another, as a user's table with labels."""
    sizes, rates = np.geomspace(1e7, 1e9, 5), np.geomspace(1e-4, 1e-2, 4)
    rows = [
        {"params": n, "learning_rate": lr, "task": task} for n in sizes for lr in rates for task in (0, 1)
    ]
    table = pd.DataFrame(rows, index=[f"row {i}" for i in range(len(rows))])
    fixed = log.configs.iloc[0].drop(["params", "learning_rate", "task"]).to_dict()
    return table.assign(**fixed, task=log.configs["task"].unique()[table["task"]])


ORDER = np.random.default_rng(4).permutation(40)


def test_the_best_of_a_pool_does_not_depend_on_its_order(log, surrogate):
    pool = a_pool(log)
    one, two = (surrogate.best(each, 1e10, within=0.01, samples=64) for each in (pool, pool.iloc[ORDER]))
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)
    assert (one.config, one.prob_best, one.interval) == (two.config, two.prob_best, two.interval)
    assert ORDER[two.position] == one.position
    assert pool.index[one.position] == one.table.index[0]
    at = np.linspace(1e10, 2e10, 40)
    one, two = surrogate.best(pool, at, samples=64), surrogate.best(pool.iloc[ORDER], at[ORDER], samples=64)
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)


@pytest.mark.parametrize("planned", [False, True])
def test_the_frontier_of_a_pool_does_not_depend_on_its_order(log, surrogate, planned):
    pool = a_pool(log)
    if not planned:
        pool = pool.drop(columns=log.roles.horizon)
    options = {"compute": np.geomspace(1e17, 1e19, 5), "cost": ps.FlopsCost(params="params"), "samples": 64}
    one, two = (ps.fit_frontier(surrogate, each, **options) for each in (pool, pool.iloc[ORDER]))
    np.testing.assert_array_equal(one.loss.values, two.loss.values)
    assert one.law.mean == two.law.mean
    assert list(two.optimum.index) == list(pool.index[ORDER])
    np.testing.assert_array_equal(one.optimum.probability[ORDER], two.optimum.probability)
    pd.testing.assert_frame_equal(one.to_frame(), two.to_frame(), check_exact=True)


def test_isoflop_curves_of_a_pool_do_not_depend_on_its_order(log, surrogate):
    pool = a_pool(log).drop(columns=log.roles.horizon)
    options = {"compute": [1e18, 1e19], "cost": ps.FlopsCost(params="params"), "samples": 64}
    one, two = (fit_isoflops(surrogate, each, **options) for each in (pool, pool.iloc[ORDER]))
    np.testing.assert_array_equal(one.loss.values, two.loss.values)
