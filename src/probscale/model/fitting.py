"""Maximum a posteriori fit of a curve process, robust to outlying points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor

from probscale.model.gp import CurveProcess, Observations
from probscale.model.weighing import first_weights, robust_weights

Array = NDArray[np.float64]

WATCHED = 5
"""Iterations over which a fit that may settle early is watched."""

HURRIED = 3
"""The same where decisions wait for the fit."""
SETTLED = 0.5
"""Log posterior that so many iterations of a fit from earlier parameters must gain for it to go on."""

FAILED = 1e12
"""Objective where a covariance could not be factored."""

REACH = 6.0
"""How far raw parameters may move."""


REFINING = 10
"""Iterations on more points after a fit on a subset."""


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


Data_contra = TypeVar("Data_contra", contravariant=True)


class Fittable(Protocol[Data_contra]):
    """What `fit_process` needs of a process."""

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...  # noqa: D102

    def log_prior(self) -> Tensor: ...  # noqa: D102

    def log_likelihood(self, data: Data_contra) -> Tensor: ...  # noqa: D102


def fit_process(
    process: Fittable[Data_contra],
    data: Data_contra,
    *,
    iterations: int = 40,
    bound: float = REACH,
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
    start = np.concatenate([p.detach().cpu().numpy().ravel() for p in parameters])
    prior = _prior_around(process, parameters, start)

    def objective(flat: Array) -> tuple[float, Array]:
        nonlocal failures
        _assign(parameters, flat)
        found = _negative_posterior(process, data, parameters, prior is None)
        if found is None:
            failures += 1
            return FAILED, np.zeros_like(flat)
        value, slope = found if prior is None else prior.added_to(*found, flat)
        return value, slope

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
    process: Fittable[Data_contra], data: Data_contra, parameters: list[torch.nn.Parameter], whole: bool
) -> tuple[float, Array] | None:
    """Negative log posterior, without the prior unless `whole`, and its gradient; None without either."""
    try:
        value = -process.log_likelihood(data)
        value = value - process.log_prior() if whole else value
        slopes = torch.autograd.grad(value, parameters, allow_unused=True)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        return None
    gradient = np.concatenate([_flat(s, p) for s, p in zip(slopes, parameters, strict=True)])
    if not (np.isfinite(value.item()) and np.isfinite(gradient).all()):
        return None
    return float(value.item()), gradient


@dataclass(frozen=True)
class _Prior:
    """Normal priors of the numbers that are fitted, and the constant by which they differ from all priors."""

    location: Array
    std: Array
    rest: float = 0.0

    def added_to(self, value: float, slope: Array, flat: Array) -> tuple[float, Array]:
        """Negative log posterior and its gradient from those of the likelihood."""
        z = (flat - self.location) / self.std
        return value + 0.5 * float(z @ z) + self.rest, slope + z / self.std


def _prior_around(process: object, parameters: list[torch.nn.Parameter], start: Array) -> _Prior | None:
    """Priors of the fitted parameters in closed form: on the tape they cost as much as a small log.

    None for processes whose priors are not all normal.
    """
    if not isinstance(process, CurveProcess):
        return None
    location, std = (part.cpu().numpy() for part in process.prior_of(parameters))
    prior = _Prior(location, std)
    with torch.no_grad():
        value = -float(process.log_prior())
    return replace(prior, rest=value - prior.added_to(0.0, np.zeros_like(start), start)[0])


def _until_settled(least: float, watched: int) -> Callable[[OptimizeResult], None]:
    values: list[float] = []

    def watch(intermediate_result: OptimizeResult) -> None:
        values.append(float(intermediate_result.fun))
        if len(values) > watched and values[-1 - watched] - values[-1] < least:
            raise StopIteration

    return watch


def _assign(parameters: list[torch.nn.Parameter], flat: Array) -> None:
    position = 0
    for parameter in parameters:
        count = parameter.numel()
        chunk = torch.as_tensor(flat[position : position + count], dtype=parameter.dtype)
        parameter.data = chunk.reshape(parameter.shape).to(parameter.device)
        position += count


def _flat(slope: Tensor | None, parameter: torch.nn.Parameter) -> Array:
    """Gradient of a parameter as an array, zero where nothing depends on it."""
    return np.zeros(parameter.numel()) if slope is None else slope.cpu().numpy().ravel()


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
    first = robust_weights(process, data) if begun else first_weights(process, data)
    data, settled = replace(data, weight=first), SETTLED if begun or hurried else 0.0
    watched = HURRIED if hurried else WATCHED
    outcome = fit_process(process, data, iterations=iterations, settled=settled, watched=watched)
    for _ in range(rounds):
        data = replace(data, weight=robust_weights(process, data))
        step = fit_process(process, data, iterations=polish, settled=settled, watched=watched)
        outcome = replace(step, evaluations=outcome.evaluations + step.evaluations)
    return data, outcome


def refine(process: CurveProcess, data: Observations, before: FitOutcome) -> FitOutcome:
    """Go on from parameters that were fitted on fewer points, for few iterations.

    A first fit on few points costs little and finds where the parameters are; what is left of its lot is
    taken out by more points.

    Args:
        process: Changed in place.
        data: Observations, weighed by what the process makes of them.
        before: How the fit on fewer points went.

    Returns:
        How this fit went; evaluations and failures of both count.
    """
    _, after = fit_robustly(process, data, rounds=0, iterations=REFINING, begun=True)
    return replace(
        after,
        evaluations=before.evaluations + after.evaluations,
        failures=before.failures + after.failures,
    )
