"""Runs of the solvable random-feature model as a family with known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from probscale.errors import ConfigError
from probscale.theory.equivalent import equivalent_modes
from probscale.theory.families import Family, FrontierExponents, NoiseModel, axis_matrix, positive_range
from probscale.theory.optimum import frontier
from probscale.theory.phases import exponents, phase
from probscale.theory.random_features import feature_modes, sample_features
from probscale.theory.spectrum import FloatArray, check_exponents
from probscale.theory.volterra import integrate, largest_stable_rate, require_stable

_LARGEST_SAMPLED = 1000


@dataclass(frozen=True)
class RandomFeatureFamily(Family):
    """One-pass SGD on power-law random features, over (a, b), params, learning rate, batch and seed.

    Attributes:
        points: The (a, b) of each task.
        sizes: Parameter counts drawn from, uniformly; whole numbers.
        rate_shares: Learning rates drawn from, as shares of the largest stable one for the task, size and
            batch.
        batches: Batch sizes drawn from.
        steps_per_param: Smallest and largest horizon over params, log-uniform.
        sampled: Draw W anew for every run (exact finite-size fluctuations, up to 1000 params) instead of
            using the expected curve with noise on top.
    """

    points: tuple[tuple[float, float], ...] = ((0.75, 0.25),)
    sizes: tuple[float, ...] = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    rate_shares: tuple[float, ...] = (0.1, 0.25, 0.5)
    batches: tuple[int, ...] = (1, 4)
    steps_per_param: tuple[float, float] = (2.0, 200.0)
    sampled: bool = False

    axis = "steps"
    whole_axis = True
    horizon = "horizon"

    def __post_init__(self) -> None:
        for a, b in self.points:
            check_exponents(a, b)
        sizes = positive_range(self.sizes, "sizes")
        if (sizes != np.floor(sizes)).any():
            raise ConfigError(f"sizes must be whole numbers; got {self.sizes!r}", sizes=self.sizes)
        if positive_range(self.rate_shares, "rate_shares").max() >= 1:
            raise ConfigError(
                f"rate_shares must lie in (0, 1); got {self.rate_shares!r}", shares=self.rate_shares
            )
        positive_range(self.batches, "batches")
        positive_range(self.steps_per_param, "steps_per_param")
        if self.sampled and sizes.max() > _LARGEST_SAMPLED:
            raise ConfigError(
                f"sampled=True decomposes W for every run, so sizes may not exceed {_LARGEST_SAMPLED}; "
                f"got {sizes.max():g}",
                sizes=self.sizes,
            )

    @property
    def tasks(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(f"{phase(a, b)} (a={a:g}, b={b:g})" for a, b in self.points)

    @property
    def levels(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The task column, when there is more than one pair of exponents."""
        return ("task",) if len(self.points) > 1 else ()

    def draw(self, n_runs: int, rng: np.random.Generator) -> pd.DataFrame:  # noqa: D102
        codes = rng.integers(0, len(self.points), n_runs)
        params = rng.choice(np.asarray(self.sizes, dtype=float), n_runs)
        batch = rng.choice(np.asarray(self.batches), n_runs)
        low, high = np.log(min(self.steps_per_param)), np.log(max(self.steps_per_param))
        horizon = np.ceil(np.maximum(params * np.exp(rng.uniform(low, high, n_runs)), 200.0))
        combinations, which = np.unique(np.stack([codes, params, batch], axis=1), axis=0, return_inverse=True)
        limits = np.array([self._limit(*row) for row in combinations])
        configs = pd.DataFrame(
            {
                "params": params,
                "horizon": horizon,
                "learning_rate": limits[which.ravel()] * rng.choice(np.asarray(self.rate_shares), n_runs),
                "batch": batch,
                "seed": rng.integers(0, 2**31, n_runs),
            }
        )
        if self.levels:
            configs.insert(0, "task", np.asarray(self.tasks)[codes])
        return configs

    def _limit(self, code: float, params: float, batch: float) -> float:
        a, b = self.points[int(code)]
        return largest_stable_rate(equivalent_modes(a, b, params=int(params)), int(batch))

    def expected(self, configs: pd.DataFrame, at: ArrayLike) -> FloatArray:  # noqa: D102
        steps = axis_matrix(configs, at)
        numbers = configs[["params", "learning_rate", "batch"]].to_numpy(dtype=float)
        keys = np.column_stack([self.task_codes(configs), numbers])
        groups, which = np.unique(keys, axis=0, return_inverse=True)
        losses = np.empty(steps.shape)
        for index, (code, params, rate, batch) in enumerate(groups):
            rows = which.ravel() == index
            a, b = self.points[int(code)]
            modes = equivalent_modes(a, b, params=int(params))
            losses[rows] = integrate(modes, steps[rows], float(rate), batch=int(batch))
        return losses

    def observe(  # noqa: D102
        self, configs: pd.DataFrame, at: FloatArray, noise: NoiseModel, rng: np.random.Generator
    ) -> tuple[FloatArray, np.ndarray]:
        if not self.sampled:
            return super().observe(configs, at, noise, rng)
        losses = np.empty(at.shape)
        for row, (code, config) in enumerate(
            zip(self.task_codes(configs), configs.to_dict("records"), strict=True)
        ):
            features = sample_features(int(config["params"]), seed=int(config["seed"]))
            modes = feature_modes(self.points[code][0], self.points[code][1], features)
            rate, batch = np.array(config["learning_rate"]), int(config["batch"])
            require_stable(modes, rate, batch)
            losses[row] = integrate(modes, at[row], float(rate), batch=batch)
        return losses * np.exp(noise.draw(at.shape, rng)), np.zeros(at.shape, dtype=bool)

    def _frontiers(self, compute: ArrayLike, task: str | None) -> tuple[FloatArray, FloatArray]:
        """Loss and params of the best learning rate and batch at each compute."""
        a, b = self.points[self.task_index(task)]
        budgets, position = np.unique(np.asarray(compute, dtype=float), return_inverse=True)
        found = []
        for share in self.rate_shares:
            for batch in self.batches:

                def rate(params: int, share: float = share, batch: int = batch) -> float:
                    return share * largest_stable_rate(equivalent_modes(a, b, params=params), batch)

                found.append(frontier(a, b, compute=budgets, learning_rate=rate, batch=batch, window=0.2))
        losses = np.array([each.loss for each in found])
        best = losses.argmin(axis=0), np.arange(len(budgets))
        shape = np.shape(compute)
        params = np.array([each.params for each in found])[best]
        return losses[best][position].reshape(shape), params[position].reshape(shape)

    def frontier(self, compute: ArrayLike, *, task: str | None = None) -> FloatArray:
        """Least expected loss at compute params · steps · batch, over sizes, learning rates and batches.

        Sizes are not confined to those drawn. Cost: a few seconds per learning rate and batch.
        """
        return self._frontiers(compute, task)[0]

    def optimum(self, compute: ArrayLike, *, task: str | None = None) -> FloatArray:  # noqa: D102
        return self._frontiers(compute, task)[1]

    def exponents(self, task: str | None = None) -> FrontierExponents:  # noqa: D102
        closed = exponents(*self.points[self.task_index(task)])
        return FrontierExponents(closed.params, closed.loss)
