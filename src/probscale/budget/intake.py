"""What an allocation is given, checked before anything is spent: pool, budget, costs, places on the axis."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import pandas as pd

from probscale.budget.bench import Array
from probscale.budget.forecast import free_name
from probscale.cost import CostModel
from probscale.digest import short_digest
from probscale.errors import BudgetError, ConfigError, ExtrapolationWarning
from probscale.running import check_runner
from probscale.runs import RunLog
from probscale.runs.pools import Configs, pool_table, row_names

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate

Rows = Sequence[tuple[int, float, float]]


class PoolRoles(TypedDict):
    """Roles of the run log of a pool.

    Attributes:
        axis: Name of the axis.
        output: Name of the output.
        goal: "min" or "max".
        params: Column of model sizes.
        horizon: Furthest axis value of a run; where it is a column, that is the planned end of each run.
    """

    axis: str
    output: str
    goal: str
    params: str | None
    horizon: str | float | None


def read_pool(pool: Configs) -> pd.DataFrame:
    """Pool as a frame with rows numbered from 0.

    Raises:
        ConfigError: if it is empty or not a table.
    """
    return pool_table(pool).reset_index(drop=True)


def check_budget(total: float) -> float:
    """A budget that is a positive number.

    Raises:
        BudgetError: otherwise.
    """
    if not (isinstance(total, Real) and math.isfinite(total) and total > 0):
        raise BudgetError(
            f"total is {total!r}; a budget is a positive number in the unit of the cost", total=total
        )
    return float(total)


def check_options(runner: object, goal: str, seed: int, retries: int) -> None:
    """Refuse arguments that would be found out only after something was paid.

    Raises:
        BudgetError: for a goal, seed, number of retries or runner that is not accepted.
    """
    if goal not in ("min", "max"):
        raise BudgetError(f'goal is {goal!r}; accepted are "min" and "max"', goal=goal)
    check_seed(seed)
    _check_count(retries, "retries")
    check_runner(runner)


def check_seed(seed: int) -> None:
    """Refuse what is no seed.

    Raises:
        BudgetError: then.
    """
    _check_count(seed, "seed")


def _check_count(value: int, name: str) -> None:
    if not isinstance(value, Integral) or value < 0:
        raise BudgetError(f"{name} is {value!r}; pass a whole number of at least 0", **{name: value})


def check_surrogate(surrogate: CurveSurrogate | None) -> None:
    """Refuse what is no surrogate.

    Raises:
        ConfigError: then.
    """
    if surrogate is not None and not (hasattr(surrogate, "log") and hasattr(surrogate, "condition")):
        raise ConfigError(
            f"surrogate is a {type(surrogate).__name__}; pass what fit_surrogate or load_surrogate returned, "
            "or None"
        )


def check_earlier(
    surrogate: CurveSurrogate | None,
    configs: pd.DataFrame,
    *,
    axis: str,
    output: str | None,
    goal: str | None,
    horizon: str | float | None,
) -> None:
    """Refuse a surrogate of other things than these runs; found later, it would be left aside in silence.

    Warns where runs would go on beyond the planned end that the surrogate knows.

    Args:
        surrogate: Surrogate of earlier runs.
        configs: The pool.
        axis: Name of the axis.
        output: Name of the output, if there is one.
        goal: "min" or "max", if it is known.
        horizon: Furthest axis value of a run, if there is one.

    Raises:
        ConfigError: if its axis, output or goal is another, or it cannot forecast these configurations.
    """
    check_surrogate(surrogate)
    if surrogate is None:
        return
    roles = surrogate.log.roles
    asked = {"axis": (roles.axis, axis), "output": (roles.outputs[0], output), "goal": (roles.goal, goal)}
    for name, (theirs, mine) in asked.items():
        if mine is not None and theirs != mine:
            raise ConfigError(
                f"the {name} of the surrogate's log is {theirs!r}, and {mine!r} here; give both the same, or "
                "leave the surrogate out"
            )
    if horizon is None and roles.horizon is not None and roles.horizon in configs:
        warnings.warn(
            f"the pool has the planned end of each run, {roles.horizon!r}, but nothing ends runs there; pass "
            f"horizon={roles.horizon!r}, or forecasts are asked beyond it",
            ExtrapolationWarning,
            stacklevel=3,
        )
    known = configs[[column for column in configs if column in roles.described]]
    surrogate.predict(known, [float(surrogate.log.points[roles.axis].max())])


def params_column(cost: CostModel, configs: pd.DataFrame) -> str | None:
    """Column of model sizes that a cost names, directly or through the cost it is made of."""
    for part in (cost, getattr(cost, "flops", None), getattr(cost, "seconds", None)):
        name = getattr(part, "params", None)
        if isinstance(name, str) and name in configs:
            return name
    return None


def per_run(configs: pd.DataFrame, value: str | float | None, role: str, default: float) -> Array:
    """A positive number per run from a column or a number, (runs,).

    Raises:
        ConfigError: if the column is missing or a value is not positive.
    """
    if value is None:
        return np.full(len(configs), default)
    if isinstance(value, str):
        if value not in configs:
            raise ConfigError(f"the pool has no column {value!r}, named as {role}", column=value)
        numbers = pd.to_numeric(configs[value], errors="coerce").to_numpy(dtype=np.float64)
    else:
        numbers = np.full(len(configs), float(value))
    if not (numbers > 0).all():
        row = int(np.flatnonzero(~(numbers > 0))[0])
        raise ConfigError(f"{role} must be positive; configuration {row} has {numbers[row]}", row=row)
    return numbers


def plain(value: Any) -> Any:
    """A value of a frame as plain Python."""
    return value.item() if isinstance(value, np.generic) else value


def fingerprint(configs: pd.DataFrame) -> str:
    """Digest of a pool: the same configurations in the same order give the same."""
    return short_digest(configs.to_json(orient="split", double_precision=15))


def pool_log(configs: pd.DataFrame, rows: Rows, **roles: Unpack[PoolRoles]) -> RunLog:
    """Points of runs of a pool as a run log.

    Args:
        configs: The pool.
        rows: Row of the pool, axis value and output of each point.
        **roles: What its columns are; see `PoolRoles`.

    Raises:
        RunLogError: if a column cannot describe a run.
    """
    axis, output, params, horizon = roles["axis"], roles["output"], roles["params"], roles["horizon"]
    planned = horizon if isinstance(horizon, str) else None
    columns = [str(name) for name in configs.columns]
    run = free_name("run", [*columns, axis, output])
    table = configs.iloc[[row for row, _, _ in rows]].reset_index(drop=True)
    table = table.drop(columns=[name for name in (axis, output) if name in table])
    names = row_names(configs)
    table[run] = [names[row] for row, _, _ in rows]
    table[axis] = [at for _, at, _ in rows]
    table[output] = [value for _, _, value in rows]
    return RunLog.from_frame(
        table,
        run=run,
        axis=axis,
        output=output,
        goal="min" if roles["goal"] == "min" else "max",
        params=params,
        horizon=planned,
        config=[name for name in columns if name not in (params, planned, axis, output)],
        nonfinite="diverged",
    )


def check_describes(configs: pd.DataFrame, **roles: Unpack[PoolRoles]) -> None:
    """Refuse a pool whose columns could not become a run log, before anything is paid.

    Raises:
        RunLogError: then.
    """
    rows = [(row, 1.0, 1.0) for row in range(len(configs))]
    pool_log(configs, rows, **roles)
