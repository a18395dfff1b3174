"""How one column of a configuration becomes numbers: its scale, its centre, what a missing value means."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scale = Literal["log", "log1p", "complement", "linear"]

WIDE_RATIO = 3.0
MISSING = "missing"
"""Label of a value that was not given."""


@dataclass(frozen=True)
class NumericField:
    """A number that enters as a standardised coordinate.

    Attributes:
        name: Column.
        scale: "log" for positive and wide, "log1p" for wide with zeros, "complement" (-log(1 - x)) for
            fractions that crowd below one, such as momentum, else "linear".
        unit: Smallest positive training value, the unit of "log1p".
        centre: Mean on that scale, which also stands for missing values.
        spread: Standard deviation on that scale.
        lower: Smallest training value, in user units.
        upper: Largest training value, in user units.
        marks_missing: Whether a second coordinate says that the value was not given.
        repeats: Whether the number says which repetition a run is, not how much of something; a number
            that the scale does not hold, such as a seed of zero, is then like one not given.
    """

    name: str
    scale: Scale
    unit: float
    centre: float
    spread: float
    lower: float
    upper: float
    marks_missing: bool = False
    repeats: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Coordinates this field brings."""
        return (self.name, f"{self.name} missing") if self.marks_missing else (self.name,)

    def raw(self, values: Any) -> Array:
        """Values on the field's scale, not standardised; NaN where missing or outside its domain."""
        return rescale(to_numbers(values), self.scale, self.unit)

    def apply(self, values: Any) -> Array:
        """Standardised coordinates, shape (rows, 1 or 2)."""
        raw = self.raw(values)
        missing = ~np.isfinite(raw if self.repeats else to_numbers(values))
        # No logarithm reaches a dropout of zero: what a scale does not hold lies one spread beyond its end.
        raw = np.where(np.isnan(raw), self._end, raw)
        z = np.where(missing, 0.0, (raw - self.centre) / self.spread)
        # Far queries stay finite and ordered; a kernel sees no difference beyond a dozen spreads.
        z = np.clip(z, -50.0, 50.0)
        return np.stack([z, missing * 2.0], axis=1) if self.marks_missing else z[:, None]

    def restore(self, z: Array) -> Array:
        """Values of standardised coordinates, shape (rows,), in user units."""
        return unscale(self.centre + self.spread * z, self.scale, self.unit)

    @property
    def _end(self) -> float:
        """One spread beyond the last training value towards what the scale does not hold."""
        lower, upper = rescale(np.array([self.lower, self.upper]), self.scale, self.unit)
        return float(upper + self.spread if self.scale == "complement" else lower - self.spread)

    def outside(self, values: Any) -> NDArray[np.bool_]:
        """Which rows lie beyond the range of the training values."""
        numbers = to_numbers(values)
        return (numbers < self.lower) | (numbers > self.upper)


@dataclass(frozen=True)
class CategoricalField:
    """A label that enters through equality and, with an embedder, through the distance between texts.

    Attributes:
        name: Column.
        values: Training values, in order of first appearance, as text.
        level: Whether the column is a declared level of the task hierarchy.
        of: Instead of one column, those whose values make up the label, in whatever order; see `unordered`.
    """

    name: str
    values: tuple[str, ...]
    level: bool = False
    of: tuple[str, ...] = ()


def to_numbers(values: Any) -> Array:
    """Float64 array of a column; NaN where a value is missing or not a number."""
    if isinstance(values, pd.Series):
        return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(values, dtype=np.float64)


def rescale(numbers: Array, scale: Scale, unit: float) -> Array:
    """Numbers on a field's scale; outside its domain NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale == "log":
            return np.log(np.where(numbers > 0, numbers, np.nan))
        if scale == "log1p":
            return np.log1p(np.where(numbers >= 0, numbers, np.nan) / unit)
        if scale == "complement":
            return -np.log(np.where(numbers < 1, 1 - numbers, np.nan))
        return numbers.astype(np.float64)


def unscale(raw: Array, scale: Scale, unit: float) -> Array:
    """Numbers of values on a field's scale: the inverse of `rescale`.

    >>> unscale(rescale(np.array([0.9, 0.99]), "complement", 1.0), "complement", 1.0)
    array([0.9 , 0.99])
    """
    if scale == "log":
        return np.exp(raw)
    if scale == "log1p":
        return unit * np.expm1(raw)
    if scale == "complement":
        return -np.expm1(-raw)
    return raw


def choose_scale(numbers: Array) -> tuple[Scale, float]:
    """Scale on which a column is closest to evenly spread, and its unit."""
    finite = numbers[np.isfinite(numbers)]
    positive = finite[finite > 0]
    unit = float(positive.min()) if positive.size else 1.0
    if finite.min() > 0.4 and finite.max() < 1 and finite.max() > 0.89:
        return "complement", unit
    if finite.min() > 0 and finite.max() / finite.min() >= WIDE_RATIO:
        return "log", unit
    if finite.min() == 0 and positive.size and positive.max() / unit >= WIDE_RATIO**2:
        return "log1p", unit
    return "linear", unit


def numeric_field(
    name: str,
    values: Any,
    *,
    marks_missing: bool = False,
    scale: Scale | None = None,
    repeats: bool = False,
) -> NumericField | None:
    """Field of a numeric column, or None when it says nothing (constant, or never given)."""
    numbers = to_numbers(values)
    finite = numbers[np.isfinite(numbers)]
    if finite.size == 0:
        return None
    constant = bool(np.ptp(finite) <= 1e-12 * np.abs(finite).max())
    if constant and not marks_missing:
        return None
    chosen, unit = choose_scale(numbers)
    scale = scale or chosen
    raw = rescale(finite, scale, unit)
    spread = 1.0 if constant else float(raw.std())
    bounds = float(finite.min()), float(finite.max())
    return NumericField(name, scale, unit, float(raw.mean()), spread, *bounds, marks_missing, repeats)


def unordered(columns: Sequence[Sequence[str]]) -> list[str]:
    """Labels of what several columns say in whatever order: German-English is English-German."""
    return [" & ".join(sorted(values)) for values in zip(*columns, strict=True)]


def label(value: Any) -> str:
    """Canonical text of a categorical value: 8, 8.0 and numpy's 8 are one label; missing is "missing"."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return MISSING
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.integer | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return str(value)


def label_code(text: str) -> float:
    """A label as a number that equality survives: the same in every process, exact in float64."""
    return float(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "little"))
