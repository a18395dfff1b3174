"""Learning-rate schedules, and what schedule-aware laws read off them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import LawError
from probscale.laws.inputs import check_keywords, read_array
from probscale.laws.law import Law

__all__ = ["Schedule", "ScheduleLaw"]

Array = NDArray[np.float64]
WARMUP_PIECES = 8


@dataclass(frozen=True, eq=False)
class Schedule:
    """A learning rate, linear between knots; two knots at one step are a jump.

    Attributes:
        steps: Knots, warm-up included; the rate stays constant after the last one.
        rates: Learning rate at each knot; zero is allowed.

    Example:
        >>> schedule = Schedule.two_stage(3e-4, 9e-5, at=8000, total=16000, warmup=2160)
        >>> bool(schedule.rate(7999) > schedule.rate(8001))
        True
    """

    steps: Array
    rates: Array

    def __post_init__(self) -> None:
        steps = read_array("schedule steps", self.steps, positive=False)
        rates = read_array("learning rate", self.rates, positive=False)
        if steps.shape != rates.shape or steps.ndim != 1 or steps.size == 0:
            raise LawError(
                f"a schedule needs one rate per knot, got {steps.shape} steps and {rates.shape} rates; "
                "pass two equal, non-empty vectors"
            )
        if (rates < 0).any():
            at = int(np.argmax(rates < 0))
            raise LawError(
                f"the learning rate is {rates[at]:g} at step {steps[at]:g}; pass rates of zero or more"
            )
        falls = np.flatnonzero(np.diff(steps) < 0)
        if falls.size:
            at = int(falls[0])
            raise LawError(
                f"schedule steps must not fall; step {steps[at + 1]:g} follows {steps[at]:g}; sort the rows",
                position=at + 1,
            )
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "rates", rates)

    @staticmethod
    def from_log(
        step: ArrayLike, rate: ArrayLike, *, warmup: float = 0.0, jumps: Iterable[float] = ()
    ) -> Schedule:
        """Schedule through logged rates, linear in between.

        Args:
            step: Logged steps, rising.
            rate: Learning rate at each.
            warmup: Steps of linear warm-up from zero; rows before its end are replaced by it.
            jumps: Logged steps at which the rate took its new value at once.

        Raises:
            LawError: if rates are not positive, steps fall, or a jump was not logged.
        """
        steps = read_array("step", step, positive=False).ravel()
        rates = read_array("learning rate", rate).ravel()
        keep = steps > warmup
        steps, rates = steps[keep], rates[keep]
        for jump in jumps:
            at = int(np.searchsorted(steps, jump))
            if at == 0 or at >= steps.size or steps[at] != jump:
                raise LawError(
                    f"no step {jump:g} was logged for the jump; pass a logged step after the first", jump=jump
                )
            steps, rates = np.insert(steps, at, jump), np.insert(rates, at, rates[at - 1])
        return _warmed(warmup, steps, rates)

    @staticmethod
    def constant(peak: float, *, warmup: float = 0.0) -> Schedule:
        """Linear warm-up, then a constant rate."""
        return _warmed(warmup, np.array([warmup]), np.array([peak]))

    @staticmethod
    def two_stage(peak: float, low: float, *, at: float, total: float, warmup: float = 0.0) -> Schedule:
        """A constant rate that jumps to another at one step."""
        return _warmed(warmup, np.array([at, at, total]), np.array([peak, low, low]))

    @staticmethod
    def cosine(peak: float, end: float, *, total: float, warmup: float = 0.0, knots: int = 200) -> Schedule:
        """Linear warm-up, then half a cosine from `peak` to `end` at step `total`."""
        shape = (1 + np.cos(np.pi * np.linspace(0, 1, knots))) / 2
        return _warmed(warmup, np.linspace(warmup, total, knots), end + (peak - end) * shape)

    @staticmethod
    def wsd(
        peak: float, end: float, *, decay_from: float, total: float, warmup: float = 0.0, knots: int = 50
    ) -> Schedule:
        """Warm-up, stable, then an exponential decay from `decay_from` to `total`."""
        return _warmed(warmup, np.linspace(decay_from, total, knots), np.geomspace(peak, end, knots))

    def rate(self, step: ArrayLike) -> Array:
        """Learning rate after a given step."""
        at = np.asarray(step, dtype=np.float64)
        index, after = self._piece(at)
        length = self.steps[after] - self.steps[index]
        share = np.clip((at - self.steps[index]) / np.where(length > 0, length, np.inf), 0, 1)
        return self.rates[index] + share * (self.rates[after] - self.rates[index])

    def area(self, step: ArrayLike) -> Array:
        """Sum of the learning rate up to a given step, warm-up included."""
        at = np.asarray(step, dtype=np.float64)
        lengths = np.diff(self.steps)
        totals = np.r_[0.0, np.cumsum(lengths * (self.rates[1:] + self.rates[:-1]) / 2)]
        index, _ = self._piece(at)
        since = at - self.steps[index]
        return totals[index] + since * (self.rates[index] + self.rate(at)) / 2

    def _piece(self, at: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Knots on both sides of each step."""
        last = self.steps.size - 1
        index = np.clip(np.searchsorted(self.steps, at, side="right") - 1, 0, last)
        return index, np.minimum(index + 1, last)

    def features(self, step: Array) -> dict[str, Array]:
        """Area and, per change of the rate so far, its drop, the rate there, the area and the steps since.

        Each linear piece counts as one change at its middle (the elapsed part of it, for the piece under
        way).

        Returns:
            `area` (points,); `drops`, `rates`, `areas`, `ages` (points, changes).

        Cost: O(points × knots).
        """
        starts, ends = self.steps[:-1], self.steps[1:]
        change = self.rates[:-1] - self.rates[1:]
        pieces = np.flatnonzero(change)
        starts, ends, change = starts[pieces], ends[pieces], change[pieces]
        length = ends - starts
        at = step[:, None]
        jump = length == 0
        elapsed = np.where(jump, at >= ends, np.clip((at - starts) / np.where(jump, 1.0, length), 0, 1))
        middle = starts + elapsed * length / 2
        area = self.area(step)
        rates = np.where(jump, self.rates[pieces + 1], self.rates[pieces] - change * elapsed / 2)
        return {
            "area": area,
            "drops": change * elapsed,
            "rates": rates,
            "areas": np.where(elapsed > 0, np.maximum(area[:, None] - self.area(middle), 0.0), 0.0),
            "ages": np.where(elapsed > 0, np.maximum(at - middle, 0.0), 0.0),
        }


