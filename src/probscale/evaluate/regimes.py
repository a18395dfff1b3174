"""Folds of a log per regime: what is left out, and what is then asked."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.errors import ConfigError
from probscale.randomness import generator_of
from probscale.runs import RunLog
from probscale.runs.order import canonical
from probscale.runs.thinning import evenly

IN_DISTRIBUTION = "in-distribution"
LARGER_SCALE = "larger scale"
PREFIX = "prefix"
UNSEEN_LEVEL = "unseen level"
UNSEEN_SOURCE = "unseen source"
REGIMES = (IN_DISTRIBUTION, LARGER_SCALE, PREFIX, UNSEEN_LEVEL, UNSEEN_SOURCE)

PREFIXES = (0.1, 0.2, 0.5)
"""Shares of a run that are shown."""

FEWEST_RUNS = 6
"""Runs below which a log cannot be checked."""

FEWEST_PREFIX_POINTS = 5
"""Points that half of the runs must have for prefixes to be checked."""

MOST_TEST = 40
"""Most runs that a fold leaves out."""

MOST_POINTS = 25
"""Points of a run that are judged."""

LARGEST_SHARE = 0.08
"""Share of the runs that the largest sizes must make up to be left out."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One refit: the runs it learns from, and those it is asked about.

    Attributes:
        regime: What is left out.
        train: What the fit sees.
        test: Runs of which it sees nothing, their points thinned.
        cluster: What the errors of a test run share with others, by run.
        prefixes: Shares of the test runs that are shown afterwards, one after the other.
    """

    regime: str
    train: RunLog
    test: RunLog
    cluster: pd.Series
    prefixes: tuple[float, ...] = ()


def prefix_name(share: float) -> str:
    """Name of the regime that continues a run after a share of it: "prefix 20 %"."""
    return f"{PREFIX} {share * 100:g} %"


def possible_regimes(log: RunLog) -> tuple[str, ...]:
    """Regimes that a log can tell something about."""
    out = [IN_DISTRIBUTION]
    if len(_scale_cuts(log, 1)):
        out.append(LARGER_SCALE)
    if np.median(np.bincount(log.codes, minlength=log.n_runs)) >= FEWEST_PREFIX_POINTS:
        out.append(PREFIX)
    levels = log.roles.levels
    if levels and log.configs[levels[-1]].nunique() > 1:
        out.append(UNSEEN_LEVEL)
    if len(levels) > 1 and log.configs[levels[0]].nunique() > 1:
        out.append(UNSEEN_SOURCE)
    return tuple(out)


def chosen_regimes(log: RunLog, regimes: str | Iterable[str]) -> tuple[str, ...]:
    """Regimes to check: "auto" is all that the log allows.

    Raises:
        ConfigError: for an unknown regime, one that the log does not allow, or a log too small to leave
            anything out.
    """
    if log.n_runs < FEWEST_RUNS:
        raise ConfigError(
            f"the log has {log.n_runs} run(s); a check leaves runs out and needs at least {FEWEST_RUNS}",
            runs=log.n_runs,
        )
    possible = possible_regimes(log)
    if isinstance(regimes, str) and regimes == "auto":
        return possible
    asked = [regimes] if isinstance(regimes, str) else list(regimes)
    if not asked:
        raise ConfigError(f'regimes is empty; pass "auto" or some of {", ".join(REGIMES)}')
    for name in asked:
        if name not in REGIMES:
            raise ConfigError(
                f"unknown regime {name!r}; accepted are auto, {', '.join(REGIMES)}", regime=name
            )
        if name not in possible:
            raise ConfigError(f"this log cannot tell about {name!r}: {_why_not(log, name)}", regime=name)
    return tuple(name for name in REGIMES if name in asked)


def _why_not(log: RunLog, regime: str) -> str:
    if regime == LARGER_SCALE:
        if log.roles.params is None:
            return "it has no params role; name the column of the model size"
        return "its largest sizes cannot be left out without leaving fewer than two sizes or half of the runs"
    if regime == PREFIX:
        return f"half of its runs have fewer than {FEWEST_PREFIX_POINTS} points"
    if not log.roles.levels:
        return "it has no levels; name the columns of the task hierarchy"
    if regime == UNSEEN_SOURCE and len(log.roles.levels) == 1:
        return f"it has one level, which is checked as {UNSEEN_LEVEL!r}"
    return "the level has a single value"


def folds_of(log: RunLog, regimes: tuple[str, ...], *, folds: int, seed: int) -> list[Fold]:
    """All refits of a check, the same for the same seed and runs, in whatever order these come.

    The runs left out for `in-distribution` serve the prefixes as well: the fit that has not seen them is
    shown their beginnings.
    """
    generator, log = generator_of(seed), canonical(log)
    out: list[Fold] = []
    if IN_DISTRIBUTION in regimes or PREFIX in regimes:
        out += _run_folds(log, folds, PREFIXES if PREFIX in regimes else (), generator)
    if LARGER_SCALE in regimes:
        out += _scale_folds(log, folds, generator)
    levels = log.roles.levels
    if UNSEEN_LEVEL in regimes:
        out += _level_folds(log, levels[-1], UNSEEN_LEVEL, folds, generator)
    if UNSEEN_SOURCE in regimes:
        out += _level_folds(log, levels[0], UNSEEN_SOURCE, folds, generator)
    return out


def _run_folds(
    log: RunLog, folds: int, prefixes: tuple[float, ...], generator: np.random.Generator
) -> list[Fold]:
    """Random runs left out; a fifth at most, so that the fit is nearly that of the whole log."""
    order = generator.permutation(log.n_runs)
    size = max(1, min(math.ceil(0.2 * log.n_runs), log.n_runs // max(folds, 2)))
    out = []
    for fold in range(folds):
        held = np.zeros(log.n_runs, dtype=bool)
        held[order[fold * size : (fold + 1) * size]] = True
        if held.any():
            made = _fold(IN_DISTRIBUTION, log, held, ~held, None, generator)
            out.append(replace(made, prefixes=prefixes))
    return out


def _scale_cuts(log: RunLog, folds: int) -> list[tuple[float, float]]:
    """Sizes from which on runs are left out, and up to which they are asked, per fold."""
    if log.roles.params is None:
        return []
    size = log.configs[log.roles.params].to_numpy(dtype=np.float64)
    size = size[np.isfinite(size)]
    cuts: list[tuple[float, float]] = []
    upper = np.inf
    for cut in np.unique(size)[:1:-1]:
        left = size < cut
        if left.mean() < 0.5 or len(cuts) == folds:
            break
        held = (size >= cut) & (size < upper)
        if held.sum() >= max(2, LARGEST_SHARE * len(size)):
            cuts.append((float(cut), float(upper)))
            upper = cut
    return cuts


def _scale_folds(log: RunLog, folds: int, generator: np.random.Generator) -> list[Fold]:
    size = log.configs[str(log.roles.params)].to_numpy(dtype=np.float64)
    return [
        _fold(LARGER_SCALE, log, (size >= low) & (size < high), size < low, None, generator)
        for low, high in _scale_cuts(log, min(folds, 2))
    ]


def _level_folds(
    log: RunLog, level: str, regime: str, folds: int, generator: np.random.Generator
) -> list[Fold]:
    """Values of a level left out, a fifth of them in each fold and at least one."""
    values = log.configs[level]
    names = generator.permutation(np.array(list(dict.fromkeys(values)), dtype=object))
    size = max(1, math.ceil(0.2 * len(names)) if len(names) >= 5 * folds else len(names) // (2 * folds))
    out = []
    for fold in range(min(folds, len(names))):
        held = values.isin(names[fold * size : (fold + 1) * size]).to_numpy()
        if held.any() and (~held).sum() >= FEWEST_RUNS // 2:
            out.append(_fold(regime, log, held, ~held, values, generator))
    return out


def _fold(
    regime: str,
    log: RunLog,
    held: NDArray[np.bool_],
    learn: NDArray[np.bool_],
    cluster: pd.Series | None,
    generator: np.random.Generator,
) -> Fold:
    test = thinned_points(log.select(thinned_runs(held, MOST_TEST, generator)), MOST_POINTS)
    shared = pd.Series(test.runs, index=test.runs) if cluster is None else cluster.loc[test.runs]
    return Fold(regime, log.select(learn), test, shared)


def thinned_runs(held: NDArray[np.bool_], most: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """At most so many of the marked runs, at random."""
    if held.sum() <= most:
        return held
    out = np.zeros(len(held), dtype=bool)
    out[generator.permutation(np.flatnonzero(held))[:most]] = True
    return out


def thinned_points(log: RunLog, most: int) -> RunLog:
    """At most so many points of each run, evenly spread; the first and the last stay."""
    counts = np.bincount(log.codes, minlength=log.n_runs)
    if counts.max() <= most:
        return log
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    picked = [start + evenly(count, most) for start, count in zip(starts, counts, strict=True)]
    return replace(log, points=log.points.iloc[np.concatenate(picked)].reset_index(drop=True))
