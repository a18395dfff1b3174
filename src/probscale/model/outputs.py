"""Several outputs of the same runs in one Gaussian process: each keeps its own, correlations join them.

Rows carry three more columns at the end, `ERROR`, `RUN` and `OUTPUT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from gpytorch import Module
from torch import Tensor

from probscale.model.cross import crossed_terms, term_names
from probscale.model.gp import CurveProcess, Noise
from probscale.model.kernels import CurveKernel
from probscale.model.layout import Layout
from probscale.model.means import CurveMean, Rows
from probscale.model.priors import declare

ERROR, RUN, OUTPUT = -3, -2, -1
"""Columns of rows of several outputs: factor on the standard deviation of errors of the point, code of the
run, position of the output."""

LAW, MEASUREMENT = "law", "measurement"
"""Names of what outputs share beside the terms of the kernel: parameters of the mean, errors of a point."""

PRIOR_STD = {"common": 2.0, "correlation": 0.7, "share": 2.0}
"""Prior standard deviations of raw parameters, all around zero."""


class Coregionalisation(Module):
    """Correlation between outputs, one matrix per source of variation.

    Raw parameters are hyperbolic: with two outputs the correlation is tanh(raw). A matrix is R = L Lᵀ, the
    rows of L in the directions (sinh raw₁, ..., sinh rawₖ, 1). Each source has what all sources share plus a
    deviation of its own: outputs that go together mostly do so in every respect.

    Attributes:
        names: Sources of variation: terms of the kernel, law, measurement.
        count: Number of outputs.
    """

    common: torch.nn.Parameter
    correlation: torch.nn.Parameter
    share: torch.nn.Parameter

    def __init__(self, names: Sequence[str], count: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.count = count
        pairs = count * (count - 1) // 2
        shapes = {"common": (pairs,), "correlation": (len(self.names), pairs), "share": (count,)}
        for name, std in PRIOR_STD.items():
            declare(self, name, torch.zeros(shapes[name]), 0.0, std)

    def matrices(self) -> Tensor:
        """Correlation matrices, (sources, outputs, outputs)."""
        below = torch.tril_indices(self.count, self.count, offset=-1)
        eye = torch.eye(self.count, dtype=torch.float64, device=self.correlation.device)
        rows = eye.expand(len(self.names), -1, -1).clone()
        rows[:, below[0], below[1]] = torch.sinh(self.common + self.correlation)
        rows = rows / rows.norm(dim=-1, keepdim=True)
        return rows @ rows.mT

    def position(self, name: str) -> int:
        """Position of a source of variation among the matrices."""
        return self.names.index(name)

    def shares(self) -> Tensor:
        """Part of each output's noise that belongs to the measured point and is common to outputs."""
        return torch.sigmoid(self.share)

    def start_at(self, correlation: Tensor) -> None:
        """Begin at one correlation matrix for all sources."""
        below = torch.tril_indices(self.count, self.count, offset=-1)
        factor = torch.linalg.cholesky(correlation)
        raw = torch.asinh(factor / factor.diagonal()[:, None])[below[0], below[1]]
        self.common.data = raw
        self.correlation.data = torch.zeros_like(self.correlation)

    def log_prior(self) -> Tensor:
        """Log density of the current parameters under their priors."""
        terms = [prior.log_prob(of(module)).sum() for _, module, prior, of, _ in self.named_priors()]
        return torch.stack(terms).sum()


class OutputsProcess(CurveProcess):
    """Gaussian process of several outputs, for whoever conditions or asks a `CurveProcess`.

    Attributes:
        each: Process of each output, fitted alone.
        links: Correlations between outputs.
    """

    def __init__(self, parts: Sequence[CurveProcess], links: Coregionalisation) -> None:
        Module.__init__(self)
        self.parts = torch.nn.ModuleList(parts)
        self.each = tuple(parts)
        self.links = links
        self.layout = parts[0].layout
        self.joint_mean = OutputsMean(parts, links)
        self.mean = cast(CurveMean, self.joint_mean)
        self.kernel = cast(CurveKernel, OutputsKernel(parts, links))
        self.noise = cast(Noise, OutputsNoise(parts, links))


def linked(parts: Sequence[CurveProcess]) -> OutputsProcess:
    """Process of outputs whose correlations are still at their start."""
    names = (*term_names(parts[0].kernel), LAW, MEASUREMENT)
    return OutputsProcess(parts, Coregionalisation(names, len(parts)))


def with_output(rows: Rows, codes: Tensor, output: int, errors: Tensor | None = None) -> Rows:
    """Rows with the columns of errors, run and output; `errors` are relative standard deviations, or one."""
    last = [
        torch.ones_like(codes) if errors is None else errors,
        codes,
        torch.full_like(codes, float(output)),
    ]
    return Rows(torch.cat([rows.x, torch.stack(last, dim=1)], dim=1), rows.size, rows.progress)


def without_output(rows: Rows) -> Rows:
    """Rows as those of one output alone: without the columns of errors, run and output."""
    return Rows(rows.x[:, :ERROR], rows.size, rows.progress)


