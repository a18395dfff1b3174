"""Joining two logs without losing or contradicting a point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import RunLogError
from probscale.runs.checks import column_of, show
from probscale.runs.schema import DIVERGED, Roles

if TYPE_CHECKING:
    from probscale.runs.log import RunLog

_SAME = ("run", "axis", "outputs", "goal", "goals", "levels", "params", "horizon")


def join(left: RunLog, right: RunLog) -> tuple[pd.DataFrame, pd.DataFrame, Roles, tuple[str, ...]]:
    """Configurations, points, roles and notes of both logs together.

    Configuration columns of only one log are missing in the runs of the other. A run in both keeps one
    configuration; its points are merged along the axis, equal ones once.

    Raises:
        RunLogError: if roles differ, or a run has two configurations, or a point two values.
    """
    for role in _SAME:
        mine, theirs = getattr(left.roles, role), getattr(right.roles, role)
        if mine != theirs:
            raise RunLogError(
                f"logs can be added when their roles agree; {role} is {mine!r} in one and {theirs!r} "
                "in the other",
                role=role,
            )
    names = tuple(dict.fromkeys((*left.roles.config, *right.roles.config)))
    roles = replace(left.roles, config=tuple(name for name in names if name not in _special(left.roles)))
    configs = _join_configs(left.configs, right.configs, list(roles.described), roles.run)
    moved = configs.index.get_indexer(right.configs.index)
    points = _join_points(left.points, right.points, roles, np.r_[left.codes, moved[right.codes]])
    return configs, points, roles, tuple(dict.fromkeys((*left.notes, *right.notes)))


def _special(roles: Roles) -> set[str | None]:
    return {*roles.levels, roles.params, roles.horizon}


def _join_configs(left: pd.DataFrame, right: pd.DataFrame, columns: list[str], run: str) -> pd.DataFrame:
    place = left.index.get_indexer(right.index)
    if (place >= 0).all() and _hold_the_same(left, right, columns, place):
        return left
    both = left.index.intersection(right.index)
    for name in columns if len(both) else ():
        if name in left and name in right:
            mine, theirs = left.loc[both, name].astype(object), right.loc[both, name].astype(object)
            differs = ((mine != theirs) & mine.notna() & theirs.notna()).to_numpy()
            if differs.any():
                first = int(differs.argmax())
                where = both[first]
                raise RunLogError(
                    f"{name} of run {show(where)} is {show(mine.iloc[first])} in one log "
                    f"and {show(theirs.iloc[first])} in the other; correct it, or give one an identifier "
                    "of its own",
                    run=where,
                    column=name,
                )
    new = right.loc[~right.index.isin(both)]
    index = left.index.append(new.index).rename(run)
    alike = _alike(left, right, columns) if not len(both) else []
    merged = {name: _stack(left, right, new, name) for name in columns if name not in alike}
    rest = pd.DataFrame({name: values.set_axis(index) for name, values in merged.items()}, index=index)
    if not alike:
        return rest
    joined = pd.concat([left[alike], new[alike]]).set_axis(index)
    return pd.concat([joined, rest], axis=1)[columns] if merged else joined


def _hold_the_same(
    left: pd.DataFrame, right: pd.DataFrame, columns: list[str], place: NDArray[np.intp]
) -> bool:
    """Whether a frame has what another says of some of its rows: the common case, found out in arrays."""
    if list(left.columns) != columns:
        return False
    for name in right.columns:
        mine, theirs = left[name].array, right[name].array
        if mine.dtype != theirs.dtype or not mine.take(place).equals(theirs):
            return False
    return True


def _alike(left: pd.DataFrame, right: pd.DataFrame, columns: list[str]) -> list[str]:
    """Columns that both frames have, with the same dtype."""
    mine, theirs = left.dtypes.to_dict(), right.dtypes.to_dict()
    return [name for name in columns if name in mine and name in theirs and mine[name] == theirs[name]]


def _stack(left: pd.DataFrame, right: pd.DataFrame, new: pd.DataFrame, name: str) -> pd.Series:
    if name not in left:
        return column_of(right, name).reindex(left.index.append(new.index))
    mine = column_of(left, name)
    if name not in right:
        return mine.reindex(left.index.append(new.index))
    if len(new) < len(right) and mine.isna().to_numpy().any():
        mine = mine.where(mine.notna(), column_of(right, name).reindex(mine.index))
    theirs = column_of(new, name)
    if mine.dtype != theirs.dtype and isinstance(mine.dtype, pd.CategoricalDtype):
        mine, theirs = mine.astype(mine.cat.categories.dtype), theirs.astype(mine.cat.categories.dtype)
    return mine if theirs.empty else cast(pd.Series, pd.concat([mine, theirs]))


def _join_points(
    left: pd.DataFrame, right: pd.DataFrame, roles: Roles, codes: NDArray[np.intp]
) -> pd.DataFrame:
    points = pd.concat([left, right], ignore_index=True)
    if (np.diff(codes) < 0).any() or (codes[: len(left)][-1:] == codes[len(left) :][:1]).any():
        order = np.lexsort((points[roles.axis].to_numpy(), codes))
        points, codes = points.iloc[order], codes[order]
    again = np.r_[False, (np.diff(codes) == 0) & (np.diff(points[roles.axis].to_numpy()) == 0)]
    if not again.any():
        return points.reset_index(drop=True)
    outputs = list(roles.outputs)
    values, marks = points[outputs].to_numpy(copy=True), points[DIVERGED].to_numpy(copy=True)
    second = np.flatnonzero(again)
    old, new = values[second - 1], values[second]
    clash = np.argwhere((old != new) & ~np.isnan(old) & ~np.isnan(new))
    if clash.size:
        row, column = clash[0]
        point = points.iloc[second[row]]
        raise RunLogError(
            f"{outputs[column]} of run {show(point[roles.run])} at {roles.axis} {show(point[roles.axis])} "
            f"is {show(old[row, column])} in one log and {show(new[row, column])} in the other; keep one",
            run=point[roles.run],
        )
    values[second - 1] = np.where(np.isnan(old), new, old)
    marks[second - 1] |= marks[second]
    merged = points.assign(**dict(zip(outputs, values.T, strict=True)), **{DIVERGED: marks})
    return merged[~again].reset_index(drop=True)
