from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from probscale.errors import ConfigError, LawError
from probscale.laws import (
    envelope_allocation,
    find_law,
    fit_law,
    inference_optimum,
    isoflop_allocation,
    published_law,
)

OPTIMISER = 1e-4
PORIAN = Path(__file__).parents[3] / "shared/data/porian_isoflop/porian_isoflop.parquet"
CHINCHILLA = dict(published_law("besiroglu").values)
CONSTRAINED = dict(published_law("muennighoff").values)


def _brute(loss_of, compute):
    found = minimize_scalar(
        lambda log_params: loss_of(np.exp(log_params), compute / 6 / np.exp(log_params)),
        bounds=(np.log(1e6), np.log(1e14)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return np.exp(found.x), found.fun


@pytest.mark.parametrize("key", ["besiroglu", "hoffmann", "kaplan"])
@pytest.mark.parametrize("compute", [1e19, 5.76e23])
def test_closed_forms_agree_with_a_search(key, compute):
    entry = published_law(key)
    law, values = find_law(entry.law), dict(entry.values)
    optimum = law.optimum(values, np.array([compute]))
    params, loss = _brute(lambda n, d: law.formula(values, params=n, tokens=d), compute)
    assert optimum.params[0] == pytest.approx(params, rel=OPTIMISER)
    assert optimum.loss[0] == pytest.approx(loss, rel=1e-10)
    assert 6 * optimum.params[0] * optimum.tokens[0] == pytest.approx(compute, rel=1e-12)


def test_scarce_data_favour_more_epochs_of_a_smaller_model():
    law, compute, unique = find_law("data_constrained"), np.array([1e20, 1e22]), 4e9
    scarce = law.optimum(CONSTRAINED, compute, unique_tokens=unique)
    plenty = law.optimum(CONSTRAINED, compute, unique_tokens=1e13)
    free = find_law("chinchilla").optimum(CONSTRAINED, compute)
    np.testing.assert_allclose(plenty.loss, free.loss, rtol=1e-6)
    assert (scarce.tokens > plenty.tokens).all()
    assert (scarce.loss > plenty.loss).all()
    for budget, loss in zip(compute, scarce.loss, strict=True):
        _, least = _brute(
            lambda n, d: law.formula(CONSTRAINED, params=n, tokens=d, unique_tokens=min(unique, d)), budget
        )
        assert loss <= least + 1e-9
    with pytest.raises(LawError, match="pass unique_tokens="):
        law.optimum(CONSTRAINED, compute)


def test_a_law_without_sizes_has_no_optimum():
    x = np.geomspace(1, 1e4, 20)
    fit = fit_law("power", x=x, loss=1 + x**-0.3)
    with pytest.raises(LawError, match="has no compute-optimal split"):
        fit.optimum(1e20)


def test_no_inference_gives_the_training_optimum():
    compute = 1e21
    optimum = find_law("chinchilla").optimum(CHINCHILLA, np.array(compute))
    found = inference_optimum(CHINCHILLA, loss=float(optimum.loss), inference_tokens=0.0)
    assert found.params == pytest.approx(float(optimum.params), rel=1e-8)
    assert found.flops == pytest.approx(compute, rel=1e-8)


def test_inference_demand_asks_for_smaller_models_trained_longer():
    demand = np.geomspace(1e9, 1e14, 11)
    found = inference_optimum(CHINCHILLA, loss=2.2, inference_tokens=demand)
    assert (np.diff(found.params) < 0).all()
    assert (np.diff(found.tokens) > 0).all()
    reached = find_law("chinchilla").evaluate(CHINCHILLA, params=found.params, tokens=found.tokens)
    np.testing.assert_allclose(reached, 2.2, rtol=1e-12)
    values = CHINCHILLA

    def total(log_params, wanted):
        params = np.exp(log_params)
        gap = 2.2 - values["E"] - values["A"] * params ** -values["alpha"]
        return 6 * params * (values["B"] / gap) ** (1 / values["beta"]) + 2 * params * wanted

    least = (values["A"] / (2.2 - values["E"])) ** (1 / values["alpha"])
    for wanted, flops in zip(demand, found.flops, strict=True):
        bounds = (np.log(least) + 1e-6, np.log(least) + 8)
        search = minimize_scalar(
            total, bounds=bounds, args=(wanted,), method="bounded", options={"xatol": 1e-9}
        )
        assert flops == pytest.approx(search.fun, rel=1e-7)


def test_the_inference_optimum_carries_the_uncertainty_of_a_bootstrap():
    params, tokens = np.repeat(np.geomspace(1e8, 1e10, 8), 6), np.tile(np.geomspace(2e9, 4e11, 6), 8)
    clean = find_law("chinchilla").formula(CHINCHILLA, params=params, tokens=tokens)
    noisy = clean * np.exp(np.random.default_rng(0).normal(scale=0.003, size=clean.size))
    fit = fit_law("chinchilla", params=params, tokens=tokens, loss=noisy, delta=0.01)
    bootstrap = fit.bootstrap(30)
    found = inference_optimum(bootstrap, loss=2.3, inference_tokens=[1e11, 1e12])
    assert found.params.shape == (30, 2)
    single = inference_optimum(fit, loss=2.3, inference_tokens=[1e11, 1e12])
    assert (found.params.min(axis=0) < single.params).all()
    assert (single.params < found.params.max(axis=0)).all()
    spread = bootstrap.optimum([1e21, 1e22])
    assert spread.params.shape == (30, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": 1.5, "inference_tokens": 1e12}, "loss 1.5 is not above the floor E = 1.8172"),
        ({"loss": 2.2, "inference_tokens": -1.0}, "inference_tokens is -1"),
        ({"loss": 2.2, "inference_tokens": np.nan}, "found nan"),
    ],
)
def test_impossible_demands_are_refused(arguments, message):
    with pytest.raises(LawError, match=message):
        inference_optimum(CHINCHILLA, **arguments)


def test_only_chinchilla_fits_are_accepted():
    fit = fit_law("power", x=np.geomspace(1, 1e4, 20), loss=1 + np.geomspace(1, 1e4, 20) ** -0.3)
    with pytest.raises(LawError, match="needs a Chinchilla law, got 'power'"):
        inference_optimum(fit, loss=2.2, inference_tokens=1e9)


EXPONENT = CHINCHILLA["beta"] / (CHINCHILLA["alpha"] + CHINCHILLA["beta"])


def test_isoflop_parabolas_find_the_exponent_of_the_law():
    budgets = np.geomspace(1e18, 1e22, 9)
    best = find_law("chinchilla").optimum(CHINCHILLA, budgets).params
    params = best[:, None] * np.geomspace(0.4, 2.5, 7)
    compute = np.repeat(budgets, 7)
    loss = find_law("chinchilla").formula(
        CHINCHILLA, params=params, tokens=compute.reshape(9, 7) / 6 / params
    )
    loss = loss.ravel() * np.exp(np.random.default_rng(0).normal(scale=1e-4, size=63))
    found = isoflop_allocation(compute=compute, params=params.ravel(), loss=loss, resamples=50)
    assert found.params_exponent == pytest.approx(EXPONENT, abs=0.01)
    assert found.params_exponent + found.tokens_exponent == pytest.approx(1.0)
    np.testing.assert_allclose(6 * found.params(budgets) * found.tokens(budgets), budgets, rtol=1e-9)
    lower, upper = found.interval(0.95)
    assert lower < EXPONENT < upper


def test_the_envelope_of_curves_finds_the_exponent_of_the_law():
    sizes = np.geomspace(1e7, 2e10, 40)
    tokens = np.geomspace(1e8, 1e13, 200)
    params = np.repeat(sizes, 200)
    run, seen = np.repeat(np.arange(40), 200), np.tile(tokens, 40)
    loss = find_law("chinchilla").formula(CHINCHILLA, params=params, tokens=seen)
    found = envelope_allocation(run=run, params=params, tokens=seen, loss=loss, resamples=30)
    assert found.params_exponent == pytest.approx(EXPONENT, abs=0.02)
    truth = find_law("chinchilla").optimum(CHINCHILLA, np.array([1e21])).params
    np.testing.assert_allclose(found.params([1e21]), truth, rtol=0.2)


def test_bins_are_the_budgets_and_the_seed_that_of_the_resamples():
    sizes, tokens = np.geomspace(1e7, 2e10, 12), np.geomspace(1e8, 1e13, 60)
    params, seen = np.repeat(sizes, 60), np.tile(tokens, 12)
    loss = find_law("chinchilla").formula(CHINCHILLA, params=params, tokens=seen)
    given = {
        "run": np.repeat(np.arange(12), 60),
        "params": params,
        "tokens": seen,
        "loss": loss,
        "resamples": 10,
    }
    few, many = (envelope_allocation(**given, bins=bins, seed=0) for bins in (10, 60))
    flops = 6 * params * seen
    budgets = np.geomspace(flops.min(), flops.max(), 12)[1:-1]
    assert set(few.points["compute"].round(-3)) <= set(budgets.round(-3))
    assert 3 < len(few.points) <= 10 < len(many.points)
    same, other = (envelope_allocation(**given, bins=10, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(few.draws, same.draws)
    assert not np.array_equal(few.draws, other.draws)
    assert few.params_exponent == other.params_exponent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bins": 1}, "bins is 1"),
        ({"resamples": -1}, "resamples is -1"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"run": [0, 1]}, "run has 2 entries for 8 points"),
    ],
)
def test_what_no_envelope_can_be_made_of_is_refused(change, message):
    given = {"run": np.repeat([0, 1], 4), "params": np.repeat([1e7, 1e8], 4)}
    given |= {"tokens": np.tile(np.geomspace(1e8, 1e9, 4), 2), "loss": np.linspace(4, 3, 8)}
    with pytest.raises((LawError, ConfigError), match=message):
        envelope_allocation(**given | change)


