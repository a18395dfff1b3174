"""Ray: a `concurrent.futures` executor over the tasks of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from importlib.util import find_spec
from typing import Any

from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations.remote import Call, RemoteExecutor, Task

LOOK = (0.01, 0.1)
"""Shortest and longest seconds between two looks at the tasks."""

STORE = 100 * 2**20
"""Bytes of the object store of a Ray that is started here: increments carry points and paths, no tensors."""


class RayExecutor(RemoteExecutor):
    """Runs each call as a task of a Ray cluster, for `allocate`, `ActiveLoop` and whatever takes an executor.

    A Ray that runs already in this process is used as it is; else `address` (or the variable RAY_ADDRESS)
    names a cluster to join; else one is started on this machine and shut down with the executor. A worker
    that dies costs its own call only, and an increment that is given up after a timeout frees its resources.
    The runner travels with each call; code it imports must be installed on the workers, or be sent with
    `start={"runtime_env": ...}`.

    Args:
        workers: Most calls at a time; None leaves that to Ray. Also the processors, each for one call, of a
            Ray that is started here.
        address: Cluster to join, such as "auto" or "ray://host:10001".
        cpus: Processors a call takes.
        gpus: Accelerators a call takes; parts are allowed.
        options: Further options of a Ray task, such as {"memory": 4e9} or {"resources": {"node:big": 1}}.
        start: Further arguments of `ray.init`.

    Raises:
        MissingExtraError: if Ray is not installed.
        ConfigError: if an option is not accepted.

    >>> import probscale as ps
    >>> ps.allocate(pool, runner, total=1e18, cost=cost, executor=RayExecutor)  # doctest: +SKIP
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        options: Mapping[str, Any] | None = None,
        start: Mapping[str, Any] | None = None,
    ) -> None:
        if find_spec("ray") is None:
            raise MissingExtraError("ray", type(self).__name__)
        super().__init__(workers, LOOK)
        import ray

        self._started = not ray.is_initialized()
        if self._started:
            here = address is None and not os.environ.get("RAY_ADDRESS")
            processors = None if workers is None else max(1, round(workers * cpus))
            own = {"include_dashboard": False, "object_store_memory": STORE, "num_cpus": processors}
            ray.init(address, log_to_driver=False, **{**(own if here else {}), **(start or {})})
        try:
            # A task that Ray repeated by itself would be paid without the ledger knowing.
            self._remote = ray.remote(max_retries=0, num_cpus=cpus, num_gpus=gpus, **(options or {}))(_report)
        except (TypeError, ValueError) as error:
            self._release()
            raise ConfigError(
                f"Ray does not accept the options of a task: {error}", options=options
            ) from None

    def _hand_over(self, calls: Sequence[Call]) -> list[Task]:
        import ray

        if not ray.is_initialized():
            raise RuntimeError("Ray was shut down")
        return [_RayTask(self._remote.remote(call.function, call.args, dict(call.kwargs))) for call in calls]

    def _release(self) -> None:
        import ray

        if self._started and ray.is_initialized():
            ray.shutdown()


def _report(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Tell that the call has started, then what came of it."""
    yield "started", None
    yield "value", function(*args, **kwargs)


class _RayTask:
    """A task that streams its start and its value."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._stage = "queued"
        self._answer: Any = None

    def stage(self) -> str:
        import ray

        while self._stage != "done" and self._ready():
            self._answer = next(self._stream)
            kind = ray.get(self._answer)[0] if self._stage == "queued" else "value"
            self._stage = "running" if kind == "started" else "done"
        return self._stage

    def _ready(self) -> bool:
        import ray

        if not ray.is_initialized():
            raise BrokenExecutor("Ray was shut down")
        ready, _ = ray.wait([self._stream], timeout=0, fetch_local=False)
        return bool(ready)

    def outcome(self) -> Any:
        import ray
        from ray.exceptions import RayTaskError

        try:
            return ray.get(self._answer)[1]
        except RayTaskError as error:
            raise error.cause or error from None

    def end(self) -> None:
        import ray

        ray.cancel(self._stream, force=True)
