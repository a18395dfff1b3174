"""Blocks with written-out gradients: values and gradients are those of elementary steps."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from probscale.model.gradients import (
    additive_covariance,
    log_normal,
    matern_covariance,
    still_covariance,
    still_product,
)
from probscale.model.kernels import CurveKernel
from probscale.model.matern import matern52, squared_distances
from tolerances import ALGEBRA, EXACT


def numbers(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(function, *inputs):
    """Value of a function and the gradient of a weighted sum of it with respect to every input."""
    leaves = [each.clone().requires_grad_() for each in inputs]
    value = function(*leaves)
    weight = numbers(*value.shape, seed=9)
    return value.detach().numpy(), [g.numpy() for g in torch.autograd.grad((weight * value).sum(), leaves)]


def assert_alike(function, plain, inputs):
    """Values and gradients of a function are those of its elementary steps."""
    value, slopes = gradients(function, *inputs)
    expected, others = gradients(plain, *inputs)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    for slope, other in zip(slopes, others, strict=True):
        np.testing.assert_allclose(slope, other, rtol=1e-7, atol=1e-10)


def plain_matern(z1, z2, variance):
    return variance * matern52(squared_distances(z1, z2))


def plain_additive(z1, z2, variances):
    columns = [plain_matern(z1[:, [j]], z2[:, [j]], v) for j, v in enumerate(variances)]
    return sum(columns)


def plain_density(covariance, residual, noise):
    normal = torch.distributions.MultivariateNormal(
        torch.zeros_like(residual), covariance + torch.diag(noise)
    )
    return normal.log_prob(residual)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("apart", [True, False])
def test_matern_and_its_gradients_are_those_of_elementary_steps(columns, apart):
    z1 = numbers(9, columns)
    z2 = numbers(7, columns, seed=1) if apart else z1
    inputs = z1, z2, torch.tensor(0.7, dtype=torch.float64)
    assert_alike(matern_covariance, plain_matern, inputs)


def differences(z):
    return (z.mT[:, :, None] - z.mT[:, None, :]).square()


def test_covariance_of_rows_that_stay_and_its_gradients_are_those_of_elementary_steps():
    z = numbers(9, 3)
    inputs = numbers(3, seed=2).exp(), torch.tensor(0.7, dtype=torch.float64)
    assert_alike(
        lambda widths, variance: still_covariance(differences(z), widths, variance),
        lambda widths, variance: plain_matern(z / widths, z / widths, variance),
        inputs,
    )


def test_a_product_over_coordinates_and_its_gradients_are_those_of_elementary_steps():
    z = numbers(9, 3)
    inputs = numbers(9, 9, seed=1), numbers(3, seed=2).exp(), torch.sigmoid(numbers(3, seed=3))

    def plain(base, widths, shares):
        for j, share in enumerate(shares):
            scaled = z[:, [j]] / widths[j]
            base = base * (1 - share + plain_matern(scaled, scaled, share))
        return base

    assert_alike(
        lambda base, widths, shares: still_product(base, differences(z), widths, shares), plain, inputs
    )


@pytest.mark.parametrize("rows", [5, 40])
def test_a_covariance_of_rows_with_themselves_has_the_gradients_of_one_with_equal_rows(
    layout, rows_of, scramble, rows
):
    kernel, x = scramble(CurveKernel(layout, scale=0.3), seed=4), rows_of(layout, rows, seed=5).x
    weight = numbers(rows, rows, seed=6)
    found = []
    for other in (x, x.clone()):
        covariance = kernel(x, other)
        learnt = [p for p in kernel.parameters() if p.requires_grad]
        slopes = torch.autograd.grad((weight * covariance).sum(), learnt, allow_unused=True)
        found.append([covariance.detach(), *(slope for slope in slopes if slope is not None)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_a_sum_over_coordinates_and_its_gradients_are_those_of_elementary_steps():
    inputs = numbers(9, 3), numbers(7, 3, seed=1), numbers(3, seed=2).exp()
    assert_alike(additive_covariance, plain_additive, inputs)


def test_log_density_and_its_gradients_are_those_of_elementary_steps():
    root = numbers(8, 8)
    covariance = root @ root.mT
    noise, residual = numbers(8, seed=3).exp(), numbers(8, seed=4)
    value, slopes = gradients(log_normal, covariance, residual, noise)
    expected, others = gradients(plain_density, covariance, residual, noise)
    by_scipy = multivariate_normal(cov=(covariance + torch.diag(noise)).numpy()).logpdf(residual.numpy())
    np.testing.assert_allclose(value, expected, rtol=EXACT)
    np.testing.assert_allclose(value, by_scipy, rtol=ALGEBRA)
    # A covariance is symmetric: only the sum of mirrored entries has a meaning.
    for slope, other in zip(
        (slopes[0] + slopes[0].T, *slopes[1:]), (others[0] + others[0].T, *others[1:]), strict=True
    ):
        np.testing.assert_allclose(slope, other, rtol=ALGEBRA, atol=ALGEBRA)


def test_without_noise_the_covariance_stands_alone():
    root = numbers(5, 5)
    covariance, residual = root @ root.mT + torch.eye(5), numbers(5, seed=4)
    np.testing.assert_allclose(
        log_normal(covariance, residual), plain_density(covariance, residual, torch.zeros(5)), rtol=EXACT
    )


def test_second_derivatives_are_refused_instead_of_wrong():
    z = numbers(4, 2).requires_grad_()
    total = matern_covariance(z, z, torch.tensor(1.0, dtype=torch.float64)).square().sum()
    (slope,) = torch.autograd.grad(total, z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_a_kernel_that_learns_has_the_covariances_of_a_frozen_one(layout, rows_of, scramble):
    kernel = scramble(CurveKernel(layout, scale=0.3), seed=4)
    x1, x2 = rows_of(layout, 30, seed=5).x, rows_of(layout, 12, seed=6).x
    with torch.no_grad():
        learning = [kernel(x1), kernel(x1, x2)]
        kernel.requires_grad_(False)
        frozen = [kernel(x1), kernel(x1, x2)]
    for one, other in zip(learning, frozen, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9)


def test_equal_labels_with_unequal_texts_are_told_apart(rows_of, scramble, curves_layout):
    kernel = scramble(CurveKernel(curves_layout, scale=0.3), seed=4)
    x = rows_of(curves_layout, 20, seed=5).x.clone()
    for block in curves_layout.labels:
        x[:, list(block.text)] += numbers(20, len(block.text), seed=8)
    with torch.no_grad():
        learning = kernel(x)
        frozen = kernel.requires_grad_(False)(x)
    np.testing.assert_allclose(learning.numpy(), frozen.numpy(), rtol=1e-9)
