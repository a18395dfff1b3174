"""Maximum a posteriori fit of a curve process, robust to outlying points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize, minimize_scalar
from torch import Tensor

from probscale.model.gp import CurveProcess, Observations, cholesky
from probscale.model.means import CurveMean, Rows

Array = NDArray[np.float64]

STUDENT_DEGREES = 4.0
FIRST_TOLERANCE = 3.0
SUSPECT = 0.1
SMALL = 800
"""Points up to which one thread beats two (198 points: a fit takes 1.8 s against 4.8 s)."""
WATCHED = 5
"""Iterations over which a fit that may settle early is watched."""

HURRIED = 3
"""The same where decisions wait for the fit."""
SETTLED = 0.5
"""Log posterior that so many iterations of a fit from earlier parameters must gain for it to go on."""

LEAST_SPREAD = 1e-3
MOST_SPREAD = 1e3

_FAILED, _BOUND = 1e12, 6.0


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


@contextmanager
def threads_for(points: int) -> Iterator[None]:
    """One thread for small factorisations, where handing work around costs more than the work itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if points <= SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


Data_contra = TypeVar("Data_contra", contravariant=True)


class Fittable(Protocol[Data_contra]):
    """What `fit_process` needs of a process."""

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...  # noqa: D102

    def zero_grad(self) -> None: ...  # noqa: D102

    def log_prior(self) -> Tensor: ...  # noqa: D102

    def log_likelihood(self, data: Data_contra) -> Tensor: ...  # noqa: D102


def fit_process(
    process: Fittable[Data_contra],
    data: Data_contra,
    *,
    iterations: int = 40,
    bound: float = _BOUND,
    settled: float = 0.0,
    watched: int = WATCHED,
) -> FitOutcome:
    """Move the parameters of a process to their maximum a posteriori; the process is changed in place.

    L-BFGS on raw parameters, at most `bound` from where they start, until `watched` iterations have gained
    less than `settled`. A covariance that cannot be factored counts as a very bad point, not as an error.

    Cost: O(iterations × rows³).
    """
    parameters = [p for p in process.parameters() if p.requires_grad]
    if not parameters:
        with torch.no_grad():
            value = process.log_likelihood(data) + process.log_prior()
        return FitOutcome(float(value), 1, 0, "nothing to fit")
    failures = 0

    def objective(flat: Array) -> tuple[float, Array]:
        nonlocal failures
        _assign(parameters, flat)
        found = _negative_posterior(process, data, parameters)
        if found is None:
            failures += 1
            return _FAILED, np.zeros_like(flat)
        return found

    start = np.concatenate([p.detach().cpu().numpy().ravel() for p in parameters])
    result = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(x - bound, x + bound) for x in start],
        callback=_until_settled(settled, watched) if settled else None,
        options={"maxiter": iterations, "maxcor": 20, "ftol": 1e-8},
    )
    _assign(parameters, result.x)
    return FitOutcome(-float(result.fun), int(result.nfev), failures, str(result.message))


def _negative_posterior(
    process: Fittable[Data_contra], data: Data_contra, parameters: list[torch.nn.Parameter]
) -> tuple[float, Array] | None:
    """Negative log posterior and its gradient; None where it cannot be computed."""
    process.zero_grad()
    try:
        value = -(process.log_likelihood(data) + process.log_prior())
        value.backward()
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        return None
    gradient = np.concatenate([_gradient(p) for p in parameters])
    if not (np.isfinite(value.item()) and np.isfinite(gradient).all()):
        return None
    return float(value.item()), gradient


def _until_settled(least: float, watched: int) -> Callable[[OptimizeResult], None]:
    values: list[float] = []

    def watch(intermediate_result: OptimizeResult) -> None:
        values.append(float(intermediate_result.fun))
        if len(values) > watched and values[-1 - watched] - values[-1] < least:
            raise StopIteration

    return watch


