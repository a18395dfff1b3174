"""Learn how outputs go together, each output's own process left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probscale.model.cross import crossed_terms
from probscale.model.fitting import FitOutcome, fit_process
from probscale.model.gp import CurveProcess, Observations
from probscale.model.gradients import log_normal
from probscale.model.outputs import (
    LAW,
    MEASUREMENT,
    OUTPUT,
    RUN,
    Coregionalisation,
    OutputsProcess,
    axis_column,
    groups_of,
    linked,
    noise_at,
    same_points,
)

MOST_START = 0.9
"""Largest correlation from which a fit starts."""

FEWEST_PAIRS = 5
"""Points where two outputs were measured, below which their correlation starts at zero."""

ITERATIONS = 40
"""Optimiser iterations of the correlations."""


@dataclass(frozen=True)
class Fixed:
    """What correlations weigh, at the parameters of each output: covariances as if fully correlated.

    Attributes:
        terms: One matrix per term of the kernel, (terms, rows, rows).
        law: From the uncertain parameters of the means, (rows, rows).
        points: From errors that outputs of a point share, (rows, rows).
        noise: Noise of each output alone, (rows,).
        residual: Observations minus their mean, (rows,).
        outputs: One column per output, one where a row is of it, (rows, outputs).
    """

    terms: Tensor
    law: Tensor
    points: Tensor
    noise: Tensor
    residual: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class LinkObjective:
    """Evidence of the correlations between outputs."""

    links: Coregionalisation

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Those of the correlations."""
        return self.links.parameters()

    def log_prior(self) -> Tensor:
        """Log density of the correlations under their prior."""
        return self.links.log_prior()

    def log_likelihood(self, data: Fixed) -> Tensor:
        """Log marginal likelihood of the observations of all outputs, uncertain means included.

        Cost: O(rows³) time, O(terms × rows²) memory.
        """
        wide = data.outputs @ self.links.matrices() @ data.outputs.mT
        shares = data.outputs @ self.links.shares()
        total = (wide[: len(data.terms)] * data.terms).sum(0)
        total = total + wide[self.links.position(LAW)] * data.law
        measured = wide[self.links.position(MEASUREMENT)]
        total = total + measured * (shares[:, None] * shares).sqrt() * data.points
        return log_normal(total, data.residual, data.noise * (1 - shares))


@torch.no_grad()
def fixed_parts(process: OutputsProcess, data: Observations) -> Fixed:
    """Everything about observations that does not depend on correlations."""
    x = data.rows.x
    parts: Sequence[CurveProcess] = process.each
    mean, slopes = process.joint_mean.separate(data.rows)
    terms = x.new_zeros(len(process.links.names) - 2, len(x), len(x))
    points, noise = x.new_zeros(len(x), len(x)), x.new_zeros(len(x))
    groups = groups_of(x)
    for i, rows in groups:
        noise[rows] = noise_at(parts[i], x[rows])
        for j, where in groups:
            cross = crossed_terms(parts[i].kernel, parts[j].kernel, x[rows], x[where])
            for t, part in enumerate(cross):
                terms[t, rows[:, None], where] = part
            points[rows[:, None], where] = same_points(parts[i], parts[j], x[rows], x[where])
    outputs = torch.nn.functional.one_hot(x[:, OUTPUT].long(), len(parts)).to(x.dtype)
    return Fixed(terms, slopes @ slopes.mT, points, noise, data.y - mean, outputs)


def start_correlation(process: OutputsProcess, data: Observations) -> Tensor:
    """Correlation of what the means leave over, over points where both outputs were measured, shrunk."""
    count = len(process.each)
    x = data.rows.x
    axis = axis_column(process.layout)
    residual = torch.empty_like(data.y)
    with torch.no_grad():
        for i, rows in groups_of(x):
            left = data.y[rows] - process.each[i].mean(data.rows.take(rows))
            residual[rows] = (left / left.square().mean().sqrt().clamp_min(1e-12)).clamp(-3, 3)
    keys = {}
    for row, key in enumerate(zip(x[:, RUN].tolist(), x[:, axis].tolist(), strict=True)):
        keys.setdefault(key, {})[int(x[row, OUTPUT])] = float(residual[row])
    correlation = torch.eye(count, dtype=torch.float64)
    for i in range(count):
        for j in range(i):
            pairs = torch.tensor([(k[i], k[j]) for k in keys.values() if i in k and j in k])
            if len(pairs) >= FEWEST_PAIRS:
                both = pairs.square().mean(0).prod().sqrt().clamp_min(1e-12)
                shared = float((pairs.prod(1).mean() / both).clamp(-1, 1))
                correlation[i, j] = correlation[j, i] = MOST_START * shared
    # Pairwise correlations need not fit together: as much of the identity as that takes.
    lowest = float(torch.linalg.eigvalsh(correlation)[0])
    if lowest < 0.05:
        keep = 0.95 / (1 - lowest)
        correlation = keep * correlation + (1 - keep) * torch.eye(count, dtype=torch.float64)
    return correlation


def fit_links(parts: Sequence[CurveProcess], data: Observations) -> tuple[OutputsProcess, FitOutcome]:
    """Join processes of outputs: correlations at their maximum a posteriori, all else as it was fitted.

    Args:
        parts: Process of each output.
        data: Observations of all outputs; see `with_output`.

    Cost: O(rows³) in each of `ITERATIONS` iterations.
    """
    process = linked(parts)
    process.links.start_at(start_correlation(process, data))
    outcome = fit_process(LinkObjective(process.links), fixed_parts(process, data), iterations=ITERATIONS)
    return process, outcome
