"""Runs that follow a Chinchilla-like law, with hyperparameter penalties, schedules and divergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from probscale.errors import ConfigError
from probscale.theory.families import Family, FrontierExponents, NoiseModel, axis_matrix, positive_range
from probscale.theory.spectrum import FloatArray

SCHEDULES = ("constant", "cosine", "wsd")
FLOPS_PER_TOKEN = 6.0

TASK_SPREAD = 0.1
"""Standard deviation of the logarithms of a task's constants around typical ones."""


@dataclass(frozen=True)
class LawConstants:
    """One task's L = floor + params_scale·N^-params_exponent + tokens_scale·D^-tokens_exponent."""

    task: str = "task-0"
    floor: float = 1.7
    params_scale: float = 480.0
    params_exponent: float = 0.35
    tokens_scale: float = 2100.0
    tokens_exponent: float = 0.37

    def __post_init__(self) -> None:
        values = (self.params_scale, self.params_exponent, self.tokens_scale, self.tokens_exponent)
        if not (np.isfinite((*values, self.floor)).all() and min(values) > 0 and self.floor >= 0):
            raise ConfigError(
                f"law constants must be positive and finite (the floor may be 0); got {self}", law=self
            )


def relative_rate(schedule: np.ndarray, progress: FloatArray) -> FloatArray:
    """Learning rate relative to its peak, by schedule name per row; progress has shape (runs, points)."""
    cosine = 0.1 + 0.45 * (1 + np.cos(np.pi * progress))
    wsd = np.clip((1 - progress) / 0.2, 0.0, 1.0)
    names = schedule[:, None]
    return np.where(names == "cosine", cosine, np.where(names == "wsd", wsd, 1.0))


