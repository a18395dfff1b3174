"""A BoTorch model of the outputs at given axis values, for BoTorch's acquisition functions.

The objective is the modelled value with the sign that makes larger values better: -log(loss - floor) for a
loss. What is predicted at a point is the curve of a configuration; the deviation of one run from its
configuration (seeds, hidden settings) counts as observation noise for new runs and as signal for runs of the
log.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import FantasizeMixin, Model
from botorch.posteriors import GPyTorchPosterior, Posterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from numpy.typing import ArrayLike
from torch import Tensor

from probscale.errors import ConfigError, NotPositiveDefiniteError, ShapeError
from probscale.model.exact import ExactState
from probscale.model.gp import CurveProcess
from probscale.model.means import Rows
from probscale.model.outputs import OutputsProcess
from probscale.model.terms import RunTerm
from probscale.runs.pools import Configs
from probscale.surrogate.curves import CurveExpert
from probscale.surrogate.expert import Expert
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.points import PointEncoder
from probscale.surrogate.query import read_configs

if TYPE_CHECKING:
    from probscale.surrogate.curves import CurveSurrogate

JITTER = 1e-8
"""Added to the diagonal of covariances, relative to its mean: equal candidates would make them singular."""

GROWTHS = 14
"""Most times that the jitter grows tenfold."""

At = ArrayLike | Literal["horizon"]


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
    """Observations on top of the data of the fit: points, (batch, n, d), and values, (batch, n, outputs)."""

    x: Tensor
    y: Tensor

    def joined(self, x: Tensor, y: Tensor) -> Fantasies:
        """These observations and more."""
        batch = torch.broadcast_shapes(self.y.shape[:-2], y.shape[:-2])
        inner = torch.broadcast_shapes(self.x.shape[:-2], x.shape[:-2])
        return Fantasies(
            torch.cat([self.x.expand(*inner, *self.x.shape[-2:]), x.expand(*inner, *x.shape[-2:])], dim=-2),
            torch.cat([self.y.expand(*batch, *self.y.shape[-2:]), y.expand(*batch, *y.shape[-2:])], dim=-2),
        )


class CurveModel(FantasizeMixin, Model):
    """BoTorch model of a surrogate's outputs at fixed axis values; made by `CurveSurrogate.botorch`.

    Inputs are rows of `encode(pool)`: standardised settings, then codes of labels, which only equality
    compares. Gradients flow through the settings, the model size in the law included.

    Attributes:
        at: Axis values, (outputs,), or "horizon".
    """

    def __init__(self, surrogate: CurveSurrogate, expert: Expert, at: At) -> None:
        super().__init__()
        self._surrogate = surrogate
        self._expert = expert
        self._points = PointEncoder(expert, at)
        self._states = [(float(w), _frozen(s)) for w, s in zip(expert.weights, expert.states, strict=True)]
        wants_more = surrogate.log.roles.goal == "max"
        self._sign = 1.0 if wants_more == expert.transform.rising else -1.0
        self._fantasies: Fantasies | None = None

    @property
    def at(self) -> Tensor | str:
        """Axis values of the outputs."""
        return self._points.at

    @property
    def num_outputs(self) -> int:  # noqa: D102
        return self._points.outputs

    @property
    def batch_shape(self) -> torch.Size:  # noqa: D102
        return torch.Size() if self._fantasies is None else self._fantasies.y.shape[:-2]

    def encode(self, pool: Configs) -> Tensor:
        """Inputs of configurations, (configs, d); a run column that names runs of the log asks for these.

        Raises:
            ConfigError: if the pool is not accepted, or misses a model size or horizon.
        """
        frame = read_configs(pool, self._surrogate.log)
        codes = self._surrogate._codes(frame)
        return self._points.encode(frame, np.where(codes < 0, 0.0, codes))

    def bounds(self, pool: Configs) -> Tensor:
        """Smallest and largest input of a pool, (2, d), for `optimize_acqf`."""
        x = self.encode(pool)
        return torch.stack([x.min(dim=0).values, x.max(dim=0).values])

    def value(self, output: ArrayLike) -> Tensor:
        """Objective of outputs in user units: larger is better."""
        modelled = self._expert.transform.forward(np.asarray(output, dtype=np.float64))
        return self._sign * torch.from_numpy(np.array(modelled))

    def output(self, value: Tensor) -> Tensor:
        """Output, in user units, of objectives."""
        return torch.from_numpy(np.array(self._expert.transform.inverse(self._sign * value.detach().numpy())))

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **_: Any,
    ) -> Posterior:
        """Joint posterior of the objective at inputs, (batch, q, outputs).

        Cost: O(observations² × batch × q × outputs).
        """
        moments = self._conditioned(X.to(torch.float64))
        covariance = moments.covariance
        if isinstance(observation_noise, Tensor):
            covariance = covariance + torch.diag_embed(observation_noise.expand_as(moments.mean))
        elif observation_noise:
            covariance = covariance + moments.noise
        posterior = self._distribution(moments.mean, _safe(covariance), output_indices)
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def fantasize(
        self, X: Tensor, sampler: MCSampler, observation_noise: Tensor | None = None, **_: Any
    ) -> CurveModel:
        """Model after observations drawn from its own posterior at inputs, one per sample."""
        noise = True if observation_noise is None else observation_noise
        return self.condition_on_observations(X, sampler(self.posterior(X, observation_noise=noise)))

    def condition_on_observations(self, X: Tensor, Y: Tensor, **_: Any) -> CurveModel:
        """Model after objective values `Y`, (batch, n, outputs), at inputs, (batch, n, d).

        Raises:
            ShapeError: if values and inputs do not match.
        """
        if Y.shape[-1] != self.num_outputs or Y.shape[-2] != X.shape[-2]:
            raise ShapeError(
                f"Y has shape {tuple(Y.shape)}; inputs of shape {tuple(X.shape)} need "
                f"(..., {X.shape[-2]}, {self.num_outputs})",
                shape=tuple(Y.shape),
            )
        x, y = X.to(torch.float64), Y.to(torch.float64)
        model = copy.copy(self)
        model._fantasies = Fantasies(x, y) if self._fantasies is None else self._fantasies.joined(x, y)
        return model

    def transform_inputs(self, X: Tensor, input_transform: torch.nn.Module | None = None) -> Tensor:
        """Inputs as they are: `encode` has transformed them."""
        return X

    def subset_output(self, idcs: list[int]) -> CurveModel:
        """Model of some of the outputs."""
        if isinstance(self.at, str):
            return self
        if self._fantasies is not None:
            raise ConfigError("outputs are chosen before conditioning; call subset_output first")
        return CurveModel(self._surrogate, self._expert, self.at[list(idcs)].numpy())

    def _distribution(
        self, mean: Tensor, covariance: Tensor, output_indices: list[int] | None
    ) -> GPyTorchPosterior:
        outputs = self.num_outputs
        if output_indices is not None and list(output_indices) != list(range(outputs)):
            rows = torch.arange(mean.shape[-1]).reshape(-1, outputs)[:, output_indices].reshape(-1)
            mean, covariance, outputs = (
                mean[..., rows],
                covariance[..., rows, :][..., rows],
                len(output_indices),
            )
        if outputs == 1:
            return GPyTorchPosterior(MultivariateNormal(mean, covariance))
        shaped = mean.reshape(*mean.shape[:-1], -1, outputs)
        return GPyTorchPosterior(MultitaskMultivariateNormal(shaped, covariance, interleaved=True))

    def _conditioned(self, x: Tensor) -> Moments:
        """Moments at inputs given the data and all fantasies."""
        if self._fantasies is None:
            return self._fitted(x)
        known = self._fantasies
        batch = torch.broadcast_shapes(known.x.shape[:-2], x.shape[:-2])
        joint = [part.expand(*batch, *part.shape[-2:]) for part in (known.x, x)]
        both = self._fitted(torch.cat(joint, dim=-2))
        seen = known.x.shape[-2] * self.num_outputs
        factor = torch.linalg.cholesky(_safe(both.covariance + both.noise)[..., :seen, :seen])
        load = torch.linalg.solve_triangular(factor, both.covariance[..., :seen, seen:], upper=False)
        residual = known.y.reshape(*known.y.shape[:-2], seen) - both.mean[..., :seen]
        white = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)
        mean = both.mean[..., seen:] + (load.mT @ white)[..., 0]
        covariance = both.covariance[..., seen:, seen:] - load.mT @ load
        shape = (*mean.shape, mean.shape[-1])
        return Moments(mean, covariance.expand(shape), both.noise[..., seen:, seen:].expand(shape))

    def _fitted(self, x: Tensor) -> Moments:
        """Moments at inputs given the data: a mixture of states is matched by one Gaussian."""
        rows, fresh = self._points.rows(x)
        batch, count = x.shape[:-2], x.shape[-2] * self.num_outputs
        parts = [_moments(state, rows, fresh, count) for _, state in self._states]
        mean, covariance, noise = self._mixed(parts, rows.progress.reshape(-1, count))
        same = torch.arange(count) // self.num_outputs
        noise = noise * (same[:, None] == same[None, :])
        spread = self._points.spread(rows).reshape(-1, count)
        square = spread[:, :, None] * spread[:, None, :]
        shape = (*batch, count, count)
        return Moments(
            self._sign * mean.reshape(*batch, count),
            (square * covariance).reshape(shape),
            (square * noise).reshape(shape),
        )

    def _mixed(self, parts: list[Moments], progress: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, covariance and noise of the mixture; see `succession` on shares along a curve."""
        weights = torch.tensor([weight for weight, _ in self._states], dtype=torch.float64)
        edges = _edges(weights, self._expert.takeover, progress)
        shares = edges.diff(dim=0)
        mean = sum((w * p.mean for w, p in zip(shares, parts, strict=True)), torch.zeros(()))
        noise = sum((w[..., None] * p.noise for w, p in zip(shares, parts, strict=True)), torch.zeros(()))
        changes = self._expert.takeover is not None
        factors = [torch.linalg.cholesky(_safe(p.covariance)) for p in parts] if changes else []
        covariance = torch.zeros(())
        for k, part in enumerate(parts):
            for j, other in enumerate(parts):
                if not changes and j != k:
                    continue
                both = part.covariance if j == k else factors[k] @ factors[j].mT
                drift = (part.mean - mean)[..., :, None] * (other.mean - mean)[..., None, :]
                covariance = covariance + _overlap(edges, k, j) * (both + drift)
        return mean, covariance, noise


