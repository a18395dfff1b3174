"""Covariances and densities whose gradients are written out: few passes over (rows, rows) arrays.

Left to automatic differentiation, each elementary step of a Matérn kernel and of a Cholesky factor keeps an
array of its own and passes over it again on the way back; that is most of the time of a fit. These blocks can
be differentiated once; asked for second derivatives, they raise.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

SQRT5 = math.sqrt(5.0)
CLOSEST = 5e-14
"""Squared distance below which rows coincide, where the correlation falls like exp(-distance)."""


def matern_covariance(z1: Tensor, z2: Tensor, variance: Tensor) -> Tensor:
    """Variance times the Matérn-5/2 correlation of scaled coordinates, (rows, rows).

    Args:
        z1: Coordinates in lengthscales, (rows, coordinates).
        z2: The same of the other rows.
        variance: A number.
    """
    return _result(_Matern.apply(z1, z2, variance))


def still_covariance(squared: Tensor, widths: Tensor, variance: Tensor) -> Tensor:
    """Variance times the Matérn-5/2 correlation of rows that stay where they are, (rows, rows).

    Args:
        squared: Squared differences of the rows, (coordinates, rows, rows).
        widths: Lengthscales, one per coordinate.
        variance: A number.
    """
    return _result(_Still.apply(squared, widths, variance))


def still_product(base: Tensor, squared: Tensor, widths: Tensor, shares: Tensor) -> Tensor:
    """A covariance times, per coordinate, one minus a share plus the share's Matérn-5/2 correlation.

    Args:
        base: (rows, rows).
        squared: Squared differences of rows that stay where they are, (coordinates, rows, rows).
        widths: Lengthscales, one per coordinate.
        shares: One per coordinate.
    """
    return _result(_StillProduct.apply(base, squared, widths, shares))


def additive_covariance(z1: Tensor, z2: Tensor, variances: Tensor) -> Tensor:
    """Sum over coordinates of a variance times the Matérn-5/2 correlation along each, (rows, rows).

    Args:
        z1: Coordinates in lengthscales, (rows, coordinates).
        z2: The same of the other rows.
        variances: One per coordinate.
    """
    return _result(_Additive.apply(z1, z2, variances))


def log_normal(covariance: Tensor, residual: Tensor, noise: Tensor | None = None) -> Tensor:
    """Log density of a centred normal.

    Args:
        covariance: Without noise, (rows, rows).
        residual: (rows,).
        noise: Added to the diagonal, (rows,).

    Cost: O(rows³).

    Source: Rasmussen and Williams 2006, eqs. 5.8 and 5.9.
    """
    noise = residual.new_zeros(len(residual)) if noise is None else noise
    return _result(_LogNormal.apply(covariance, residual, noise))


def _result(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances, (rows, rows)."""
    if a.shape[1] == 1:
        return torch.sub(a, b[:, 0]).abs_()
    squared = torch.addmm(b.square().sum(-1), a, b.mT, alpha=-2.0)
    squared += a.square().sum(-1)[:, None]
    return squared.clamp_min_(CLOSEST).sqrt_()


