"""Output transforms: from user units to the scale on which curves are nearly Gaussian, and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, ndtr

from probscale.errors import RunLogError

Array = NDArray[np.float64]

FLOOR_SHARE, FINALS_FLOOR_SHARE, PLANE_FLOOR_SHARE = 0.3, 0.0, 0.6
"""Share of the smallest loss that the transform itself subtracts: of curves, of finals, and under a plane.
A law learns the rest of its floor; a plane has none, so there the transform subtracts what published laws
would."""

WITH_FLOOR, WITHOUT_FLOOR = 4.0, 12.0
"""Median loss over the smallest one: up to the first, all of that share is subtracted, from the second on
nothing is, and in between the part that the logarithm says. Losses of language models have 1.1 to 2, for
cross-entropy they cannot fall far below what they are; where losses span decades, no floor has shown, and the
next size falls below what smaller ones would leave to it."""

SCORE_OFFSET = 0.02
"""Offset of the logarithm of scores, as a share of the largest."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
"""Normal quantities on which moments of bounded outputs are evaluated."""

TINY = 1e-8
"""Variance below which partial moments of a lognormal would cancel."""

LEAST_SHARE = 0.2
"""Scores that are all below this may be out of a hundred as well as out of one."""


class OutputTransform(ABC):
    """A strictly monotone map from outputs to the modelled scale."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the report calls it."""

    @property
    @abstractmethod
    def rising(self) -> bool:
        """Whether the map preserves order."""

    @abstractmethod
    def forward(self, output: Array) -> Array:
        """Modelled value of an output."""

    @abstractmethod
    def inverse(self, value: Array) -> Array:
        """Output of a modelled value."""

    @abstractmethod
    def mean(self, location: Array, variance: Array) -> Array:
        """Expected output when the modelled value is normal."""

    @abstractmethod
    def second_moment(self, location: Array, variance: Array) -> Array:
        """Expected squared deviation of the output from `inverse(location)`."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest possible output."""
        return -math.inf, math.inf

    def to_dict(self) -> dict[str, Any]:
        """JSON description from which `transform_from` builds it again."""
        return {"kind": type(self).__name__} | asdict(self)  # type: ignore[call-overload]


@final
@dataclass(frozen=True)
class LogFloor(OutputTransform):
    """y = log(u - floor), u the loss, or `upper` minus the score.

    Attributes:
        floor: Subtracted before the logarithm, in output units; below every training value of u.
        upper: Best possible score; None for losses.
    """

    floor: float
    upper: float | None = None

    @property
    def name(self) -> str:  # noqa: D102
        shown = "loss" if self.upper is None else f"{self.upper:g} - score"
        floor = f" {'-' if self.floor > 0 else '+'} {abs(self.floor):.4g}" if self.floor else ""
        return f"log({shown}{floor})"

    @property
    def rising(self) -> bool:  # noqa: D102
        return self.upper is None

    def forward(self, output: Array) -> Array:  # noqa: D102
        u = output if self.upper is None else self.upper - output
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(u - self.floor)

    def inverse(self, value: Array) -> Array:  # noqa: D102
        return self._from_u(self.floor + np.exp(np.minimum(value, 700.0)))

    def mean(self, location: Array, variance: Array) -> Array:  # noqa: D102
        if self.upper is None:
            return self.floor + np.exp(np.minimum(location + _moderate(variance) / 2, 700.0))
        above, first, _ = self._held(location, variance)
        return np.clip((self.upper - self.floor) * above - first, 0.0, self.upper - self.floor)

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        # E (e^y - e^m)² for y ~ N(m, v), written so that small v does not cancel.
        v = _moderate(variance)
        moment = np.exp(np.minimum(2 * location, 700.0)) * (np.expm1(2 * v) - 2 * np.expm1(v / 2))
        if self.upper is None:
            return moment
        above, first, second = self._held(location, variance)
        middle = self.inverse(location)
        g = self.upper - self.floor - middle
        held = middle**2 * (1.0 - above) + g**2 * above - 2 * g * first + second
        return np.clip(np.where(variance < TINY, moment, held), 0.0, self.upper**2)

    def _held(self, location: Array, variance: Array) -> tuple[Array, Array, Array]:
        """Probability of a score above zero; mean of e^y, and of its square, where it is and zero elsewhere.

        They are partial moments of a lognormal: scores stop at zero, so wide ones are far from lognormal.
        """
        assert self.upper is not None
        std = np.sqrt(np.maximum(variance, 1e-300))
        z = (math.log(self.upper - self.floor) - location) / std
        above, first, second = (
            np.exp(np.minimum(k * location + 0.5 * k**2 * variance + log_ndtr(z - k * std), 700.0))
            for k in (0, 1, 2)
        )
        return above, first, second

    @property
    def bounds(self) -> tuple[float, float]:  # noqa: D102
        if self.upper is None:
            return self.floor, math.inf
        return 0.0, self.upper - max(self.floor, 0.0)

    def _from_u(self, u: Array) -> Array:
        return u if self.upper is None else np.maximum(self.upper - u, 0.0)


