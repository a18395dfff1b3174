"""Moments of candidates under a fitted state, batched and differentiable, for the BoTorch model."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from probscale.errors import NotPositiveDefiniteError
from probscale.model.exact import ExactState
from probscale.model.gp import CurveProcess, symmetric
from probscale.model.means import Rows
from probscale.model.outputs import OUTPUT, OutputsProcess
from probscale.model.strays import run_term_of

JITTER = 1e-8
"""Added to the diagonal of covariances, relative to its mean: equal candidates would make them singular."""

GROWTHS = 14
"""Most times that the jitter grows tenfold."""


@dataclass(frozen=True)
class Moments:
    """Joint Gaussian of a batch of candidates, candidates × outputs flattened.

    Attributes:
        mean: (batch, candidates · outputs).
        covariance: Of the curves of configurations, (batch, candidates · outputs, candidates · outputs).
        noise: What an observation adds, same shape: measurement noise, and run deviations of new runs.
    """

    mean: Tensor
    covariance: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Fantasies:
    """Observations on top of the data of the fit.

    Attributes:
        x: Points, (batch, n, d).
        y: Values, (batch, n, outputs).
        noise: Their variances, (batch, n, outputs); NaN where the model's own holds.
    """

    x: Tensor
    y: Tensor
    noise: Tensor

    def joined(self, more: Fantasies) -> Fantasies:
        """These observations and more."""
        return Fantasies(_stacked(self.x, more.x), _stacked(self.y, more.y), _stacked(self.noise, more.noise))

    def noised(self, own: Tensor) -> Tensor:
        """Covariance of the noise where the model's own is `own`, (batch, n · outputs, n · outputs)."""
        given = self.noise.flatten(-2)
        free = given.isnan()
        return own * _outer(free.to(own.dtype)) + torch.diag_embed(torch.where(free, 0.0, given))


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    batch = torch.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    return torch.cat([part.expand(*batch, *part.shape[-2:]) for part in (first, second)], dim=-2)


def edges(weights: Tensor, takeover: float | None, progress: Tensor) -> Tensor:
    """Where each state begins and ends between zero and one, (states + 1, *progress)."""
    if takeover is None:
        inner = weights.cumsum(0)[:-1, None, None].expand(-1, *progress.shape)
    else:
        inner = torch.sigmoid(progress - takeover)[None]
    ends = torch.zeros_like(progress)[None]
    return torch.cat([ends, inner, ends + 1.0])


def overlap(edges: Tensor, k: int, j: int) -> Tensor:
    """Probability that one point falls to state k and another to state j, (batch, points, points)."""
    ends = torch.minimum(edges[k + 1][..., :, None], edges[j + 1][..., None, :])
    return (ends - torch.maximum(edges[k][..., :, None], edges[j][..., None, :])).clamp_min(0.0)


def frozen(state: ExactState) -> ExactState:
    """A state whose parameters take no part in differentiation."""
    here = state.on(torch.device("cpu"))
    return replace(here, process=copy.deepcopy(here.process).requires_grad_(False))


def moments_of(state: ExactState, rows: Rows, fresh: Tensor, count: int) -> Moments:
    """Moments of blocks of `count` rows under one state: `ExactState.covariance`, batched, differentiable."""
    process = state.process
    location, slopes = process.mean.linearised(rows)
    cross = process.kernel(state.data.rows.x, rows.x) + state.slopes @ slopes.mT
    mean = (location + cross.mT @ state.solved).reshape(-1, count)
    left = state.factor.forward(cross).mT
    left = left.reshape(-1, count, left.shape[-1])
    slopes = slopes.reshape(-1, count, slopes.shape[-1])
    blocks = rows.x.reshape(-1, count, rows.x.shape[-1])
    alone = _process_of(state, rows.x)
    prior = torch.vmap(lambda x: alone.kernel(x, x))(blocks)
    own = _run_covariance(alone, blocks) * _outer(fresh.reshape(-1, count))
    measured: Any = alone.noise(rows)
    noise = own + torch.diag_embed(measured.reshape(-1, count))
    return Moments(mean, prior - own + slopes @ slopes.mT - left @ left.mT, noise)


def _process_of(state: ExactState, x: Tensor) -> CurveProcess:
    """Process of the asked output, where several share a state."""
    process = state.process
    return process.each[int(x[0, OUTPUT])] if isinstance(process, OutputsProcess) else process


def _run_covariance(process: CurveProcess, blocks: Tensor) -> Tensor:
    """Covariance of run deviations within blocks; zero without such a term."""
    kernel, term = process.kernel, run_term_of(process)
    if term is None:
        return blocks.new_zeros(*blocks.shape[:-1], blocks.shape[-2])
    alone = torch.vmap(lambda x: term(x, x))(blocks)
    if not kernel.amplitude_axis:
        return alone
    return alone * _outer(kernel.amplitude(blocks.flatten(0, -2)).reshape(blocks.shape[:-1]))


def _outer(mask: Tensor) -> Tensor:
    return mask[..., :, None] * mask[..., None, :]


def safe(covariance: Tensor) -> Tensor:
    """Symmetric covariances with a jitter on their diagonals that lets them be factored, (…, rows, rows).

    Data that say nearly everything leave a difference of large numbers, whose rounding may exceed it: the
    jitter grows where it must. Unlike `gp.cholesky` it is batched, and part of what is differentiated.

    Raises:
        NotPositiveDefiniteError: if no jitter suffices.
    """
    even = symmetric(covariance)
    scale = even.diagonal(dim1=-2, dim2=-1).detach().abs().mean(dim=-1).clamp_min(1e-12)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    jitter = JITTER * scale
    for _ in range(GROWTHS):
        sure = even + jitter[..., None, None] * eye
        failed = torch.linalg.cholesky_ex(sure.detach()).info > 0
        if not bool(failed.any()):
            return sure
        jitter = torch.where(failed, 10.0 * jitter, jitter)
    raise NotPositiveDefiniteError(
        "the covariance of the asked candidates cannot be factored, not even with a large jitter; ask for "
        "fewer candidates at a time, or leave out those that are equal"
    )
