"""Fits from several starting points, side by side where an executor is given."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from probscale.errors import NotPositiveDefiniteError
from probscale.model.devices import threads_for
from probscale.model.fitting import FitOutcome, fit_robustly, held
from probscale.model.gp import CurveProcess, Observations
from probscale.model.layout import Layout
from probscale.model.mean_choice import curve_mean
from probscale.model.means import LawScale
from probscale.model.transforms import OutputTransform

SPREAD = 0.7
"""Standard deviation of raw parameters between starting points."""


@dataclass(frozen=True)
class Start:
    """All that one fit needs; can be sent to another process.

    Attributes:
        layout: Columns of the rows.
        transform: Outputs to the modelled scale.
        law_scale: Centre of a law.
        kind: Mean function.
        spread: Prior standard deviation of the kernel.
        parameters: Where the fit starts.
        fixed: Names of parameters that stay.
        data: Observations.
        rounds: Reweighting rounds.
        iterations: Iterations of the first pass.
        device: Where the algebra runs.
        seed: Moves the start; None leaves it.
    """

    layout: Layout
    transform: OutputTransform
    law_scale: LawScale
    kind: str
    spread: float
    parameters: Mapping[str, Tensor]
    fixed: frozenset[str]
    data: Observations
    rounds: int
    iterations: int
    device: str
    seed: int | None = None

    def process(self) -> CurveProcess:
        """The process at the start."""
        mean = curve_mean(self.transform, self.law_scale, self.data.y, self.kind)
        process = CurveProcess(self.layout, mean, scale=self.spread, noise=0.1 * self.spread)
        process.load_state_dict(dict(self.parameters))
        if self.seed is not None:
            generator = np.random.default_rng(self.seed)
            for name, parameter in process.named_parameters():
                move = SPREAD * generator.standard_normal(tuple(parameter.shape))
                if name not in self.fixed:
                    parameter.data = parameter.data + torch.as_tensor(move, dtype=parameter.dtype)
        return process


@dataclass(frozen=True)
class Arrival:
    """Where a fit ended: parameters, weights of the observations, and how it went."""

    parameters: Mapping[str, Tensor]
    weight: Tensor
    outcome: FitOutcome


def fit_from(start: Start) -> Arrival | None:
    """Fit from a start; None where a covariance stayed singular."""
    device = torch.device(start.device)
    process = start.process().to(device)
    fixed = [parameter for name, parameter in process.named_parameters() if name in start.fixed]
    try:
        with threads_for(len(start.data)), held(fixed):
            data, outcome = fit_robustly(
                process, start.data.to(device), rounds=start.rounds, iterations=start.iterations
            )
    except NotPositiveDefiniteError:
        return None
    return Arrival(process.cpu().state_dict(), data.weight.cpu(), outcome)


def best_of(start: Start, restarts: int, executor: Executor | None) -> Arrival | None:
    """The best of several fits: the given start and others around it.

    Fits weigh outliers differently; they are compared by their log posterior under the weights of the first.

    Args:
        start: The first starting point.
        restarts: Number of fits.
        executor: Runs the fits, in threads or processes; by default one after the other. The result is the
            same.

    Returns:
        The best fit, its objective the log posterior by which fits were compared; None where all failed.
    """
    starts = [start, *(replace(start, seed=k) for k in range(1, restarts))]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = list(map(fit_from, starts) if executor is None else executor.map(fit_from, starts))
    finally:
        torch.set_num_threads(before)
    arrived = [arrival for arrival in found if arrival is not None]
    if not arrived:
        return None
    weight = arrived[0].weight
    scores = [_posterior(start, arrival, weight) for arrival in arrived]
    leading = max(range(len(arrived)), key=lambda i: scores[i])
    best, score = arrived[leading], scores[leading]
    tried = sum(arrival.outcome.evaluations for arrival in arrived)
    failed = sum(arrival.outcome.failures for arrival in arrived) + len(found) - len(arrived)
    outcome = replace(best.outcome, objective=score, evaluations=tried, failures=failed)
    return replace(best, outcome=outcome)


def _posterior(start: Start, arrival: Arrival, weight: Tensor) -> float:
    """Log posterior of parameters under given weights; see `CurveProcess.log_posterior`."""
    process = replace(start, parameters=arrival.parameters, seed=None).process()
    return process.log_posterior(replace(start.data, weight=weight))
