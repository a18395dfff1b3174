"""Carrying out increments of training: the runner's value, or what went wrong, as a value."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

Points: TypeAlias = list[tuple[float, float]]
Runner: TypeAlias = Callable[[dict[str, Any], float, Any], tuple[Sequence[tuple[float, float]], Any]]
"""points, state = runner(config, until, state): trains from `state` (None first) until the axis is there."""

LOOK = 0.2
"""Seconds between looks at running increments."""


@dataclass(frozen=True)
class Increment:
    """Arguments of one call of the runner, for a named run."""

    run: Any
    config: Mapping[str, Any]
    until: float
    state: Any


@dataclass(frozen=True)
class Outcome:
    """What came of an increment.

    Attributes:
        run: Run it belongs to.
        points: Points returned, the axis rising.
        state: State to resume from.
        problem: "", "raised", "invalid" (not what a runner must return) or "timeout".
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


def run_increments(
    runner: Runner, jobs: Sequence[Increment], executor: Executor | None, timeout: float | None
) -> Iterator[Outcome]:
    """Outcomes as they come in; a failing or hanging increment does not stop the others."""
    if executor is None:
        for job in jobs:
            yield carry_out(runner, job)
        return
    waiting: dict[Future[Outcome], Increment] = {}
    for job in jobs:
        try:
            waiting[executor.submit(carry_out, runner, job)] = job
        except RuntimeError as error:
            yield _failed(job, error, 0.0)
    limit = math.inf if timeout is None else timeout
    started: dict[Future[Outcome], float] = {}
    quiet = time.monotonic()
    while waiting:
        done, _ = wait(waiting, None if timeout is None else LOOK, return_when=FIRST_COMPLETED)
        now = time.monotonic()
        for future in done:
            job, error, quiet = waiting.pop(future), future.exception(), now
            yield future.result() if error is None else _failed(job, error, now - started.get(future, now))
        late = [f for f in waiting if f.running() and now - started.setdefault(f, now) > limit]
        if waiting and not any(future in started for future in waiting) and now - quiet > limit:
            # Every worker is held by an increment that was given up: what is queued will not start.
            late = [future for future in waiting if future.cancel()]
        for future in late:
            quiet = now
            yield _given_up(waiting.pop(future), limit)


def carry_out(runner: Runner, job: Increment) -> Outcome:
    """Call the runner and check what it returns, in whatever process this is."""
    start = time.monotonic()
    try:
        value = runner(dict(job.config), job.until, job.state)
    except Exception as error:
        return _failed(job, error, time.monotonic() - start)
    seconds = time.monotonic() - start
    try:
        points, state = _checked(value)
    except (TypeError, ValueError) as error:
        return Outcome(job.run, problem="invalid", message=str(error), seconds=seconds)
    return Outcome(job.run, points, state, seconds=seconds)


def _checked(value: Any) -> tuple[Points, Any]:
    try:
        points, state = value
        table = [(float(at), float(output)) for at, output in points]
    except (TypeError, ValueError):
        raise ValueError(
            f"the runner returned {_short(value)}; it must return (points, state) with points = "
            "[(axis value, output), ...]"
        ) from None
    places = [at for at, _ in table]
    rising = all(b > a for a, b in pairwise(places))
    if not rising or not all(map(math.isfinite, places)):
        raise ValueError(f"the runner returned axis values that do not rise: {_short(places)}")
    try:
        json.dumps(state)
    except (TypeError, ValueError):
        raise ValueError(
            f"the runner returned the state {_short(state)}, which is not JSON; return numbers or a path"
        ) from None
    return table, state


def _failed(job: Increment, error: BaseException, seconds: float) -> Outcome:
    trace = "".join(traceback.format_exception(error))[-4000:]
    message = f"{type(error).__name__}: {error}"
    return Outcome(job.run, problem="raised", message=message, trace=trace, seconds=seconds)


def _given_up(job: Increment, timeout: float) -> Outcome:
    return Outcome(job.run, problem="timeout", message=f"no result after {timeout:g} s", seconds=timeout)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
