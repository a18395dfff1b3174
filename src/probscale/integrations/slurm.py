"""slurm through submitit: a `concurrent.futures` executor whose calls are jobs of a cluster."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations.remote import Call, RemoteExecutor, Task

CLUSTERS = ("slurm", "local")
PATIENCE = 4.0  # Seconds an interrupted local job has to end what it started.


class SlurmExecutor(RemoteExecutor):
    """Submits each call as a slurm job, for `allocate`, `ActiveLoop` and whatever takes an executor.

    Calls submitted together become one array of jobs. The folder must be one that the nodes share: functions,
    results and logs pass through it. A job that fails, runs out of its time or is lost raises in its future,
    which `allocate` records and tries again. Jobs that a killed driver left behind are cancelled when the
    next executor opens the same folder, so that no run is trained twice at once.

    Args:
        folder: Shared folder for functions, results and logs.
        partition: Partition of the jobs; None takes the cluster's default.
        time: Minutes a job may take.
        gpus: Accelerators of a job.
        cpus: Processors of a job.
        memory: Memory of a job in GB; None takes the cluster's default.
        workers: Most jobs in the queue at a time; None for no bound.
        name: Name of the jobs.
        options: Further parameters of slurm as submitit names them, such as {"account": "lab", "qos": "low",
            "setup": ["module load cuda"], "array_parallelism": 8}.
        cluster: "slurm"; or "local" for processes on this machine in the same way, to try a script out.
        refresh: Seconds between two questions to slurm about the jobs. Results appear sooner, as files.
        grace: Seconds after the end of a job in which its result may still appear on a slow file system.

    Raises:
        MissingExtraError: if submitit is not installed.
        ConfigError: if there is no slurm here, or an option is not accepted.

    >>> import functools, probscale as ps
    >>> jobs = functools.partial(SlurmExecutor, "jobs", partition="gpu", time=120, gpus=1)
    >>> ps.allocate(pool, runner, total=1e20, cost=cost, executor=jobs)  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        partition: str | None = None,
        time: int = 60,
        gpus: int = 0,
        cpus: int = 1,
        memory: float | None = None,
        workers: int | None = None,
        name: str = "probscale",
        options: Mapping[str, Any] | None = None,
        cluster: str = "slurm",
        refresh: float = 30.0,
        grace: float = 15.0,
    ) -> None:
        if find_spec("submitit") is None:
            raise MissingExtraError("slurm", type(self).__name__)
        _check(cluster, time)
        look = (0.5, 5.0) if cluster == "slurm" else (0.02, 0.2)
        super().__init__(workers, look)
        own = {} if partition is None else {"partition": partition}
        generic = {
            **{"timeout_min": time, "gpus_per_node": gpus or None, "cpus_per_task": cpus},
            **{"mem_gb": memory, "name": name},
        }
        self._refresh = refresh
        # Processes of one machine see one file system.
        self.grace = grace if cluster == "slurm" else min(grace, 1.0)
        self._asked = 0.0
        self._ended: list[Any] = []
        self._submitit = _submitit(Path(folder), cluster, generic, {**own, **(options or {})})
        self._jobs = _Left(Path(folder), cluster)

    def _hand_over(self, calls: Sequence[Call]) -> list[Task]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with self._submitit.batch():
                jobs = [self._submitit.submit(c.function, *c.args, **c.kwargs) for c in calls]
        self._asked = time.monotonic()
        self._jobs.submitted([str(job.job_id) for job in jobs])
        return [_SlurmTask(job, self) for job in jobs]

    def due(self) -> bool:
        """Whether it is time to ask slurm again; one question answers for all jobs."""
        if time.monotonic() - self._asked < self._refresh:
            return False
        self._asked = time.monotonic()
        return True

    def ended(self, job: Any) -> None:
        """Note that a job was cancelled; its local process, if it has one, takes a moment to go."""
        self._jobs.finished(str(job.job_id))
        process = getattr(job, "_process", None)
        if process is not None:
            self._ended.append(process)

    def _release(self) -> None:
        for process in self._ended:
            _see_off(process)
        self._jobs.close()