def _edges(weights: Tensor, takeover: float | None, progress: Tensor) -> Tensor:
    """Where each state begins and ends between zero and one, (states + 1, *progress)."""
    if takeover is None:
        inner = weights.cumsum(0)[:-1, None, None].expand(-1, *progress.shape)
    else:
        inner = torch.sigmoid(progress - takeover)[None]
    ends = torch.zeros_like(progress)[None]
    return torch.cat([ends, inner, ends + 1.0])


def _overlap(edges: Tensor, k: int, j: int) -> Tensor:
    """Probability that one point falls to state k and another to state j, (batch, points, points)."""
    ends = torch.minimum(edges[k + 1][..., :, None], edges[j + 1][..., None, :])
    return (ends - torch.maximum(edges[k][..., :, None], edges[j][..., None, :])).clamp_min(0.0)


def curve_model(surrogate: CurveSurrogate, at: At, expert: str | None = None) -> CurveModel:
    """Model of one expert of a surrogate, by default of all runs.

    Raises:
        ConfigError: for an unknown expert, or axis values that are not accepted.
    """
    names = list(surrogate.experts)
    name = expert if expert is not None else names[-1]
    if name not in names:
        raise ConfigError(f"no expert {name!r}; experts are: {', '.join(names)}", expert=name)
    chosen = surrogate.experts[name]
    if not isinstance(chosen, Expert):
        raise ConfigError(
            f"expert {name!r} runs on the {_engine(chosen)} engine, which has no BoTorch view; "
            'fit with fit_surrogate(..., model="exact")',
            expert=name,
        )
    return CurveModel(surrogate, chosen, at)