def errors_like(rows: Rows, known: Rows) -> Rows:
    """Rows with errors as large as those of known rows of the same point: what is odd about it is shared."""
    place: dict[tuple[float, float], float] = {}
    pairs = zip(known.x[:, RUN].tolist(), known.progress.tolist(), known.x[:, ERROR].tolist(), strict=True)
    for run, at, error in pairs:
        place[run, at] = max(error, place.get((run, at), 0.0))
    asked = zip(rows.x[:, RUN].tolist(), rows.progress.tolist(), strict=True)
    x = rows.x.clone()
    x[:, ERROR] = torch.tensor([place.get(key, 1.0) for key in asked], dtype=x.dtype)
    return Rows(x, rows.size, rows.progress)


def groups_of(x: Tensor) -> list[tuple[int, Tensor]]:
    """Outputs among rows, and the positions of their rows."""
    outputs = x[:, OUTPUT].detach()
    return [(int(o), torch.nonzero(outputs == o)[:, 0]) for o in outputs.unique()]


class OutputsKernel:
    """Covariance over rows of several outputs."""

    def __init__(self, parts: Sequence[CurveProcess], links: Coregionalisation) -> None:
        self.parts = tuple(parts)
        self.links = links

    def __call__(self, x1: Tensor, x2: Tensor | None = None, diag: bool = False) -> Tensor:
        """Dense covariance (rows, rows), or its diagonal."""
        if diag:
            return self._diagonal(x1)
        x2 = x1 if x2 is None else x2
        matrices, shares = self.links.matrices(), self.links.shares()
        out = x1.new_zeros(len(x1), len(x2))
        columns = groups_of(x2)
        for i, rows in groups_of(x1):
            for j, where in columns:
                out[rows[:, None], where] = self._block(i, j, x1[rows], x2[where], matrices, shares)
        return out

    def _block(self, i: int, j: int, x1: Tensor, x2: Tensor, matrices: Tensor, shares: Tensor) -> Tensor:
        first, second = self.parts[i], self.parts[j]
        if i == j:
            total = first.kernel(x1, x2)
        else:
            terms = crossed_terms(first.kernel, second.kernel, x1, x2)
            total = torch.stack([matrices[t, i, j] * term for t, term in enumerate(terms)]).sum(0)
        common = matrices[self.links.position(MEASUREMENT), i, j] * (shares[i] * shares[j]).sqrt()
        return total + common * same_points(first, second, x1, x2)

    def _diagonal(self, x: Tensor) -> Tensor:
        out, shares = x.new_zeros(len(x)), self.links.shares()
        for i, rows in groups_of(x):
            part = self.parts[i]
            out[rows] = part.kernel(x[rows], diag=True) + shares[i] * noise_at(part, x[rows])
        return out


def same_points(first: CurveProcess, second: CurveProcess, x1: Tensor, x2: Tensor) -> Tensor:
    """Product of noise deviations where rows are of one run at one axis value, else zero, (rows, rows)."""
    axis = axis_column(first.layout)
    same = (x1[:, RUN, None] == x2[None, :, RUN]) & (x1[:, axis, None] == x2[None, :, axis])
    deviation = noise_at(first, x1).sqrt()[:, None] * noise_at(second, x2).sqrt()
    return same.to(x1.dtype) * deviation


def axis_column(layout: Layout) -> int:
    """Column of rows that holds the axis."""
    return layout.axis[0] if layout.axis else len(layout.continuous) - 1


def noise_at(process: CurveProcess, x: Tensor) -> Tensor:
    """Noise variance of an output alone, (rows,)."""
    blank = x.new_zeros(len(x))
    return x[:, ERROR].square() * process.noise(Rows(x, blank, blank))


class OutputsNoise:
    """What is left of each output's noise once the common part is the kernel's."""

    def __init__(self, parts: Sequence[CurveProcess], links: Coregionalisation) -> None:
        self.parts = tuple(parts)
        self.links = links

    def __call__(self, rows: Rows) -> Tensor:
        """Noise variance of each row, (rows,)."""
        out, shares = rows.x.new_zeros(len(rows)), self.links.shares()
        for i, where in groups_of(rows.x):
            out[where] = (1 - shares[i]) * noise_at(self.parts[i], rows.x[where])
        return out


class OutputsMean:
    """Means of all outputs, their uncertain parameters correlated where they have the same meaning."""

    def __init__(self, parts: Sequence[CurveProcess], links: Coregionalisation) -> None:
        self.parts = tuple(parts)
        self.links = links
        self.names = tuple(dict.fromkeys(name for part in parts for name in part.mean.names))

    def linearised(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """See `CurveMean.linearised`; columns of slopes are (factor, parameter) pairs."""
        mean, own = self.separate(rows)
        correlation = self.links.matrices()[self.links.position(LAW)]
        tiny = 1e-12 * torch.eye(len(self.parts), dtype=own.dtype, device=own.device)
        factor = torch.linalg.cholesky(correlation + tiny)
        output = rows.x[:, OUTPUT].detach().long()
        slopes = factor[output][:, :, None] * own[:, None, :]
        return mean, slopes.reshape(len(rows), -1)

    def separate(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Mean of each row, (rows,), and its slopes along parameters of its output, (rows, parameters)."""
        means, slopes, order = [], [], []
        for i, where in groups_of(rows.x):
            mean = self.parts[i].mean
            value, slope = mean.linearised(rows.take(where))
            wide = slope.new_zeros(len(where), len(self.names))
            place = [self.names.index(name) for name in mean.names]
            means.append(value)
            slopes.append(wide.index_copy(1, torch.tensor(place, device=slope.device), slope))
            order.append(where)
        back = torch.argsort(torch.cat(order))
        return torch.cat(means)[back], torch.cat(slopes)[back]