def _moderate(variance: Array) -> Array:
    """Variance as far as moments follow it: those of a lognormal wider than e say nothing useful."""
    return np.minimum(variance, 1.0)


@final
@dataclass(frozen=True)
class Affine(OutputTransform):
    """y = (output - centre) / spread, for signed outputs; for scores the sign is turned.

    Attributes:
        centre: Output at zero.
        spread: Outputs per unit.
        upper: Best possible score, of outputs between zero and it; None where outputs have no bounds.
    """

    centre: float
    spread: float
    upper: float | None = None

    @property
    def name(self) -> str:  # noqa: D102
        return f"(output - {self.centre:.4g}) / {self.spread:.4g}"

    @property
    def rising(self) -> bool:  # noqa: D102
        return self.spread > 0

    @property
    def bounds(self) -> tuple[float, float]:  # noqa: D102
        return (-math.inf, math.inf) if self.upper is None else (0.0, self.upper)

    def forward(self, output: Array) -> Array:  # noqa: D102
        return (output - self.centre) / self.spread

    def inverse(self, value: Array) -> Array:  # noqa: D102
        return np.clip(self.centre + self.spread * value, *self.bounds)

    def mean(self, location: Array, variance: Array) -> Array:  # noqa: D102
        if self.upper is None:
            return self.inverse(location)
        middle = self.centre + self.spread * location
        below, above, edges, _ = self._held(middle, variance)
        within = 1.0 - below - above
        mean = self.upper * above + middle * within + abs(self.spread) * np.sqrt(variance) * edges
        return np.clip(mean, *self.bounds)

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        if self.upper is None:
            return self.spread**2 * variance
        middle = self.centre + self.spread * location
        drift = middle - self.inverse(location)
        low, high = middle - drift, self.upper - middle + drift
        below, above, edges, slopes = self._held(middle, variance)
        within, std = 1.0 - below - above, abs(self.spread) * np.sqrt(variance)
        inside = drift**2 * within + 2 * drift * std * edges + std**2 * (within + slopes)
        return np.clip(low**2 * below + high**2 * above + inside, 0.0, self.upper**2)

    def _held(self, middle: Array, variance: Array) -> tuple[Array, Array, Array, Array]:
        """Shares of a normal below zero and above the best, and what its edges add to its moments."""
        assert self.upper is not None
        std = np.maximum(abs(self.spread) * np.sqrt(variance), 1e-300)
        with np.errstate(over="ignore"):
            a, b = (np.clip((bound - middle) / std, -40.0, 40.0) for bound in self.bounds)
        left, right = (np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) for z in (a, b))
        return ndtr(a), ndtr(-b), left - right, a * left - b * right


@final
@dataclass(frozen=True)
class LogScore(OutputTransform):
    """y = log(score + offset), for scores whose effects multiply: a poor source language halves every score.

    Attributes:
        offset: Added before the logarithm, so that zeros stay finite.
    """

    offset: float

    @property
    def name(self) -> str:  # noqa: D102
        return f"log(score + {self.offset:.4g})"

    @property
    def rising(self) -> bool:  # noqa: D102
        return True

    @property
    def bounds(self) -> tuple[float, float]:  # noqa: D102
        return 0.0, math.inf

    def forward(self, output: Array) -> Array:  # noqa: D102
        return np.log(np.maximum(output, 0.0) + self.offset)

    def inverse(self, value: Array) -> Array:  # noqa: D102
        return np.maximum(np.exp(np.minimum(value, 700.0)) - self.offset, 0.0)

    def mean(self, location: Array, variance: Array) -> Array:  # noqa: D102
        return self.inverse(location + _moderate(variance) / 2)

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        return LogFloor(0.0).second_moment(location, variance)


