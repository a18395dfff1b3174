import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from probscale.encode.text_process import (
    TextTargets,
    covariance,
    fit_parameters,
    left_out_densities,
    left_out_errors,
)
from tolerances import ALGEBRA, EXACT


@pytest.fixture
def problem():
    generator = np.random.default_rng(0)
    text = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6])
    group = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 4])
    places = torch.from_numpy(generator.standard_normal((7, 3))[text] / np.sqrt(3))
    return places, TextTargets(text, group, generator.standard_normal(10))


def test_the_covariance_mixes_equal_texts_and_close_texts(problem):
    places, targets = problem
    share, amplitude, distance, noise = 0.3, 0.8, 0.7, 0.2
    logit = np.log(share / (1 - share))
    found = covariance(
        places,
        targets.text,
        torch.tensor(np.log([amplitude, 1, distance, noise])) + torch.tensor([0, logit, 0, 0]),
    )
    for i in range(10):
        for j in range(10):
            gap = float((places[i] - places[j]).square().sum())
            like = 0.7 * (targets.text[i] == targets.text[j]) + 0.3 * np.exp(-gap / (2 * distance**2))
            expected = 1 + amplitude**2 * like + (i == j) * (noise**2 + 1e-6)
            assert found[i, j].item() == pytest.approx(expected, abs=ALGEBRA)


def test_left_out_densities_and_errors_are_those_of_the_conditional_normal(problem):
    places, targets = problem
    cov = covariance(places, targets.text, torch.tensor([-0.3, 0.2, -0.5, -0.7], dtype=torch.float64))
    found = left_out_densities(cov, targets, np.array([2, 0, 3]))
    errors = left_out_errors(cov, targets, np.array([2, 0, 3]))
    full, y = cov.numpy(), targets.target
    for group, value, error in zip((2, 0, 3), found, errors, strict=True):
        out = targets.group == group
        gain = np.linalg.solve(full[np.ix_(~out, ~out)], full[np.ix_(~out, out)]).T
        rest = full[np.ix_(out, out)] - gain @ full[np.ix_(~out, out)]
        direct = multivariate_normal(gain @ y[~out], rest).logpdf(y[out])
        assert value.item() == pytest.approx(direct, abs=ALGEBRA)
        assert error.item() == pytest.approx(np.abs(y[out] - gain @ y[~out]).mean(), abs=ALGEBRA)


def test_densities_carry_gradients_to_the_vectors(problem):
    places, targets = problem

    def total(moved):
        cov = covariance(moved, targets.text, torch.tensor([-0.3, 0.2, -0.5, -0.7], dtype=torch.float64))
        return left_out_densities(cov, targets, targets.groups).sum()

    assert torch.autograd.gradcheck(total, (places.clone().requires_grad_(),))


def test_fitted_parameters_tell_texts_that_matter_from_those_that_do_not():
    generator = np.random.default_rng(1)
    places = torch.from_numpy(generator.standard_normal((60, 1)))
    text = np.arange(60)
    smooth = np.sin(2 * places[:, 0].numpy()) + 0.05 * generator.standard_normal(60)
    noise = generator.standard_normal(60)
    share = [
        torch.sigmoid(fit_parameters(places, TextTargets(text, text, y / y.std()))[1]).item()
        for y in (smooth, noise)
    ]
    assert share[0] > 0.6 > share[1]


def test_some_targets_keep_their_texts_and_groups(problem):
    _, targets = problem
    some = targets.of(np.array([1, 3]))
    assert some.text.tolist() == [2, 2, 2, 5]
    assert some.groups.tolist() == [1, 3]
    assert some.texts.tolist() == [2, 5]
    np.testing.assert_allclose(some.target, targets.target[[3, 4, 5, 8]], atol=EXACT)
