"""The table of executors by name: where the increments of a loop are carried out."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from probscale.errors import ConfigError, MissingExtraError
from probscale.running import process_workers
from probscale.spelling import close_names, did_you_mean

EXECUTORS = {
    "processes": "processes of this machine",
    "threads": "threads of this process",
    "ray": "tasks of a Ray cluster; see RayExecutor",
    "slurm": "jobs of slurm, through submitit; see SlurmExecutor",
}
"""What each name means."""

_EXTRA = {"ray": ("ray", "ray"), "slurm": ("slurm", "submitit")}


def executor_named(name: str, **options: Any) -> Callable[[], Executor]:
    """A function that makes the executor of a name, as `allocate` and `ActiveLoop` take one.

    A function rather than an executor: loops make a new one after workers died or hang, and shut it down.

    Args:
        name: Name in `EXECUTORS`.
        **options: `workers`, the most increments at a time, for every name; those of `RayExecutor` for "ray";
            those of `SlurmExecutor` for "slurm", which needs a `folder` that the nodes share.

    Raises:
        ConfigError: for an unknown name, or options that this executor does not take.
        MissingExtraError: if the library behind it is not installed.

    >>> with executor_named("threads", workers=2)() as executor:
    ...     executor.submit(pow, 2, 3).result()
    8
    """
    if name not in EXECUTORS:
        accepted = f"accepted are {', '.join(map(repr, EXECUTORS))}"
        hint = did_you_mean(close_names(name, EXECUTORS, most=1), accepted)
        raise ConfigError(f"there is no executor {name!r}; {hint}", executor=name)
    if name in _EXTRA and find_spec(_EXTRA[name][1]) is None:
        raise MissingExtraError(_EXTRA[name][0], f"the executor {name!r}")
    if name == "slurm":
        return _slurm(options)
    if name == "ray":
        from probscale.integrations.ray import RayExecutor

        return functools.partial(RayExecutor, **_accepted(name, options, _keywords(RayExecutor)))
    workers = _accepted(name, options, {"workers"}).get("workers")
    if workers is not None and workers < 1:
        raise ConfigError(
            f"workers is {workers}; give at least 1, or None for one per processor", workers=workers
        )
    count = workers or os.cpu_count() or 1
    return functools.partial(process_workers if name == "processes" else ThreadPoolExecutor, count)


def _slurm(options: dict[str, Any]) -> Callable[[], Executor]:
    from probscale.integrations.slurm import SlurmExecutor

    if not options.get("folder"):
        raise ConfigError('the executor "slurm" needs a folder that the nodes share: give folder="..."')
    return functools.partial(SlurmExecutor, **_accepted("slurm", options, _keywords(SlurmExecutor)))


def _keywords(maker: type) -> set[str]:
    import inspect

    return set(inspect.signature(maker).parameters)


def _accepted(name: str, options: dict[str, Any], known: set[str]) -> dict[str, Any]:
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(
            f"the executor {name!r} does not take {', '.join(unknown)}; it takes {', '.join(sorted(known))}",
            unknown=unknown,
        )
    return options
