import math
import pickle
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from probscale.errors import ConfigError, LawError
from probscale.laws import available_laws, find_law, fit_law

TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
PARAMS = np.repeat(np.geomspace(5e7, 1e10, 10), 8)
TOKENS = np.tile(np.geomspace(1e9, 5e11, 8), 10)
CLEAN = find_law("chinchilla").evaluate(TRUTH, params=PARAMS, tokens=TOKENS)


def _data(seed=0, sd=0.003):
    noise = np.random.default_rng(seed).normal(scale=sd, size=CLEAN.size)
    return {"params": PARAMS, "tokens": TOKENS, "loss": CLEAN * np.exp(noise)}


@pytest.fixture(scope="module")
def fit():
    return fit_law("chinchilla", **_data(), delta=0.01)


def test_the_objective_is_the_sum_of_huber_losses_of_the_log_residuals(fit):
    size = np.abs(np.log(fit.predict(params=PARAMS, tokens=TOKENS)) - np.log(_data()["loss"]))
    by_hand = np.where(size < fit.delta, size**2 / 2, fit.delta * (size - fit.delta / 2)).sum()
    assert fit.objective == pytest.approx(by_hand, rel=1e-10)
    np.testing.assert_allclose(np.abs(fit.residuals), size, rtol=1e-8, atol=1e-14)


def test_gross_errors_barely_move_a_robust_fit():
    data = _data()
    data["loss"] = data["loss"].copy()
    data["loss"][::11] *= 1.5
    robust, squares = (fit_law("chinchilla", **data, delta=delta) for delta in (1e-3, math.inf))
    scale = np.abs(np.log(CLEAN) - np.log(robust.predict(params=PARAMS, tokens=TOKENS))).max()
    assert scale < 0.01
    assert np.abs(np.log(CLEAN) - np.log(squares.predict(params=PARAMS, tokens=TOKENS))).max() > 5 * scale


def test_integer_weights_are_repeated_rows():
    data, weights = _data(), np.random.default_rng(3).integers(1, 4, PARAMS.size)
    weighted = fit_law("chinchilla", **data, weights=weights)
    repeated = fit_law("chinchilla", **{name: np.repeat(array, weights) for name, array in data.items()})
    for name in TRUTH:
        assert weighted.values[name] == pytest.approx(repeated.values[name], rel=1e-4)


def test_grids_are_the_same_as_vectors(fit):
    square = fit_law(
        "chinchilla", **{name: array.reshape(10, 8) for name, array in _data().items()}, delta=0.01
    )
    assert square.values == fit.values
    assert square.predict(params=np.full((2, 3), 1e9), tokens=1e10).shape == (2, 3)


def test_fixed_parameters_stay_and_have_no_spread():
    fit = fit_law("chinchilla", **_data(), fixed={"E": 1.8, "alpha": 0.35})
    assert fit.values["E"] == 1.8
    assert fit.std["E"] == 0.0
    assert fit.values["A"] == pytest.approx(480, rel=0.05)


def test_a_prior_pulls_an_unidentified_parameter_and_leaves_the_others():
    few = {name: array[::9] for name, array in _data().items()}
    free, pulled = (fit_law("chinchilla", **few, prior=prior) for prior in ({}, {"alpha": (0.5, 1e-4)}))
    assert pulled.values["alpha"] == pytest.approx(0.5, rel=1e-2)
    assert pulled.objective >= free.objective


@pytest.mark.parametrize("delta", [0.003, math.inf])
def test_laplace_deviations_agree_with_repeated_experiments(delta):
    fits = [fit_law("chinchilla", **_data(seed), delta=delta, starts=2) for seed in range(60)]
    for name in ("E", "alpha", "beta"):
        spread = np.std([fit.values[name] for fit in fits], ddof=1)
        claimed = np.median([fit.std[name] for fit in fits])
        assert claimed == pytest.approx(spread, rel=0.4), name


