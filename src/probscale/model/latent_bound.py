"""Variational bound of the latent hierarchy: normal beliefs about positions, inducing points on both sides.

q(h_t) = N(μ_t, diag s_t), U ~ N(0, K_r ⊗ K_c) at inducing positions × inducing inputs. The best q(U) given
q(H) is normal and known, so that only q(H), inducing places and kernel parameters are searched.

Source: Ma, Leung and Álvarez 2023, section 3, with q(U) collapsed as in Titsias and Lawrence 2010, eq. 14.
"""

from __future__ import annotations

import math

import torch
from gpytorch import Module
from torch import Tensor

from probscale.model.gp import Observations
from probscale.model.latent import LatentProcess, expected_correlation

JITTER = 1e-8
"""Jitter of covariances of inducing points, relative to their mean diagonal."""


def expected_product(mean: Tensor, variance: Tensor, inducing: Tensor, width: Tensor) -> Tensor:
    """Psi-2: expected k(h, z) k(h, z') of one normal position, (inducing, inducing).

    Args:
        mean: Mean of the position, (dimensions,).
        variance: Its variances, (dimensions,).
        inducing: Inducing positions, (inducing, dimensions).
        width: Lengthscales, (dimensions,).

    Source: Titsias and Lawrence 2010, eq. 12.
    """
    scale = width.square()
    apart = (inducing[:, None] - inducing[None]).square() / (4 * scale)
    middle = 0.5 * (inducing[:, None] + inducing[None])
    away = (mean - middle).square() / (scale + 2 * variance)
    return torch.exp(-(apart + away + 0.5 * torch.log1p(2 * variance / scale)).sum(-1))


class LatentBound(Module):
    """Lower bound of the evidence of a latent process, and its search over q(H).

    Args:
        process: The process; its positions are the means of q(H).
        inducing: Inducing rows, (rows, columns of the layout); inputs and members count.
        places: Inducing positions, (positions, dimensions).
        spread: First variances of q(H), relative to the prior's.
    """

    inducing: Tensor

    def __init__(
        self, process: LatentProcess, inducing: Tensor, places: Tensor, *, spread: float = 0.05
    ) -> None:
        super().__init__()
        self.process = process
        self.register_buffer("inducing", inducing.detach().clone())
        self.places = torch.nn.Parameter(places.detach().clone())
        shape = process.tasks.get_parameter("deviation").shape
        start = torch.full(shape, math.log(spread), dtype=torch.float64)
        self.log_share = torch.nn.Parameter(start)

    @property
    def variances(self) -> Tensor:
        """Variances of q(H), (tasks, dimensions)."""
        return torch.exp(self.log_share) * self.process.tasks.prior_variance

    def log_prior(self) -> Tensor:
        """Log density of kernel parameters under their priors; positions count in the bound."""
        deviation = self.process.tasks.get_parameter("deviation")
        return self.process.log_prior() - torch.distributions.Normal(0.0, 1.0).log_prob(deviation).sum()

    def divergence(self) -> Tensor:
        """KL divergence of q(H) from the prior, with the prior centred where descriptions put it."""
        deviation = self.process.tasks.get_parameter("deviation")
        share = torch.exp(self.log_share)
        return 0.5 * (share + deviation.square() - 1 - self.log_share).sum()

    def log_likelihood(self, data: Observations) -> Tensor:
        """The bound.

        Cost: O(rows × inducing² + (inducing × positions)³).
        """
        kernel, tasks = self.process.kernel, self.process.tasks
        width = tasks.lengthscale
        root_c = _root(kernel.inner(self.inducing, self.inducing))
        none = torch.zeros_like(self.places)
        root_r = _root(expected_correlation(self.places, none, self.places, none, width))
        size = len(root_c) * len(root_r)
        matrix = torch.eye(size, dtype=root_c.dtype, device=root_c.device)
        moment = matrix.new_zeros(size)
        total = -self.divergence()
        for number, code in enumerate(tasks.codes):
            mine = torch.nonzero(data.rows.x[:, tasks.columns.task] == code)[:, 0]
            part = data.take(mine)
            precision = part.weight / self.process.noise(part.rows)
            residual = part.y - self.process.mean(part.rows)
            mean = tasks.positions(part.rows.x[:1])[0]
            variance = self.variances[number : number + 1]
            first = _solve(root_r, expected_correlation(self.places, none, mean, variance, width))
            second = _whiten(root_r, expected_product(mean[0], variance[0], self.places, width))
            cross = _solve(root_c, kernel.inner(self.inducing, part.rows.x))
            gram = (cross * precision) @ cross.mT
            matrix = matrix + torch.kron(second.contiguous(), gram.contiguous())
            moment = moment + torch.kron(first[:, 0].contiguous(), cross @ (precision * residual))
            left = kernel(part.rows.x, diag=True) @ precision - second.trace() * gram.trace()
            scale = torch.log(2 * math.pi / precision).sum() + (precision * residual.square()).sum()
            total = total - 0.5 * (scale + left)
        factor = torch.linalg.cholesky(matrix)
        white = torch.linalg.solve_triangular(factor, moment[:, None], upper=False)
        return total + 0.5 * white.square().sum() - factor.diagonal().log().sum()


def _root(covariance: Tensor) -> Tensor:
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return torch.linalg.cholesky(covariance + JITTER * covariance.diagonal().mean() * identity)


def _solve(root: Tensor, columns: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(root, columns, upper=False)


def _whiten(root: Tensor, matrix: Tensor) -> Tensor:
    return _solve(root, _solve(root, matrix).mT)
