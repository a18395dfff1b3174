"""Output transforms: from user units to the scale on which curves are nearly Gaussian, and back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from probscale.errors import RunLogError

Array = NDArray[np.float64]

# Share of the smallest loss that the transform itself subtracts. A law learns the rest of its floor; a plane
# has none of its own, so there the transform subtracts what published laws would.
FLOOR_SHARE = 0.3
FINALS_FLOOR_SHARE = 0.0
PLANE_FLOOR_SHARE = 0.6

# Offset of the logarithm of scores, as a share of the largest.
SCORE_OFFSET = 0.02

# Scores that are all below this may be out of a hundred as well as out of one.
LEAST_SHARE = 0.2


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
        return f"log({shown} {'-' if self.floor >= 0 else '+'} {abs(self.floor):.4g})"

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
        return self._from_u(self.floor + np.exp(np.minimum(location + _moderate(variance) / 2, 700.0)))

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        # E (e^y - e^m)² for y ~ N(m, v), written so that small v does not cancel.
        v = _moderate(variance)
        return np.exp(np.minimum(2 * location, 700.0)) * (np.expm1(2 * v) - 2 * np.expm1(v / 2))

    def _from_u(self, u: Array) -> Array:
        return u if self.upper is None else np.maximum(self.upper - u, 0.0)


def _moderate(variance: Array) -> Array:
    """Variance as far as moments follow it: those of a lognormal wider than e say nothing useful."""
    return np.minimum(variance, 1.0)


@final
@dataclass(frozen=True)
class Affine(OutputTransform):
    """y = (output - centre) / spread, for signed outputs; for scores the sign is turned."""

    centre: float
    spread: float

    @property
    def name(self) -> str:  # noqa: D102
        return f"(output - {self.centre:.4g}) / {self.spread:.4g}"

    @property
    def rising(self) -> bool:  # noqa: D102
        return self.spread > 0

    def forward(self, output: Array) -> Array:  # noqa: D102
        return (output - self.centre) / self.spread

    def inverse(self, value: Array) -> Array:  # noqa: D102
        return self.centre + self.spread * value

    def mean(self, location: Array, variance: Array) -> Array:  # noqa: D102
        return self.inverse(location)

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        return self.spread**2 * variance


@final
@dataclass(frozen=True)
class LogScore(OutputTransform):
    """y = log(score + offset), for scores whose effects multiply: a poor source language halves every score.

    Attributes:
        offset: Added before the logarithm, so that zeros stay finite.
        upper: Best possible score, which no forecast exceeds; None where it is not known.
    """

    offset: float
    upper: float | None = None

    @property
    def name(self) -> str:  # noqa: D102
        return f"log(score + {self.offset:.4g})"

    @property
    def rising(self) -> bool:  # noqa: D102
        return True

    def forward(self, output: Array) -> Array:  # noqa: D102
        return np.log(np.maximum(output, 0.0) + self.offset)

    def inverse(self, value: Array) -> Array:  # noqa: D102
        return np.clip(np.exp(np.minimum(value, 700.0)) - self.offset, 0.0, self.upper)

    def mean(self, location: Array, variance: Array) -> Array:  # noqa: D102
        return self.inverse(location + _moderate(variance) / 2)

    def second_moment(self, location: Array, variance: Array) -> Array:  # noqa: D102
        moment = LogFloor(0.0).second_moment(location, variance)
        return moment if self.upper is None else np.minimum(moment, self.upper**2)


def choose_transform(
    output: Array, goal: str, *, kind: str = "auto", share: float = FLOOR_SHARE
) -> OutputTransform:
    """Transform that suits an output.

    Args:
        output: Training outputs, user units, finite.
        goal: "min" or "max".
        kind: "auto", "log" (insist on log(loss - floor)), "score" (log(score + offset)) or "linear".
        share: Floor of the transform, as a share of the smallest loss.

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
        return LogScore(SCORE_OFFSET * most, None if most < LEAST_SHARE else upper)
    if kind == "linear" or (goal == "min" and output.min() < 0):
        return Affine(centre, spread if goal == "min" else -spread)
    if goal == "min":
        return LogFloor(_floor(output, share))
    upper = _upper(output)
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


def _floor(u: Array, share: float) -> float:
    smallest = float(u.min())
    if smallest > 0:
        return share * smallest
    # Zeros are allowed: an offset of a small typical value keeps them finite.
    positive = u[u > 0]
    return -0.1 * float(np.quantile(positive, 0.1)) if positive.size else -1.0


def transform_from(description: dict[str, Any]) -> OutputTransform:
    """The transform that `to_dict` described."""
    kinds = {"LogFloor": LogFloor, "LogScore": LogScore, "Affine": Affine}
    arguments = {key: value for key, value in description.items() if key != "kind"}
    return kinds[description["kind"]](**arguments)


def log_slope(transform: OutputTransform, output: Array) -> Array:
    """Logarithm of |dy/d output|, the Jacobian that makes evidences of different transforms comparable."""
    if isinstance(transform, LogFloor | LogScore):
        return -transform.forward(output)
    assert isinstance(transform, Affine)
    return np.full(np.shape(output), -math.log(abs(transform.spread)))
