"""A BoTorch model of the outputs at given axis values, for BoTorch's acquisition functions.

The objective is the modelled value with the sign that makes larger values better: -log(loss - floor) for a
loss. What is predicted at a point is the curve of a configuration; the deviation of one run from its
configuration (seeds, hidden settings) counts as observation noise for new runs and as signal for runs of the
log.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.model import FantasizeMixin, Model
from botorch.posteriors import GPyTorchPosterior, Posterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from numpy.typing import ArrayLike
from torch import Tensor

from probscale.errors import ConfigError, ShapeError
from probscale.model.transforms import log_slope
from probscale.runs.pools import Configs, pool_table
from probscale.surrogate.botorch_moments import Fantasies, Moments, edges, frozen, moments_of, overlap, safe
from probscale.surrogate.curves import CurveExpert
from probscale.surrogate.decoding import choices, decode
from probscale.surrogate.expert import Expert
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.known_points import asked_codes
from probscale.surrogate.points import PointEncoder
from probscale.surrogate.query import read_configs

if TYPE_CHECKING:
    from probscale.surrogate.curves import CurveSurrogate

At = ArrayLike | Literal["horizon"]


class CurveModel(FantasizeMixin, Model):
    """BoTorch model of a surrogate's outputs at fixed axis values; made by `CurveSurrogate.botorch`.

    Inputs are rows of `encode(pool)`: standardised settings, then codes of labels, which only equality
    compares. Gradients flow through the settings, the model size in the law included. The algebra is that of
    the CPU in float64, whatever device and precision inputs have.

    Attributes:
        at: Axis values, (outputs,), or "horizon".

    >>> import probscale as ps
    >>> log = ps.simulate_runs("law", n_runs=10, points=3, seed=0)
    >>> model = ps.fit_surrogate(log, embedder=None).botorch(at=[1e9, 1e10])
    >>> pool = [{"params": n, "learning_rate": 2e-3, "horizon": 1e10} for n in (1e8, 3e8, 1e9)]
    >>> model.posterior(model.encode(pool)).mean.shape
    torch.Size([3, 2])
    >>> model.decode(model.encode(pool)[:1], pool)
            params  learning_rate       horizon
    0  100000000.0          0.002  1.000000e+10
    """

    def __init__(self, surrogate: CurveSurrogate, expert: Expert, at: At, output: str) -> None:
        super().__init__()
        self._surrogate = surrogate
        self._output = output
        self._expert = expert
        self._points = PointEncoder(expert, at)
        self._states = [(float(w), frozen(s)) for w, s in zip(expert.weights, expert.states, strict=True)]
        wants_more = surrogate.log.roles.goal_of(output) == "max"
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
        codes = asked_codes(frame, self._surrogate.log)
        return self._points.encode(frame, np.where(codes < 0, 0.0, codes))

    def bounds(self, pool: Configs) -> Tensor:
        """Smallest and largest input of a pool, (2, d), for `optimize_acqf`."""
        x = self.encode(pool)
        return torch.stack([x.min(dim=0).values, x.max(dim=0).values])

    def choices(self, pool: Configs) -> list[dict[int, float]]:
        """Values of a pool's inputs that cannot move, for `fixed_features_list` of `optimize_acqf_mixed`.

        Labels, texts and planned schedules have no values in between; numbers are free. A size or horizon
        that no coordinate carries is held too.
        """
        return choices(self.encode(pool).numpy(), self._points.numbers)

    def decode(self, X: Tensor, pool: Configs) -> pd.DataFrame:
        """Configurations of inputs, such as `optimize_acqf_mixed` returns, one row per input.

        Args:
            X: Inputs, (…, d).
            pool: The configurations that bounds and choices came from; what is no number, and every column
                that the model does not read, is taken from the nearest of them.

        Raises:
            ConfigError: if an input has labels that no configuration of the pool has.
            ShapeError: if inputs have another width.
        """
        self._points.check(torch.atleast_2d(X))
        flat = X.detach().to("cpu", torch.float64).reshape(-1, X.shape[-1]).numpy()
        return decode(flat, pool_table(pool), self.encode(pool).numpy(), self._points.numbers)

    def value(self, output: ArrayLike) -> Tensor:
        """Objective of outputs in user units: larger is better."""
        modelled = self._expert.transform.forward(np.asarray(output, dtype=np.float64))
        return self._sign * torch.from_numpy(np.array(modelled))

    def output(self, value: Tensor) -> Tensor:
        """Output, in user units, of objectives; differentiable once, for objectives in these units."""
        transform, fixed = self._expert.transform, value.detach()
        output = np.array(transform.inverse(self._sign * fixed.cpu().numpy()), dtype=np.float64)
        slope = self._sign * (1.0 if transform.rising else -1.0) * np.exp(-log_slope(transform, output))
        return torch.from_numpy(output) + torch.from_numpy(slope) * (value - fixed)

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
        **_: Any,
    ) -> Posterior:
        """Joint posterior of the objective at inputs, (batch, q, d).

        Args:
            X: Inputs, (batch, q, d).
            output_indices: Which outputs; by default all.
            observation_noise: Whether to add the model's own noise, or variances to add, (batch, q, outputs).
            posterior_transform: Applied to the result.

        Returns:
            A normal over (batch, q, outputs).

        Raises:
            ShapeError: if inputs or variances have another shape.

        Cost: O(observations² × batch × q × outputs).
        """
        moments = self._conditioned(X.to("cpu", torch.float64))
        covariance = moments.covariance
        if isinstance(observation_noise, Tensor):
            given = self._noise(observation_noise, (*moments.mean.shape[:-1], X.shape[-2]))
            covariance = covariance + torch.diag_embed(given.flatten(-2))
        elif observation_noise:
            covariance = covariance + moments.noise
        posterior = self._distribution(moments.mean, safe(covariance), output_indices)
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def fantasize(
        self, X: Tensor, sampler: MCSampler, observation_noise: Tensor | None = None, **_: Any
    ) -> CurveModel:
        """Model after observations drawn from its own posterior at inputs, one per sample.

        `observation_noise`: variances of the observations, (batch, n, outputs), in place of the model's own.
        """
        noise = True if observation_noise is None else observation_noise
        drawn = sampler(self.posterior(X, observation_noise=noise))
        return self.condition_on_observations(X, drawn, noise=observation_noise)

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **_: Any
    ) -> CurveModel:
        """Model after objective values `Y`, (batch, n, outputs), at inputs, (batch, n, d).

        `noise`: their variances, (batch, n, outputs), in place of the model's own.

        Raises:
            ShapeError: if values, variances and inputs do not match.
        """
        if Y.shape[-1] != self.num_outputs or Y.shape[-2] != X.shape[-2]:
            raise ShapeError(
                f"Y has shape {tuple(Y.shape)}; inputs of shape {tuple(X.shape)} need "
                f"(..., {X.shape[-2]}, {self.num_outputs})",
                shape=tuple(Y.shape),
            )
        x, y = X.to("cpu", torch.float64), Y.to("cpu", torch.float64)
        given = (
            torch.full(y.shape[-2:], torch.nan, dtype=y.dtype)
            if noise is None
            else self._noise(noise, y.shape[:-1])
        )
        more = Fantasies(x, y, given)
        model = copy.copy(self)
        model._fantasies = more if self._fantasies is None else self._fantasies.joined(more)
        return model

    def _noise(self, variances: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Variances that a caller gave, (*shape, outputs)."""
        wanted = (*shape, self.num_outputs)
        try:
            return variances.to("cpu", torch.float64).expand(wanted)
        except RuntimeError as error:
            raise ShapeError(
                f"the noise has shape {tuple(variances.shape)}; give variances of shape {wanted}",
                shape=tuple(variances.shape),
            ) from error

    def transform_inputs(self, X: Tensor, input_transform: torch.nn.Module | None = None) -> Tensor:
        """Inputs as they are: `encode` has transformed them."""
        return X

    def subset_output(self, idcs: list[int]) -> CurveModel:
        """Model of some of the outputs."""
        if isinstance(self.at, str):
            return self
        if self._fantasies is not None:
            raise ConfigError("outputs are chosen before conditioning; call subset_output first")
        outside = [i for i in idcs if not -self.num_outputs <= i < self.num_outputs]
        if outside:
            raise ConfigError(f"no output {outside[0]}; the model has {self.num_outputs}", index=outside[0])
        return CurveModel(self._surrogate, self._expert, self.at[list(idcs)].numpy(), self._output)

    def __reduce__(self) -> tuple[Any, ...]:
        # The modules of fitted states hold local functions; surrogates are pickled in their own file format.
        experts = self._surrogate._experts(self._output)
        name = next(name for name, expert in experts.items() if expert is self._expert)
        at = self.at if isinstance(self.at, str) else self.at.numpy()
        return _restored, (self._surrogate, at, name, self._output, self._fantasies, self.training)

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
        noisy = both.covariance[..., :seen, :seen] + known.noised(both.noise[..., :seen, :seen])
        factor = torch.linalg.cholesky(safe(noisy))
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
        parts = [moments_of(state, rows, fresh, count) for _, state in self._states]
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
        ends = edges(weights, self._expert.takeover, progress)
        shares = ends.diff(dim=0)
        mean = sum((w * p.mean for w, p in zip(shares, parts, strict=True)), torch.zeros(()))
        noise = sum((w[..., None] * p.noise for w, p in zip(shares, parts, strict=True)), torch.zeros(()))
        changes = self._expert.takeover is not None
        factors = [torch.linalg.cholesky(safe(p.covariance)) for p in parts] if changes else []
        covariance = torch.zeros(())
        for k, part in enumerate(parts):
            for j, other in enumerate(parts):
                if not changes and j != k:
                    continue
                both = part.covariance if j == k else factors[k] @ factors[j].mT
                drift = (part.mean - mean)[..., :, None] * (other.mean - mean)[..., None, :]
                covariance = covariance + overlap(ends, k, j) * (both + drift)
        return mean, covariance, noise