def test_ninety_per_cent_intervals_cover_about_ninety_per_cent():
    hits, latent = [], []
    truth = find_law("chinchilla").evaluate(TRUTH, params=3e10, tokens=1e12)
    for seed in range(80):
        fit = fit_law("chinchilla", **_data(seed), delta=0.01, starts=2)
        fresh = truth * np.exp(np.random.default_rng(1000 + seed).normal(scale=0.003))
        band = fit.predict(params=3e10, tokens=1e12, interval=0.9)
        curve = fit.predict(params=3e10, tokens=1e12, interval=0.9, latent=True)
        hits.append(band.lower < fresh < band.upper)
        latent.append(curve.lower < truth < curve.upper)
    assert np.mean(hits) == pytest.approx(0.9, abs=0.12)
    assert np.mean(latent) == pytest.approx(0.9, abs=0.14)


@pytest.mark.parametrize("scatter", [0.0005, 0.01])
def test_intervals_of_few_points_cover_about_ninety_per_cent(scatter):
    law, hits = find_law("chinchilla"), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sizes, tokens = 10 ** rng.uniform(7, 9.5, 11), 10 ** rng.uniform(8.5, 11, 11)
        loss = law.evaluate(TRUTH, params=sizes, tokens=tokens) * np.exp(rng.normal(scale=scatter, size=11))
        interval = fit_law("chinchilla", params=sizes, tokens=tokens, loss=loss).interval(0.9)
        hits += [interval.loc[name, "lower"] <= TRUTH[name] <= interval.loc[name, "upper"] for name in TRUTH]
    assert np.mean(hits) == pytest.approx(0.9, abs=0.07)


def test_bootstrap_and_laplace_agree_on_regular_data(fit):
    bootstrap = fit.bootstrap(150, seed=1)
    assert bootstrap.converged == 1.0
    for name in TRUTH:
        assert bootstrap.std[name] == pytest.approx(fit.std[name], rel=0.5), name
    band, wide = (one.predict(params=1e10, tokens=1e12, interval=0.9) for one in (fit, bootstrap))
    assert wide.upper - wide.lower == pytest.approx(band.upper - band.lower, rel=0.3)
    interval = bootstrap.interval(0.9)
    assert list(interval.columns) == ["lower", "upper"]
    assert (interval["lower"] < interval["upper"]).all()


def test_a_bootstrap_is_the_same_on_an_executor(fit):
    alone = fit.bootstrap(60, seed=2).values
    with ThreadPoolExecutor(2) as executor:
        np.testing.assert_array_equal(alone, fit.bootstrap(60, seed=2, executor=executor).values)


def test_groups_are_resampled_whole():
    data, runs = _data(), np.repeat(np.arange(10), 8)
    data["loss"] = data["loss"] * np.exp(np.random.default_rng(5).normal(scale=0.02, size=10))[runs]
    points, whole = (fit_law("chinchilla", **data, groups=groups, delta=0.05) for groups in (None, runs))
    assert whole.bootstrap(40).std["alpha"] > 1.3 * points.bootstrap(40).std["alpha"]


def test_laplace_intervals_of_positive_parameters_stay_positive(fit):
    interval = fit.interval(0.999)
    assert (interval["lower"] > 0).all()
    draws = fit.sample(2000, seed=0)
    spread = np.std([np.log(draw["A"]) for draw in draws])
    assert spread == pytest.approx(np.sqrt(fit.covariance[1, 1]), rel=0.08)


def test_a_fit_survives_pickling(fit):
    again = pickle.loads(pickle.dumps(fit))
    assert again.values == fit.values
    np.testing.assert_array_equal(
        again.predict(params=1e9, tokens=1e10), fit.predict(params=1e9, tokens=1e10)
    )


def test_as_many_points_as_parameters_leave_an_infinite_spread():
    rows = [0, 7, 35, 72, 79]
    fit = fit_law("chinchilla", **{name: array[rows] for name, array in _data().items()})
    assert np.isinf(fit.std).all()
    band = fit.predict(params=1e9, tokens=1e10, interval=0.9)
    assert band.lower == 0.0
    assert band.upper == np.inf
    with pytest.raises(LawError, match="leave no degree of freedom"):
        fit.sample(3)