def fit_mean(mean: CurveMean, data: Observations, *, iterations: int = 100) -> float:
    """Move a mean's parameters to where they explain the data alone, robustly.

    A mean that starts at its prior leaves the trend to the kernel, which then cannot extrapolate it.

    Returns:
        Robust standard deviation of what the mean leaves over: the natural scale of the kernel.

    Source: Student-t regression, its scale fitted along: Lange, Little and Taylor 1989.
    """
    parameters = [mean.get_parameter(name) for name in mean.names]
    location, std = mean.prior()

    def objective(flat: Array) -> tuple[float, Array]:
        _assign(parameters, flat[:-1])
        mean.zero_grad()
        log_scale = torch.tensor(flat[-1], requires_grad=True)
        residual = (data.y - mean(data.rows)) * torch.exp(-log_scale)
        robust = torch.log1p(residual.square() / STUDENT_DEGREES).sum() * (STUDENT_DEGREES + 1) / 2
        value = robust + len(data) * log_scale + 0.5 * ((mean.values() - location) / std).square().sum()
        value.backward()
        assert log_scale.grad is not None
        slopes = [_gradient(p) for p in parameters] + [log_scale.grad.numpy().ravel()]
        return float(value.item()), np.concatenate(slopes)

    with torch.no_grad():
        first = _spread(data.y - mean(data.rows))
    start = np.concatenate([*(p.detach().cpu().numpy().ravel() for p in parameters), [math.log(first)]])
    bounds = [(x - _BOUND, x + _BOUND) for x in start[:-1]] + [
        (math.log(LEAST_SPREAD), math.log(MOST_SPREAD))
    ]
    options = {"maxiter": iterations}
    with threads_for(0):  # Vectors alone: threads would wait for each other longer than they work.
        result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    _assign(parameters, result.x[:-1])
    with torch.no_grad():
        return _spread(data.y - mean(data.rows))


def _spread(residual: Tensor) -> float:
    """Robust standard deviation around zero, kept away from zero."""
    return max(float(residual.abs().median()) * 1.4826, LEAST_SPREAD)


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
    """Residual and variance of each point predicted from all others, its noise included, (rows,) each.

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

    Each point is judged with its own noise at full weight by the points that are not suspect: diverged runs
    come in clusters, and a cluster must not vouch for itself. A suspect that the others predict after all is
    readmitted.

    Source: expectation step of the scale-mixture view, Lange, Little and Taylor 1989; the readmission follows
        the forward search of Atkinson and Riani 2000.
    """
    trusted = torch.nonzero(data.weight >= SUSPECT)[:, 0]
    suspect = torch.nonzero(data.weight < SUSPECT)[:, 0]
    z = torch.empty_like(data.y)
    core = data.take(trusted)
    residual, variance = leave_one_out(process, core)
    noise = process.noise(core.rows).detach()
    z[trusted] = residual.square() / ((variance - noise / core.weight).clamp_min(0.0) + noise)
    if len(suspect):
        asked = data.take(suspect)
        mean, latent = predict_dense(process, core, asked.rows)
        z[suspect] = (asked.y - mean).square() / (latent + process.noise(asked.rows).detach())
    return _weights(z)


def _weights(squared: Tensor) -> Tensor:
    """Student-t weights of squared standardised residuals."""
    return (STUDENT_DEGREES + 1) / (STUDENT_DEGREES + squared)


@torch.no_grad()
def predict_dense(process: CurveProcess, data: Observations, rows: Rows) -> tuple[Tensor, Tensor]:
    """Latent mean and variance at rows given observations, parameters of the mean as they are."""
    covariance = process.kernel(data.rows.x) + torch.diag(process.noise(data.rows) / data.weight)
    factor, _ = cholesky(covariance)
    cross = process.kernel(data.rows.x, rows.x)
    left = torch.linalg.solve_triangular(factor, cross, upper=False)
    solved = torch.cholesky_solve((data.y - process.mean(data.rows))[:, None], factor)[:, 0]
    variance = process.kernel(rows.x, diag=True) - left.square().sum(0)
    return process.mean(rows) + cross.mT @ solved, variance.clamp_min(0.0)


@torch.no_grad()
def _first_weights(process: CurveProcess, data: Observations) -> Tensor:
    """Weights before anything but the mean is known: only what lies far off it loses its say.

    Diverged runs come in clusters that would vouch for each other; what was merely badly tuned returns once
    the kernel has learnt from the rest.
    """
    residual = data.y - process.mean(data.rows)
    return _weights((residual / (FIRST_TOLERANCE * _spread(residual))).square())


