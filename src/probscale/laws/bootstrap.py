"""Bootstrap of a law fit: resample runs, refit, look at the spread."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import LawError
from probscale.laws.inputs import read_array
from probscale.laws.law import Optimum
from probscale.laws.result import LawFit, LawPrediction, check_level, defined_output
from probscale.randomness import count_of, generator_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LawBootstrap", "run_bootstrap"]

Array = NDArray[np.float64]
CHUNK = 25


@dataclass(frozen=True)
class LawBootstrap:
    """Parameter sets of the refits.

    Attributes:
        fit: The fit that was resampled.
        values: One row per resample, one column per parameter.
        converged: Share of refits whose descent ended by itself.
    """

    fit: LawFit
    values: pd.DataFrame
    converged: float

    def __repr__(self) -> str:
        ends = self.interval(0.9)
        shown = ", ".join(f"{n} {low:.4g} to {high:.4g}" for n, low, high in ends.itertuples())
        return f"LawBootstrap({self.fit.law.name}, {len(self.values)} refits, 90 % intervals: {shown})"

    @property
    def std(self) -> pd.Series:
        """Standard deviation of each parameter."""
        return self.values.std(ddof=1).rename("std")

    def interval(self, level: float = 0.9) -> pd.DataFrame:
        """Percentile interval of each parameter: columns `lower` and `upper`."""
        tail = (1 - check_level(level)) / 2
        ends = self.values.quantile([tail, 1 - tail]).T
        return ends.set_axis(["lower", "upper"], axis=1)

    @property
    def rows(self) -> list[dict[str, float]]:
        """Parameters of each refit."""
        names = [str(name) for name in self.values]
        return [dict(zip(names, row, strict=True)) for row in self.values.to_numpy(dtype=float).tolist()]

    def predict(self, *, interval: float = 0.9, latent: bool = False, **inputs: Any) -> LawPrediction:
        """Prediction whose interval adds the scatter of single runs to the spread of the refits."""
        level = check_level(interval)
        law, prepared = self.fit.law, self.fit.law.prepare(inputs)
        mean = defined_output(law, self.fit.values, prepared)
        with np.errstate(all="ignore"):
            curves = np.stack([law.formula(row, **prepared) for row in self.rows])
            linked, centre = law.link(curves), law.link(mean)
        tail = (
            1 - level
        ) / 2  # refits that are undefined at a point, such as below their floor, are left out
        scatter = 0.0 if latent else self.fit.scatter(level)
        below = np.hypot(np.minimum(np.nanquantile(linked, tail, axis=0) - centre, 0), scatter)
        above = np.hypot(np.maximum(np.nanquantile(linked, 1 - tail, axis=0) - centre, 0), scatter)
        ends = np.stack([law.unlink(centre - below), law.unlink(centre + above)])
        return LawPrediction(mean, ends.min(axis=0), ends.max(axis=0), level)

    def optimum(self, compute: ArrayLike, **extra: Any) -> Optimum:
        """Compute optimum of every refit: arrays of shape `(resamples, *compute.shape)`."""
        budgets = read_array("compute", compute)
        found = [self.fit.law.optimum(row, budgets, **extra) for row in self.rows]
        stacked = (np.stack([getattr(one, name) for one in found]) for name in ("params", "tokens", "loss"))
        return Optimum(budgets, *stacked)


def run_bootstrap(fit: LawFit, n: int, seed: int, restarts: int, executor: Executor | None) -> LawBootstrap:
    """Refit to `n` resamples; see `LawFit.bootstrap`."""
    import pandas as pd

    if not isinstance(n, Integral) or n < 2:
        raise LawError(f"a bootstrap of {n} resamples has no spread; pass n of 2 or more, usually 300", n=n)
    if not fit.groups.any():
        raise LawError(
            f"all {fit.n} points are of one run, so resampled runs are all alike; pass several runs, "
            "or leave out groups=, which resamples points"
        )
    restarts = count_of(restarts, "restarts", 0)
    generator_of(seed)
    seeds = np.random.SeedSequence(seed).spawn(int(n))
    chunks = [seeds[i : i + CHUNK] for i in range(0, n, CHUNK)]
    work = partial(_refit, fit, restarts)
    parts = executor.map(work, chunks) if executor is not None else map(work, chunks)
    rows = [row for part in parts for row in part]
    values = pd.DataFrame([row[0] for row in rows], columns=list(fit.law.names))
    return LawBootstrap(fit, values, float(np.mean([row[1] for row in rows])))


def _refit(
    fit: LawFit, restarts: int, seeds: list[np.random.SeedSequence]
) -> list[tuple[dict[str, float], bool]]:
    runs = int(fit.groups.max()) + 1
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        counts = np.bincount(rng.integers(0, runs, runs), minlength=runs)
        problem = fit.problem.reweighted(fit.problem.weights * counts[fit.groups])
        starts = [fit.point, *_jittered(fit, rng, restarts)]
        best = problem.descend(starts)[0]
        rows.append((problem.coordinates.values(best.point), best.converged))
    return rows


def _jittered(fit: LawFit, rng: np.random.Generator, count: int) -> Array:
    """Starts two Laplace deviations around the optimum, at most one e-fold away."""
    reach = np.minimum(2 * np.sqrt(np.diag(fit.covariance)), 1.0)
    return fit.point + reach * rng.normal(size=(count, reach.size))