def test_a_parameter_known_only_from_its_prior_keeps_the_spread_of_the_prior():
    x = np.geomspace(1e3, 1e6, 40)
    law, values = find_law("power"), {"E": 1.7, "A": 12.0, "alpha": 0.3}
    loss = law.formula(values, x=x) * np.exp(np.random.default_rng(0).normal(scale=0.02, size=40))
    fit = fit_law("power", x=x, loss=loss, delta=math.inf, prior={"alpha": (0.3, 1e-3)})
    assert fit.std["alpha"] / fit.values["alpha"] == pytest.approx(1e-3, rel=0.2)


def test_importing_the_laws_loads_neither_torch_nor_pandas():
    code = "import sys, probscale.laws; sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": -PARAMS}, "params must be positive, finite numbers; found -5e"),
        ({"tokens": "many"}, "tokens must be numbers, got str"),
        ({"tokens": TOKENS[:5]}, "inputs of law 'chinchilla' must have one shape"),
        ({"loss": CLEAN[:5]}, r"params has shape \(80,\) but loss has \(5,\)"),
        ({"steps": PARAMS}, "does not take steps; it takes params=, tokens=, loss"),
        ({"fixed": {"gamma": 1.0}}, "fixed names gamma, which law 'chinchilla' does not have"),
        ({"fixed": {"alpha": -0.3}}, r"alpha = -0.3 lies outside \(0, inf\)"),
        ({"fixed": {"alpha": math.inf}}, r"alpha = inf lies outside \(0, inf\)"),
        ({"fixed": TRUTH}, "every parameter of law 'chinchilla' is fixed"),
        ({"prior": {"alpha": (0.3, 0.0)}}, "prior spread of alpha is 0.0"),
        ({"prior": {"alpha": (-0.3, 0.1)}}, "alpha = -0.3 lies outside"),
        ({"delta": 0.0}, "delta is 0.0; pass a positive number"),
        ({"delta": "small"}, "delta is 'small'; pass a positive number"),
        (
            {"prior": {"alpha": 0.3}},
            r"the prior of alpha is 0.3; pass its median and spread, such as \(0.3, 0.3\)",
        ),
        ({"fixed": {"alpha": "low"}}, "fixed alpha is 'low'; pass a number"),
        ({"weights": np.ones(3)}, "weights has 3 entries for 80 points"),
        ({"groups": np.ones(3)}, "groups has 3 entries for 80 points"),
    ],
)
def test_bad_arguments_are_refused_by_name(change, message):
    with pytest.raises(LawError, match=message):
        fit_law("chinchilla", **{**_data(), **change})


def test_an_unknown_law_is_answered_with_the_known_ones():
    with pytest.raises(LawError, match=r"did you mean 'chinchilla'\? available: annealing, bnsl, chinchilla"):
        fit_law("chinchila", **_data())
    assert "chinchilla" in available_laws()


def test_a_misspelt_input_is_named_beside_the_missing_one():
    data = _data()
    with pytest.raises(LawError, match=r"missing: tokens \(given beside: token\)"):
        fit_law("chinchilla", params=data["params"], token=data["tokens"], loss=data["loss"])


@pytest.mark.parametrize("name", available_laws())
def test_a_law_tells_its_formula_its_parameters_and_its_source(name):
    law = find_law(name)
    told = str(law)
    assert told.startswith(f"{name}: ")
    assert all(f"  {parameter.name}: {parameter.meaning}" in told for parameter in law.parameters)
    assert told.endswith(f"source: {law.source}")
    assert "object at 0x" not in repr(law)


def test_levels_outside_zero_and_one_are_refused(fit):
    for level in (0.0, 1.0, 90):
        with pytest.raises(LawError, match="pass a probability inside"):
            fit.interval(level)
        with pytest.raises(LawError, match="pass a probability inside"):
            fit.predict(params=1e9, tokens=1e10, interval=level)
    with pytest.raises(LawError, match="has no spread"):
        fit.bootstrap(1)


