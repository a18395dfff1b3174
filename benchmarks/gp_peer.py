"""Plain GPyTorch exact GP with a Matérn-5/2 ARD kernel: the strong small-log baseline."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import gpytorch
import numpy as np
import torch
from features import Array
from linear_operator import to_linear_operator
from numpy.typing import NDArray

SUBSET = 1000
STEPS = 100


class TiedMatern(gpytorch.kernels.MaternKernel):
    """Matérn-5/2 whose columns of one categorical share a lengthscale (one-hot codes)."""

    def __init__(self, groups: torch.Tensor) -> None:
        width = int(groups.max()) + 1
        prior = gpytorch.priors.LogNormalPrior(math.sqrt(2) + 0.5 * math.log(width), math.sqrt(3))
        super().__init__(nu=2.5, ard_num_dims=width, lengthscale_prior=prior)
        self.lengthscale = 2 * math.sqrt(width)
        self.groups = groups

    def forward(
        self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **params: object
    ) -> torch.Tensor:
        """Covariance of scaled inputs."""
        scale = self.lengthscale[..., 0, self.groups]
        distance = self.covar_dist(x1 / scale, x2 / scale, diag=diag, **params)
        exponential = torch.exp(-math.sqrt(5.0) * distance)
        return (1.0 + math.sqrt(5.0) * distance + 5.0 / 3.0 * distance**2) * exponential


class ExactGP(gpytorch.models.ExactGP):
    """Constant mean, scaled tied Matérn-5/2, optionally plus a linear kernel."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor, linear: bool) -> None:
        noise = gpytorch.priors.LogNormalPrior(-6.0, 2.0)
        limit = gpytorch.constraints.GreaterThan(1e-6)
        likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_prior=noise, noise_constraint=limit)
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        scale = gpytorch.priors.LogNormalPrior(0.0, 2.0)
        self.covar_module = gpytorch.kernels.ScaleKernel(TiedMatern(groups), outputscale_prior=scale)
        self.covar_module.outputscale = 3.0
        if linear:
            slope = gpytorch.kernels.LinearKernel(variance_prior=gpytorch.priors.LogNormalPrior(-1.0, 1.0))
            slope.variance = 0.3
            self.covar_module = self.covar_module + slope
        likelihood.noise = 0.02

    def forward(self, x: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
        """Prior at x."""
        covariance = to_linear_operator(self.covar_module(x).to_dense())
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), covariance)


@contextmanager
def dense_algebra(limit: int = 20_000) -> Iterator[None]:
    """Cholesky at every size; GPyTorch's own repair warnings are silenced for this peer only."""
    with (
        gpytorch.settings.max_cholesky_size(limit),
        gpytorch.settings.cholesky_max_tries(8),
        gpytorch.settings.fast_computations(False, False, False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def fit(
    x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor, *, linear: bool = False, steps: int = STEPS
) -> ExactGP:
    """MAP hyperparameters by Adam (rate 0.1, cosine decay)."""
    model = ExactGP(x, y, groups, linear).double()
    model.train()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -objective(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def fit_predict_gp(
    x: Array, y: Array, x_test: Array, groups: NDArray[np.int64], *, linear: bool = False, seed: int = 0
) -> tuple[Array, Array]:
    """Predictive mean and standard deviation; hyperparameters on at most `SUBSET` rows, then all rows."""
    center, scale = float(y.mean()), float(y.std()) or 1.0
    inputs, outputs = torch.as_tensor(x), torch.as_tensor((y - center) / scale)
    index = torch.as_tensor(groups)
    with dense_algebra():
        rows = np.random.default_rng(seed).permutation(len(y))[:SUBSET]
        model = fit(inputs[rows], outputs[rows], index, linear=linear)
        if len(y) > SUBSET:
            model.set_train_data(inputs, outputs, strict=False)
        model.eval()
        means, deviations = [], []
        with torch.no_grad():
            for block in torch.split(torch.as_tensor(x_test), 500):
                posterior = model.likelihood(model(block))
                means.append(posterior.mean)
                deviations.append(posterior.stddev)
    return (
        torch.cat(means).numpy() * scale + center,
        torch.cat(deviations).numpy() * scale,
    )