def _warmed(warmup: float, steps: Array, rates: Array) -> Schedule:
    """Prepend a linear warm-up from zero, in pieces fine enough for the rate within each to matter."""
    if warmup <= 0:
        return Schedule(steps, rates)
    ramp = np.linspace(0, 1, WARMUP_PIECES + 1)
    return Schedule(np.r_[warmup * ramp, steps], np.r_[rates[0] * ramp, rates])


class ScheduleLaw(Law):
    """A law of the step under a learning-rate schedule.

    Inputs are `step`, one per point, and `schedule`: one `Schedule` for all points, or one per point.
    """

    inputs = ("step", "schedule")

    def evaluate(self, values: Mapping[str, Any], **inputs: Any) -> Any:
        """Output of the law at given steps of given schedules, with the parameters checked."""
        self.check_values(values)
        return self.formula(values, **(self.prepare(inputs) if "schedule" in inputs else inputs))

    def prepare(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Schedule features of each point; rows with fewer changes are padded with drops of zero."""
        check_keywords(self.name, self.inputs, raw)
        step = read_array("step", raw["step"])
        schedules = _per_point(self.name, raw["schedule"], step.size)
        flat, unique = step.ravel(), {id(one): one for one in schedules}
        owner = np.array([id(one) for one in schedules])
        parts = {key: (owner == key, one.features(flat[owner == key])) for key, one in unique.items()}
        width = max(part["drops"].shape[1] for _, part in parts.values())
        found = {"area": np.empty(flat.size)} | {
            name: np.full((flat.size, width), fill)
            for name, fill in (("drops", 0.0), ("rates", 1.0), ("areas", 0.0), ("ages", 0.0))
        }
        for rows, part in parts.values():
            found["area"][rows] = part["area"]
            for name in ("drops", "rates", "areas", "ages"):
                found[name][rows, : part[name].shape[1]] = part[name]
        return {name: array.reshape(step.shape + array.shape[1:]) for name, array in found.items()}

    def scale(self, inputs: Mapping[str, Array]) -> Array:
        """Sum of the learning rate so far."""
        return inputs["area"]


def _per_point(law: str, schedule: Any, n: int) -> Sequence[Schedule]:
    schedules = [schedule] * n if isinstance(schedule, Schedule) else list(schedule)
    if len(schedules) != n or not all(isinstance(one, Schedule) for one in schedules):
        raise LawError(
            f"law {law!r} needs a probscale.laws.Schedule, or a sequence with one per step; got "
            f"{len(schedules)} "
            f"entries of {type(schedules[0]).__name__ if schedules else 'nothing'} for {n} steps; build "
            f"them with "
            "Schedule.from_log, .cosine, .wsd, .two_stage or .constant",
            law=law,
        )
    return schedules
