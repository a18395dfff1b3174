"""One increment of training: the call of a user's runner, and what came of it as a value."""

from __future__ import annotations

import contextlib
import json
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from probscale.errors import BudgetError
from probscale.ledger import exclusive

Points: TypeAlias = list[tuple[float, float]]
Runner: TypeAlias = Callable[[dict[str, Any], float, Any], tuple[Sequence[tuple[float, float]], Any]]
"""points, state = runner(config, until, state): trains on from `state`, None at first, up to `until`."""

TRACE, MESSAGE = 4000, 1000
"""Characters of a traceback that are kept, whose end says most, and of a message, whose beginning does."""


@dataclass(frozen=True)
class Increment:
    """Arguments of one call of the runner.

    Attributes:
        run: Name or number of the run.
        config: Its configuration.
        until: Axis value to train to.
        state: What the runner returned last; None at first.
        lock: File whose lock is held during the call, so that a resumed loop does not train a run that an
            orphan of the killed loop is still training; None for none.
    """

    run: Any
    config: Mapping[str, Any]
    until: float
    state: Any
    lock: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of an increment: what the runner returned, or what went wrong.

    Attributes:
        run: Run of the increment.
        points: (axis value, output) as returned, the axis rising.
        state: State to resume from.
        problem: "", "raised", "invalid" (not what a runner must return), "stalled" (no further than before),
            "timeout" or "lost" (the worker died).
        message: The problem in one line.
        trace: Traceback of an exception.
        seconds: Wall-clock time.
    """

    run: Any
    points: Sequence[tuple[float, float]] = ()
    state: Any = None
    problem: str = ""
    message: str = ""
    trace: str = ""
    seconds: float = 0.0


def check_runner(runner: object) -> None:
    """Refuse what cannot be called.

    Raises:
        BudgetError: then.
    """
    if not callable(runner):
        raise BudgetError(
            f"the runner must be callable as runner(config, until, state), got {type(runner).__name__}"
        )


def carry_out(runner: Runner, job: Increment) -> Outcome:
    """Call the runner and check what it returns, in whatever process this is."""
    start = time.monotonic()
    # On another machine the folder of the locks may not exist; the loop's own workers then keep runs apart.
    local = job.lock is not None and job.lock.parent.is_dir()
    try:
        with exclusive(job.lock) if local and job.lock else contextlib.nullcontext():
            value = runner(dict(job.config), job.until, job.state)
    except (Exception, SystemExit) as error:
        # Scripts leave by sys.exit where a loop must go on.
        return raised(job, error, time.monotonic() - start)
    seconds = time.monotonic() - start
    try:
        points, state = returned(value)
    except ValueError as error:
        return Outcome(job.run, problem="invalid", message=str(error), seconds=seconds)
    return Outcome(job.run, points, state, seconds=seconds)


def returned(value: Any) -> tuple[Points, Any]:
    """Points and state of what a runner returned, the state as a ledger gives it back after a kill.

    Raises:
        ValueError: if the value is not (points, state), the axis does not rise from at least 0, or the state
            is not JSON.
    """
    try:
        points, state = value
        table = [(float(at), float(output)) for at, output in points]
    except (TypeError, ValueError):
        raise ValueError(
            f"the runner returned {_short(value)}; it must return (points, state) with "
            "points = [(axis value, output), ...]"
        ) from None
    places = [at for at, _ in table]
    if not all(map(math.isfinite, places)) or any(b <= a for a, b in pairwise(places)):
        raise ValueError(
            f"the runner returned axis values that do not rise: {_short(places)}; points must be in order "
            "of the axis, each value once"
        )
    if places and places[0] < 0:
        raise ValueError(f"the runner returned a point at {places[0]:g}; the axis begins at 0")
    try:
        return table, json.loads(json.dumps(state, default=_number))
    except (TypeError, ValueError):
        raise ValueError(
            f"the runner returned the state {_short(state)}, which is not JSON; return a path or numbers"
        ) from None


def _number(value: Any) -> Any:
    """A number or an array of numpy, or one of its relatives, as JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def raised(job: Increment, error: BaseException, seconds: float) -> Outcome:
    """Outcome of an increment that raised."""
    trace = "".join(traceback.format_exception(error))[-TRACE:]
    message = f"{type(error).__name__}: {error}"
    message = message if len(message) <= MESSAGE else message[: MESSAGE - 3] + "..."
    return Outcome(job.run, problem="raised", message=message, trace=trace, seconds=seconds)


def timed_out(job: Increment, timeout: float) -> Outcome:
    """Outcome of an increment that was given up."""
    return Outcome(job.run, problem="timeout", message=f"no result after {timeout:g} s", seconds=timeout)


def lost(job: Increment, error: BaseException) -> Outcome:
    """Outcome of an increment whose worker died, or may have."""
    return Outcome(job.run, problem="lost", message=f"the worker died: {error}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