@final
@dataclass(frozen=True)
class LogOdds(OutputTransform):
    """y = log((score + offset) / (upper - score + offset)), for scores whose effects multiply near zero.

    Unlike a logarithm it promises little beyond half of the best: a good score does not double.

    Attributes:
        offset: Added on both sides, so that zeros and the best possible score stay finite.
        upper: Best possible score.
    """

    offset: float
    upper: float

    @property
    def name(self) -> str:  # noqa: D102
        return f"log odds of score + {self.offset:.4g} of {self.upper:g}"

    @property
    def rising(self) -> bool:  # noqa: D102
        return True

    @property
    def bounds(self) -> tuple[float, float]:  # noqa: D102
        return 0.0, self.upper

    def forward(self, output: Array) -> Array:  # noqa: D102
        score = np.clip(output, 0.0, self.upper)
        return np.log(score + self.offset) - np.log(self.upper - score + self.offset)

    def inverse(self, value: Array) -> Array:  # noqa: D102
        return np.clip((self.upper + 2 * self.offset) * expit(value) - self.offset, 0.0, self.upper)

    def mean(self, location: Array, variance: Array) -> Array:  # noqa: D102
        return np.clip(self._expected(location, variance, lambda score: score), *self.bounds)

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        middle = self.inverse(location)
        moment = self._expected(location, variance, lambda score: (score - middle) ** 2)
        return np.minimum(moment, self.upper**2)

    def _expected(self, location: Array, variance: Array, of: Callable[[Array], Array]) -> Array:
        """Expectation over a normal on the modelled scale, by quadrature."""
        spread, total = np.sqrt(variance), _WEIGHTS.sum()
        parts = (
            w / total * of(self.inverse(location + z * spread)) for z, w in zip(_NODES, _WEIGHTS, strict=True)
        )
        return sum(parts, np.zeros(np.broadcast_shapes(np.shape(location), np.shape(variance))))


def choose_transform(
    output: Array, goal: str, *, kind: str = "auto", share: float = FLOOR_SHARE
) -> OutputTransform:
    """Transform that suits an output.

    Args:
        output: Training outputs, user units, finite.
        goal: "min" or "max".
        kind: "auto", "log" (insist on log(loss - floor)), "score" (logarithm, or log odds where the best is
            known) or "linear".
        share: Floor of the transform, as a share of the smallest loss; less where losses span decades
            (`WITH_FLOOR`).

    Returns:
        `LogFloor` for losses that are not negative and for scores within [0, 1] or [0, 100], else `Affine`.

    Raises:
        RunLogError: if "log" is asked for and an output is not positive.
    """
    if kind == "log" and goal == "min" and output.min() <= 0:
        worst = float(output.min())
        raise RunLogError(
            f"the log transform needs positive losses; the smallest output is {worst:g}. Remove or correct "
            'that point, or use transform="linear" (or "auto")',
            value=worst,
        )
    spread = float(np.std(output)) or max(abs(float(np.mean(output))), 1.0)
    centre = float(np.median(output))
    if kind == "score" and output.min() >= 0 and output.max() > 0:
        most, upper = float(output.max()), _upper(output)
        if upper is None or most < LEAST_SHARE:
            return LogScore(SCORE_OFFSET * most)
        return LogOdds(SCORE_OFFSET * most, upper)
    upper = _upper(output) if goal == "max" else None
    if kind == "linear" or (goal == "min" and output.min() < 0):
        known = None if float(output.max()) < LEAST_SHARE else upper
        return Affine(centre, spread) if goal == "min" else Affine(centre, -spread, known)
    if goal == "min":
        return LogFloor(_floor(output, share * floor_shown(output)))
    if upper is None:
        return Affine(centre, -spread)
    return LogFloor(_floor(upper - output, share), upper)


def _upper(score: Array) -> float | None:
    if score.min() < 0:
        return None
    for upper in (1.0, 100.0):
        if score.max() <= upper * (1 + 1e-9):
            return upper
    return None


def floor_shown(loss: Array) -> float:
    """Part of the usual floor that losses of such a range leave room for."""
    smallest = float(loss.min())
    if smallest <= 0:
        return 1.0
    span = math.log(float(np.median(loss)) / smallest)
    full, none = math.log(WITH_FLOOR), math.log(WITHOUT_FLOOR)
    return float(np.clip((none - span) / (none - full), 0.0, 1.0))


def _floor(u: Array, share: float) -> float:
    smallest = float(u.min())
    if smallest > 0:
        return share * smallest
    # Zeros are allowed: an offset of a small typical value keeps them finite.
    positive = u[u > 0]
    return -0.1 * float(np.quantile(positive, 0.1)) if positive.size else -1.0


def transform_from(description: dict[str, Any]) -> OutputTransform:
    """The transform that `to_dict` described."""
    kinds = {item.__name__: item for item in (LogFloor, LogScore, LogOdds, Affine)}
    arguments = {key: value for key, value in description.items() if key != "kind"}
    return kinds[description["kind"]](**arguments)


def log_slope(transform: OutputTransform, output: Array) -> Array:
    """Logarithm of |dy/d output|, the Jacobian that makes evidences of different transforms comparable."""
    if isinstance(transform, LogFloor | LogScore):
        return -transform.forward(output)
    if isinstance(transform, LogOdds):
        score = np.clip(output, 0.0, transform.upper)
        return np.log(1 / (score + transform.offset) + 1 / (transform.upper - score + transform.offset))
    assert isinstance(transform, Affine)
    return np.full(np.shape(output), -math.log(abs(transform.spread)))
