"""One regression problem: a law, checked data and a robust loss; solved from many starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.errors import FitError
from probscale.laws.coordinates import Coordinates
from probscale.laws.huber import Minimum, Quadratic, huber, minimize_huber
from probscale.laws.law import Law
from probscale.randomness import count_of, generator_of

__all__ = ["Problem"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Data and loss of a fit.

    Attributes:
        law: The law.
        inputs: Checked inputs, as `law.formula` takes them.
        output: Observed outputs.
        weights: Multiplicity of each point.
        delta: Huber threshold on the link scale.
        coordinates: Free parameters.
        penalty: Prior on the coordinates, in units of the objective.
    """

    law: Law
    inputs: Mapping[str, Any]
    output: Array
    weights: Array
    delta: float
    coordinates: Coordinates
    penalty: Quadratic

    def with_prior(self, prior: Mapping[str, tuple[float, float]], unpenalised: Minimum) -> Problem:
        """The same problem with a prior on some parameters, given as median and spread in coordinates.

        Its weight against the data follows from the fit without it: one point of average loss counts as
        one nat, and residuals that follow one another count less, by (1 − ρ)/(1 + ρ) at lag-one
        correlation ρ.
        """
        names, bounds = (
            self.coordinates.names,
            dict(zip(self.coordinates.names, self.coordinates.bounds, strict=True)),
        )
        known = Coordinates(
            tuple(n for n in names if n in prior), tuple(bounds[n] for n in names if n in prior), {}
        )
        centre, precision = np.zeros(len(names)), np.zeros(len(names))
        nat = unpenalised.objective / self.weights.sum() * _persistence(self.residuals(unpenalised.point))
        at = [names.index(name) for name in known.names]
        centre[at] = known.point({name: prior[name][0] for name in known.names})
        precision[at] = nat / np.array([prior[name][1] for name in known.names]) ** 2
        return replace(self, penalty=Quadratic(centre, precision, nat))

    def reweighted(self, weights: Array) -> Problem:
        """The same problem with other multiplicities; points of weight zero are dropped."""
        keep = weights > 0
        inputs = {name: array[keep] for name, array in self.inputs.items()}
        return replace(self, inputs=inputs, output=self.output[keep], weights=weights[keep])

    def residuals(self, point: Array) -> Array:
        """Predicted minus observed on the link scale."""
        with np.errstate(all="ignore"):
            predicted = self.law.formula(self.coordinates.values(point), **self.inputs)
            return self.law.link(predicted) - self.law.link(self.output)

    def model(self, point: Array) -> tuple[Array, Array]:
        """Residuals and their Jacobian by the coordinates."""
        with np.errstate(all="ignore"):
            values = self.coordinates.values(point)
            predicted = self.law.formula(values, **self.inputs)
            gradient = self.law.gradient(values, **self.inputs)
            columns = np.stack([gradient[name] for name in self.coordinates.names], axis=-1)
            jacobian = columns * self.coordinates.slopes(values) * self.law.link_slope(predicted)[..., None]
            residuals = self.law.link(predicted) - self.law.link(self.output)
        return residuals, np.where(np.isfinite(jacobian), jacobian, 0.0)

    def objective(self, point: Array) -> float:
        """Weighted sum of Huber losses, without the prior; infinite where the law is undefined."""
        with np.errstate(all="ignore"):
            total = float(self.weights @ huber(self.residuals(point), self.delta))
        return total if np.isfinite(total) else np.inf

    def descend(self, points: Iterable[Array]) -> list[Minimum]:
        """Local minimum from each start, best first."""
        found = [
            minimize_huber(self.model, point, self.delta, self.weights, penalty=self.penalty)
            for point in points
        ]
        return sorted(found, key=lambda minimum: minimum.objective)

    def solve(self, starts: int, seed: int) -> list[Minimum]:
        """Local minima, best first.

        A quarter of the starts are random grid cells, the rest the best cells that are not neighbours.

        Raises:
            ConfigError: for what is no number of starts, or no seed.
            FitError: if the law is undefined at every start.
        """
        minima = self.descend(self._chosen_starts(count_of(starts, "starts"), generator_of(seed)))
        if not minima or not np.isfinite(minima[0].objective):
            raise FitError(
                f"law {self.law.name!r} could not be fitted: it is undefined at every start; check the units "
                "of the inputs, or fix some parameters with fixed={name: value}",
                law=self.law.name,
            )
        return minima

    def _chosen_starts(self, count: int, rng: np.random.Generator) -> list[Array]:
        scored = self._scored_starts()
        best = max(1, count - count // 4)
        chosen: list[int] = []
        for i, (_, cell, _) in enumerate(scored):
            apart = all(np.abs(np.subtract(cell, scored[j][1])).max() > 1 for j in chosen)
            if len(chosen) < best and apart:
                chosen.append(i)
        rest = [i for i in range(len(scored)) if i not in chosen]
        extra = rng.permutation(rest)[: max(0, count - best)].astype(int).tolist()
        return [scored[i][2] for i in chosen + extra]

    def _scored_starts(self) -> list[tuple[float, tuple[int, ...], Array]]:
        """Grid cells where the law is defined, by robust objective."""
        scored = []
        for cell, values in self.law.starts(self.inputs, self.output, self.coordinates.fixed):
            with np.errstate(all="ignore"):
                point = self.coordinates.point(values)
            if np.isfinite(point).all() and np.isfinite(score := self.objective(point)):
                scored.append((score, cell, point))
        return sorted(scored, key=lambda entry: entry[:2])


def _persistence(residuals: Array) -> float:
    """Points per independent point, (1 + ρ)/(1 − ρ), of an autoregressive sequence."""
    if residuals.size < 3:
        return 1.0
    centred = residuals - np.median(residuals)
    rho = float(centred[1:] @ centred[:-1]) / max(float(centred @ centred), 1e-300)
    rho = min(max(rho, 0.0), 0.99)
    return (1 + rho) / (1 - rho)
