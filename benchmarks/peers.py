"""Peers with one interface: `peer(task) -> Forecast | None`; None where a peer does not apply.

Outputs are modelled on the log scale where they are positive; forecasts are medians in user units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from features import Array, features_of, target_of
from gp_peer import fit_predict_gp
from law_peer import log_law
from scipy.optimize import least_squares
from tasks import Task

VERSION = 1
GP_POINTS = 4000
GP_CURVE_POINTS = 2000
Z90 = 1.6448536269514722


@dataclass(frozen=True)
class Forecast:
    """Central forecast per test row and, where a peer has one, its 90 % interval."""

    mean: Array
    lower: Array | None = None
    upper: Array | None = None


def _hist(n: int) -> object:
    from sklearn.ensemble import HistGradientBoostingRegressor

    leaf = int(np.clip(n // 20, 2, 20))
    return HistGradientBoostingRegressor(
        max_iter=400, learning_rate=0.05, min_samples_leaf=leaf, early_stopping=False, random_state=0
    )


def _light(n: int) -> object:
    from lightgbm import LGBMRegressor

    leaf = int(np.clip(n // 20, 2, 20))
    return LGBMRegressor(
        n_estimators=500, learning_rate=0.05, min_child_samples=leaf, n_jobs=1, verbose=-1, random_state=0
    )


def _xgb(n: int) -> object:
    from xgboost import XGBRegressor

    return XGBRegressor(
        n_estimators=500, learning_rate=0.05, max_depth=5, subsample=0.9, n_jobs=1, random_state=0
    )


def _extra(n: int) -> object:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(300 if n < 20_000 else 60, min_samples_leaf=1, n_jobs=1, random_state=0)


def _tree(make: Callable[[int], object], *, on_law: bool = False) -> Callable[[Task], Forecast | None]:
    def peer(task: Task) -> Forecast | None:
        base = _base(task, on_law)
        if base is None:
            return None
        target, x = target_of(task), features_of(task)
        model = make(len(x.train))
        model.fit(x.train, target.values - base[0])  # type: ignore[attr-defined]
        return Forecast(target.inverse(model.predict(x.test) + base[1]))  # type: ignore[attr-defined]

    return peer


def _base(task: Task, on_law: bool) -> tuple[Array, Array] | None:
    return log_law(task) if on_law else (np.zeros(len(task.train)), np.zeros(len(task.test)))


def _gp(*, on_law: bool = False, linear: bool = False) -> Callable[[Task], Forecast | None]:
    def peer(task: Task) -> Forecast | None:
        base = _base(task, on_law)
        if base is None:
            return None
        target, x = target_of(task), features_of(task)
        limit = GP_POINTS if len(task.train) <= GP_POINTS else GP_CURVE_POINTS
        rows = np.sort(np.random.default_rng(0).permutation(len(task.train))[:limit])
        mean, std = fit_predict_gp(
            x.train[rows], (target.values - base[0])[rows], x.test, x.groups, linear=linear
        )
        mean = mean + base[1]
        return Forecast(*(target.inverse(v) for v in (mean, mean - Z90 * std, mean + Z90 * std)))

    return peer


def law(task: Task) -> Forecast | None:
    """Robust Chinchilla-type law, one per level cell."""
    values = log_law(task)
    return None if values is None else Forecast(np.exp(values[1]))


def additive(task: Task) -> Forecast | None:
    """Two level effects, separately at each axis value (nearest one if unseen), ridge 1e-2."""
    levels = list(task.roles["levels"])
    if len(levels) < 2:
        return None
    target, axis = target_of(task), task.roles["axis"]
    grid = _shared_axis(task)
    mean = np.empty(len(task.test))
    nearest = [_nearest(grid, frame[axis].to_numpy(float)) for frame in (task.train, task.test)]
    for value in np.unique(nearest[1]):
        learn, ask = nearest[0] == value, nearest[1] == value
        mean[ask] = _two_effects(task.train[levels][learn], target.values[learn], task.test[levels][ask])
    return Forecast(target.inverse(mean))


def additive_shared(task: Task) -> Forecast | None:
    """Two level effects plus an effect of the (nearest shared) axis value: no interactions."""
    levels, axis, grid = list(task.roles["levels"]), task.roles["axis"], _shared_axis(task)
    if len(levels) < 2 or len(grid) < 2:
        return None
    frames = [f[levels].assign(axis=_nearest(grid, f[axis].to_numpy(float))) for f in (task.train, task.test)]
    target = target_of(task)
    return Forecast(target.inverse(_two_effects(frames[0], target.values, frames[1])))


def _shared_axis(task: Task) -> Array:
    """Axis values seen in at least three training runs; one value if the axis is not shared."""
    counts = task.train[task.roles["axis"]].value_counts()
    shared = np.sort(counts[counts >= 3].index.to_numpy(float))
    points_per_run = len(task.train) / task.train[task.roles["run"]].nunique()
    return shared if len(shared) and points_per_run > 1 else np.array([1.0])


def _nearest(grid: Array, values: Array) -> np.ndarray:
    return np.abs(np.log(grid)[None, :] - np.log(np.maximum(values, 1e-12))[:, None]).argmin(1)


def _two_effects(learn: pd.DataFrame, y: Array, ask: pd.DataFrame, ridge: float = 1e-2) -> Array:
    both = pd.get_dummies(pd.concat([learn, ask]).astype(str), dtype=float).to_numpy()
    x, x_ask, center = both[: len(y)], both[len(y) :], y.mean()
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (y - center))
    return x_ask @ weights + center


def last_value(task: Task) -> Forecast | None:
    """Last observed point of the run itself; for tasks that ask for continuations."""
    run = task.roles["run"]
    last = task.train.groupby(run)[task.output].last()
    return Forecast(task.test[run].map(last).to_numpy(float)) if _continues(task) else None


def _continues(task: Task) -> bool:
    run = task.roles["run"]
    return bool(task.test[run].isin(task.train[run]).all())


def curve_power_law(task: Task) -> Forecast | None:
    """Y = c + a·x^−b fitted to each run's own prefix (soft L1); last value for under four points."""
    if not _continues(task):
        return None
    run, axis = task.roles["run"], task.roles["axis"]
    mean = pd.Series(0.0, index=task.test.index)
    prefixes = dict(tuple(task.train.groupby(run)))
    for name, rows in task.test.groupby(run):
        prefix = prefixes[name]
        mean[rows.index] = _power_law(
            prefix[axis].to_numpy(float), prefix[task.output].to_numpy(float), rows[axis].to_numpy(float)
        )
    return Forecast(mean.to_numpy())


