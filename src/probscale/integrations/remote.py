"""Executors whose calls run elsewhere: futures that can end a running call, and one thread that watches."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from probscale.errors import ConfigError


class Task(Protocol):
    """A call handed to a cluster."""

    def stage(self) -> str:
        """How far it is: "queued", "running" or "done"."""
        ...

    def outcome(self) -> Any:
        """Its value once it is done; raises what went wrong."""
        ...

    def end(self) -> None:
        """Take it off the queue, or end its process."""
        ...


class RemoteFuture(Future[Any]):
    """A future whose `cancel` also ends a call that is running."""

    def __init__(self, end: Callable[[RemoteFuture], bool]) -> None:
        super().__init__()
        self._end = end
        self._ended = False

    def cancel(self) -> bool:
        """End the call wherever it is; False if it was done before."""
        return self._end(self)

    def cancelled(self) -> bool:
        """Whether it was ended by `cancel`."""
        return self._ended or super().cancelled()

    def withdraw(self) -> None:
        """Mark as cancelled, running or not."""
        if super().cancel():
            self.set_running_or_notify_cancel()
        else:
            self._ended = True
            self.set_exception(CancelledError())


@dataclass(eq=False)
class Call:
    """A submitted call and, once it was handed over, its task."""

    future: RemoteFuture
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None


class RemoteExecutor(Executor, ABC):
    """A `concurrent.futures.Executor` over a cluster; one thread hands calls over and watches them.

    A future is running once its call has started, so that timeouts count training and not queueing. Ending a
    running future ends its process. `shutdown(cancel_futures=True)`, and the end of the interpreter, also end
    running calls: nobody would be left to read what they return.

    Args:
        workers: Most calls handed over at a time; None for no bound.
        look: Shortest and longest seconds between two looks at the calls.

    Raises:
        ConfigError: if `workers` is below one.
    """

    def __init__(self, workers: int | None, look: tuple[float, float]) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers is {workers}; give at least 1, or None for no bound", workers=workers)
        self._workers = workers
        self._look = look
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._waiting: list[Call] = []
        self._handed: list[Call] = []
        self._closing = False
        self._released = False
        self._broken: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._at_exit = _end_with_interpreter(weakref.ref(self))

    @abstractmethod
    def _hand_over(self, calls: Sequence[Call]) -> list[Task]:
        """Give calls to the cluster; raises if it takes none any more."""

    @abstractmethod
    def _release(self) -> None:
        """Free what was taken for the executor itself."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule a call.

        Raises:
            RuntimeError: after `shutdown`.
            BrokenExecutor: if the cluster no longer takes calls.
        """
        with self._news:
            if self._broken is not None:
                raise BrokenExecutor(f"the cluster takes no calls: {self._broken}") from self._broken
            if self._closing:
                raise RuntimeError("cannot schedule new futures after shutdown")
            call = Call(RemoteFuture(self._cancelled), fn, args, kwargs)
            self._waiting.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="probscale-remote", daemon=True)
                self._thread.start()
            self._news.notify_all()
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; see the class for what is cancelled."""
        with self._news:
            self._closing = True
            if cancel_futures:
                for call in [*self._waiting, *self._handed]:
                    call.future.cancel()
            self._news.notify_all()
        if self._thread is None:
            self._close()
        elif (wait or cancel_futures) and threading.current_thread() is not self._thread:
            self._thread.join(None if wait else 10.0)

    def _cancelled(self, future: RemoteFuture) -> bool:
        """End the call of a future."""
        with self._news:
            if future.done():
                return future.cancelled()
            for call in [*self._waiting, *self._handed]:
                if call.future is future and call.task is not None:
                    with contextlib.suppress(Exception):
                        call.task.end()
            self._waiting = [call for call in self._waiting if call.future is not future]
            self._handed = [call for call in self._handed if call.future is not future]
            future.withdraw()
            self._news.notify_all()
            return True

    def _watch(self) -> None:
        """Hand calls over and settle their futures until closed and idle."""
        pause = self._look[0]
        while True:
            with self._news:
                while not (self._waiting or self._handed or self._closing):
                    self._news.wait()
                if not (self._waiting or self._handed):
                    break
            # What is submitted together is handed over together: one array of jobs.
            time.sleep(self._look[0])
            moved = self._pass_on() or self._settle()
            pause = self._look[0] if moved else min(1.3 * pause, self._look[1])
            with self._news:
                if not moved and self._handed:
                    self._news.wait(pause)
        self._close()

    def _pass_on(self) -> bool:
        with self._lock:
            room = len(self._waiting) if self._workers is None else self._workers - len(self._handed)
            calls = self._waiting[: max(room, 0)]
            if not calls:
                return False
            try:
                tasks = self._hand_over(calls)
            except Exception as error:
                self._break(error)
                return True
            for call, task in zip(calls, tasks, strict=True):
                call.task = task
            self._waiting = self._waiting[len(calls) :]
            self._handed += calls
        return True

    def _break(self, error: BaseException) -> None:
        """Fail everything: the cluster itself is out of reach."""
        self._broken = error
        for call in [*self._handed, *self._waiting]:
            problem = BrokenExecutor(f"the cluster is out of reach: {error}")
            problem.__cause__ = error
            call.future.set_exception(problem)
        self._handed, self._waiting = [], []

    def _settle(self) -> bool:
        """Whether a future changed."""
        moved = False
        with self._lock:
            handed = list(self._handed)
        for call in handed:
            assert call.task is not None
            try:
                stage = call.task.stage()
                outcome = (call.task.outcome(), None) if stage == "done" else None
            except Exception as error:
                outcome, stage = (None, error), "done"
            with self._news:
                if call.future.done():
                    continue
                if stage != "queued" and not call.future.running():
                    moved = call.future.set_running_or_notify_cancel()
                if outcome is None:
                    continue
                moved = True
                self._handed = [other for other in self._handed if other is not call]
                value, problem = outcome
                if isinstance(problem, BrokenExecutor):
                    call.future.set_exception(problem)
                    self._break(problem)
                elif problem is not None:
                    call.future.set_exception(problem)
                else:
                    call.future.set_result(value)
        return moved

    def _close(self) -> None:
        with self._lock:
            if self._released:
                return
            self._released = True
            atexit.unregister(self._at_exit)
            self._release()


def _end_with_interpreter(reference: weakref.ref[RemoteExecutor]) -> Callable[[], None]:
    def end() -> None:
        executor = reference()
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    atexit.register(end)
    return end
