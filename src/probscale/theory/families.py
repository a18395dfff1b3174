"""Families of training runs whose truth is known: what they are made of, and how they become a run log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from probscale.errors import ConfigError, ShapeError
from probscale.randomness import count_of, generator_of
from probscale.runs import RunLog
from probscale.theory.spectrum import FloatArray

Kind = Literal["law", "plrf"]


@dataclass(frozen=True)
class NoiseModel:
    """What separates a measured curve from its expectation; all standard deviations are of log loss.

    Attributes:
        seed: Offset shared by all points of a run, from its initialisation and data order.
        points: Independent measurement noise of each point.
        outliers: Share of runs whose offset is `heavy` times a Student t with two degrees of freedom, and
            share of points with an upward spike of the same kind.
        heavy: Width of outliers in units of the ordinary noise.
    """

    seed: float = 0.01
    points: float = 0.003
    outliers: float = 0.0
    heavy: float = 5.0

    def __post_init__(self) -> None:
        values = (self.seed, self.points, self.outliers, self.heavy)
        if not (np.isfinite(values).all() and min(values) >= 0 and self.outliers <= 1):
            raise ConfigError(
                f"noise must be finite and not negative, outliers a share up to 1; got {self}", noise=self
            )

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Noise of log loss; shape (runs, points)."""
        n_runs, points = shape
        offset = self.seed * rng.standard_normal((n_runs, 1))
        wild = rng.random((n_runs, 1)) < self.outliers
        offset = np.where(wild, self.heavy * self.seed * rng.standard_t(2, (n_runs, 1)), offset)
        jitter = self.points * rng.standard_normal((n_runs, points))
        spike = rng.random((n_runs, points)) < self.outliers
        tail = self.heavy * self.points * np.abs(rng.standard_t(2, (n_runs, points)))
        # Losses stay finite: the tail is cut where the loss has grown by a factor of twenty.
        return np.clip(offset + np.where(spike, tail, jitter), -3.0, 3.0)


@dataclass(frozen=True)
class FrontierExponents:
    """Compute-optimal exponents: params* ~ flops^params, reducible loss* ~ flops^-loss."""

    params: float
    loss: float


