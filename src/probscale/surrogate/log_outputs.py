"""Logs seen from one of their outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from probscale.errors import RunLogError
from probscale.runs import Roles, RunLog


def viewed(log: RunLog, output: str) -> RunLog:
    """The log with another principal output; all points stay where they are."""
    roles = log.roles
    if output == log.output:
        return log
    order = (output, *(name for name in roles.outputs if name != output))
    goals = tuple(roles.goal_of(name) for name in order) if roles.goals else ()
    return replace(log, roles=replace(roles, outputs=order, goal=roles.goal_of(output), goals=goals))


def finite_points(log: RunLog) -> NDArray[np.bool_]:
    """Which points have a finite value of the principal output."""
    return np.isfinite(log.points[log.output].to_numpy(dtype=np.float64))


def any_finite(log: RunLog) -> NDArray[np.bool_]:
    """Which points have a finite value of any output."""
    values = log.points[list(log.roles.outputs)].to_numpy(dtype=np.float64)
    return np.logical_or.reduce(np.isfinite(values), axis=1)


def with_outputs(log: RunLog, roles: Roles) -> RunLog:
    """A log of some of the outputs as one of all, the others missing."""
    mine = log.roles
    if mine.outputs == roles.outputs or not set(mine.outputs) <= set(roles.outputs):
        return log
    goals = {name: roles.goal_of(name) for name in mine.outputs}
    if any(mine.goal_of(name) != goal for name, goal in goals.items()):
        raise RunLogError(f"the new log has goals that differ from those of the fit: {goals}", goals=goals)
    absent = {name: np.nan for name in roles.outputs if name not in mine.outputs}
    full = replace(mine, outputs=roles.outputs, goal=roles.goal, goals=roles.goals)
    return replace(log, points=log.points.assign(**absent), roles=full)
