"""Carrying out increments: in this process, or by any `concurrent.futures.Executor`, with timeouts."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from probscale.ledger import exclusive

Runner: TypeAlias = Callable[[dict[str, Any], float, Any], tuple[Sequence[tuple[float, float]], Any]]
"""points, state = runner(config, until, state): trains on from `state`, None at first, up to `until`."""

LOOK = 0.2
"""Seconds between two looks at running increments, where timeouts make looks necessary."""


@dataclass(frozen=True)
class Job:
    """One increment: arguments of the runner, and the file whose lock its worker holds."""

    run: int
    config: Mapping[str, Any]
    until: float
    state: Any
    lock: Path


@dataclass(frozen=True)
class Outcome:
    """What came of a job: the runner's value, or what went wrong.

    Attributes:
        run: Run of the job.
        value: What the runner returned.
        problem: "", "raised", "timeout" or "lost" (the worker died).
        message: The exception in one line.
        trace: Its traceback.
        seconds: Wall-clock time.
    """

    run: int
    value: Any = None
    problem: str = ""
    message: str = ""
    trace: str = ""
    seconds: float = 0.0


class Workers:
    """Runs jobs side by side; a hanging or dying worker does not stop the others.

    Args:
        runner: The user's runner.
        executor: An executor, a function that makes one, or None for this process.
        timeout: Seconds a job may run, or None.
    """

    def __init__(
        self, runner: Runner, executor: Executor | Callable[[], Executor] | None, timeout: float | None
    ) -> None:
        self._runner = runner
        self._make = None if executor is None or isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else None
        if self._make is not None:
            self._executor = self._make()
        self._timeout = timeout
        self._given_up = 0

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Outcomes of jobs as they come in."""
        waiting = list(jobs)
        while waiting:
            if self._executor is None:
                yield self._here(waiting.pop(0))
                continue
            finished: set[int] = set()
            for outcome in self._submitted(waiting):
                finished.add(outcome.run)
                yield outcome
            waiting = [job for job in waiting if job.run not in finished]

    def close(self) -> None:
        """Shut down an executor that was made here."""
        if self._make is not None and self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _submitted(self, jobs: list[Job]) -> Iterator[Outcome]:
        """Outcomes of the executor; stops early, with the executor replaced, if it no longer takes jobs."""
        assert self._executor is not None
        futures: dict[Future[Outcome], Job] = {}
        try:
            for job in jobs:
                futures[self._executor.submit(work, self._runner, job, _here_and_now())] = job
        except (BrokenExecutor, RuntimeError) as error:
            yield from self._lost(futures, error)
            return
        started: dict[Future[Outcome], float] = {}
        quiet = time.monotonic()
        while futures:
            done, _ = wait(
                futures, timeout=None if self._timeout is None else LOOK, return_when=FIRST_COMPLETED
            )
            for future in done:
                job = futures.pop(future)
                error = future.exception()
                if isinstance(error, BrokenExecutor):
                    yield from self._lost({future: job, **futures}, error)
                    return
                quiet = time.monotonic()
                yield (
                    future.result()
                    if error is None
                    else _raised(job, error, quiet - started.get(future, quiet))
                )
            if self._timeout is None:
                continue
            now = time.monotonic()
            for future in [future for future in futures if future.running()]:
                if now - started.setdefault(future, now) > self._timeout:
                    quiet = now
                    self._given_up += 1
                    yield _timed_out(futures.pop(future), self._timeout)
            if self._given_up and now - quiet > self._timeout and not any(f in started for f in futures):
                # Every place seems taken by workers that were given up: what is queued would never start.
                for future in [future for future in futures if future.cancel()]:
                    del futures[future]
                self._replace()

    def _lost(self, futures: Mapping[Future[Outcome], Job], error: BaseException) -> Iterator[Outcome]:
        """Jobs that were with a broken executor: any of them may have broken it."""
        self._replace()
        for job in futures.values():
            yield Outcome(job.run, problem="lost", message=f"the worker died: {error}")

    def _replace(self) -> None:
        """A new executor where one can be made, else this process."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._make() if self._make is not None else None
        self._given_up = 0

    def _here(self, job: Job) -> Outcome:
        if self._timeout is None:
            return work(self._runner, job, None)
        box: list[Outcome] = []
        # A daemon, so that a hanging runner keeps neither the loop nor the interpreter.
        thread = threading.Thread(target=lambda: box.append(work(self._runner, job, None)), daemon=True)
        thread.start()
        thread.join(self._timeout)
        return box[0] if box else _timed_out(job, self._timeout)


def process_workers(count: int) -> ProcessPoolExecutor:
    """A pool of processes on this machine that end with this one, even if it is killed.

    The workers of a plain ProcessPoolExecutor outlive a killed parent: idle ones for good, others until their
    increment is done. Give `functools.partial(process_workers, count)` as the executor of an allocation.
    """
    return ProcessPoolExecutor(count, initializer=_die_with, initargs=(_here_and_now(),))


def work(runner: Runner, job: Job, driver: tuple[str, int] | None) -> Outcome:
    """Run a job, in whatever process this is.

    The lock keeps a resumed loop from training a run that an orphan of the killed loop is still training.
    """
    if driver is not None:
        _die_with(driver)
    start = time.monotonic()
    local = job.lock.parent.is_dir()
    try:
        with exclusive(job.lock) if local else contextlib.nullcontext():
            value = runner(dict(job.config), job.until, job.state)
    except Exception as error:
        return _raised(job, error, time.monotonic() - start)
    return Outcome(job.run, value, seconds=time.monotonic() - start)


def _raised(job: Job, error: BaseException, seconds: float) -> Outcome:
    trace = "".join(traceback.format_exception(error))[-4000:]
    return Outcome(job.run, None, "raised", f"{type(error).__name__}: {error}", trace, seconds)


def _timed_out(job: Job, timeout: float) -> Outcome:
    return Outcome(job.run, None, "timeout", f"no result after {timeout:g} s", seconds=timeout)


def _here_and_now() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


_watching = threading.Lock()


def _die_with(driver: tuple[str, int]) -> None:
    """End this worker process soon after the loop that drives it was killed, if both are on one machine."""
    host, pid = driver
    if host != socket.gethostname() or pid == os.getpid() or not _watching.acquire(blocking=False):
        return
    threading.Thread(target=_watch, args=(pid, os.getppid()), daemon=True).start()


def _watch(pid: int, parent: int) -> None:
    while _alive(pid) and os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(70)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
