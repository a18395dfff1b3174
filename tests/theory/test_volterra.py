import time

import numpy as np
import pytest

from probscale import theory
from probscale.errors import ConfigError
from probscale.theory import equivalent
from probscale.theory.volterra import block_losses, integrate, kernel_norm, recursion, step_grid


def half_stable(modes, batch=1):
    return np.array(theory.largest_stable_rate(modes, batch) / 2)


def volterra_convolution(modes, steps, rate, batch, noise):
    """P(r) = F(r) + Σ k(r−1−s) (P(s) + σ²) by the quadratic definition."""
    lam = modes.eigenvalues
    q = 1 - 2 * rate * batch * lam + rate**2 * batch * (batch + 1) * lam**2
    forcing = (q ** np.arange(steps + 1)[:, None]) @ modes.error + modes.null
    kernel = rate**2 * batch * (q ** np.arange(steps + 1)[:, None]) @ (modes.counts * lam**2)
    losses = []
    for r in range(steps + 1):
        past = sum(kernel[r - 1 - s] * (losses[s] + noise**2) for s in range(r))
        losses.append(forcing[r] + past)
    return np.array(losses)


@pytest.mark.parametrize(("batch", "noise"), [(1, 0.0), (5, 0.4)])
def test_recursion_solves_the_volterra_equation(batch, noise):
    modes = theory.feature_modes(1.0, 0.7, theory.sample_features(12, seed=0))
    rate = half_stable(modes, batch)
    ours = recursion(modes, np.arange(61.0), rate, batch=batch, noise=noise)
    assert ours == pytest.approx(volterra_convolution(modes, 60, float(rate), batch, noise), rel=1e-11)


@pytest.mark.parametrize("name", theory.PHASES)
@pytest.mark.parametrize(("batch", "noise"), [(1, 0.0), (4, 0.3)])
def test_blocks_agree_with_the_recursion(name, batch, noise):
    modes = theory.feature_modes(*theory.EXAMPLE_POINTS[name], theory.sample_features(200, seed=1))
    rate, grid = half_stable(modes, batch), step_grid(20_000, 1.04)
    blocks = block_losses(modes, grid, float(rate), batch=batch, noise=noise)
    assert blocks == pytest.approx(recursion(modes, grid, rate, batch=batch, noise=noise), rel=2e-4)


def test_splined_steps_agree_with_grid_steps():
    modes = theory.equivalent_modes(0.75, 0.25, params=1000)
    rate = float(half_stable(modes))
    many = np.arange(6000.0)
    assert integrate(modes, many, rate) == pytest.approx(recursion(modes, many, np.array(rate)), rel=2e-4)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_loss_settles_where_the_stationary_equation_says(noise):
    modes = theory.equivalent_modes(0.75, 0.25, params=50)
    rate = theory.largest_stable_rate(modes) / 2
    norm = kernel_norm(modes, rate)
    limit = integrate(modes, np.array([1e9]), rate, noise=noise)[0]
    assert limit == pytest.approx((modes.null + norm * noise**2) / (1 - norm), rel=1e-8)


def equivalent_error(name, draws=40):
    """Relative error of the deterministic equivalent against the mean over W, and the error of that mean."""
    a, b = theory.EXAMPLE_POINTS[name]
    steps = np.unique(np.geomspace(1, 20_000, 40).round())
    rate = theory.max_learning_rate(a, b, params=200) * 0.25
    curves = np.array(
        [
            integrate(theory.feature_modes(a, b, theory.sample_features(200, seed=seed)), steps, rate)
            for seed in range(draws)
        ]
    )
    mean = curves.mean(axis=0)
    ours = theory.expected_loss(a, b, params=200, steps=steps, learning_rate=rate)
    return ours / mean - 1, curves.std(axis=0, ddof=1) / np.sqrt(draws) / mean


