"""Plain forecasts that a surrogate has to beat: boosted trees, a law, the last value, a power law a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import ProbscaleError
from probscale.runs import RunLog

Array = NDArray[np.float64]

MOST_ROWS = 12_000
"""Rows that trees learn from."""

MOST_LAW_ROWS = 2_000
"""Rows that a law is fitted to."""

EXPONENTS = np.geomspace(0.05, 2.0, 30)
"""Exponents of a curve's own power law that are tried."""

FEWEST_FOR_POWER_LAW = 4
"""Points of a beginning without which its last value is repeated."""


def forecasts_of_new_runs(train: RunLog, asked: RunLog, *, seed: int) -> dict[str, Array]:
    """What plain methods make of runs that nobody has begun, at the points of `asked`, (points,) each.

    "boosting" always, "law" (Chinchilla's) where the log has a params role and positive losses.
    """
    out = {"boosting": boosting(train, asked, seed=seed)}
    curve = law(train, asked, seed=seed)
    return out if curve is None else {**out, "law": curve}


def forecasts_of_continuations(seen: RunLog, asked: RunLog) -> dict[str, Array]:
    """What plain methods make of the rest of runs whose beginning was seen, at the points of `asked`."""
    out = {"last value": np.empty(asked.n_points), "power law": np.empty(asked.n_points)}
    axis, output = asked.roles.axis, asked.output
    at = asked.points[axis].to_numpy(dtype=np.float64)
    positions = seen.runs.get_indexer(asked.runs)
    for number, position in enumerate(positions):
        rows = asked.codes == number
        mine = seen.points[seen.codes == position]
        x, y = (mine[name].to_numpy(dtype=np.float64) for name in (axis, output))
        finite = np.isfinite(y)
        out["last value"][rows] = y[finite][-1] if finite.any() else np.nan
        out["power law"][rows] = power_law(x[finite], y[finite], at[rows])
    return out


def boosting(train: RunLog, asked: RunLog, *, seed: int) -> Array:
    """Gradient-boosted trees on the configuration and the axis; positive losses on the log scale."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    x, x_asked = _features(train, asked)
    y = train.points[train.output].to_numpy(dtype=np.float64)
    keep = np.flatnonzero(np.isfinite(y))
    if len(keep) > MOST_ROWS:
        keep = np.sort(np.random.default_rng(seed).permutation(keep)[:MOST_ROWS])
    logged = train.roles.goal == "min" and bool((y[keep] > 0).all())
    leaf = int(np.clip(len(keep) // 20, 2, 20))
    model = HistGradientBoostingRegressor(
        max_iter=300,
        learning_rate=0.06,
        min_samples_leaf=leaf,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
        random_state=seed,
    )
    # Bins of a column cannot be found where no training row has a value.
    known = np.isfinite(x[keep]).any(axis=0)
    model.fit(x[keep][:, known], np.log(y[keep]) if logged else y[keep])
    forecast = model.predict(x_asked[:, known])
    return np.exp(forecast) if logged else forecast


def _features(train: RunLog, asked: RunLog) -> tuple[Array, Array]:
    """Numbers (their logarithm changes nothing for trees), codes of labels, axis and its share."""
    both = pd.concat([train.configs, asked.configs])
    columns = []
    for name in both:
        values = both[name]
        number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        codes = values.to_numpy(dtype=np.float64, na_value=np.nan) if number else _codes(values)
        columns.append(codes)
    table = np.column_stack(columns) if columns else np.zeros((len(both), 0))
    parts = []
    for log, rows in ((train, table[: train.n_runs]), (asked, table[train.n_runs :])):
        at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
        own = [rows[log.codes], at[:, None]]
        if log.roles.horizon is not None:
            own.append((at / log.configs[log.roles.horizon].to_numpy(dtype=np.float64)[log.codes])[:, None])
        parts.append(np.concatenate(own, axis=1))
    return parts[0], parts[1]


def _codes(values: pd.Series) -> Array:
    return pd.factorize(values.astype(str))[0].astype(np.float64)


def law(train: RunLog, asked: RunLog, *, seed: int) -> Array | None:
    """Chinchilla's law of model size and axis, all levels together; None where it does not apply."""
    params = train.roles.params
    if params is None or train.roles.goal != "min":
        return None
    from probscale.laws import fit_law

    size, at, loss = _sizes(train), _axis(train), train.points[train.output].to_numpy(dtype=np.float64)
    keep = np.flatnonzero(np.isfinite(loss) & np.isfinite(size) & (at > 0))
    if not len(keep) or (loss[keep] <= 0).any():
        return None
    if len(keep) > MOST_LAW_ROWS:
        keep = np.sort(np.random.default_rng(seed).permutation(keep)[:MOST_LAW_ROWS])
    try:
        fit = fit_law("chinchilla", params=size[keep], tokens=at[keep], loss=loss[keep], seed=seed)
        return np.asarray(fit.predict(params=_sizes(asked), tokens=np.maximum(_axis(asked), 1e-9)))
    # A log that cannot identify a law has none to compare with.
    except ProbscaleError:
        return None


def _sizes(log: RunLog) -> Array:
    return log.configs[str(log.roles.params)].to_numpy(dtype=np.float64)[log.codes]


def _axis(log: RunLog) -> Array:
    return log.points[log.roles.axis].to_numpy(dtype=np.float64)


def power_law(x: Array, y: Array, at: Array) -> Array:
    """Continuation by c + a·x^-b, least squares over a grid of b; the last value for under four points."""
    if len(x) < FEWEST_FOR_POWER_LAW or x[-1] <= 0:
        return np.full(len(at), y[-1] if len(y) else np.nan)
    positive = x > 0
    ahead = np.maximum(at / x[-1], 1e-12)
    x, y = x[positive] / x[-1], y[positive]
    best, forecast = np.inf, np.full(len(at), y[-1])
    for exponent in EXPONENTS:
        design = np.column_stack([np.ones(len(x)), x**-exponent])
        weights, *_ = np.linalg.lstsq(design, y, rcond=None)
        loss = float(np.square(design @ weights - y).sum())
        if loss < best:
            best, forecast = loss, weights[0] + weights[1] * ahead**-exponent
    return forecast