class Family(ABC):
    """A population of runs with known expected curves and a known compute-optimal frontier."""

    axis: str
    whole_axis: bool
    horizon: str
    levels: tuple[str, ...]

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, the values of the level column."""

    @abstractmethod
    def draw(self, n_runs: int, rng: np.random.Generator) -> pd.DataFrame:
        """Random configurations, one row per run, with columns `params`, `horizon` and `config`."""

    @abstractmethod
    def expected(self, configs: pd.DataFrame, at: ArrayLike) -> FloatArray:
        """Expected loss without noise or divergence.

        Args:
            configs: Configurations, as in the log.
            at: Axis values; shape (points,) or (configs, points).

        Returns:
            Shape (configs, points).
        """

    @abstractmethod
    def frontier(self, compute: ArrayLike, *, task: str | None = None) -> FloatArray:
        """Least expected loss at each compute; the first task unless named."""

    @abstractmethod
    def optimum(self, compute: ArrayLike, *, task: str | None = None) -> FloatArray:
        """Parameter count that reaches the frontier."""

    @abstractmethod
    def exponents(self, task: str | None = None) -> FrontierExponents:
        """Exponents of the frontier in the limit of large compute."""

    def observe(
        self, configs: pd.DataFrame, at: FloatArray, noise: NoiseModel, rng: np.random.Generator
    ) -> tuple[FloatArray, np.ndarray]:
        """Measured curves and marks of diverged points, both (configs, points)."""
        curves = self.expected(configs, at) * np.exp(noise.draw(at.shape, rng))
        return curves, np.zeros(at.shape, dtype=bool)

    def task_index(self, task: str | None) -> int:
        """Position of a task; the first for None.

        Raises:
            ConfigError: if the task is unknown.
        """
        if task is None:
            return 0
        if task not in self.tasks:
            raise ConfigError(f"unknown task {task!r}; this family has {', '.join(self.tasks)}", task=task)
        return self.tasks.index(task)

    def task_codes(self, configs: pd.DataFrame) -> np.ndarray:
        """Position of the task of each configuration.

        Raises:
            ConfigError: if a configuration names an unknown task.
        """
        if not self.levels:
            return np.zeros(len(configs), dtype=np.int64)
        names = configs[self.levels[0]].astype(str)
        codes = pd.Index(self.tasks).get_indexer(pd.Index(names))
        if (codes < 0).any():
            self.task_index(names.iloc[int(np.argmax(codes < 0))])
        return codes


def axis_matrix(configs: pd.DataFrame, at: ArrayLike) -> FloatArray:
    """Axis values as one row per configuration.

    Raises:
        ShapeError: unless `at` has shape (points,) or (configs, points) and is finite and not negative.
    """
    values = np.asarray(at, dtype=float)
    if values.ndim == 1:
        values = np.broadcast_to(values, (len(configs), len(values)))
    if (
        values.ndim != 2
        or len(values) != len(configs)
        or not (np.isfinite(values).all() and (values >= 0).all())
    ):
        raise ShapeError(
            f"at must hold finite values above zero with shape (points,) or ({len(configs)}, points); "
            f"got shape {np.shape(at)}",
            shape=np.shape(at),
        )
    return values


def positive_range(values: Sequence[float], name: str) -> FloatArray:
    """Distinct positive values, rising.

    Raises:
        ConfigError: if there is none, or one is not positive and finite.
    """
    array = np.unique(np.asarray(values, dtype=float))
    if array.size == 0 or not (np.isfinite(array).all() and (array > 0).all()):
        raise ConfigError(f"{name} must be positive finite numbers; got {values!r}", name=name)
    return array


@dataclass(frozen=True, eq=False, repr=False)
class SimulatedLog(RunLog):
    """A run log that also holds the truth behind it; its verbs keep the truth.

    Attributes:
        truth: The family the runs were drawn from: `expected`, `frontier`, `optimum` and `exponents`.
    """

    truth: Family = field(kw_only=True)


def simulate_runs(
    kind: Kind | Family = "law",
    *,
    n_runs: int = 100,
    points: int = 30,
    sizes: Sequence[float] | None = None,
    tasks: int | Sequence[tuple[float, float]] | None = None,
    noise: NoiseModel | None = None,
    start: float = 0.01,
    seed: int = 0,
) -> SimulatedLog:
    """Simulated training runs whose expected curves and compute-optimal frontier are known.

    Args:
        kind: "law" for a Chinchilla-like law with hyperparameter penalties, schedules and divergence; "plrf"
            for the solvable random-feature model; or a `Family` for full control.
        n_runs: Number of runs.
        points: Points per run, log-spaced from `start` to the end of training.
        sizes: Parameter counts to draw from; a default range by kind.
        tasks: For "law" the number of tasks, whose constants vary; for "plrf" the (a, b) of each task.
        noise: Deviations from the expectation; `NoiseModel()` by default.
        start: First point, as a share of the planned end.
        seed: Random state.

    Returns:
        A `RunLog` with the family as its attribute `truth`.

    Raises:
        ConfigError: if a value is not accepted.

    Cost: 20,000 runs of 50 points take a few seconds; "plrf" adds 0.1 s per distinct size.

    Example:
        >>> log = simulate_runs("law", n_runs=20, points=10, seed=1)
        >>> log.n_points, round(log.truth.exponents().params, 2)
        (200, 0.51)
    """
    n_runs, points = count_of(n_runs, "n_runs"), count_of(points, "points", 2)
    if not (isinstance(start, Real) and 0 < start < 1):
        raise ConfigError(
            f"start is {start!r}; pass the share of each run at which its first point lies, in (0, 1)",
            start=start,
        )
    rng = generator_of(seed)
    family = _family(kind, sizes, tasks, rng)
    configs = family.draw(n_runs, rng)
    horizon = configs[family.horizon].to_numpy(dtype=float)
    at = horizon[:, None] * np.geomspace(start, 1.0, points)
    if family.whole_axis:
        at = _whole(at)
    losses, diverged = family.observe(configs, at, noise or NoiseModel(), rng)
    return _log(family, configs, at, losses, diverged)


def _whole(at: FloatArray) -> FloatArray:
    """Whole numbers at or above the given ones, still rising within a row.

    Raises:
        ConfigError: if that pushes a row beyond its end.
    """
    order = np.arange(at.shape[1])
    whole = np.maximum.accumulate(np.ceil(at * (1 - 1e-12)) - order, axis=1) + order
    if (whole[:, -1] > np.ceil(at[:, -1])).any():
        raise ConfigError(
            f"{at.shape[1]} points do not fit into the whole steps of the shortest run "
            f"({at[:, -1].min():g} steps); ask for fewer points or longer runs",
            points=at.shape[1],
        )
    return whole


def _family(
    kind: Kind | Family,
    sizes: Sequence[float] | None,
    tasks: int | Sequence[tuple[float, float]] | None,
    rng: np.random.Generator,
) -> Family:
    """The family that a kind and its options stand for."""
    from probscale.theory.feature_family import RandomFeatureFamily
    from probscale.theory.law_family import LawFamily

    if isinstance(kind, Family):
        if sizes is not None or tasks is not None:
            raise ConfigError("sizes and tasks are fields of the family; set them there", kind=kind)
        return kind
    if kind == "law":
        if tasks is not None and not isinstance(tasks, int):
            raise ConfigError(f'tasks of kind "law" is their number; got {tasks!r}', tasks=tasks)
        family = LawFamily.draw_tasks(1 if tasks is None else tasks, rng)
        return family if sizes is None else replace(family, sizes=tuple(sizes))
    if kind == "plrf":
        if isinstance(tasks, int):
            raise ConfigError(f'tasks of kind "plrf" are pairs (a, b); got {tasks!r}', tasks=tasks)
        family = RandomFeatureFamily() if tasks is None else RandomFeatureFamily(points=tuple(tasks))
        return family if sizes is None else replace(family, sizes=tuple(sizes))
    raise ConfigError(f'kind must be "law", "plrf" or a Family; got {kind!r}', kind=kind)


def _log(
    family: Family, configs: pd.DataFrame, at: FloatArray, losses: FloatArray, diverged: np.ndarray
) -> SimulatedLog:
    """Long-format table of all runs, read like any other."""
    n_runs, points = at.shape
    names = np.array([f"run-{k:05d}" for k in range(n_runs)])
    rows = np.repeat(np.arange(n_runs), points)
    frame = configs.iloc[rows].reset_index(drop=True)
    frame.insert(0, "run", names[rows])
    frame[family.axis], frame["loss"], frame["diverged"] = at.ravel(), losses.ravel(), diverged.ravel()
    log = RunLog.from_frame(
        frame,
        run="run",
        axis=family.axis,
        output="loss",
        levels=family.levels,
        params="params",
        horizon=family.horizon,
        config=[name for name in configs.columns if name not in {*family.levels, "params", family.horizon}],
    )
    return SimulatedLog(log.configs, log.points, log.roles, log.notes, truth=family)
