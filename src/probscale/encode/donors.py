"""Values for settings that a configuration leaves out: those of runs that resemble it in all else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from probscale.encode.fields import label, numeric_field

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

PENALTIES = (0.01, 0.1, 1.0, 10.0)
"""Ridge penalties to choose among, per run; beside these, that settings say nothing of each other."""

NEAR = 0.5
"""How far runs are near, in standard deviations of what other settings leave open of the one left out: the
nearer, the fewer runs; at .5 the spread between their expected values adds an eighth to the deviation."""

FEWEST_ALIKE = 2
"""Runs with a label from which on it may tell what other settings are."""


def donors(known: pd.DataFrame, asked: pd.DataFrame, absent: Sequence[str], count: int) -> Positions:
    """Runs whose values of some settings stand in for those that configurations leave out.

    Values that are left out together come from one run, so that they go together. Where other settings
    foretell them, as sizes often foretell learning rates, near runs are those of which about the same is
    foretold.

    Args:
        known: Configurations of runs.
        asked: Configurations that leave the same settings out; all other columns of `known` that they have
            are given in each row, or in none.
        absent: Settings that are left out.
        count: Runs per configuration.

    Returns:
        Positions in `known`, (asked, count): evenly spread over the values, from the least on.

    Cost: O(runs × columns² + asked × runs).

    Source: predictive mean matching, Little 1988, with weights in place of a fixed number of neighbours.
    """
    given = [str(name) for name in known if name in asked and name not in absent]
    given = [name for name in given if asked[name].notna().all()]
    order = np.lexsort([_ranks(known[name]) for name in reversed(absent)])
    weights = _likeness(known, asked, given, absent)[:, order]
    reached = np.cumsum(weights, axis=1)
    steps = (np.arange(count) + 0.5) / count
    places = np.stack([np.searchsorted(row / row[-1], steps) for row in reached])
    return order[places.clip(0, len(order) - 1)]


def _likeness(known: pd.DataFrame, asked: pd.DataFrame, given: Sequence[str], absent: Sequence[str]) -> Array:
    """How near each run is to each configuration, (asked, runs)."""
    both = [_design(known[name], asked[name]) for name in given]
    columns = np.concatenate([np.zeros((len(known) + len(asked), 0)), *both], axis=1)
    here, there = columns[: len(known)], columns[len(known) :]
    far = np.zeros((len(asked), len(known)))
    for name in absent:
        target = _design(known[name], known[name])[: len(known)]
        if not target.shape[1]:
            continue
        mine, theirs, left = _foretold(here, there, target)
        for column in range(target.shape[1]):
            apart = (theirs[:, column, None] - mine[None, :, column]) / (NEAR * left[column])
            far += apart**2 / target.shape[1]
    return np.exp(-0.5 * (far - far.min(axis=1, keepdims=True)))


def _foretold(here: Array, there: Array, target: Array) -> tuple[Array, Array, Array]:
    """What columns foretell of a target, of runs and of configurations, and what they leave open of it.

    Source: ridge regression, its penalty chosen by what it foretells of runs left out (Golub et al. 1979).
    """
    centre, middle = target.mean(axis=0), here.mean(axis=0)
    spread = target.std(axis=0)
    count = len(here)
    best = (1.0, np.broadcast_to(centre, target.shape), np.zeros((here.shape[1], target.shape[1])), spread)
    left, singular, right = np.linalg.svd(here - middle, full_matrices=False)
    for penalty in PENALTIES:
        kept = singular**2 / (singular**2 + penalty * count)
        fitted = centre + (left * kept) @ (left.T @ target)
        leverage = (left**2 * kept).sum(axis=1) + 1 / count
        missed = (target - fitted) / np.maximum(1 - leverage, 1e-3)[:, None]
        error = np.sqrt(np.mean(missed**2, axis=0))
        score = float(np.mean(error / spread))
        if score < best[0]:
            inverse = singular / (singular**2 + penalty * count)
            best = (score, fitted, (right.T * inverse) @ (left.T @ target), error)
    _, fitted, slopes, error = best
    return fitted, centre + (there - middle) @ slopes, np.maximum(error, 1e-3 * spread)


def _design(values: pd.Series, asked: pd.Series) -> Array:
    """A column of runs and of configurations as numbers that vary over runs, (runs + asked, columns)."""
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        item = numeric_field(str(values.name), values, marks_missing=bool(values.isna().any()))
        if item is None:
            return np.zeros((len(values) + len(asked), 0))
        columns = np.concatenate([item.apply(values), np.clip(item.apply(asked), -5.0, 5.0)])
    else:
        ours, theirs = ([label(value) for value in column] for column in (values, asked))
        names, counts = np.unique(ours, return_counts=True)
        kept = names[counts >= FEWEST_ALIKE]
        columns = (np.array([*ours, *theirs])[:, None] == kept[None]).astype(np.float64)
    return columns[:, columns[: len(values)].std(axis=0) > 0]


def _ranks(values: pd.Series) -> Positions:
    """Order of the values of a column, numbers by size, labels by name; equal ones alike."""
    if is_numeric_dtype(values) and not is_bool_dtype(values):
        return np.unique(values.to_numpy(dtype=np.float64, na_value=np.inf), return_inverse=True)[1]
    return np.unique([label(value) for value in values], return_inverse=True)[1]