def _power_law(x: Array, y: Array, ask: Array) -> Array:
    if len(x) < 4:
        return np.full(len(ask), y[-1])
    unit, scale = x[-1], max(float(np.ptp(y)), 1e-9)
    best = None
    for exponent in (0.2, 0.5, 1.0):
        start = np.array([y[-1], scale * (1 if y[0] > y[-1] else -1), np.log(exponent)])
        fit = least_squares(
            lambda p: (p[0] + p[1] * (x / unit) ** -np.exp(p[2]) - y) / scale,
            start,
            loss="soft_l1",
            f_scale=0.1,
            bounds=([-np.inf, -np.inf, -5.0], [np.inf, np.inf, 2.0]),
            max_nfev=100,
        )
        best = fit if best is None or fit.cost < best.cost else best
    assert best is not None
    c, a, log_b = best.x
    return c + a * (ask / unit) ** -np.exp(log_b)


PEERS: dict[str, Callable[[Task], Forecast | None]] = {
    "robust law": law,
    "HistGB": _tree(_hist),
    "LightGBM": _tree(_light),
    "XGBoost": _tree(_xgb),
    "law + HistGB": _tree(_hist, on_law=True),
    "ARD GP": _gp(),
    "law + GP": _gp(on_law=True),
    "ARD GP + linear": _gp(linear=True),
    "extra trees": _tree(_extra),
    "additive": additive,
    "additive, shared": additive_shared,
    "last value": last_value,
    "curve power law": curve_power_law,
}
