"""Hierarchical multi-output process with latent tasks (HMOGP-LV).

Curves of member d of task t follow k_H(h_t, h_t') [k_g(x, x') + 1(d = d') k_l(x, x')] with latent positions
h_t ~ N(m(e_t), v₀ I): tasks whose curves look alike move together, and a task never seen starts where its
text (or its number) puts it.

Source: Ma, Leung and Álvarez 2023 for the model; Schram et al. 2025 for its use on learning curves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch import Module
from torch import Tensor

from probscale.model.gp import NOISE_FLOOR, CurveProcess, Noise
from probscale.model.layout import Layout
from probscale.model.matern import squared_distances
from probscale.model.means import CurveMean, Rows
from probscale.model.priors import declare
from probscale.model.terms import LogParameterKernel

SQRT3 = math.sqrt(3.0)

LATENT_DIMENSIONS = 2
"""Dimensions of the positions of tasks, as in Ma, Leung and Álvarez 2023."""


def matern32(squared: Tensor) -> Tensor:
    """Matérn-3/2 correlation from squared scaled distances."""
    distance = SQRT3 * squared.clamp_min(1e-14).sqrt()
    return (1 + distance) * torch.exp(-distance)


def expected_correlation(
    mean1: Tensor, variance1: Tensor, mean2: Tensor, variance2: Tensor, width: Tensor
) -> Tensor:
    """Expected RBF-ARD correlation of two independent normal positions, (rows, rows).

    E exp(-½ |h - h'|²/ℓ²) = Π_q (1 + s_q/ℓ_q²)^-½ exp(-½ (μ - μ')_q²/(ℓ_q² + s_q)) with s = s₁ + s₂. With
    s₂ = 0 it is the psi-1 statistic of variational inference.

    Source: Titsias and Lawrence 2010, eq. 11.
    """
    log = mean1.new_zeros(mean1.shape[0], mean2.shape[0])
    for q in range(mean1.shape[1]):
        spread = variance1[:, q, None] + variance2[None, :, q]
        squared = (mean1[:, q, None] - mean2[None, :, q]).square()
        scale = width[q].square()
        log = log - 0.5 * torch.log1p(spread / scale) - 0.5 * squared / (scale + spread)
    return torch.exp(log)


@dataclass(frozen=True)
class LatentColumns:
    """Which columns of a row say what in the latent model.

    Attributes:
        task: Column of the task's code.
        members: Columns that tell the members of a task apart; equal in all of them means the same member.
        inputs: Columns of x, the coordinates of both Matérn kernels.
        described: Columns with the coordinates of the task's text and number.
    """

    task: int
    members: tuple[int, ...]
    inputs: tuple[int, ...]
    described: tuple[int, ...]


class LatentTasks(Module):
    """Positions of the tasks: h_t = W e_t + √v₀ ε_t, with ε_t ~ N(0, I) for every task.

    Args:
        columns: Where rows carry the task and its description.
        codes: Codes of the tasks seen in the fit, (tasks,).
        start: First guess of ε, (tasks, dimensions).
        weight: First guess of W, (described columns, dimensions); by default zero.
    """

    codes: Tensor
    spread: Tensor
    """What the fit leaves open about the positions of known tasks, (tasks, dimensions)."""

    def __init__(
        self, columns: LatentColumns, codes: Tensor, start: Tensor, weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.columns = columns
        self.register_buffer("codes", codes.clone())
        self.register_buffer("spread", torch.zeros(start.shape, dtype=torch.float64))
        self.dimensions = start.shape[1]
        described = len(columns.described)
        declare(self, "deviation", start, torch.zeros_like(start), 1.0)
        declare(self, "width", torch.zeros(self.dimensions), torch.zeros(self.dimensions), 0.7)
        if described:
            none = torch.zeros(described, self.dimensions, dtype=torch.float64)
            declare(self, "weight", none if weight is None else weight, none, 1.0)
            declare(self, "reserve", torch.tensor([-0.7]), torch.tensor([-0.7]), 0.7)

    @property
    def prior_variance(self) -> Tensor:
        """v₀: what the description of a task leaves open; one without descriptions."""
        if not self.columns.described:
            return self.get_parameter("width").new_ones(())
        return torch.exp(self.get_parameter("reserve")).squeeze(0)

    @property
    def lengthscale(self) -> Tensor:
        """Lengthscales of k_H, (dimensions,)."""
        return torch.exp(self.get_parameter("width"))

    def foretold(self, x: Tensor) -> Tensor:
        """Positions that descriptions alone foretell, (rows, dimensions)."""
        if not self.columns.described:
            return x.new_zeros(x.shape[0], self.dimensions)
        return x[:, list(self.columns.described)] @ self.get_parameter("weight")

    def membership(self, x: Tensor) -> Tensor:
        """Which known task each row belongs to, (rows, tasks); a row of zeros for a new one."""
        return (x[:, self.columns.task, None] == self.codes[None]).to(x.dtype)

    def positions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the position of each row's task, (rows, dimensions) each."""
        member = self.membership(x)
        variance = self.prior_variance
        mean = self.foretold(x) + variance.sqrt() * member @ self.get_parameter("deviation")
        unknown = 1 - member.sum(-1, keepdim=True)
        return mean, unknown * variance + member @ self.spread

    def correlation(self, x1: Tensor, x2: Tensor) -> Tensor:
        """k_H of the tasks of two sets of rows; expected over the positions of new tasks, (rows, rows)."""
        code = self.columns.task
        same = x1[:, code, None] == x2[None, :, code]
        expected = expected_correlation(*self.positions(x1), *self.positions(x2), self.lengthscale)
        return torch.where(same, torch.ones_like(expected), expected)