@pytest.mark.parametrize("name", ["Ia", "IVa"])
def test_equivalent_agrees_with_the_average_over_w(name):
    error, standard_error = equivalent_error(name)
    assert np.abs(error).max() < 0.05
    assert (np.abs(error) < 5 * standard_error + 5e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", theory.PHASES)
def test_equivalent_agrees_with_the_average_over_w_in_every_phase(name):
    error, standard_error = equivalent_error(name)
    assert np.abs(error).max() < 0.05
    assert (np.abs(error) < 5 * standard_error + 5e-3).all()


def test_seeds_with_their_own_w_average_to_the_expected_loss():
    rate = 0.3 * theory.max_learning_rate(0.4, 1.0, params=100)
    runs = theory.simulate_sgd(0.4, 1.0, params=100, steps=[10, 100, 400], learning_rate=rate, seeds=100)
    ours = theory.expected_loss(0.4, 1.0, params=100, steps=[10, 100, 400], learning_rate=rate)
    assert (np.abs(runs.mean(axis=0) - ours) < 5 * runs.std(axis=0, ddof=1) / 10).all()


def test_schedule_of_equal_rates_equals_the_constant_rate():
    steps, rate = np.array([0, 3, 50, 700]), 0.1
    constant = theory.expected_loss(1.0, 0.7, params=300, steps=steps, learning_rate=rate, batch=2)
    schedule = theory.expected_loss(
        1.0, 0.7, params=300, steps=steps, learning_rate=np.full(700, rate), batch=2
    )
    assert constant == pytest.approx(schedule, rel=2e-4)


def test_decayed_schedule_ends_below_the_constant_rate_where_noise_dominates():
    steps, rate = 3000, 0.25
    decayed = np.where(np.arange(steps) < 2000, rate, rate * np.linspace(2, 0, steps)[np.arange(steps)])
    ends = [
        theory.expected_loss(1.0, 1.5, params=300, steps=steps, learning_rate=r)
        for r in (rate, np.minimum(decayed, rate))
    ]
    assert ends[1] < ends[0]


def test_curve_of_a_million_parameters_to_a_trillion_steps_takes_half_a_second():
    def seconds():
        equivalent._equivalent.cache_clear()
        start = time.perf_counter()
        theory.expected_loss(
            1.0, 0.7, params=10**6, steps=np.geomspace(1, 1e12, 100).round(), learning_rate=0.2
        )
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5


def test_a_billion_parameters_are_within_reach():
    curve = theory.expected_loss(0.75, 0.25, params=10**9, steps=[0, 10**6, 10**12, 10**15])
    assert (np.diff(curve) < 0).all()
    assert curve[-1] > 0


def test_zero_steps_give_the_loss_of_the_zero_model():
    target = np.sum(np.arange(1, 801.0) ** (-2 * 0.75 - 2 * 0.25))
    assert theory.expected_loss(0.75, 0.25, params=200, steps=0) == pytest.approx(target, rel=1e-3)
    features = theory.sample_features(200, seed=0)
    exact = theory.exact_loss(0.75, 0.25, features=features, steps=0, learning_rate=0.1)
    assert exact == pytest.approx(target, rel=1e-12)


def test_unstable_rate_is_refused_with_the_largest_stable_one():
    limit = theory.max_learning_rate(1.0, 0.7, params=500, batch=3)
    with pytest.raises(ConfigError, match="largest stable learning rate is") as caught:
        theory.expected_loss(1.0, 0.7, params=500, steps=10, learning_rate=1.01 * limit, batch=3)
    assert caught.value.context["largest"] == pytest.approx(limit, rel=1e-12)
    theory.expected_loss(1.0, 0.7, params=500, steps=10, learning_rate=0.99 * limit, batch=3)


def test_loss_diverges_just_above_the_limit_and_not_below():
    modes = theory.feature_modes(1.0, 0.7, theory.sample_features(40, seed=2))
    limit = theory.largest_stable_rate(modes)
    above, below = (recursion(modes, np.array([3e3, 6e3]), np.array(share * limit)) for share in (1.05, 0.95))
    assert above[1] > above[0]
    assert below[1] <= below[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": -1.0}, "exponent a"),
        ({"b": float("nan")}, "exponent b"),
        ({"a": 0.2, "b": 0.2}, "must exceed 1"),
        ({"params": 0}, "params must be"),
        ({"params": 2 * 10**9}, "params must be"),
        ({"dim": 50}, "dim must be"),
        ({"steps": -1}, "steps must be"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"learning_rate": np.ones(3) * 0.1}, "schedule has 3 entries"),
        ({"batch": 0}, "batch must be"),
        ({"label_noise": -1.0}, "label_noise"),
    ],
)
def test_values_outside_the_model_are_refused_by_name(change, words):
    arguments = {"a": 0.75, "b": 0.25, "params": 100, "steps": 10, "learning_rate": 0.1} | change
    a, b = arguments.pop("a"), arguments.pop("b")
    with pytest.raises(ConfigError, match=words):
        theory.expected_loss(a, b, **arguments)


