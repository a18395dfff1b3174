"""How far an increment brought a run, from what its runner returned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from probscale.running.increment import Outcome, Points


@dataclass(frozen=True)
class Advance:
    """What an increment added to a run.

    Attributes:
        points: New (axis value, output), the axis rising.
        state: State to resume from.
        reached: Axis value the run was trained to.
        diverged: Whether the output is no longer finite.
    """

    points: Points
    state: Any
    reached: float
    diverged: bool


def advance(outcome: Outcome, until: float, *, axis: str, reached: float, seen: float) -> Advance:
    """What an outcome without a problem adds to a run.

    A run has reached the value of `axis` in the state, if the state is a mapping with one, else `until`; or
    the last point, if that is later. A run whose output is no longer finite stops at that point.

    Args:
        outcome: What the runner returned.
        until: Axis value it was asked for.
        axis: Name of the axis.
        reached: Axis value reached before.
        seen: Last axis value observed before, -inf for none; points up to it are left out, so that a runner
            may return the whole curve each time.
    """
    fresh = [(at, output) for at, output in outcome.points if at > seen]
    diverged = bool(fresh) and not math.isfinite(fresh[-1][1])
    if diverged:
        end = fresh[-1][0]
    elif isinstance(outcome.state, Mapping) and _is_number(outcome.state.get(axis)):
        end = float(outcome.state[axis])
    else:
        end = until
    last = [at for at, _ in outcome.points[-1:] if not diverged]
    return Advance(fresh, outcome.state, max([end, reached, *last]), diverged)


def unless_stalled(outcome: Outcome, until: float, *, axis: str, reached: float) -> Outcome:
    """The outcome, or a failure in its place if the runner says that the run is no further than before.

    Paid with nothing, such an increment would be ordered again without end.
    """
    state = outcome.state
    if outcome.problem or not isinstance(state, Mapping) or not _is_number(state.get(axis)):
        return outcome
    if state[axis] > reached or (outcome.points and outcome.points[-1][0] > reached):
        return outcome
    message = (
        f"the runner was asked for {axis} {until:g} and returned the state {axis} {state[axis]:g}, "
        f"no further than {reached:g} before; train on, or leave {axis!r} out of the state"
    )
    return replace(outcome, points=(), state=None, problem="stalled", message=message)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
