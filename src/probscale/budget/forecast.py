"""Forecasts of runs at more compute: the joint surrogate, and what any forecaster offers to a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from probscale.budget.bench import Array, Bench
from probscale.errors import FitError, ProbscaleError, expecting_new_values
from probscale.runs import RunLog
from probscale.runs.pools import row_names

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate

QUICK = {"iterations": 20, "rounds": 0, "subset": 200, "hurried": True}
"""Settings of fits: of short prefixes of few runs, one quick pass forecasts as well as many."""


class Observed(Protocol):
    """What was observed of the runs of a pool: the part of a `Bench` that surrogates are fitted to."""

    @property
    def configs(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def axis(self) -> str: ...  # noqa: D102
    @property
    def goal(self) -> str: ...  # noqa: D102
    @property
    def params(self) -> str | None: ...  # noqa: D102
    def points(self, run: int) -> Sequence[tuple[float, float]]: ...  # noqa: D102


class Forecaster(Protocol):
    """Draws of the outputs that runs would have at more compute."""

    def sample(self, bench: Bench, runs: Sequence[int], compute: Array, n: int, seed: int) -> Array:
        """Joint draws, (n, runs), lower better, without observation noise.

        Args:
            bench: State of all runs; everything observed may be used.
            runs: Runs asked for.
            compute: Compute of each from its start, (runs,).
            n: Draws.
            seed: Seed of the draws.

        Raises:
            ProbscaleError: if nothing can be forecast yet.
        """
        ...


def earliest(forecaster: Forecaster) -> float | None:
    """Where on the axis the earlier runs that a forecaster knows begin; None if it knows none."""
    return getattr(forecaster, "earliest", None)


@dataclass
class JointForecaster:
    """The joint surrogate over all runs: fitted once, conditioned on new points, refitted rarely.

    Attributes:
        surrogate: Surrogate of earlier runs to start from; without it one is fitted to the bench alone.
        spread: Factor on the standard deviation of the draws.
        points: Most points of a run in one update; they are spaced evenly in the logarithm of the axis.
        refit: Parameters are fitted again, from where they were, when the points have grown by this factor.
        embedder: Language model for text fields of the configurations; see `fit_surrogate`.
        seed: Seed of the fit.
        fits: How often parameters were fitted.
    """

    surrogate: CurveSurrogate | None = None
    spread: float = 1.0
    points: int = 6
    refit: float = 2.0
    embedder: str | None = None
    seed: int = 0
    fits: int = field(default=0, init=False)
    _current: CurveSurrogate | None = field(default=None, init=False)
    _used: dict[int, list[tuple[float, float]]] = field(default_factory=dict, init=False)
    _fitted: int = field(default=0, init=False)

    @property
    def earliest(self) -> float | None:
        """Where on the axis the earlier runs begin; see `first_point`."""
        return None if self.surrogate is None else first_point(self.surrogate.log)

    def sample(self, bench: Bench, runs: Sequence[int], compute: Array, n: int, seed: int) -> Array:
        """Draws; see `Forecaster.sample`."""
        surrogate = self.updated(bench)
        roles = surrogate.log.roles
        asked = self.named(bench, roles.run).iloc[list(runs)]
        # Columns of costs alone were in no earlier log.
        asked = asked[[name for name in asked if name in {roles.run, *roles.described}]]
        at = bench.axis_at(runs, compute)[:, None]
        with expecting_new_values():
            latent = surrogate.predict(asked, at).latent()
        draws = _sign(bench) * latent.sample(n, seed=seed)[:, :, 0]
        if self.spread == 1.0:
            return draws
        centre = _sign(bench) * latent.mean[:, 0]
        return centre + self.spread * (draws - centre)

    def updated(self, bench: Observed) -> CurveSurrogate:
        """The surrogate with everything observed.

        Raises:
            FitError: if nothing was, and no earlier runs are known.
        """
        fresh = self._fresh_points(bench)
        count = sum(map(len, self._used.values())) + sum(map(len, fresh.values()))
        if not count and self.surrogate is None:
            raise FitError("nothing was observed yet that a surrogate could be fitted to")
        if self.surrogate is None and count >= self.refit * self._fitted:
            self._take(fresh)
            self._current = self._refitted(bench)
            self._fitted, self.fits = count, self.fits + 1
        else:
            current = self._current or self.surrogate
            assert current is not None
            if fresh:
                current = current.condition(self._log(bench, fresh))
            self._take(fresh)
            self._current = current
        return self._current

    def named(self, bench: Observed, run: str) -> pd.DataFrame:
        """Configurations with run identifiers that no earlier run has."""
        frame = bench.configs.copy()
        frame[run] = row_names(frame, () if self.surrogate is None else self.surrogate.log.runs)
        return frame

    def _take(self, fresh: dict[int, list[tuple[float, float]]]) -> None:
        for run, points in fresh.items():
            self._used[run] = self._used.get(run, []) + points

    def _fresh_points(self, bench: Observed) -> dict[int, list[tuple[float, float]]]:
        """Points not used yet, thinned, of the runs that have any."""
        fresh: dict[int, list[tuple[float, float]]] = {}
        for run in range(len(bench.configs)):
            used = self._used.get(run, [])
            last = used[-1][0] if used else -np.inf
            points = [(at, y) for at, y in bench.points(run) if at > last and np.isfinite(y)]
            if points:
                fresh[run] = thinned(points, self.points)
        return fresh

    def _refitted(self, bench: Observed) -> CurveSurrogate:
        from probscale.surrogate import FitOptions, fit_surrogate

        log, options = self._log(bench, self._used), FitOptions(**QUICK)
        return fit_surrogate(
            log, embedder=self.embedder, seed=self.seed, options=options, start=self._current
        )

    def _log(self, bench: Observed, points: dict[int, list[tuple[float, float]]]) -> RunLog:
        if self.surrogate is not None:
            roles = self.surrogate.log.roles.arguments()
        else:
            columns = list(bench.configs.columns)
            roles = {
                **{"run": free_name("run", columns), "axis": bench.axis, "params": bench.params},
                **{"output": free_name("output", columns), "goal": bench.goal, "config": columns},
            }
            roles["config"] = [name for name in columns if name != bench.params]
        output = roles["output"]
        outputs = [output] if isinstance(output, str) else list(output)
        configs = self.named(bench, roles["run"])
        rows = [(run, at, _sign(bench) * y) for run, items in points.items() for at, y in items]
        table = configs.iloc[[run for run, _, _ in rows]].reset_index(drop=True)
        table[roles["axis"]] = [at for _, at, _ in rows]
        table[outputs[0]] = [y for _, _, y in rows]
        for name in outputs[1:]:
            table[name] = np.nan
        # A run that rises is for the forecast to see, not to leave out.
        table["diverged"] = False
        return RunLog.from_frame(table, **roles)


def free_name(name: str, columns: Sequence[str]) -> str:
    """A column name that is not taken."""
    while name in columns:
        name = f"{name}_"
    return name


def first_point(log: RunLog) -> float:
    """Least axis value at which a run of a log was observed that was observed again later; 0 if none was."""
    axis = log.points[log.roles.axis].groupby(log.codes)
    firsts = axis.min()[axis.size() > 1]
    return float(firsts.min()) if len(firsts) else 0.0


def thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` of the points, even in the logarithm of the axis, the last one always among them."""
    if len(points) <= most:
        return points
    logs = np.log(np.maximum([at for at, _ in points], 1e-300))
    chosen = {int(np.argmin(np.abs(logs - value))) for value in np.linspace(logs[0], logs[-1], most)}
    return [points[index] for index in sorted(chosen | {len(points) - 1})]


def forecast(
    forecaster: Forecaster, bench: Bench, runs: Sequence[int], compute: Array, *, n: int, seed: int
) -> Array | ProbscaleError:
    """Draws of a forecaster, or why there are none."""
    try:
        draws = forecaster.sample(bench, runs, compute, n, seed)
    except ProbscaleError as error:
        return error
    return draws if np.isfinite(draws).all() else ProbscaleError("the forecast was not finite")


def _sign(bench: Observed) -> float:
    return 1.0 if bench.goal == "min" else -1.0