def test_simulation_is_reproducible_and_shaped_by_steps():
    one, two = (theory.simulate_sgd(0.75, 0.25, params=20, steps=7, seeds=3, seed=5) for _ in range(2))
    assert one.shape == (3, 7)
    assert (one == two).all()
    assert theory.simulate_sgd(0.75, 0.25, params=20, steps=[0, 7], seeds=2).shape == (2, 2)


@pytest.mark.parametrize("dim", [120, 400])
def test_the_ambient_dimension_counts_in_loss_rate_and_simulation_alike(dim):
    a, b, params = 0.4, 1.0, 60
    rate = 0.4 * theory.max_learning_rate(a, b, params=params, dim=dim)
    given = {"params": params, "dim": dim, "steps": [0, 20, 200], "learning_rate": rate}
    ours = theory.expected_loss(a, b, **given)
    runs = theory.simulate_sgd(a, b, **given, seeds=200, seed=1)
    assert ours[0] == pytest.approx((np.arange(1.0, dim + 1) ** (-2 * (a + b))).sum(), rel=1e-8)
    assert (np.abs(runs.mean(axis=0) - ours) <= 5 * runs.std(axis=0, ddof=1) / 200**0.5 + 1e-8).all()


def test_the_largest_stable_rate_depends_on_the_ambient_dimension():
    limit = theory.max_learning_rate(0.4, 1.0, params=60, dim=1000)
    assert limit < 0.9 * theory.max_learning_rate(0.4, 1.0, params=60)
    with pytest.raises(ConfigError, match="largest stable"):
        theory.expected_loss(0.4, 1.0, params=60, dim=1000, steps=5, learning_rate=1.01 * limit)


@pytest.mark.parametrize("kind", ["exact", "simulated"])
def test_an_unstable_rate_may_be_asked_for(kind):
    features = theory.sample_features(40, seed=2)
    rate = 2 * theory.largest_stable_rate(theory.feature_modes(1.0, 0.7, features))
    given = {"features": features, "steps": [0, 300], "learning_rate": rate}
    ask = theory.exact_loss if kind == "exact" else theory.simulate_sgd
    given |= {} if kind == "exact" else {"params": 40, "seeds": 20}
    with pytest.raises(ConfigError, match="check_stability=False"):
        ask(1.0, 0.7, **given)
    first, last = np.atleast_2d(ask(1.0, 0.7, **given, check_stability=False)).mean(axis=0)
    assert last > 10 * first


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: theory.expected_loss(1.0, 1.0, params=100, steps=[3], ratio=0.9), "ratio is 0.9"),
        (lambda: theory.expected_loss(1.0, 1.0, params=100, steps="all"), "steps must be numbers; got 'all'"),
        (
            lambda: theory.expected_loss(1.0, 1.0, params="big", steps=[1]),
            "whole number from 1 to 1e9; got 'big'",
        ),
        (
            lambda: theory.expected_loss(1.0, 1.0, params=100, steps=[1], learning_rate="x"),
            "learning_rate must be numbers",
        ),
        (lambda: theory.frontier(1.0, 0.7, compute=[]), "compute must be finite, positive and rising"),
        (lambda: theory.simulate_sgd(1.0, 1.0, params=10**6, steps=5), r"4e\+12 entries.*expected_loss"),
        (lambda: theory.sample_features(10**6), "too many to draw"),
        (lambda: theory.simulate_sgd(1.0, 1.0, params=10, steps=5, seeds=1.5), "seeds is 1.5"),
        (lambda: theory.simulate_sgd(1.0, 1.0, params=10, steps=5, seed=-1), "seed is -1"),
    ],
)
def test_what_the_model_does_not_take_is_refused_in_words(call, words):
    with pytest.raises(ConfigError, match=words):
        call()