@contextmanager
def held(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """Parameters that a fit leaves where they are."""
    chosen = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in chosen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in chosen:
            parameter.requires_grad_(True)


AMPLITUDES = ("scale", "drift")
OWN = ("growth", "wane", "bend")


@dataclass(frozen=True)
class Model:
    """A fitted process of another output to start from.

    Attributes:
        process: Its process.
        twin: Whether its mean, amplitudes and noise are taken over too, these up to one factor; else
            lengthscales, drifts of coordinates and closeness of labels alone.
    """

    process: CurveProcess
    twin: bool


def borrow(process: CurveProcess, model: Model, data: Observations) -> list[torch.nn.Parameter]:
    """Take over parameters of another output's process.

    Returns:
        The parameters that were taken over.

    Cost: of a twin, some twenty factorisations.
    """
    known = dict(model.process.kernel.named_parameters())
    taken, amplitudes = [], []
    for name, parameter in process.kernel.named_parameters():
        last = name.split(".")[-1]
        if last in OWN or (last in AMPLITUDES and not model.twin):
            continue
        parameter.data = known[name].detach().to(parameter.device).clone()
        taken.append(parameter)
        amplitudes += [parameter] if last in AMPLITUDES else []
    if model.twin:
        taken += _borrow_mean(process.mean, model.process.mean)
        level = process.noise.get_parameter("level")
        for name, parameter in process.noise.named_parameters():
            parameter.data = model.process.noise.get_parameter(name).detach().to(data.y.device).clone()
            taken.append(parameter)
        _scale_amplitudes([*amplitudes, level], process, data)
    return taken


def _borrow_mean(mean: CurveMean, other: CurveMean) -> list[torch.nn.Parameter]:
    """Raw parameters as far from their prior as those of another mean, where both have them."""
    location = dict(zip(mean.names, mean.prior()[0], strict=True))
    theirs = dict(zip(other.names, (other.values() - other.prior()[0]).detach(), strict=True))
    shared = [name for name in mean.names if name in theirs]
    for name in shared:
        mean.get_parameter(name).data = location[name] + theirs[name].to(location[name].device)
    return [mean.get_parameter(name) for name in shared]


@torch.no_grad()
def _scale_amplitudes(logs: list[torch.nn.Parameter], process: CurveProcess, data: Observations) -> None:
    """Multiply amplitudes and noise by the factor under which the data are most likely."""
    start = [parameter.data.clone() for parameter in logs]

    def loss(log_factor: float) -> float:
        for parameter, value in zip(logs, start, strict=True):
            parameter.data = value + log_factor
        try:
            return -float(process.log_likelihood(data))
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            return _FAILED

    found: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 0.01})
    loss(float(found.x))


def fit_robustly(
    process: CurveProcess,
    data: Observations,
    *,
    rounds: int = 4,
    iterations: int = 30,
    polish: int = 10,
    begun: bool = False,
    hurried: bool = False,
) -> tuple[Observations, FitOutcome]:
    """Fit, weigh, fit again: outliers (diverged, truncated, mislogged runs) lose their say.

    Args:
        process: Changed in place.
        data: Observations.
        rounds: How often points are weighed anew.
        iterations: Iterations of the first pass.
        polish: Iterations of each further one.
        begun: Whether the process has learnt from like data already: it then judges points from the first,
            and stops once it gains little.
        hurried: Whether it stops once it gains little, wherever it began, and sooner.

    Returns:
        The observations with their final weights, and how the last fit went.
    """
    first = robust_weights(process, data) if begun else _first_weights(process, data)
    data, settled = replace(data, weight=first), SETTLED if begun or hurried else 0.0
    watched = HURRIED if hurried else WATCHED
    outcome = fit_process(process, data, iterations=iterations, settled=settled, watched=watched)
    for _ in range(rounds):
        data = replace(data, weight=robust_weights(process, data))
        step = fit_process(process, data, iterations=polish, settled=settled, watched=watched)
        outcome = replace(step, evaluations=outcome.evaluations + step.evaluations)
    return data, outcome
