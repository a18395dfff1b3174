"""Forecasts from parametric curves: power laws per curve, and ensembles of networks over three forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from probscale.budget.bench import Array, Bench
from probscale.errors import FitError

FORMS = ("power", "exponential", "mmf")
"""Parametric forms of a curve, which members of an ensemble take in turn."""

FEWEST = 3
"""Points without which no form is fitted."""


@dataclass(frozen=True)
class PowerForecaster:
    """A power law with a floor per curve; curves with fewer than three points keep their last output.

    Attributes:
        exponents: Exponents tried, on a grid; floor and amplitude are least squares with both at least zero.
    """

    exponents: tuple[float, ...] = tuple(np.geomspace(0.02, 2.0, 25))

    def sample(self, bench: Bench, runs: Sequence[int], compute: Array, n: int, seed: int) -> Array:
        """Draws; see `Forecaster.sample`."""
        at = bench.axis_at(runs, compute)
        final = [self._final(bench.points(run), float(x)) for run, x in zip(runs, at, strict=True)]
        return np.tile(np.array(final), (n, 1))

    def _final(self, points: Sequence[tuple[float, float]], x: float) -> float:
        table = np.array([(t, y) for t, y in points if np.isfinite(y)]).reshape(-1, 2)
        if not len(table):
            return 1e300
        if len(table) < FEWEST:
            return float(table[-1, 1])
        scale = table[-1, 0]
        best = (np.inf, float(table[-1, 1]))
        for exponent in self.exponents:
            shape = (table[:, 0] / scale) ** -exponent
            floor, amplitude = _line(shape, table[:, 1])
            error = float(np.sum((table[:, 1] - floor - amplitude * shape) ** 2))
            best = min(best, (error, floor + amplitude * (x / scale) ** -exponent))
        return best[1]


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Least-squares intercept and slope, the slope not negative, nor the intercept where y is not."""
    centred = x - x.mean()
    slope = max(float(centred @ y) / max(float(centred @ centred), 1e-300), 0.0)
    intercept = float(y.mean() - slope * x.mean())
    if intercept < 0 < y.min():
        return 0.0, float(x @ y) / float(x @ x)
    return intercept, slope


@dataclass(frozen=True)
class EnsembleForecaster:
    """Deep ensemble: small networks from the configuration to the parameters of a parametric curve.

    Members alternate between the forms power (a + b·t^−c), exponential (a + b·exp(−c·t)) and MMF
    ((a·b + c·t^d)/(b + t^d)), start from different weights, and are trained together on all observed points.
    Numeric configuration columns enter as logarithms where positive; other columns as indicators.

    Attributes:
        members: Networks; a multiple of three treats the forms alike.
        hidden: Width of the two hidden layers.
        steps: Adam steps.
        learning_rate: Adam's.

    Source: Kadra et al. 2023 (Deep Power Laws) for the power form; Lakshminarayanan et al. 2017 for
        ensembles; Morgan, Mercer and Flodin 1975 for the MMF form.
    """

    members: int = 9
    hidden: int = 24
    steps: int = 300
    learning_rate: float = 0.01

    def sample(self, bench: Bench, runs: Sequence[int], compute: Array, n: int, seed: int) -> Array:
        """Draws; see `Forecaster.sample`."""
        from probscale.budget.networks import predicted_curves

        rows = [
            (run, t, y) for run in range(len(bench.configs)) for t, y in bench.points(run) if np.isfinite(y)
        ]
        if len(rows) < FEWEST:
            raise FitError(
                f"{len(rows)} points are too few for a forecast; {FEWEST} are needed", points=len(rows)
            )
        features = config_features(bench.configs)
        forms = [FORMS[member % len(FORMS)] for member in range(self.members)]
        at = bench.axis_at(runs, compute)
        means = predicted_curves(
            features,
            np.array(rows),
            np.column_stack([np.array(runs, dtype=np.float64), at]),
            forms=forms,
            hidden=self.hidden,
            steps=self.steps,
            learning_rate=self.learning_rate,
            seed=seed,
        )
        return means[np.random.default_rng(seed).integers(self.members, size=n)]


def config_features(configs: pd.DataFrame) -> Array:
    """Standardised numbers and indicators of configurations, (runs, features), none of them constant."""
    columns: list[Array] = []
    for name in configs:
        column = configs[name]
        if pd.api.types.is_numeric_dtype(column):
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            finite = values[np.isfinite(values)]
            if len(finite) and finite.min() > 0:
                values = np.log(values)
            columns.append(np.where(np.isfinite(values), values, np.nanmean(values) if len(finite) else 0.0))
        elif column.nunique() <= max(len(column) // 2, 2):
            columns += [(column == value).to_numpy(dtype=np.float64) for value in column.dropna().unique()]
    varying = [column for column in columns if np.ptp(column) > 1e-12]
    if not varying:
        return np.zeros((len(configs), 1))
    table = np.column_stack(varying)
    return (table - table.mean(axis=0)) / table.std(axis=0)
