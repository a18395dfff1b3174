"""Curves of a log as the functional model sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.encode.annealing import Annealing, find_annealing
from probscale.encode.cache import CachedEmbedder
from probscale.encode.clock import Clock, fit_clock
from probscale.encode.embedders import Embedder
from probscale.encode.encoder import Encoder, fit_encoder
from probscale.encode.warming import Warming, find_warming
from probscale.model.gp import Observations
from probscale.model.means import Rows
from probscale.model.transforms import FLOOR_SHARE, OutputTransform, choose_transform
from probscale.runs import RunLog
from probscale.surrogate.functional import Observed
from probscale.surrogate.functional_places import Places
from probscale.surrogate.known_points import ended_diverged, run_codes, spikes_of, spread_evenly
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import MOST_CLASSIFIED, cells_of, diverged_runs
from probscale.surrogate.rows import rows_of
from probscale.surrogate.transform_choice import log_odds_for

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

FAR = 0.5
"""Share of the way to its planned end from which on a run shows how runs of its size end."""

LEARNT_RUNS = 3_000
"""Runs whose scores are modelled: each score takes a factor of as many rows."""


@dataclass(frozen=True)
class Curves:
    """Modelled points of a log's runs.

    Attributes:
        clock: Axis values to progress.
        transform: Outputs to the modelled scale.
        encoder: Configurations to rows.
        rows: One row per run, at its reference end.
        horizons: Planned ends, NaN where not given, (runs,).
        ends: Reference ends, (runs,).
        at: Axis value of each point, (points,).
        v: Its progress.
        y: Its modelled value.
        codes: Its run, from zero.
        names: Run codes, (runs,).
        cells: Cell of each run, (runs,).
        size_default: Logarithm of the model size assumed where none is given.
        annealing: Where configurations tell how the learning rate goes; None where they do not.
        forms: What they tell, (runs, 3); see `Annealing.forms`.
        warming: Where configurations tell how long it rises; None where they do not.
        warm: What they tell, (runs,); see `Warming.shares`.
    """

    clock: Clock
    transform: OutputTransform
    encoder: Encoder
    rows: Rows
    horizons: Array
    ends: Array
    at: Array
    v: Array
    y: Array
    codes: Positions
    names: Array
    cells: Positions
    size_default: float
    annealing: Annealing | None
    forms: Array | None
    warming: Warming | None
    warm: Array | None

    @property
    def places(self) -> Places:
        """What the shapes of the curves depend on."""
        return Places(self.clock, self.z, self.horizons, self.ends, self.forms, self.warm)

    @property
    def top(self) -> tuple[float, float]:
        """Logarithms of the largest model size and reference end of runs that have come far.

        A run that has just begun tells little of how runs of its size end. Without a planned end, any point
        counts.
        """
        last = np.zeros(len(self.names))
        np.maximum.at(last, self.codes, self.at)
        far = ~(last < FAR * self.horizons)
        some = self.rows if not far.any() else self.rows.take(torch.from_numpy(np.flatnonzero(far)))
        return float(some.size.max()), float(some.progress.max())

    @property
    def z(self) -> Array:
        """Coordinates of configurations, (runs, coordinates)."""
        return self.rows.x[:, : len(self.encoder.continuous)].numpy()


def read_curves(
    log: RunLog,
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
) -> tuple[Curves, tuple[Rows, NDArray[np.bool_]] | None]:
    """Points of runs that are not set apart as diverged; and rows and marks of all runs if some diverged."""
    roles = log.roles
    at, output, codes = _finite(log)
    horizons = _horizons(log)
    clock = fit_clock(at, codes, horizons, roles.horizon)
    ends = clock.ends(horizons)
    encoder, rows, default = _encoded(log, ends, embedder)
    transform = choose_transform(output, roles.goal, kind=options.transform, share=FLOOR_SHARE)
    apart = _diverged(log, encoder, transform, output, codes, at, default)
    present = np.unique(codes)
    used = present[~apart[present]]
    if len(used) > LEARNT_RUNS:
        used = np.sort(generator.permutation(used)[:LEARNT_RUNS])
    new = np.full(log.n_runs, -1, dtype=np.intp)
    new[used] = np.arange(len(used))
    mine = np.flatnonzero(new[codes] >= 0)
    mine = mine[_thinned(clock.read(at[mine], horizons[codes[mine]]), codes[mine])]
    transform = _scale_of(output[mine], roles.goal, options.transform)
    at, output, codes = at[mine], output[mine], codes[mine]
    annealing, warming = _schedules(log, clock)
    configs = log.configs.iloc[used]
    curves = Curves(
        clock=clock,
        transform=transform,
        encoder=encoder,
        rows=rows.take(torch.from_numpy(used)),
        horizons=horizons[used],
        ends=ends[used],
        at=at,
        v=clock.read(at, horizons[codes]),
        y=transform.forward(output),
        codes=new[codes],
        names=run_codes(list(log.runs[used])),
        cells=cells_of(log, np.arange(log.n_runs), ends)[used],
        size_default=default,
        annealing=annealing,
        forms=None if annealing is None else annealing.forms(configs),
        warming=warming,
        warm=None if warming is None else warming.shares(configs),
    )
    ended = ended_diverged(log)
    judged = np.union1d(present, np.flatnonzero(ended))
    return curves, _classified(rows, apart | ended, judged, generator)


def _scale_of(output: Array, goal: str, kind: str) -> OutputTransform:
    """Transform of curves: log odds of scores out of one or a hundred, which all begin low and end high.

    What they lack of the best hardly moves at first, and its law claims too much of the next size: see
    `benchmarks/results/general_curves.md`.
    """
    chosen = choose_transform(output, goal, kind=kind, share=FLOOR_SHARE)
    odds = log_odds_for(chosen, output, goal) if kind == "auto" else None
    return chosen if odds is None else odds


def _finite(log: RunLog) -> tuple[Array, Array, Positions]:
    """Axis value, output and run of the finite points, (points,) each; without spikes of runs that go on."""
    output = log.points[log.output].to_numpy(dtype=np.float64)
    keep = np.flatnonzero(np.isfinite(output) & ~spikes_of(log))
    return log.points[log.roles.axis].to_numpy(dtype=np.float64)[keep], output[keep], log.codes[keep]


def _schedules(log: RunLog, clock: Clock) -> tuple[Annealing | None, Warming | None]:
    """Where configurations tell how the learning rate goes, and how long it rises."""
    if clock.horizon is None:
        return None, None
    names = log.roles.config
    return find_annealing(log.configs, names), find_warming(log.configs, (*names, clock.horizon))


def _classified(
    rows: Rows, apart: NDArray[np.bool_], present: Positions, generator: np.random.Generator
) -> tuple[Rows, NDArray[np.bool_]] | None:
    """Rows and marks from which divergence is learnt; None when no run diverged."""
    marks = apart[present]
    if not marks.any():
        return None
    chosen = np.sort(generator.permutation(len(present))[:MOST_CLASSIFIED])
    return rows.take(torch.from_numpy(present[chosen])), marks[chosen]


def _horizons(log: RunLog) -> Array:
    """Planned end of each run, NaN without the role, (runs,)."""
    name = log.roles.horizon
    return np.full(log.n_runs, np.nan) if name is None else log.configs[name].to_numpy(dtype=np.float64)


def _encoded(
    log: RunLog, ends: Array, embedder: Embedder | CachedEmbedder | None
) -> tuple[Encoder, Rows, float]:
    """Encoder and rows of runs at their reference ends, and the typical model size."""
    roles = log.roles
    last = np.r_[np.diff(log.codes) != 0, True]
    points = log.points.iloc[np.flatnonzero(last)].reset_index(drop=True)
    points[roles.axis] = ends[log.codes[last]]
    configs = log.configs.iloc[log.codes[last]]
    finals = RunLog(configs, points, roles)
    encoder = fit_encoder(finals, embedder)
    every = np.arange(log.n_runs)
    raw = encoder.encode(log.configs, run_codes(list(log.runs)), every, ends)
    default = float(np.nanmedian(raw.size)) if np.isfinite(raw.size).any() else 0.0
    return encoder, rows_of(raw, default), default


def _diverged(
    log: RunLog,
    encoder: Encoder,
    transform: OutputTransform,
    output: Array,
    codes: Positions,
    at: Array,
    default: float,
) -> NDArray[np.bool_]:
    """Runs whose last point lies beyond a valley above the law, (runs,)."""
    last = np.flatnonzero(np.append(codes[1:] != codes[:-1], True))
    rows = rows_of(encoder.encode(log.configs, run_codes(list(log.runs)), codes[last], at[last]), default)
    y = torch.from_numpy(transform.forward(output[last]))
    data = Observations(rows, y, torch.ones_like(y))
    return diverged_runs(encoder, transform, output[last], data, codes[last], log.n_runs)[0]


def _thinned(v: Array, codes: Positions) -> Positions:
    """Positions of at most `MOST_SEEN` points per run, even in progress."""
    picked = []
    for where in np.split(np.arange(len(codes)), np.flatnonzero(np.diff(codes)) + 1):
        picked.append(where[spread_evenly(v[where])])
    return np.concatenate(picked)


def observed_of(curves: Curves) -> dict[float, Observed]:
    """Points of the runs by run code."""
    parts = np.split(np.arange(len(curves.codes)), np.flatnonzero(np.diff(curves.codes)) + 1)
    return {
        float(curves.names[curves.codes[where[0]]]): Observed(curves.at[where], curves.y[where])
        for where in parts
    }