def _see_off(process: subprocess.Popen[bytes]) -> None:
    """Wait until an interrupted local job is gone; starting, Python can swallow an interrupt: repeat it."""
    for again in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return
        process.send_signal(again)
    process.wait()


def _check(cluster: str, minutes: int) -> None:
    if cluster not in CLUSTERS:
        raise ConfigError(
            f"cluster is {cluster!r}; accepted are {', '.join(map(repr, CLUSTERS))}", cluster=cluster
        )
    if not (isinstance(minutes, int) and minutes >= 1):
        raise ConfigError(f"time is {minutes!r}; give whole minutes, at least 1", time=minutes)
    if cluster == "slurm" and shutil.which("srun") is None:
        raise ConfigError(
            "there is no slurm on this machine (no srun on the path); run this where jobs are submitted, or "
            'try it here with cluster="local"',
            cluster=cluster,
        )


def _submitit(folder: Path, cluster: str, generic: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    import submitit

    executor = submitit.AutoExecutor(folder / "jobs", cluster=cluster)
    try:
        executor.update_parameters(**generic, **{f"slurm_{key}": value for key, value in own.items()})
    except (AssertionError, NameError, ValueError) as error:
        raise ConfigError(f"submitit does not accept the options of a job: {error}", options=own) from None
    return executor


class _SlurmTask:
    """A job."""

    def __init__(self, job: Any, executor: SlurmExecutor) -> None:
        self._job = job
        self._executor = executor
        job._results_timeout_s = executor.grace

    def stage(self) -> str:
        if self._executor.due():
            self._job.watcher.update_if_long_enough("force")
        if self._job.done():
            return "done"
        return "running" if self._job.state.upper() in ("RUNNING", "COMPLETING") else "queued"

    def outcome(self) -> Any:
        self._executor._jobs.finished(str(self._job.job_id))
        error = self._job.exception()
        if error is not None:
            raise error
        return self._job.result()

    def end(self) -> None:
        self._job.cancel(check=False)
        self._executor.ended(self._job)


class _Left:
    """File that lists the jobs of an executor, so that a later one can cancel what a killed one left.

    A lock beside it, which a killed process loses, tells a live executor from a dead one.
    """

    def __init__(self, folder: Path, cluster: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Local jobs end with their driver, and process numbers are used again.
        for path in folder.glob("submitted-*.txt") if cluster == "slurm" else ():
            with _locked(path) as mine:
                if mine:
                    _cancel_left(path)
        self._path = folder / f"submitted-{uuid.uuid4().hex}.txt"
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(_locked(self._path))
        self._file = self._stack.enter_context(self._path.open("a"))

    def submitted(self, jobs: Sequence[str]) -> None:
        self._write([f"+{job}" for job in jobs])

    def finished(self, job: str) -> None:
        self._write([f"-{job}"])

    def _write(self, lines: Sequence[str]) -> None:
        if not self._file.closed:
            self._file.write("".join(f"{line}\n" for line in lines))
            self._file.flush()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._stack.close()


# Locks of POSIX do not conflict within a process.
_mine: set[Path] = set()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock beside a file; false if a living executor holds it."""
    import fcntl

    lock = Path(f"{path.resolve()}.lock")
    if lock in _mine:
        yield False
        return
    with open(lock, "ab") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        _mine.add(lock)
        try:
            yield True
        finally:
            _mine.discard(lock)
            lock.unlink(missing_ok=True)


def _cancel_left(path: Path) -> None:
    """Cancel the jobs that a list names and does not call finished."""
    import submitit

    lines = path.read_text().split()
    over = {line[1:] for line in lines if line[0] == "-"}
    for job in [line[1:] for line in lines if line[0] == "+" and line[1:] not in over]:
        submitit.SlurmJob(path.parent / "jobs", job).cancel(check=False)
    path.unlink(missing_ok=True)