@dataclass(frozen=True)
class LawFamily(Family):
    """Runs with expected loss floor + (A/N^α + B/t^β)·(1 + penalty) + gain·rate(t)·B/t^β.

    The penalty is log-quadratic in learning rate and batch around optima that move with params N and horizon
    D (Step law); rate(t) is the learning rate relative to its peak, so annealing recovers the last term.
    Runs above `divergence` times the optimal learning rate diverge at a random time.

    Attributes:
        constants: Law of each task.
        sizes: Parameter counts drawn from, uniformly.
        tokens_per_param: Smallest and largest horizon over params, log-uniform.
        schedules: Schedules drawn from: "constant", "cosine", "wsd".
        rate_spread: Standard deviation of log learning rate around its optimum.
        batch_spread: Standard deviation of log batch around its optimum.
        rate_penalty: Relative loss per squared log unit of learning rate.
        batch_penalty: Relative loss per squared log unit of batch.
        gain: Share of the token term that a full learning rate adds.
        divergence: Multiple of the optimal learning rate above which a run diverges.
    """

    constants: tuple[LawConstants, ...] = (LawConstants(),)
    sizes: tuple[float, ...] = tuple(float(f"{size:.3g}") for size in np.geomspace(2e7, 2e9, 12))
    tokens_per_param: tuple[float, float] = (5.0, 100.0)
    schedules: tuple[str, ...] = SCHEDULES
    rate_spread: float = 0.7
    batch_spread: float = 0.7
    rate_penalty: float = 0.05
    batch_penalty: float = 0.02
    gain: float = 0.1
    divergence: float = 4.0

    axis = "tokens"
    whole_axis = False
    horizon = "horizon"

    def __post_init__(self) -> None:
        positive_range(self.sizes, "sizes")
        positive_range(self.tokens_per_param, "tokens_per_param")
        unknown = set(self.schedules) - set(SCHEDULES)
        if unknown or not self.schedules:
            raise ConfigError(f"schedules must be among {', '.join(SCHEDULES)}; got {self.schedules!r}")
        if len(self.tasks) != len(set(self.tasks)) or not self.tasks:
            raise ConfigError(f"each task needs its own name; got {self.tasks!r}", tasks=self.tasks)
        spreads = (self.rate_spread, self.batch_spread, self.rate_penalty, self.batch_penalty, self.gain)
        if not (np.isfinite(spreads).all() and min(spreads) >= 0 and self.divergence > 1):
            raise ConfigError(
                "spreads, penalties and gain must be finite and not negative, divergence above 1; got "
                f"{spreads} and {self.divergence}"
            )

    @classmethod
    def draw_tasks(cls, tasks: int, rng: np.random.Generator) -> LawFamily:
        """A family whose tasks share typical constants, but for `TASK_SPREAD` in log (exponents 0.3 of it).

        A single task has the typical constants.

        Raises:
            ConfigError: if there is no task.
        """
        if tasks < 1:
            raise ConfigError(f"tasks must be at least 1; got {tasks!r}", tasks=tasks)
        typical = LawConstants()
        widths = TASK_SPREAD * np.array([1.0, 1.0, 0.3, 1.0, 0.3]) * (tasks > 1)
        factors = np.exp(widths * rng.standard_normal((tasks, 5)))
        laws = tuple(
            LawConstants(
                f"task-{k}",
                typical.floor * factors[k, 0],
                typical.params_scale * factors[k, 1],
                typical.params_exponent * factors[k, 2],
                typical.tokens_scale * factors[k, 3],
                typical.tokens_exponent * factors[k, 4],
            )
            for k in range(tasks)
        )
        return cls(laws)

    @property
    def tasks(self) -> tuple[str, ...]:  # noqa: D102
        return tuple(law.task for law in self.constants)

    @property
    def levels(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The task column, when there is more than one task."""
        return ("task",) if len(self.constants) > 1 else ()

    @staticmethod
    def best_rate(params: ArrayLike, tokens: ArrayLike) -> FloatArray:
        """Optimal peak learning rate (Step law)."""
        return 1.79 * np.asarray(params, dtype=float) ** -0.713 * np.asarray(tokens, dtype=float) ** 0.307

    @staticmethod
    def best_batch(tokens: ArrayLike) -> FloatArray:
        """Optimal batch in tokens (Step law)."""
        return 0.58 * np.asarray(tokens, dtype=float) ** 0.571

    def draw(self, n_runs: int, rng: np.random.Generator) -> pd.DataFrame:  # noqa: D102
        params = rng.choice(np.asarray(self.sizes), n_runs)
        low, high = np.log(min(self.tokens_per_param)), np.log(max(self.tokens_per_param))
        tokens = params * np.exp(rng.uniform(low, high, n_runs))
        rate = self.best_rate(params, tokens) * np.exp(self.rate_spread * rng.standard_normal(n_runs))
        batch = self.best_batch(tokens) * np.exp(self.batch_spread * rng.standard_normal(n_runs))
        configs = pd.DataFrame(
            {
                "params": params,
                "horizon": tokens,
                "learning_rate": rate,
                "batch_tokens": batch,
                "schedule": rng.choice(np.asarray(self.schedules), n_runs),
                "seed": rng.integers(0, 1000, n_runs),
            }
        )
        if self.levels:
            configs.insert(0, "task", rng.choice(np.asarray(self.tasks), n_runs))
        return configs

    def _constants(self, configs: pd.DataFrame) -> tuple[FloatArray, ...]:
        """Floor, A, α, B, β as columns with one row per configuration."""
        fields = ("floor", "params_scale", "params_exponent", "tokens_scale", "tokens_exponent")
        table = np.array([[getattr(law, name) for name in fields] for law in self.constants])
        return tuple(column[:, None] for column in table[self.task_codes(configs)].T)

    def penalty(self, configs: pd.DataFrame) -> FloatArray:
        """Relative excess of the reducible loss from learning rate and batch, per configuration."""
        tokens = configs[self.horizon].to_numpy(dtype=float)
        rate = np.log(
            configs["learning_rate"].to_numpy(dtype=float) / self.best_rate(configs["params"], tokens)
        )
        batch = np.log(configs["batch_tokens"].to_numpy(dtype=float) / self.best_batch(tokens))
        return self.rate_penalty * rate**2 + self.batch_penalty * batch**2

    def expected(self, configs: pd.DataFrame, at: ArrayLike) -> FloatArray:  # noqa: D102
        tokens = axis_matrix(configs, at)
        if not (tokens > 0).all():
            raise ConfigError("a power law in tokens has no value at 0; ask for tokens above 0")
        floor, scale, exponent, tokens_scale, tokens_exponent = self._constants(configs)
        params = configs["params"].to_numpy(dtype=float)[:, None]
        horizon = configs[self.horizon].to_numpy(dtype=float)[:, None]
        by_tokens = tokens_scale * tokens**-tokens_exponent
        progress = np.clip(tokens / horizon, 0.0, 1.0)
        hot = self.gain * relative_rate(configs["schedule"].to_numpy(dtype=str), progress) * by_tokens
        return floor + (scale * params**-exponent + by_tokens) * (1 + self.penalty(configs)[:, None]) + hot

    def diverges(self, configs: pd.DataFrame) -> np.ndarray:
        """Whether each configuration's learning rate is beyond the divergence threshold."""
        best = self.best_rate(configs["params"], configs[self.horizon])
        return configs["learning_rate"].to_numpy(dtype=float) > self.divergence * best

    def observe(  # noqa: D102
        self, configs: pd.DataFrame, at: FloatArray, noise: NoiseModel, rng: np.random.Generator
    ) -> tuple[FloatArray, np.ndarray]:
        losses, _ = super().observe(configs, at, noise, rng)
        onset = rng.uniform(0.05, 0.9, len(configs)) * configs[self.horizon].to_numpy(dtype=float)
        diverged = self.diverges(configs)[:, None] & (at > onset[:, None])
        climb = 1 - np.exp(-np.maximum(at - onset[:, None], 0.0) / (0.1 * onset[:, None]))
        ceiling = 1.5 * losses[:, :1]
        return np.where(diverged, losses + (ceiling - losses) * climb, losses), diverged

    def _optimal(
        self, compute: ArrayLike, task: str | None
    ) -> tuple[LawConstants, float, FloatArray, FloatArray]:
        law, budget = self.constants[self.task_index(task)], np.asarray(compute, dtype=float)
        names = np.asarray(self.schedules)
        rest = float(relative_rate(names, np.ones((len(names), 1))).min())
        tokens_scale = law.tokens_scale * (1 + self.gain * rest)
        ratio = law.params_exponent * law.params_scale / (law.tokens_exponent * tokens_scale)
        total = law.params_exponent + law.tokens_exponent
        params = ratio ** (1 / total) * (budget / FLOPS_PER_TOKEN) ** (law.tokens_exponent / total)
        return law, tokens_scale, params, budget / (FLOPS_PER_TOKEN * params)

    def frontier(self, compute: ArrayLike, *, task: str | None = None) -> FloatArray:  # noqa: D102
        law, tokens_scale, params, tokens = self._optimal(compute, task)
        by_tokens = tokens_scale * tokens**-law.tokens_exponent
        return law.floor + law.params_scale * params**-law.params_exponent + by_tokens

    def optimum(self, compute: ArrayLike, *, task: str | None = None) -> FloatArray:  # noqa: D102
        return self._optimal(compute, task)[2]

    def exponents(self, task: str | None = None) -> FrontierExponents:  # noqa: D102
        law = self.constants[self.task_index(task)]
        total = law.params_exponent + law.tokens_exponent
        loss = law.params_exponent * law.tokens_exponent / total
        return FrontierExponents(float(law.tokens_exponent / total), float(loss))