def _matern_of(distance: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation (1 + d + d²/3) exp(-d) and (1 + d) exp(-d); the array of distances is used up."""
    slope = distance + 1
    fall = torch.neg(distance).exp_()
    correlation = torch.addcmul(slope, distance, distance, value=1 / 3, out=distance).mul_(fall)
    return correlation, slope.mul_(fall)


def _pull(weight: Tensor, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of Σ weight_ij |z1_i - z2_j|² / 2."""
    first = weight.sum(1)[:, None] * z1 - weight @ z2
    return first, weight.sum(0)[:, None] * z2 - weight.mT @ z1


class _Matern(Function):
    @staticmethod
    def forward(ctx: Any, z1: Tensor, z2: Tensor, variance: Tensor) -> Tensor:
        correlation, slope = _matern_of(_distances(SQRT5 * z1, SQRT5 * z2))
        covariance = correlation.mul_(variance)
        ctx.save_for_backward(z1, z2, variance, covariance, slope)
        return covariance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        z1, z2, variance, covariance, slope = ctx.saved_tensors
        first, second = _pull(grad * slope, z1, z2)
        # d correlation / d squared distance is -5/6 of the slope.
        factor = -5 / 3 * variance
        return factor * first, factor * second, _inner(grad, covariance) / variance


class _Still(Function):
    @staticmethod
    def forward(ctx: Any, squared: Tensor, widths: Tensor, variance: Tensor) -> Tensor:
        flat = squared.flatten(1)  # A reshape to -1 is ambiguous where there are no coordinates.
        distance = ((5 / widths.square()) @ flat).sqrt_().reshape(squared.shape[1:])
        correlation, slope = _matern_of(distance)
        covariance = correlation.mul_(variance)
        ctx.save_for_backward(flat, widths, variance, covariance, slope)
        return covariance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        flat, widths, variance, covariance, slope = ctx.saved_tensors
        pulled = flat @ (grad * slope).reshape(-1)
        return None, 5 / 3 * variance * pulled / widths**3, _inner(grad, covariance) / variance


class _StillProduct(Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, squared: Tensor, widths: Tensor, shares: Tensor) -> Tensor:
        total, before, kept = base, [], []
        for each, width, share in zip(squared, widths.tolist(), shares.tolist(), strict=True):
            correlation, slope = _matern_of(each.sqrt().mul_(SQRT5 / width))
            loss = correlation.sub_(1)
            before.append(total)
            total = torch.addcmul(total, total, loss, value=share)
            kept += [loss, slope]
        ctx.save_for_backward(squared, widths, shares, *before, *kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        squared, widths, shares, *rest = ctx.saved_tensors
        count = len(shares)
        before, losses, slopes = rest[:count], rest[count::2], rest[count + 1 :: 2]
        on_widths, on_shares = torch.empty_like(widths), torch.empty_like(shares)
        for j in reversed(range(count)):
            part = grad * before[j]
            on_shares[j] = _inner(part, losses[j])
            on_widths[j] = _inner(part.mul_(slopes[j]), squared[j])
            grad = torch.addcmul(grad, grad, losses[j], value=float(shares[j]))
        return grad, None, 5 / 3 * shares * on_widths / widths**3, on_shares


class _Additive(Function):
    @staticmethod
    def forward(ctx: Any, z1: Tensor, z2: Tensor, variances: Tensor) -> Tensor:
        total = z1.new_zeros(len(z1), len(z2))
        kept = []
        for j, variance in enumerate(variances):
            correlation, slope = _matern_of(_distances(SQRT5 * z1[:, [j]], SQRT5 * z2[:, [j]]))
            total.addcmul_(correlation, variance)
            kept += [correlation, slope]
        ctx.save_for_backward(z1, z2, variances, *kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        z1, z2, variances, *kept = ctx.saved_tensors
        columns = []
        for j, slope in enumerate(kept[1::2]):
            columns.append(_pull(grad * slope, z1[:, [j]], z2[:, [j]]))
        weights = torch.stack([_inner(grad, correlation) for correlation in kept[::2]])
        factor = -5 / 3 * variances
        first, second = (torch.cat([pair[i] for pair in columns], dim=1) for i in range(2))
        return factor * first, factor * second, weights


class _LogNormal(Function):
    @staticmethod
    def forward(ctx: Any, covariance: Tensor, residual: Tensor, noise: Tensor) -> Tensor:
        total = covariance.clone()
        total.diagonal().add_(noise)
        factor = torch.linalg.cholesky(total)
        solved = torch.cholesky_solve(residual[:, None], factor)[:, 0]
        ctx.save_for_backward(factor, solved)
        constant = 0.5 * len(residual) * math.log(2 * math.pi)
        return -0.5 * (residual @ solved) - factor.diagonal().log().sum() - constant

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        factor, solved = ctx.saved_tensors
        inner = torch.cholesky_inverse(factor).neg_().addr_(solved, solved).mul_(0.5 * grad)
        return inner, -grad * solved, inner.diagonal().clone()


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))
