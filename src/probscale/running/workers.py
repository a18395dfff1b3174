"""Increments side by side: in this process, or by any `concurrent.futures.Executor`, with timeouts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from numbers import Real
from typing import Any

from probscale.errors import BudgetError
from probscale.running.increment import Increment, Outcome, Runner, carry_out, lost, raised, timed_out

LOOK = 0.2
"""Seconds between two looks at running increments, where timeouts make looks necessary."""


class Workers:
    """Carries out increments side by side; a hanging or dying worker does not stop the others.

    Args:
        runner: The user's runner.
        executor: An executor, a function that makes one, or None for this process.
        timeout: Seconds an increment may take, or None.

    Raises:
        BudgetError: if the timeout is not positive, or the executor is none.
    """

    def __init__(
        self, runner: Runner, executor: Executor | Callable[[], Executor] | None, timeout: float | None
    ) -> None:
        if timeout is not None and not (isinstance(timeout, Real) and timeout > 0):
            raise BudgetError(f"timeout is {timeout!r}; pass positive seconds, or None for no limit")
        if not (executor is None or isinstance(executor, Executor) or callable(executor)):
            raise BudgetError(
                f"executor is a {type(executor).__name__}; pass a concurrent.futures.Executor, a function "
                "that makes one, or None"
            )
        self._runner = runner
        self._make = None if executor is None or isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else None
        if self._make is not None:
            self._executor = self._make()
        self._timeout = timeout
        self._given_up = 0

    def outcomes(self, jobs: Sequence[Increment]) -> Iterator[Outcome]:
        """Outcomes of increments as they come in."""
        waiting = list(jobs)
        while waiting:
            if self._executor is None:
                yield self._here(waiting.pop(0))
                continue
            finished = set()
            for outcome in self._submitted(waiting):
                finished.add(outcome.run)
                yield outcome
            waiting = [job for job in waiting if job.run not in finished]

    @property
    def processes(self) -> tuple[BaseProcess, ...]:
        """Processes of an executor that was made here, if it has any."""
        if self._make is None:
            return ()
        # No public name before Python 3.14.
        return tuple((getattr(self._executor, "_processes", None) or {}).values())

    def close(self) -> None:
        """Shut down an executor that was made here, with workers that hang."""
        if self._make is not None and self._executor is not None:
            self._shut_down(self._executor)

    def _submitted(self, jobs: list[Increment]) -> Iterator[Outcome]:
        """Outcomes of the executor; stops early, with the executor replaced, if it no longer takes jobs."""
        assert self._executor is not None
        futures: dict[Future[Outcome], Increment] = {}
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
                    else raised(job, error, quiet - started.get(future, quiet))
                )
            if self._timeout is None:
                continue
            now = time.monotonic()
            for future in [future for future in futures if future.running()]:
                if now - started.setdefault(future, now) > self._timeout:
                    quiet = now
                    # An executor that can end what runs has its place back; others keep it taken.
                    self._given_up += not future.cancel()
                    yield timed_out(futures.pop(future), self._timeout)
            if self._given_up and now - quiet > self._timeout and not any(f in started for f in futures):
                # Every place seems taken by workers that were given up: what is queued would never start.
                for future in [future for future in futures if future.cancel()]:
                    del futures[future]
                self._replace()

    def _lost(self, futures: Mapping[Future[Outcome], Increment], error: BaseException) -> Iterator[Outcome]:
        """Increments that were with a broken executor: any of them may have broken it."""
        self._replace()
        for job in futures.values():
            yield lost(job, error)

    def _replace(self) -> None:
        """A new executor where one can be made, else this process."""
        if self._executor is not None:
            self._shut_down(self._executor)
        self._executor = self._make() if self._make is not None else None
        self._given_up = 0

    def _shut_down(self, executor: Executor) -> None:
        hanging = self.processes if self._given_up else ()
        executor.shutdown(wait=False, cancel_futures=True)
        for process in hanging:
            # At its exit the interpreter would wait for a worker that hangs.
            process.terminate()

    def _here(self, job: Increment) -> Outcome:
        if self._timeout is None:
            return carry_out(self._runner, job)
        box: list[Outcome] = []
        # A daemon, so that a hanging runner keeps neither the loop nor the interpreter.
        thread = threading.Thread(target=lambda: box.append(carry_out(self._runner, job)), daemon=True)
        thread.start()
        thread.join(self._timeout)
        return box[0] if box else timed_out(job, self._timeout)


def process_workers(count: int, method: str | None = None) -> ProcessPoolExecutor:
    """A pool of processes on this machine that end with this one, even if it is killed.

    The workers of a plain ProcessPoolExecutor outlive a killed parent: idle ones for good, others until their
    increment is done. Give `functools.partial(process_workers, count)` as the executor of an allocation.

    Ctrl-C ends them without a word once they wait or train; while they start, only "spawn" keeps them from
    writing tracebacks.

    Args:
        count: Processes.
        method: How they start: "fork", "forkserver" or "spawn"; None for Python's own choice. Forked ones
            know functions that no module holds, but inherit the state of threads that did not come along.
    """
    context = _DeafContext() if method == "spawn" else multiprocessing.get_context(method)
    return ProcessPoolExecutor(count, context, initializer=_await_work, initargs=(_here_and_now(),))


@contextmanager
def computing_workers(
    count: int, initializer: Callable[..., object], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes for work of our own, which end with the block: at once, if it is left by an exception.

    Ctrl-C reaches all processes of a terminal. These do not hear it, not even while they start: their driver
    does, and ends them.

    Args:
        count: Processes.
        initializer: What each calls first.
        arguments: Of the initializer.
    """
    context = _DeafContext()
    executor = ProcessPoolExecutor(
        count, context, initializer=_begin, initargs=(_here_and_now(), initializer, arguments)
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        # Python 3.11 complains of workers that end while cancelled calls are not yet out of its books.
        time.sleep(LOOK)
        for process in context.made:
            if process.is_alive():
                process.terminate()
        raise
    executor.shutdown()


class _DeafProcess(SpawnProcess):
    """A process that is born with interrupts blocked: what blocks them later would not be there in time."""

    def start(self) -> None:
        if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover - Windows
            return super().start()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _DeafContext(SpawnContext):
    """Makes such processes, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[BaseProcess] = []

    def Process(  # noqa: N802 # pyright: ignore[reportIncompatibleVariableOverride]
        self, *args: Any, **kwargs: Any
    ) -> BaseProcess:
        self.made.append(_DeafProcess(*args, **kwargs))
        return self.made[-1]


def _begin(driver: tuple[str, int], initializer: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    _die_with(driver)
    initializer(*arguments)


def work(runner: Runner, job: Increment, driver: tuple[str, int]) -> Outcome:
    """Carry out an increment in a worker, which ends soon after the process that drives it."""
    _die_with(driver)
    if signal.getsignal(signal.SIGINT) is not _end_quietly:
        return carry_out(runner, job)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return carry_out(runner, job)
    except KeyboardInterrupt:
        # The loop hears of it by itself, or of a lost worker. Back at the queue, another that ended in the
        # middle of a message might have left half of it.
        sys.stdout.flush()
        os._exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, _end_quietly)


def _await_work(driver: tuple[str, int]) -> None:
    """Begin a worker that ctrl-C ends without a word, but for one that trains: there the runner hears it."""
    _die_with(driver)
    # An exception of this function would be logged; no lock is held yet.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, _end_quietly)


def _end_quietly(number: int, frame: object) -> None:
    # Not `os._exit`: a worker that waits holds the lock of the queue, without which others wait for ever.
    raise SystemExit(128 + number)


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