def test_an_allocation_without_resamples_has_no_interval():
    params = np.tile(np.geomspace(1e8, 1e9, 5), 2)
    compute = np.repeat([1e19, 1e20], 5)
    loss = 2 + np.log(params / np.repeat([2e8, 4e8], 5)) ** 2
    found = isoflop_allocation(compute=compute, params=params, loss=loss, resamples=0)
    with pytest.raises(LawError, match="ask for resamples"):
        found.interval()
    with pytest.raises(LawError, match="interval level is 2"):
        found.interval(2)


def test_budgets_without_an_inner_minimum_are_refused():
    params = np.tile(np.geomspace(1e8, 1e9, 5), 3)
    compute = np.repeat([1e19, 1e20, 1e21], 5)
    with pytest.raises(LawError, match="only 0 budgets have an optimum"):
        isoflop_allocation(compute=compute, params=params, loss=4 - np.log10(params) / 10, resamples=5)


def test_real_isoflops_scale_about_as_the_square_root_of_compute():
    if not PORIAN.exists():
        pytest.skip("isoFLOP readings are absent (shared/data/porian_isoflop)")
    frame = pd.read_parquet(PORIAN)
    frame = frame[(frame["dataset"] == "rw") & (frame["hparams"] == "tuned") & (frame["split"] == "val")]
    frame = frame[frame["param_count_convention"] == "standard"]
    found = isoflop_allocation(
        compute=frame["flops"], params=frame["params"], loss=frame["loss"], resamples=50
    )
    assert 0.4 < found.params_exponent < 0.6