class LatentKernel(LogParameterKernel):
    """k_H(h_t, h_t') [k_g(x, x') + 1(d = d') k_l(x, x')] with Matérn-3/2 ARD k_g and k_l."""

    def __init__(self, tasks: LatentTasks, *, scale: float) -> None:
        super().__init__()
        self.tasks = tasks
        self.columns = tasks.columns
        self.terms = torch.nn.ModuleList()
        inputs = len(self.columns.inputs)
        self.declare("shared_scale", math.log(scale), math.log(scale), 1.0)
        self.declare("shared_width", 0.5, 0.5, 1.0, inputs)
        if self.columns.members:
            self.declare("member_scale", math.log(scale / 2), math.log(scale / 2), 1.0)
            self.declare("member_width", 0.5, 0.5, 1.0, inputs)

    def inner(self, x1: Tensor, x2: Tensor) -> Tensor:
        """k_g + 1(d = d') k_l, (rows, rows)."""
        covariance = self._matern("shared", x1, x2)
        if not self.columns.members:
            return covariance
        return covariance + self._same(x1, x2) * self._matern("member", x1, x2)

    def variance(self) -> Tensor:
        """Prior variance of every row."""
        names = ("shared_scale", "member_scale") if self.columns.members else ("shared_scale",)
        return torch.exp(2 * torch.cat([self.get_parameter(name) for name in names])).sum()

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Covariance of the curves of two sets of rows."""
        if diag:
            return self.variance().expand(x1.shape[0])
        return self.tasks.correlation(x1, x2) * self.inner(x1, x2)

    def _same(self, x1: Tensor, x2: Tensor) -> Tensor:
        columns = list(self.columns.members)
        return (x1[:, None, columns] == x2[None][:, :, columns]).all(-1).to(x1.dtype)

    def _matern(self, part: str, x1: Tensor, x2: Tensor) -> Tensor:
        columns = list(self.columns.inputs)
        width = torch.exp(self.get_parameter(f"{part}_width"))
        squared = squared_distances(x1[:, columns] / width, x2[:, columns] / width)
        return torch.exp(2 * self.get_parameter(f"{part}_scale")) * matern32(squared)


class LatentNoise(Noise):
    """Observation noise of each task; that of a new task is typical of the known ones."""

    def __init__(self, layout: Layout, tasks: LatentTasks, *, scale: float) -> None:
        Module.__init__(self)
        self.axis = layout.axis[:1]
        self.tasks = tasks
        self.declare("level", math.log(scale), 1.0)
        count = len(tasks.codes)
        declare(self, "deviation", torch.zeros(count), torch.zeros(count), 0.5)

    def forward(self, rows: Rows) -> Tensor:
        """Noise variance of each row."""
        log_std = self.get_parameter("level") + self.tasks.membership(rows.x) @ self.get_parameter(
            "deviation"
        )
        return torch.exp(2 * log_std) + NOISE_FLOOR


class LevelMean(CurveMean):
    """One uncertain level: all else is left to the kernels."""

    def __init__(self, *, level: float, spread: float) -> None:
        super().__init__()
        self.names = ("level",)
        self.declare("level", level, spread)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """The level at every row."""
        return values[0].expand(len(rows))


class LatentProcess(CurveProcess):
    """Mean, kernel and noise of curves whose tasks have latent positions."""

    def __init__(
        self, layout: Layout, tasks: LatentTasks, mean: CurveMean, *, scale: float, noise: float
    ) -> None:
        Module.__init__(self)
        self.layout = layout
        self.mean = mean
        self.kernel = LatentKernel(tasks, scale=scale)
        self.noise = LatentNoise(layout, tasks, scale=noise)

    @property
    def tasks(self) -> LatentTasks:
        """Positions of the tasks."""
        return self.kernel.tasks