def _engine(expert: CurveExpert) -> str:
    return "grid" if isinstance(expert, GridExpert) else "functional"


def _frozen(state: ExactState) -> ExactState:
    """A state whose parameters take no part in differentiation."""
    here = state.on(torch.device("cpu"))
    return replace(here, process=copy.deepcopy(here.process).requires_grad_(False))


def _moments(state: ExactState, rows: Rows, fresh: Tensor, count: int) -> Moments:
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
    return process.each[int(x[0, -1])] if isinstance(process, OutputsProcess) else process


def _run_covariance(process: CurveProcess, blocks: Tensor) -> Tensor:
    """Covariance of run deviations within blocks; zero without such a term."""
    kernel = process.kernel
    terms = [term for term in kernel.terms if isinstance(term, RunTerm)]
    if not terms:
        return blocks.new_zeros(*blocks.shape[:-1], blocks.shape[-2])
    alone = torch.vmap(lambda x: terms[0](x, x))(blocks)
    if not kernel.growing:
        return alone
    return alone * _outer(kernel.gain(blocks.flatten(0, -2)).reshape(blocks.shape[:-1]))


def _outer(mask: Tensor) -> Tensor:
    return mask[..., :, None] * mask[..., None, :]


def _safe(covariance: Tensor) -> Tensor:
    """A symmetric covariance with a jitter on its diagonal that lets it be factored.

    Data that say nearly everything leave a difference of large numbers, whose rounding may exceed it: the
    jitter grows where it must.
    """
    symmetric = 0.5 * (covariance + covariance.mT)
    scale = symmetric.diagonal(dim1=-2, dim2=-1).detach().abs().mean(dim=-1).clamp_min(1e-12)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype)
    jitter = JITTER * scale
    for _ in range(GROWTHS):
        safe = symmetric + jitter[..., None, None] * eye
        failed = torch.linalg.cholesky_ex(safe.detach()).info > 0
        if not bool(failed.any()):
            return safe
        jitter = torch.where(failed, 10.0 * jitter, jitter)
    raise NotPositiveDefiniteError(
        "the covariance of the asked candidates cannot be factored, not even with a large jitter; ask for "
        "fewer candidates at a time, or leave out those that are equal"
    )
