"""Maximum a posteriori fit of a curve process, robust to outlying points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from probscale.model.gp import CurveProcess, Observations, cholesky

Array = NDArray[np.float64]

STUDENT_DEGREES = 4.0
_FAILED = 1e12
_BOUND = 6.0


@dataclass(frozen=True)
class FitOutcome:
    """How a fit went.

    Attributes:
        objective: Log posterior of the parameters at the end, up to a constant.
        evaluations: Number of objective evaluations.
        failures: Evaluations whose covariance was not positive definite.
        message: The optimiser's last word.
    """

    objective: float
    evaluations: int
    failures: int
    message: str


def fit_process(process: CurveProcess, data: Observations, *, iterations: int = 40) -> FitOutcome:
    """Move the parameters of a process to their maximum a posteriori; the process is changed in place.

    L-BFGS on raw parameters within six prior standard deviations. A covariance that cannot be factored counts as a
    very bad point, not as an error.

    Cost: O(iterations × rows³).
    """
    parameters = [p for p in process.parameters() if p.requires_grad]
    failures = 0

    def objective(flat: Array) -> tuple[float, Array]:
        nonlocal failures
        _assign(parameters, flat)
        process.zero_grad()
        try:
            value = -(process.log_likelihood(data) + process.log_prior())
            value.backward()
        except torch.linalg.LinAlgError:
            failures += 1
            return _FAILED, np.zeros_like(flat)
        gradient = np.concatenate([_gradient(p) for p in parameters])
        if not (np.isfinite(value.item()) and np.isfinite(gradient).all()):
            failures += 1
            return _FAILED, np.zeros_like(flat)
        return float(value.item()), gradient

    start = np.concatenate([p.detach().cpu().numpy().ravel() for p in parameters])
    bounds = [(x - _BOUND, x + _BOUND) for x in start]
    result = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": iterations, "maxcor": 20, "ftol": 1e-8},
    )
    _assign(parameters, result.x)
    return FitOutcome(-float(result.fun), int(result.nfev), failures, str(result.message))


def _assign(parameters: list[torch.nn.Parameter], flat: Array) -> None:
    position = 0
    for parameter in parameters:
        count = parameter.numel()
        chunk = torch.as_tensor(flat[position : position + count], dtype=parameter.dtype)
        parameter.data = chunk.reshape(parameter.shape).to(parameter.device)
        position += count


def _gradient(parameter: torch.nn.Parameter) -> Array:
    if parameter.grad is None:
        return np.zeros(parameter.numel())
    return parameter.grad.detach().cpu().numpy().ravel()


@torch.no_grad()
def leave_one_out(process: CurveProcess, data: Observations) -> tuple[Tensor, Tensor]:
    """Residual and variance of each point predicted from all others, (rows,) each; noise of the point included.

    Source: Rasmussen and Williams 2006, eq. 5.12.
    """
    covariance = process.kernel(data.rows.x) + torch.diag(process.noise(data.rows) / data.weight)
    factor, _ = cholesky(covariance)
    residual = data.y - process.mean(data.rows)
    precision = torch.cholesky_inverse(factor)
    variance = 1 / precision.diagonal()
    return (precision @ residual) * variance, variance


def robust_weights(process: CurveProcess, data: Observations) -> Tensor:
    """Weights of a Student-t likelihood, (rows,): near one for ordinary points, small for outliers.

    Each point is judged by what the others predict, with its own noise at full weight, so that an outlier cannot vouch
    for itself.

    Source: expectation step of the scale-mixture view, Lange, Little and Taylor 1989.
    """
    residual, variance = leave_one_out(process, data)
    noise = process.noise(data.rows).detach()
    full = (variance - noise / data.weight).clamp_min(0.0) + noise
    z = residual.square() / full
    return (STUDENT_DEGREES + 1) / (STUDENT_DEGREES + z)


def fit_robustly(
    process: CurveProcess, data: Observations, *, rounds: int = 4, iterations: int = 30, polish: int = 10
) -> tuple[Observations, FitOutcome]:
    """Fit, weigh, fit again: outliers (diverged, truncated, mislogged runs) lose their say.

    Returns:
        The observations with their final weights, and how the last fit went.
    """
    outcome = fit_process(process, data, iterations=iterations)
    for _ in range(rounds):
        data = replace(data, weight=robust_weights(process, data))
        step = fit_process(process, data, iterations=polish)
        outcome = replace(step, evaluations=outcome.evaluations + step.evaluations)
    return data, outcome