def _restored(
    surrogate: CurveSurrogate, at: At, expert: str, output: str, fantasies: Fantasies | None, training: bool
) -> CurveModel:
    """A model that was pickled."""
    model = curve_model(surrogate, at, expert, output)
    model._fantasies = fantasies
    return model.train(training)


def curve_model(
    surrogate: CurveSurrogate, at: At, expert: str | None = None, output: str | None = None
) -> CurveModel:
    """Model of one output and one expert of a surrogate, by default the principal one, of all runs.

    Raises:
        ConfigError: for an unknown expert or output, or axis values that are not accepted.
    """
    asked = surrogate._output(output)
    experts = surrogate._experts(asked)
    names = list(experts)
    name = expert if expert is not None else names[-1]
    if name not in names:
        raise ConfigError(f"no expert {name!r}; experts are: {', '.join(names)}", expert=name)
    chosen = experts[name]
    if not isinstance(chosen, Expert):
        raise ConfigError(
            f"expert {name!r} runs on the {_engine(chosen)} engine, which has no BoTorch view; "
            'fit with fit_surrogate(..., model="exact")',
            expert=name,
        )
    return CurveModel(surrogate, chosen, at, asked)


def _engine(expert: CurveExpert) -> str:
    return "grid" if isinstance(expert, GridExpert) else "functional"
