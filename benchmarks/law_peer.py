"""Robust parametric law, written independently of the package: Huber loss on log output."""

from __future__ import annotations

from itertools import product

import numpy as np
from features import Array
from scipy.optimize import minimize
from scipy.special import logsumexp
from tasks import Task

HUBER = 1e-3
RIDGE = 1e-6
PRIOR = np.array([0.0, 6.0, 6.0, 0.35, 0.35])


def _design(n: Array | None, d: Array | None) -> Array:
    """Rows [1, −log N, −log D]; absent inputs are zeros."""
    size = len(n if n is not None else d if d is not None else ())
    zero = np.zeros(size)
    return np.column_stack([zero if n is None else np.log(n), zero if d is None else np.log(d)])


def fit_law(x: Array, y: Array, use: tuple[bool, bool], rows: int = 4000, seed: int = 0) -> Array:
    """Parameters (log E, log A, log B, a, b) of L = E + A·N^−a + B·D^−b by multi-start L-BFGS.

    Source: Hoffmann et al. 2022, eq. 10 and appendix D.2; a ridge of 1e-6 identifies absent terms.
    """
    keep = np.random.default_rng(seed).permutation(len(y))[:rows]
    x, target = x[keep], np.log(y[keep])
    active = np.array([True, use[0], use[1], use[0], use[1]])

    def objective(theta: Array) -> tuple[float, Array]:
        terms = _terms(theta, x, use)
        residual = logsumexp(terms, axis=1) - target
        weight = np.exp(terms - logsumexp(terms, axis=1)[:, None])
        small = np.abs(residual) <= HUBER
        loss = np.where(small, residual**2 / 2, HUBER * (np.abs(residual) - HUBER / 2)).mean()
        slope = np.clip(residual, -HUBER, HUBER)[:, None] * weight / len(x)
        slope[~np.isfinite(slope)] = 0.0
        gradient = np.array(
            [*slope.sum(0), -(slope[:, 1] * x[:, 0]).sum(), -(slope[:, 2] * x[:, 1]).sum()],
        )
        gradient += 2 * RIDGE * HUBER * (theta - PRIOR)
        loss += RIDGE * HUBER * ((theta - PRIOR) ** 2).sum()
        return loss / HUBER, np.where(active, gradient, 0.0) / HUBER

    low = float(target.min())
    grid = product((low - 0.7, low - 0.2), (2.0, 6.0, 10.0), (2.0, 6.0, 10.0), (0.2, 0.5), (0.2, 0.5))
    starts = [np.array(p) for p in grid]
    ranked = sorted(starts, key=lambda p: objective(p)[0])[:12]
    fits = [minimize(objective, p, jac=True, method="L-BFGS-B", options={"maxiter": 500}) for p in ranked]
    return min(fits, key=lambda f: f.fun).x


def _terms(theta: Array, x: Array, use: tuple[bool, bool]) -> Array:
    size = theta[1] - theta[3] * x[:, 0] if use[0] else np.full(len(x), -np.inf)
    data = theta[2] - theta[4] * x[:, 1] if use[1] else np.full(len(x), -np.inf)
    return np.column_stack([np.full(len(x), theta[0]), size, data])


def log_law(task: Task) -> tuple[Array, Array] | None:
    """Log of the law at training and test rows, one fit per level cell; None where it does not apply."""
    y = task.train[task.output].to_numpy(float)
    params, axis, levels = task.roles["params"], task.roles["axis"], list(task.roles["levels"])
    if params is None or task.roles["goal"] != "min" or not (y > 0).all():
        return None
    use = (task.train[params].nunique() > 1, task.train[axis].nunique() > 1)
    x, x_test = (_design(*(f[c].to_numpy(float) for c in (params, axis))) for f in (task.train, task.test))
    pooled = fit_law(x, y, use)
    train, test = _log_values(pooled, x, use), _log_values(pooled, x_test, use)
    levels = [c for c in levels if c != "model_size" and not str(c).startswith("n_")]
    if not levels:
        return train, test
    cells, asked = _cells(task, levels)
    for cell in np.unique(cells):
        rows, wanted = cells == cell, asked == cell
        if rows.sum() >= 8:
            own = (len(np.unique(x[rows, 0])) > 1, len(np.unique(x[rows, 1])) > 1)
            theta = fit_law(x[rows], y[rows], own)
            train[rows] = _log_values(theta, x[rows], own)
            test[wanted] = _log_values(theta, x_test[wanted], own)
    return train, test


def _log_values(theta: Array, x: Array, use: tuple[bool, bool]) -> Array:
    return logsumexp(_terms(theta, x, use), axis=1)


def _cells(task: Task, levels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(f[levels].astype(str).agg("|".join, axis=1).to_numpy() for f in (task.train, task.test))  # type: ignore[return-value]
