"""Roles: which column of a table of runs means what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from probscale.errors import RunLogError
from probscale.spelling import close_names, did_you_mean

Goal = Literal["min", "max"]
Nonfinite = Literal["error", "diverged", "drop"]

DIVERGED = "diverged"
"""Reserved column of marks: true where a point belongs to a diverged part of its run."""


@dataclass(frozen=True)
class Roles:
    """Meaning of the columns of a run log.

    Attributes:
        run: Run identifier.
        axis: Progress coordinate, strictly increasing within a run.
        outputs: Measured quantities, the principal one first.
        goal: Whether smaller ("min") or larger ("max") values of the principal output are better.
        levels: Task hierarchy, coarse to fine.
        params: Model size.
        horizon: Planned end of the axis.
        config: Configuration columns other than levels, params and horizon.
        goals: Goal of each output; empty where all share `goal`.
    """

    run: str
    axis: str
    outputs: tuple[str, ...]
    goal: Goal = "min"
    levels: tuple[str, ...] = ()
    params: str | None = None
    horizon: str | None = None
    config: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()

    @property
    def described(self) -> tuple[str, ...]:
        """All columns that describe a run: levels, params, horizon, configuration."""
        special = tuple(name for name in (self.params, self.horizon) if name is not None)
        return (*self.levels, *special, *self.config)

    def goal_of(self, output: str) -> Goal:
        """Whether smaller or larger values of an output are better."""
        return self.goals[self.outputs.index(output)] if self.goals else self.goal

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments with which `RunLog.from_frame` reads a frame in these roles."""
        return {
            "run": self.run,
            "axis": self.axis,
            "output": self.outputs,
            "goal": dict(zip(self.outputs, self.goals, strict=True)) if self.goals else self.goal,
            "levels": self.levels,
            "params": self.params,
            "horizon": self.horizon,
            "config": self.config,
        }


def names_of(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """One column name, several, or none, as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def listed(names: Sequence[Any], limit: int = 8) -> str:
    """Names for a message: the first few, and how many more there are."""
    shown = ", ".join(map(str, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def require_columns(frame: pd.DataFrame, wanted: dict[str, str]) -> None:
    """Check that each column named in a role exists.

    Args:
        frame: The user's table.
        wanted: Column name to the argument that named it.

    Raises:
        RunLogError: naming the first column that is absent, with close matches.
    """
    present = [str(column) for column in frame.columns]
    for name, argument in wanted.items():
        if name in frame.columns:
            continue
        if name in frame.index.names:
            raise RunLogError(
                f"{argument}={name!r} is an index level, not a column; pass frame.reset_index()", column=name
            )
        close = close_names(name, present, likeness=0.5)
        hint = did_you_mean(close) or f"columns are: {listed(present)}"
        raise RunLogError(f"no column {name!r} (given as {argument}); {hint}", column=name, close=close)


def resolve_roles(
    frame: pd.DataFrame,
    *,
    run: str,
    axis: str,
    output: str | Iterable[str],
    goal: str | Mapping[str, str],
    levels: str | Iterable[str],
    params: str | None,
    horizon: str | None,
    config: str | Iterable[str] | None,
) -> Roles:
    """Assign a role to each column; without `config`, every column left over is a candidate.

    Raises:
        RunLogError: for a wrong goal, an unknown column, no output, or a column in two roles.
    """
    _check_labels(frame)
    outputs, level_names = names_of(output), names_of(levels)
    if not outputs:
        raise RunLogError("output names no column; give the measured quantity, for example output='loss'")
    goals = _goals(goal, outputs)
    pairs = [(run, "run"), (axis, "axis"), *((name, "output") for name in outputs)]
    pairs += [(name, "levels") for name in level_names]
    pairs += [(name, role) for role, name in (("params", params), ("horizon", horizon)) if name is not None]
    wanted: dict[str, str] = {}
    for name, role in pairs:
        if name == DIVERGED:
            raise RunLogError(
                f"column {name!r} is reserved for marks of diverged points; rename it", column=name
            )
        if name in wanted:
            raise RunLogError(
                f"column {name!r} is given both as {wanted[name]} and as {role}; a column has one role, "
                "so copy it under a second name if both are meant",
                column=name,
            )
        wanted[name] = role
    chosen = _config_names(frame, config, wanted)
    require_columns(frame, {**wanted, **dict.fromkeys(chosen, "config")})
    shown = goals if len(set(goals)) > 1 else ()
    return Roles(run, axis, outputs, goals[0], level_names, params, horizon, chosen, shown)


def _goals(goal: str | Mapping[str, str], outputs: tuple[str, ...]) -> tuple[Goal, ...]:
    """Goal of each output, from one for all or one by name."""
    given = dict(goal) if isinstance(goal, Mapping) else dict.fromkeys(outputs, goal)
    unknown = [name for name in given if name not in outputs]
    missing = [name for name in outputs if name not in given]
    if unknown or missing:
        name = (unknown or missing)[0]
        raise RunLogError(
            f"goal {'names' if unknown else 'does not name'} {name!r}; give each output its own, such as "
            f'goal={{{outputs[0]!r}: "min", ...}}, or one for all. Outputs are: {listed(outputs)}',
            goal=given,
        )
    for name in outputs:
        if given[name] not in get_args(Goal):
            named = f', or of several outputs goal={{{outputs[0]!r}: "min", ...}}' if len(outputs) > 1 else ""
            raise RunLogError(f'goal must be "min" or "max"{named}, got {given[name]!r}', goal=given[name])
    return tuple(given[name] for name in outputs)  # type: ignore[misc]


def _config_names(
    frame: pd.DataFrame, config: str | Iterable[str] | None, taken: dict[str, str]
) -> tuple[str, ...]:
    if config is None:
        return tuple(str(name) for name in frame.columns if name not in taken and name != DIVERGED)
    names = tuple(dict.fromkeys(names_of(config)))
    for name in names:
        if taken.get(name) in {"run", "axis", "output"} or name == DIVERGED:
            role = taken.get(name, "the mark of diverged points")
            raise RunLogError(
                f"column {name!r} is {role} and cannot also be configuration; drop or rename it", column=name
            )
    return tuple(name for name in names if name not in taken)


def _check_labels(frame: pd.DataFrame) -> None:
    labels = list(frame.columns)
    odd = [label for label in labels if not isinstance(label, str)]
    if odd:
        raise RunLogError(f"column names must be strings, got {odd[0]!r}; rename with frame.columns = ...")
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise RunLogError(
            f"two columns are both named {repeated[0]!r}; rename or drop one", column=repeated[0]
        )
