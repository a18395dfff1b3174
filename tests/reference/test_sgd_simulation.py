"""Direct SGD on (W, x), in the model's own coordinates, against the recursion and the rotated simulation."""

import numpy as np
import pytest

from probscale import theory
from probscale.theory.volterra import largest_stable_rate

HEAVY_TAILED = ("II", "III")


def direct_sgd(a, b, features, steps, rates, *, batch, noise, seeds, seed):
    """θ ← θ − g Σ Wᵀx(<Wᵀx, θ> − <x, b> − σξ), every seed with its own data; loss in closed form."""
    dim, params = features.shape
    rng, index = np.random.default_rng(seed), np.arange(1, dim + 1)
    scale, target = index ** -float(a), index ** -float(b)
    theta, losses = np.zeros((seeds, params)), []
    for step in range(steps + 1):
        losses.append(np.sum((scale * (theta @ features.T - target)) ** 2, axis=1))
        if step == steps:
            break
        x = scale * rng.standard_normal((seeds, batch, dim))
        projected = x @ features
        miss = np.einsum("sbd,sd->sb", projected, theta) - x @ target
        miss -= noise * rng.standard_normal(miss.shape)
        theta = theta - rates[step] * np.einsum("sb,sbd->sd", miss, projected)
    return np.array(losses).T


def z_scores(simulated, expected):
    error = simulated.std(axis=0, ddof=1) / np.sqrt(len(simulated))
    return np.abs(simulated.mean(axis=0) - expected) / error


@pytest.mark.parametrize(("name", "batch", "noise"), [("Ia", 1, 0.0), ("III", 3, 0.0), ("IVb", 2, 0.2)])
def test_direct_sgd_agrees_with_the_recursion_for_its_own_w(name, batch, noise):
    a, b = theory.EXAMPLE_POINTS[name]
    features = theory.sample_features(24, dim=96, seed=1)
    limit = largest_stable_rate(theory.feature_modes(a, b, features), batch)
    rates = np.linspace(0.3, 0.05, 400) * limit
    runs = direct_sgd(a, b, features, 400, rates, batch=batch, noise=noise, seeds=200, seed=2)
    at = np.array([0, 1, 2, 5, 20, 80, 200, 400])
    exact = theory.exact_loss(
        a, b, features=features, steps=at, learning_rate=rates, batch=batch, label_noise=noise
    )
    assert runs[:, 0] == pytest.approx(exact[0], rel=1e-12)
    assert z_scores(runs[:, at[1:]], exact[1:]).max() < 5


def test_rotated_simulation_has_the_law_of_direct_sgd():
    a, b = theory.EXAMPLE_POINTS["Ia"]
    features = theory.sample_features(16, dim=48, seed=3)
    rates = np.full(60, 0.3 / theory.feature_modes(a, b, features).trace)
    direct = direct_sgd(a, b, features, 60, rates, batch=2, noise=0.3, seeds=2000, seed=4)[:, 1:]
    rotated = theory.simulate_sgd(
        a,
        b,
        params=16,
        features=features,
        steps=60,
        learning_rate=rates,
        batch=2,
        label_noise=0.3,
        seeds=2000,
    )
    for quantile in (0.1, 0.5, 0.9):
        ours, theirs = (np.quantile(np.log(runs), quantile, axis=0) for runs in (rotated, direct))
        assert ours == pytest.approx(theirs, abs=0.12)


def compare_simulation(name, steps):
    a, b = theory.EXAMPLE_POINTS[name]
    heavy = name in HEAVY_TAILED
    params, batch = (200 if heavy else 100), (4 if name == "IVb" else 1)
    features = theory.sample_features(params, seed=5)
    rate = (0.15 if heavy else 0.6) / theory.feature_modes(a, b, features).trace
    at = np.unique(np.geomspace(1, steps, 30).astype(int))
    runs = theory.simulate_sgd(
        a,
        b,
        params=params,
        features=features,
        steps=at,
        learning_rate=rate,
        batch=batch,
        seeds=96 if heavy else 64,
    )
    exact = theory.exact_loss(a, b, features=features, steps=at, learning_rate=rate, batch=batch)
    assert runs.shape == (96 if heavy else 64, len(at))
    assert z_scores(runs, exact).max() < 5
    assert np.sqrt(np.mean((runs.mean(axis=0) / exact - 1) ** 2)) < 0.1


@pytest.mark.parametrize("name", theory.PHASES)
def test_simulated_sgd_agrees_with_the_recursion(name):
    compare_simulation(name, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", theory.PHASES)
def test_simulated_sgd_agrees_with_the_recursion_over_long_runs(name):
    compare_simulation(name, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", theory.PHASES)
def test_direct_sgd_agrees_with_the_recursion_at_full_size(name):
    a, b = theory.EXAMPLE_POINTS[name]
    features = theory.sample_features(100, seed=6)
    share = 0.15 if name in HEAVY_TAILED else 0.5
    rates = np.full(1000, share / theory.feature_modes(a, b, features).trace)
    runs = direct_sgd(a, b, features, 1000, rates, batch=1, noise=0.0, seeds=64, seed=7)
    at = np.unique(np.geomspace(1, 1000, 20).astype(int))
    exact = theory.exact_loss(a, b, features=features, steps=at, learning_rate=rates)
    assert z_scores(runs[:, at], exact).max() < 5
