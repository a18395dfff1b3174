"""Fitted functional model of many curves: low rank along a run, Gaussian processes across configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probscale.encode.annealing import Annealing
from probscale.encode.clock import Clock
from probscale.encode.encoder import Encoder
from probscale.encode.warming import Warming
from probscale.model.baseline import Baseline
from probscale.model.basis import Basis
from probscale.model.continuation import Outlook, outlooks_of
from probscale.model.divergence import DivergenceModel
from probscale.model.exact import Look
from probscale.model.falling import FallingMean
from probscale.model.means import Rows
from probscale.model.outlooks import Outlooks
from probscale.model.posterior import CurveBlock, Tail
from probscale.model.scores import ScoreProcesses, Sites
from probscale.model.spread import CurveSpread
from probscale.model.straying import Prefix, RunDeviations
from probscale.model.telling import told_by
from probscale.model.transforms import LogFloor, OutputTransform
from probscale.runs import RunLog
from probscale.surrogate.beyond import MARGIN, exceeds
from probscale.surrogate.functional_drift import Beginnings, Drifts, courses_of, drift_ends
from probscale.surrogate.functional_places import SAME_LENGTH, Alike, Larger, Places
from probscale.surrogate.functional_told import ToldSizes, told_sizes
from probscale.surrogate.functional_untold import strays_of, with_strays
from probscale.surrogate.known_points import points_of, spikes_of, spread_evenly
from probscale.surrogate.rows import rows_of
from probscale.surrogate.unseen import has_unseen
from probscale.surrogate.untold import Untold

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

CONTAMINATION = (0.1, 3.0)
"""Share of new runs beyond the observed scales that stray more, and how much more. Most larger sizes lie well
within what is promised, a few far outside; chosen with breaks, on the sets of `functional_breaks`."""

FEWEST_SIZES = 3
"""Model sizes from which on larger ones are drawn to the largest: of two, sets inside training rows say
nothing, and beyond one another account serves."""

MOST_LOOKS = 64
"""Runs up to which all that was computed to judge their points is kept to learn from them."""


@dataclass(frozen=True)
class Observed:
    """Points of one run as the model keeps them.

    Attributes:
        at: Axis values, (points,).
        y: Modelled values, (points,).
    """

    at: Array
    y: Array


@dataclass(frozen=True)
class FunctionalExpert:
    """Fitted model of the curves of many runs; same verbs as `Expert`.

    y_i(t) = centre_i + baseline_i(t) + Σ_q ψ_q(v) w_iq + remainder, where the first score is the value at
    the reference end minus its centre, and each score is a Gaussian process over configurations.

    Attributes:
        encoder: Configurations to rows, one row per run, at the reference end.
        clock: Axis values to progress.
        transform: Outputs to the modelled scale.
        baseline: Shape of curves relative to their end.
        centre: Linear guess of the end: intercept and one slope per coordinate.
        basis: Functions of progress and what they leave over.
        scores: Posterior of the scores.
        deviations: How runs stray from what their configurations say.
        spread: Calibrated spread along a run, of new runs within the observed scales and of begun ones.
        beyond: Factor on the spread for configurations larger or longer than any observed.
        size_default: Logarithm of the model size assumed where none is given.
        largest: Largest observed logarithms of model size and reference end.
        observed: Points of runs by run code.
        unseen: Factor on the spread for configurations with a level value that no run has; None: as known
            values.
        divergence: Probability of divergence; None when no run diverged.
        annealing: Where configurations tell how the learning rate goes; None where they do not.
        warming: Where configurations tell how long it rises; None where they do not.
        strays: By run code, what scores of runs that came without a setting vary by besides, (scores,).
    """

    encoder: Encoder
    clock: Clock
    transform: OutputTransform
    baseline: Baseline
    centre: Array
    basis: Basis
    scores: ScoreProcesses
    deviations: RunDeviations
    spread: CurveSpread
    beyond: float
    size_default: float
    largest: tuple[float, float]
    observed: Mapping[float, Observed]
    unseen: float | None = None
    divergence: DivergenceModel | None = None
    annealing: Annealing | None = None
    warming: Warming | None = None
    strays: Mapping[float, Array] = field(default_factory=dict)

    def rows(self, configs: pd.DataFrame, runs: Array, ends: Array) -> Rows:
        """One row per configuration, at its reference end."""
        index = np.arange(len(configs))
        return rows_of(self.encoder.encode(configs, runs, index, ends), self.size_default)

    def horizons(self, configs: pd.DataFrame) -> Array:
        """Planned ends, NaN where not given, (configs,)."""
        name = self.clock.horizon
        if name is None or name not in configs:
            return np.full(len(configs), np.nan)
        return pd.to_numeric(configs[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)

    def coordinates(self, rows: Rows) -> Array:
        """Coordinates of configurations that baseline and centre read, (configs, coordinates)."""
        return rows.x[:, : len(self.encoder.continuous)].numpy()

    def places(self, configs: pd.DataFrame, rows: Rows, horizons: Array) -> Places:
        """What the shapes of the curves of configurations depend on.

        Cost: O(observations × scores) for each run that is longer, shorter or larger than any observed.
        """
        own = self._places_of_lengths(configs, rows, horizons)
        which = np.flatnonzero(rows.size.numpy() > self.largest[0] + MARGIN)
        if not len(which) or not self.sizes_add_up:
            return own
        others = configs.iloc[which].assign(**{str(self.encoder.roles.params): np.exp(self.largest[0])})
        there = self.rows(others, np.full(len(which), -1.0), own.ends[which])
        places = self._places_of_lengths(others, there, horizons[which])
        return replace(own, larger=Larger(*self._beside(which, rows, there, places)))

    def _places_of_lengths(self, configs: pd.DataFrame, rows: Rows, horizons: Array) -> Places:
        """The same for runs whose shapes go on as they changed with size."""
        own = self._own_places(configs, rows, horizons)
        if self.clock.horizon is None:
            return own
        near = np.clip(own.ends, *self.lengths)
        which = np.flatnonzero(np.abs(np.log(near / own.ends)) > SAME_LENGTH)
        if not len(which):
            return own
        others = configs.iloc[which].assign(**{self.clock.horizon: near[which]})
        there = self.rows(others, np.full(len(which), -1.0), near[which])
        places = self._own_places(others, there, near[which])
        return replace(own, alike=Alike(*self._beside(which, rows, there, places)))

    def _beside(
        self, which: Positions, rows: Rows, there: Rows, places: Places
    ) -> tuple[Positions, Places, Array, Array, Array, Basis]:
        """Fields of `Beside` for some of the rows, whose configurations are elsewhere as `there` has them."""
        where = np.full(len(rows), -1)
        where[which] = np.arange(len(which))
        levels, theirs = self._fitted_scores(there)
        mine_levels, mine = self._fitted_scores(rows.take(torch.tensor(which)))
        return where, places, levels - mine_levels, mine, theirs, self.basis

    def _fitted_scores(self, rows: Rows) -> tuple[Array, Array]:
        """Levels of configurations, (configs,), and what the fit expects of their scores beside these."""
        levels, scores = self.levels(rows), self._fitted.means(rows)
        scores[:, 0] -= levels
        return levels, scores

    @cached_property
    def sizes_add_up(self) -> bool:
        """Whether curves are losses of runs with planned ends, of sizes enough to tell how shapes change.

        Where size divides the loss it takes the same off its logarithm all along a run.
        """
        if isinstance(self.scores.states[0].process.mean, FallingMean):
            return False
        sizes = self._fitted_rows.size.numpy()
        distinct = 1 + int((np.diff(np.unique(sizes)) > MARGIN).sum())
        varies = self.encoder.roles.params in self.encoder.continuous and self.clock.horizon is not None
        return varies and distinct >= FEWEST_SIZES and isinstance(self.transform, LogFloor)

    @cached_property
    def _fitted(self) -> ScoreProcesses:
        """The scores as the fit left them: what curves of new lengths begin like does not change later."""
        return self.scores.before()

    @property
    def _fitted_rows(self) -> Rows:
        """Rows of the runs of the fit."""
        state = self.scores.states[0]
        return state.data.rows.take(slice(len(state.data) - sum(state.pieces)))

    @cached_property
    def lengths(self) -> tuple[float, float]:
        """Least and largest reference end of the runs of the fit, axis units."""
        ends = self._fitted_rows.progress
        return float(ends.min().exp()), float(ends.max().exp())

    def _own_places(self, configs: pd.DataFrame, rows: Rows, horizons: Array) -> Places:
        """The same for runs whose shapes go on as they changed with length."""
        forms = None if self.annealing is None else self.annealing.forms(configs)
        warm = None if self.warming is None else self.warming.shares(configs)
        ends = self.clock.ends(horizons)
        shift = self._size_shift(rows)
        return Places(self.clock, self.coordinates(rows), horizons, ends, forms, warm, shift)

    def levels(self, rows: Rows) -> Array:
        """Guess of the modelled value at the end that whole curves follow, (configs,).

        Linear in the coordinates. Where all runs had one model size it is no coordinate; then another size
        moves a curve as a whole by what the law says, not along the pattern in which runs of one size differ.
        """
        linear = self.centre[0] + self.coordinates(rows) @ self.centre[1:]
        shift = self._size_shift(rows)
        return linear if shift is None else linear + shift

    def _size_shift(self, rows: Rows) -> Array | None:
        """By how much the law shifts ends of sizes that coordinates do not tell; None where size is one."""
        if self.encoder.roles.params is None or self.encoder.roles.params in self.encoder.continuous:
            return None
        return self._told_sizes.shift(self.scores.states[0].process.mean, rows, self.coordinates(rows))

    @cached_property
    def _told_sizes(self) -> ToldSizes:
        """What other coordinates say of the sizes of the runs of the fit."""
        rows = self._fitted_rows
        return told_sizes(rows.size.numpy(), self.coordinates(rows))

    def block(self, configs: pd.DataFrame, runs: Array, at: Array) -> CurveBlock:
        """Posterior of configurations at axis values.

        Args:
            configs: One row per asked curve.
            runs: Run codes, (configs,): a code with observed points continues that run.
            at: Axis values, (configs, points).

        Cost: O(observations² × configs × scores + configs × points²).
        """
        horizons = self._asked_horizons(configs, at)
        rows = self.rows(configs, runs, self.clock.ends(horizons))
        places = self.places(configs, rows, horizons)
        fixed = self._fixed(places, self.levels(rows), at)
        v = self.clock.read(at.ravel(), np.repeat(horizons, at.shape[1])).reshape(at.shape)
        tail = self._tail_for(rows, v, runs, horizons)
        views = Outlooks(rows, self.scores, self._outlooks(rows, places, runs, v, tail), fixed, tail)
        diverges = None if self.divergence is None else self.divergence.probability(rows)
        return CurveBlock(self.transform, views.components(), tail, prob_diverge=diverges, draws=views)

    def begun(self, log: RunLog, codes: Array) -> FunctionalExpert:
        """The expert with the points of asked runs that were too many to learn from."""
        absent = np.array([code for code in codes if code >= 0 and code not in self.observed])
        return self.shown(log, *points_of(log, absent)) if len(absent) else self

    def extended(
        self, more: RunLog, codes: Array, where: Positions, untold: Untold | None = None
    ) -> FunctionalExpert:
        """The expert after further points of runs, parameters unchanged; see `Expert.extended`."""
        strays = self.strays if untold is None else {**self.strays, **strays_of(self, codes, untold)}
        changed = replace(self, strays=strays).shown(more, codes, where)
        touched = np.unique(more.codes[where])
        touched = touched[[codes[run] in changed.observed for run in touched]]
        if not len(touched):
            return self
        configs, names = more.configs.iloc[touched], codes[touched]
        horizons = changed.horizons(configs)
        rows = changed.rows(configs, names, changed.clock.ends(horizons))
        looks = self.scores.looks(rows) if len(rows) <= MOST_LOOKS else None
        sites = changed._told(rows, names, changed.places(configs, rows, horizons), looks)
        variance = with_strays(strays, names, sites.variance)
        end = Sites(sites.location + changed._first_shift(rows), variance)
        return replace(changed, scores=self.scores.observe(names, rows, end, looks))

    def shown(self, more: RunLog, codes: Array, where: Positions) -> FunctionalExpert:
        """The expert that knows further points of runs, for their own continuation alone; see `extended`."""
        at = more.points[more.roles.axis].to_numpy(dtype=np.float64)
        y = self.transform.forward(more.points[more.output].to_numpy(dtype=np.float64))
        runs, observed = more.codes, dict(self.observed)
        where = where[np.isfinite(y[where]) & ~spikes_of(more)[where]]
        for part in np.split(where, np.flatnonzero(np.diff(runs[where])) + 1):
            if not len(part):
                continue
            code = float(codes[runs[part[0]]])
            old = observed.get(code, Observed(np.empty(0), np.empty(0)))
            joint, first = np.unique(np.append(old.at, at[part]), return_index=True)
            observed[code] = Observed(joint, np.append(old.y, y[part])[first])
        return replace(self, observed=observed)

    def _told(self, rows: Rows, codes: Array, places: Places, looks: Sequence[Look] | None) -> Sites:
        """What the observed points of runs say about the scores of their configurations."""
        location, variance = self._expected(rows, codes, looks)
        levels, deviation = self.levels(rows), self.scores.deviation()
        parts = []
        for i, code in enumerate(codes):
            v, residual = self.residual(self.observed[code], places.take(i))
            seen = Prefix(v, residual - levels[i])
            parts.append(told_by(self.basis, self.deviations, seen, location[i], variance[i], deviation))
        return Sites(*(np.concatenate([getattr(p, k) for p in parts]) for k in ("location", "variance")))

    def residual(self, seen: Observed, place: Places) -> tuple[Array, Array]:
        """Progress of observed points of one run, and what is left of them but its level, (points,) each."""
        keep = spread_evenly(self.clock.read(seen.at, np.repeat(place.horizons, len(seen.at))))
        v, shape = place.shape(self.baseline, seen.at[keep], np.zeros(len(keep), dtype=np.intp))
        return v, seen.y[keep] - shape

    def _first_shift(self, rows: Rows) -> Array:
        """The first process models ends, the first score their difference to the centre: (rows, scores)."""
        shift = np.zeros((len(rows), len(self.basis.variance)))
        shift[:, 0] = self.levels(rows)
        return shift

    def _expected(self, rows: Rows, codes: Array, looks: Sequence[Look] | None = None) -> tuple[Array, Array]:
        """Scores that other runs let expect, (rows, scores) each."""
        location, variance = self.scores.marginals(rows, looks)
        location, variance = self.scores.without(codes, location, variance)
        return location - self._first_shift(rows), with_strays(self.strays, codes, variance)

    def _outlooks(self, rows: Rows, places: Places, runs: Array, v: Array, tail: Tail) -> list[list[Outlook]]:
        location, variance = self._expected(rows, runs)
        deviation, levels = self.scores.deviation(), self.levels(rows)
        drifts = self._drifts(rows, places, runs, location)
        wider = np.ones(v.shape)
        if drifts.courses:
            fresh = self._tail_for(rows, v, np.full(len(runs), -1.0), places.horizons)
            wider = fresh.variance / np.square(tail.scale)
        out = []
        for i, run in enumerate(runs):
            seen = None
            if run in self.observed:
                passed, residual = self.residual(self.observed[run], places.take(i))
                seen = Prefix(passed, residual - levels[i])
            expected = location[i], variance[i], deviation
            views = outlooks_of(self.basis, self.deviations, v[i], seen, *expected)
            last, unseen = np.nan, []
            if seen is not None and drifts.ends[i]:
                last = float(seen.v[-1])
                unseen = outlooks_of(self.basis, self.deviations, v[i], None, *expected)
            out.append(drifts.applied(views, i, v[i], last, unseen, wider[i]))
        return out

    def _drifts(self, rows: Rows, places: Places, runs: Array, location: Array) -> Drifts:
        """How far configurations may drift, given the scores that are expected of them."""
        size = rows.size.numpy()
        known = self._beginnings.known(size, runs)
        beyond = size - self.largest[0] if isinstance(self.transform, LogFloor) else np.zeros(len(size))
        ends = drift_ends(places, beyond)
        begun = np.isfinite(known) | np.isin(runs, list(self.observed))
        which = np.flatnonzero(begun & (ends > 0))
        return Drifts(ends, known, courses_of(places, self.baseline, self.basis, location, which))

    @cached_property
    def _beginnings(self) -> Beginnings:
        """Runs larger than any that had come far when parameters were fitted."""
        rows, members = self.scores.states[0].data.rows, self.scores.members
        where = np.flatnonzero(rows.size.numpy() > self.largest[0] + MARGIN)
        last = np.array([self.observed[code].at[-1] for code in members[where]])
        ends = np.exp(rows.progress.numpy()[where])
        return Beginnings(members[where], rows.size.numpy()[where], self.clock.read(last, ends))

    def _fixed(self, places: Places, levels: Array, at: Array) -> Array:
        """Level plus baseline, (configs, points)."""
        count, points = at.shape
        _, shape = places.shape(self.baseline, at.ravel(), np.repeat(np.arange(count), points))
        return shape.reshape(count, points) + levels[:, None]

    def _asked_horizons(self, configs: pd.DataFrame, at: Array) -> Array:
        """Planned ends; where a log has horizons and a configuration none, the asked end is meant."""
        horizons = self.horizons(configs)
        if self.clock.horizon is None:
            return horizons
        return np.where(np.isfinite(horizons), horizons, at.max(axis=1))

    def _tail_for(self, rows: Rows, v: Array, runs: Array, horizons: Array) -> Tail:
        """Spread of runs at progress values, (runs, points)."""
        known = [self.observed.get(run) for run in runs]
        last = np.array([np.nan if run is None else run.at[-1] for run in known])
        count = np.array([0 if run is None else len(run.at) for run in known])
        factors = self.spread.factors(v, self.clock.read(last, horizons), count, rows.progress.numpy())
        outside = exceeds(rows, self.largest)[:, None] & (count == 0)[:, None]
        factors = factors * np.where(outside, self.beyond, 1.0)
        if self.unseen is not None:
            new = has_unseen(self.scores.states[0], rows) & (count == 0)
            factors = factors * np.where(new, self.unseen, 1.0)[:, None]
        share, spread = CONTAMINATION
        return Tail(factors, np.where(outside, share, 0.0), np.where(outside, spread, 1.0))
