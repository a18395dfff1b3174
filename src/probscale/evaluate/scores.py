"""Scores of probabilistic forecasts: accuracy, calibration and sharpness, with errors that respect runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from probscale.errors import ConfigError, ShapeError
from probscale.surrogate import CurvePosterior

Array = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
HUBER = 0.01
"""Absolute error, in output units, from which on the Huber loss is linear."""

UNANIMOUS = 1.5
"""Where all points agree, two standard errors of a share are three over the clusters: the rule of three."""


def score_points(
    curves: CurvePosterior, truth: ArrayLike, *, runs: Iterable[Any] | None = None
) -> pd.DataFrame:
    """Every measured point of forecast curves, with its scores; one row a point.

    Args:
        curves: Posterior of the runs.
        truth: What was measured, broadcast to (configs, points); NaN where nothing was.
        runs: Identifier of each run, (configs,); by default the index of the posterior.

    Returns:
        Columns run, at, truth, mean, median, std, pit, crps, log_density, and lower_50, upper_50 ... of each
        of `LEVELS`, in output units.

    Raises:
        ShapeError: if `truth` or `runs` does not match the posterior.
    """
    names = np.asarray(list(curves.index if runs is None else runs), dtype=object)
    if len(names) != curves.shape[0]:
        raise ShapeError(
            f"runs holds {len(names)} identifiers for {curves.shape[0]} configurations; give one each",
            shape=(len(names),),
        )
    crps = curves.crps(truth)
    full = np.broadcast_to(np.asarray(truth, dtype=np.float64), curves.shape)
    row, column = np.nonzero(np.isfinite(full))

    def of(values: Array) -> Array:
        return values[row, column]

    table: dict[str, Any] = {"run": names[row], "at": of(curves.at), "truth": of(full)}
    table |= {"mean": of(curves.mean), "median": of(curves.median), "std": of(curves.std)}
    table |= {"pit": of(curves.prob_below(full)), "crps": of(crps)}
    table["log_density"] = of(curves.log_density(full))
    for level in LEVELS:
        lower, upper = curves.interval(level)
        table |= {f"lower_{_percent(level)}": of(lower), f"upper_{_percent(level)}": of(upper)}
    return pd.DataFrame(table)


def pooled(
    points: pd.DataFrame, by: str | Sequence[str] = (), *, cluster: str = "run", delta: float = HUBER
) -> pd.DataFrame:
    """Mean scores of points, with standard errors.

    Points of one run are wrong together: standard errors are those of a mean over clusters, not over points.

    Args:
        points: Rows of `score_points`, possibly with further columns.
        by: Columns to group by; "run" gives scores per run. Nothing: one row, "all".
        cluster: Column of the independent units.
        delta: Absolute error from which on the Huber loss is linear, output units.

    Returns:
        One row a group: runs, points, mae, bias, huber, crps, nlpd, interval_score (90 %), sharpness (mean
        width of 90 % intervals), coverage_50 ... coverage_95, widen (factor on the width that would make 90 %
        intervals hold 90 %), and `_se` of mae, bias, crps, nlpd and the coverages; NaN for one cluster.

    Raises:
        ConfigError: without points, or for a column that they do not have.
    """
    keys = [by] if isinstance(by, str) else list(by)
    _check_points(points, *keys, cluster)
    if not keys:
        return pd.DataFrame([_pooled(points, cluster, delta)], index=pd.Index(["all"]))
    groups = points.groupby(keys if len(keys) > 1 else keys[0], sort=False)
    rows = {name: _pooled(part, cluster, delta) for name, part in groups}
    labels: list[Any] = list(rows)
    index = pd.MultiIndex.from_tuples(labels, names=keys) if len(keys) > 1 else pd.Index(labels, name=keys[0])
    return pd.DataFrame(list(rows.values()), index=index)


def _pooled(points: pd.DataFrame, cluster: str, delta: float) -> dict[str, float]:
    truth = _column(points, "truth")
    error = _column(points, "median") - truth
    codes = pd.factorize(points[cluster])[0]
    lower, upper = _column(points, "lower_90"), _column(points, "upper_90")
    out: dict[str, float] = {"runs": points["run"].nunique(), "points": len(points)}
    means = {"mae": np.abs(error), "bias": error, "crps": _column(points, "crps")}
    means["nlpd"] = -_column(points, "log_density")
    for level in LEVELS:
        name = _percent(level)
        means[f"coverage_{name}"] = inside(
            truth, _column(points, f"lower_{name}"), _column(points, f"upper_{name}")
        )
    for name, values in means.items():
        out[name], spread = clustered_mean(values, codes)
        if spread == 0 and name.startswith("coverage"):
            spread = UNANIMOUS / (codes.max() + 1)
        out[f"{name}_se"] = spread
    out["huber"] = float(huber(error, delta).mean())
    out["interval_score"] = float(interval_score(truth, lower, upper, 0.9).mean())
    out["sharpness"] = float((upper - lower).mean())
    out["widen"] = widening(_column(points, "pit"))
    return out


def clustered_mean(values: Array, clusters: NDArray[np.intp]) -> tuple[float, float]:
    """Mean over points and its standard error when only clusters are independent.

    Returns:
        Mean, and standard error; NaN for a single cluster, or where the mean is not finite.

    Source: linearised variance of a ratio under cluster sampling, Cochran 1977, eq. 6.13.
    """
    mean = float(np.mean(values))
    counts = np.bincount(clusters)
    counts = counts[counts > 0]
    if len(counts) < 2 or not np.isfinite(mean):
        return mean, float("nan")
    off = np.bincount(clusters, weights=values - mean)
    groups = len(counts)
    return mean, float(np.sqrt(groups / (groups - 1) * np.square(off).sum()) / len(values))


def inside(truth: Array, lower: Array, upper: Array) -> Array:
    """1.0 where an interval holds the truth, else 0.0."""
    return ((lower <= truth) & (truth <= upper)).astype(np.float64)


def interval_score(truth: Array, lower: Array, upper: Array, level: float) -> Array:
    """Width of an interval plus the penalty for missing, output units; smaller is better.

    Raises:
        ConfigError: if `level` is not strictly between 0 and 1.

    Source: Gneiting and Raftery 2007, eq. 43.
    """
    if not 0 < level < 1:
        raise ConfigError(
            f"level is {level}; give a share strictly between 0 and 1, such as 0.9", level=level
        )
    miss = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return upper - lower + 2 / (1 - level) * miss


def huber(error: Array, delta: float = HUBER) -> Array:
    """Huber loss: quadratic up to `delta`, then linear."""
    size = np.abs(error)
    return np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))


def widening(pit: Array) -> float:
    """Factor on the width of central 90 % intervals that would make them hold their share of the truth.

    Above one: intervals are too narrow. Judged on the normal scale, so it is exact where errors have the
    predicted shape.
    """
    z = np.abs(ndtri(np.clip(pit, 1e-12, 1 - 1e-12)))
    return float(np.quantile(z, 0.9) / ndtri(0.95))


def crps_from_samples(samples: ArrayLike, truth: ArrayLike) -> Array:
    """Continuous ranked probability score from draws alone, fair in their number; output units.

    Args:
        samples: Draws, (n, ...), at least two.
        truth: What was measured, the shape of one draw.

    Raises:
        ShapeError: if shapes differ or there are fewer than two draws.

    Cost: O(n log n) a point.

    Source: Ferro 2014, eq. 6; the sorted form of Jordan, Krüger and Lerch 2019.
    """
    draws, values = np.asarray(samples, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    n = len(draws)
    if n < 2 or draws.shape[1:] != values.shape:
        raise ShapeError(
            f"samples has shape {draws.shape} and truth {values.shape}; give samples as (n, *truth.shape) "
            "with n of at least 2",
            shape=draws.shape,
        )
    ordered = np.sort(draws, axis=0)
    rank = (2 * np.arange(1, n + 1) - n - 1).reshape(-1, *([1] * values.ndim))
    spread = (rank * ordered).sum(axis=0) / (n * (n - 1))
    return np.abs(draws - values).mean(axis=0) - spread


def reliability(points: pd.DataFrame, shares: ArrayLike | None = None) -> pd.DataFrame:
    """Observed against promised coverage of central intervals.

    Args:
        points: Rows of `score_points`.
        shares: Promised shares; .05 to .95 by default.

    Returns:
        Columns promised, observed and se (over runs).

    Raises:
        ConfigError: without points, or for shares that are none.
    """
    _check_points(points)
    promised = np.linspace(0.05, 0.95, 19) if shares is None else np.asarray(shares, dtype=np.float64)
    if promised.ndim != 1 or not ((promised > 0) & (promised < 1)).all():
        raise ConfigError(f"shares is {shares!r}; pass shares strictly between 0 and 1, such as [0.5, 0.9]")
    off = 2 * np.abs(_column(points, "pit") - 0.5)
    codes = pd.factorize(points["run"])[0]
    rows = [clustered_mean((off <= share).astype(np.float64), codes) for share in promised]
    return pd.DataFrame(rows, columns=["observed", "se"]).assign(promised=promised)[
        ["promised", "observed", "se"]
    ]


def _check_points(points: pd.DataFrame, *names: str) -> None:
    if not len(points):
        raise ConfigError("there are no points to score; pass rows of score_points, at least one")
    for name in (*names, "run", "pit"):
        if name not in points:
            raise ConfigError(
                f"the points have no column {name!r}; they have {', '.join(map(str, points.columns))}",
                column=name,
            )


def _column(points: pd.DataFrame, name: str) -> Array:
    return points[name].to_numpy(dtype=np.float64)


def _percent(level: float) -> str:
    return f"{level * 100:.0f}"