def test_what_is_no_number_of_things_or_seed_is_refused(fit):
    with pytest.raises(LawError, match="pass a probability inside"):
        fit.interval("most")
    for arguments, message in [
        ({"restarts": -1}, "restarts is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "a"}, "seed is 'a'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            fit.bootstrap(5, **arguments)
    with pytest.raises(LawError, match="has no spread"):
        fit.bootstrap(2.5)
    with pytest.raises(ConfigError, match="n is -1"):
        fit.sample(-1)
    with pytest.raises(ConfigError, match="starts is 0"):
        fit_law("chinchilla", **_data(), starts=0)


def test_points_of_one_run_have_no_bootstrap():
    """Resamples of one run are all alike, and their spread of zero is not that of the parameters."""
    fit = fit_law("chinchilla", **_data(), groups=np.zeros(PARAMS.size))
    with pytest.raises(LawError, match="80 points are of one run"):
        fit.bootstrap(10)


def test_restarts_find_lower_ends_of_resamples_and_lose_none():
    """A broken power law has several minima; what each resample weighs is drawn from its seed."""
    x = np.geomspace(1, 1e6, 24)
    clean = 0.5 + 3 * x**-0.3 * (1 + (x / 1e3) ** 5) ** -0.08
    loss = clean * np.exp(np.random.default_rng(0).normal(scale=0.05, size=24))
    fit = fit_law("bnsl", x=x, loss=loss)
    ends = {}
    for restarts in (0, 4):
        rows = zip(
            np.random.SeedSequence(1).spawn(8), fit.bootstrap(8, seed=1, restarts=restarts).rows, strict=True
        )
        ends[restarts] = []
        for child, row in rows:
            counts = np.bincount(np.random.default_rng(child).integers(0, 24, 24), minlength=24)
            size = np.abs(np.log(fit.law.evaluate(row, x=x)) - np.log(loss))
            losses = np.where(size <= fit.delta, size**2 / 2, fit.delta * (size - fit.delta / 2))
            ends[restarts].append(counts @ losses)
    gain = np.array(ends[0]) - np.array(ends[4])
    assert gain.min() > -1e-9
    assert gain.max() > 1e-4


def test_predictions_outside_the_domain_of_a_law_are_refused():
    source = np.linspace(2.0, 4.0, 20)
    fit = fit_law("loss_to_loss", source_loss=source, loss=0.9 * (source - 1.5) ** 1.2 + 1.4)
    with pytest.raises(LawError, match="law 'loss_to_loss' is undefined at position 1"):
        fit.predict(source_loss=[2.5, 0.5])


@pytest.mark.parametrize("law", ["chinchilla", "kaplan", "power", "bnsl"])
def test_hopeless_data_give_a_finite_fit_or_a_named_error(law):
    rng = np.random.default_rng(0)
    for n in (8, 25):
        params, tokens = 10 ** rng.uniform(5, 11, n), 10 ** rng.uniform(6, 13, n)
        inputs = (
            {"x": params * tokens} if find_law(law).inputs == ("x",) else {"params": params, "tokens": tokens}
        )
        for loss in (rng.uniform(1, 9, n), np.full(n, 3.0), 1e-6 * params / tokens):
            fit = fit_law(law, **inputs, loss=loss)
            band = fit.predict(**inputs, interval=0.9)
            assert np.isfinite(band.mean).all()
            assert (fit.std >= 0).all()
            assert (fit.interval().loc[:, "lower"] <= fit.interval().loc[:, "upper"]).all()


def test_fits_and_predictions_are_short_to_read():
    fit = fit_law("chinchilla", **_data(), seed=0)
    assert re.fullmatch(r"LawFit\(chinchilla, 80 points: E [\d.]+, A .*, beta [\d.]+\)", repr(fit))
    one = repr(fit.predict(params=1e10, tokens=2e11, interval=0.9))
    assert re.fullmatch(r"LawPrediction\([\d.]+, 90 % interval [\d.]+ to [\d.]+\)", one)
    many = repr(fit.predict(params=np.full(7, 1e10), tokens=2e11, interval=0.9))
    assert many.endswith("..., 90 % intervals in lower, upper)")
    assert "5 refits, 90 % intervals: E" in repr(fit.bootstrap(5, seed=0))
