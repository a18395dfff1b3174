"""Every law through one suite: values, gradients by three routes, recovery, refusal of bad input."""

import math

import numpy as np
import pytest
import torch

from probscale.errors import LawError
from probscale.laws import BrokenPowerLaw, Schedule, available_laws, find_law, fit_law

ALGEBRA, OPTIMISER = 1e-8, 1e-4
SIZES = np.repeat(np.geomspace(2e7, 5e9, 9), 7)
TOKENS = np.tile(np.geomspace(5e8, 3e11, 7), 9)
STEPS = np.tile(np.arange(600.0, 12001.0, 400.0), 3)
SCHEDULES = [
    Schedule.cosine(3e-4, 3e-5, total=12000, warmup=500, knots=40),
    Schedule.two_stage(3e-4, 6e-5, at=5000, total=12000, warmup=500),
    Schedule.wsd(3e-4, 2e-5, decay_from=9000, total=12000, warmup=500, knots=15),
]
PER_POINT = [one for one in SCHEDULES for _ in range(STEPS.size // 3)]
X = np.geomspace(1e2, 1e8, 60)

CASES = {
    "chinchilla": (
        {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37},
        {"params": SIZES, "tokens": TOKENS},
    ),
    "kaplan": (
        {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
        {"params": SIZES, "tokens": TOKENS},
    ),
    "data_constrained": (
        {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.353, "R_D": 15.4, "R_N": 5.3},
        {"params": SIZES, "tokens": TOKENS, "unique_tokens": np.minimum(TOKENS, 4e9)},
    ),
    "multi_power": (
        {"L0": 2.65, "A": 0.6, "B": 438.0, "C": 2.1, "alpha": 0.45, "beta": 0.6, "gamma": 0.65},
        {"step": STEPS, "schedule": PER_POINT},
    ),
    "annealing": (
        {"L0": 2.65, "A": 0.6, "C": 0.9, "alpha": 0.45, "decay": 0.998},
        {"step": STEPS, "schedule": PER_POINT},
    ),
    "bnsl": ({"a": 0.3, "b": 6.0, "c0": 0.1, "c1": 0.3, "d1": 3e4, "f1": 0.4}, {"x": X}),
    "power": ({"E": 1.7, "A": 12.0, "alpha": 0.3}, {"x": X}),
    "step_learning_rate": (
        {"coefficient": 1.79, "params_exponent": -0.713, "tokens_exponent": 0.307},
        {"params": SIZES, "tokens": TOKENS},
    ),
    "step_batch": ({"coefficient": 0.58, "tokens_exponent": 0.571}, {"tokens": TOKENS}),
    "loss_to_loss": (
        {"K": 0.9, "kappa": 1.2, "E0": 1.6, "E1": 1.4},
        {"source_loss": np.linspace(2.0, 4.5, 30)},
    ),
    "pass_at_k": ({"a": 3.0, "b": 0.35}, {"attempts": np.array([1.0, 2, 5, 10, 50, 100, 1000, 10000])}),
}
NAMES = sorted(CASES)


def _prepared(name):
    values, inputs = CASES[name]
    return find_law(name), values, find_law(name).prepare(inputs)


def test_every_registered_law_is_in_this_suite():
    assert set(available_laws()) == set(CASES)


@pytest.mark.parametrize("name", NAMES)
def test_tensors_give_the_values_of_arrays(name):
    law, values, inputs = _prepared(name)
    expected = law.formula(values, **inputs)
    tensors = {key: torch.as_tensor(np.ascontiguousarray(array)) for key, array in inputs.items()}
    found = law.formula(
        {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}, **tensors
    )
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(law.formula(values, **tensors).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_agrees_with_automatic_differentiation(name):
    law, values, inputs = _prepared(name)
    tensors = {key: torch.as_tensor(np.ascontiguousarray(array)) for key, array in inputs.items()}
    gradient = law.gradient(values, **inputs)
    assert set(gradient) == set(law.names)
    for parameter in law.names:

        def output(at, parameter=parameter):
            return law.formula({**values, parameter: at}, **tensors)

        exact = torch.autograd.functional.jacobian(
            output, torch.tensor(values[parameter], dtype=torch.float64)
        )
        np.testing.assert_allclose(
            gradient[parameter], exact.numpy(), rtol=ALGEBRA, atol=1e-12 * np.abs(gradient[parameter]).max()
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_agrees_with_central_differences(name):
    law, values, inputs = _prepared(name)
    gradient = law.gradient(values, **inputs)
    for parameter in law.names:
        step = 1e-5 * abs(values[parameter]) if parameter != "decay" else 1e-7
        high, low = (
            law.formula({**values, parameter: values[parameter] + s * step}, **inputs) for s in (1, -1)
        )
        scale = np.abs(gradient[parameter]).max()
        np.testing.assert_allclose(
            (high - low) / (2 * step), gradient[parameter], rtol=1e-5, atol=1e-6 * scale
        )


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_the_link_agrees_with_central_differences(name):
    law, values, inputs = _prepared(name)
    output = law.formula(values, **inputs)
    step = 1e-6 * output
    slope = (law.link(output + step) - law.link(output - step)) / (2 * step)
    np.testing.assert_allclose(law.link_slope(output), slope, rtol=1e-6)
    np.testing.assert_allclose(law.unlink(law.link(output)), output, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_clean_data_give_back_the_curve(name):
    values, inputs = CASES[name]
    law = find_law(name)
    truth = law.evaluate(values, **inputs)
    fit = fit_law(name, **inputs, **{law.output: truth}, prior={}, seed=0)
    np.testing.assert_allclose(fit.predict(**inputs), truth, rtol=OPTIMISER)
    assert fit.n == truth.size


@pytest.mark.parametrize("name", NAMES)
def test_noisy_data_give_back_the_curve_within_the_noise(name):
    values, inputs = CASES[name]
    law = find_law(name)
    truth = law.evaluate(values, **inputs)
    noise = np.random.default_rng(1).normal(scale=0.005, size=truth.shape)
    fit = fit_law(name, **inputs, **{law.output: law.unlink(law.link(truth) + noise)}, seed=0)
    error = law.link(fit.predict(**inputs)) - law.link(truth)
    assert np.sqrt(np.mean(error**2)) < 0.005 * 5 * math.sqrt(len(law.names) / truth.size)
    band = fit.predict(**inputs, interval=0.9)
    assert (band.lower <= band.mean).all()
    assert (band.mean <= band.upper).all()


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_fits(name):
    values, inputs = CASES[name]
    law = find_law(name)
    truth = law.evaluate(values, **inputs)
    outputs = law.unlink(law.link(truth) + np.random.default_rng(2).normal(scale=0.01, size=truth.shape))
    first, second = (fit_law(name, **inputs, **{law.output: outputs}, seed=4, starts=3) for _ in range(2))
    assert first.values == second.values


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_input_is_named(name):
    _, inputs = CASES[name]
    law = find_law(name)
    for missing in (*law.inputs, law.output):
        data = {key: array for key, array in {**inputs, law.output: np.ones(3)}.items() if key != missing}
        with pytest.raises(LawError, match=f"missing: {missing}"):
            fit_law(name, **data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0])
def test_a_bad_output_is_named_with_its_place(name, bad):
    values, inputs = CASES[name]
    law = find_law(name)
    output = np.array(law.evaluate(values, **inputs))
    output[3] = bad
    with pytest.raises(
        LawError, match=rf"{law.output} must be positive, finite numbers; found .* at position 3"
    ):
        fit_law(name, **inputs, **{law.output: output})


@pytest.mark.parametrize("name", NAMES)
def test_values_outside_their_range_are_refused(name):
    law, (values, inputs) = find_law(name), CASES[name]
    for parameter in law.parameters:
        if math.isfinite(parameter.lower):
            with pytest.raises(LawError, match=rf"{parameter.name} = .* lies outside"):
                law.evaluate({**values, parameter.name: parameter.lower - 0.1}, **inputs)
        with pytest.raises(LawError, match=f"needs a value for '{parameter.name}'"):
            law.evaluate({key: value for key, value in values.items() if key != parameter.name}, **inputs)


@pytest.mark.parametrize(
    "name", ["chinchilla", "kaplan", "data_constrained", "power", "bnsl", "loss_to_loss", "pass_at_k"]
)
def test_too_few_points_are_refused(name):
    law, (values, inputs) = find_law(name), CASES[name]
    n = len(law.names) - 1
    few = {key: array[:n] for key, array in inputs.items()}
    with pytest.raises(LawError, match=rf"only {n} points"):
        fit_law(name, **few, **{law.output: law.evaluate(values, **few)})


@pytest.mark.parametrize("name", ["chinchilla", "kaplan", "data_constrained", "step_learning_rate"])
@pytest.mark.parametrize("constant", ["params", "tokens"])
def test_equal_sizes_are_refused(name, constant):
    law, (values, inputs) = find_law(name), CASES[name]
    inputs = {**inputs, constant: np.full(SIZES.size, 5e9)}
    with pytest.raises(LawError, match=rf"{constant} is 5e\+09 at every point"):
        fit_law(name, **inputs, **{law.output: law.evaluate(values, **inputs)})


@pytest.mark.parametrize("name", ["chinchilla", "kaplan", "data_constrained", "power", "bnsl", "step_batch"])
@pytest.mark.parametrize("bad", [math.nan, 0.0, -3e8])
def test_a_bad_input_is_named_with_its_place(name, bad):
    law, (values, inputs) = find_law(name), CASES[name]
    output = law.evaluate(values, **inputs)
    for key, array in inputs.items():
        spoiled = array.copy()
        spoiled[5] = bad
        with pytest.raises(
            LawError, match=rf"{key} must be positive, finite numbers; found .* at position 5"
        ):
            fit_law(name, **{**inputs, key: spoiled}, **{law.output: output})


def test_two_breaks_have_the_right_gradient_and_are_recovered():
    law = BrokenPowerLaw(2)
    values = {
        "a": 0.2,
        "b": 9.0,
        "c0": 0.05,
        "c1": 0.3,
        "d1": 5e3,
        "f1": 0.3,
        "c2": -0.2,
        "d2": 1e6,
        "f2": 0.4,
    }
    tensor = torch.as_tensor(X)
    gradient = law.gradient(values, x=X)
    for parameter in law.names:
        exact = torch.autograd.functional.jacobian(
            lambda at, parameter=parameter: law.formula({**values, parameter: at}, x=tensor),
            torch.tensor(values[parameter], dtype=torch.float64),
        )
        np.testing.assert_allclose(
            gradient[parameter], exact.numpy(), rtol=ALGEBRA, atol=1e-12 * np.abs(gradient[parameter]).max()
        )
    truth = law.evaluate(values, x=X)
    fit = fit_law(law, x=X, loss=truth)
    np.testing.assert_allclose(fit.predict(x=X), truth, rtol=1e-3)


def test_sharp_breaks_do_not_overflow():
    values = {"a": 0.3, "b": 6.0, "c0": 0.1, "c1": 0.3, "d1": 3e4, "f1": 1e-4}
    assert np.isfinite(find_law("bnsl").evaluate(values, x=X)).all()
