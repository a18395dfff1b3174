"""Scores of the runs of a functional model: what their points say, and a Gaussian process per score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.basis import Basis
from probscale.model.devices import threads_for
from probscale.model.exact import ExactState, solve_exactly
from probscale.model.fitting import FitOutcome, fit_robustly, held, refine
from probscale.model.gp import CurveProcess, Observations
from probscale.model.mean_choice import curve_mean
from probscale.model.mean_fit import fit_mean
from probscale.model.means import Believed, LawScale, breaks_of
from probscale.model.scores import ScoreProcesses, Sites, plain_noise, sites_of
from probscale.model.weighing import robust_weights
from probscale.surrogate.functional_curves import Curves
from probscale.surrogate.mean_kinds import rivals, second_stays
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import choose_subset, law_scale, more_to_refine
from probscale.surrogate.rows import layout_of

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

SHARP = 0.1
"""Site variance, as a share of a score's variance, below which a run counts as having shown that score."""


def information_of(basis: Basis, curves: Curves, residual: Array) -> tuple[Array, Array]:
    """What the points of each run say: precision, (runs, scores, scores), and its product with the scores."""
    count = len(basis.variance)
    precision = np.zeros((len(curves.names), count, count))
    moment = np.zeros((len(curves.names), count))
    for where in np.split(np.arange(len(curves.codes)), np.flatnonzero(np.diff(curves.codes)) + 1):
        run = curves.codes[where[0]]
        precision[run], moment[run] = basis.information(curves.v[where], residual[where])
    return precision, moment


def fit_scores(
    curves: Curves,
    sites: Sites,
    level: Array,
    options: FitOptions,
    generator: np.random.Generator,
    believed: Believed | None,
) -> tuple[ScoreProcesses, list[FitOutcome]]:
    """A process per score, its parameters fitted on runs that have shown it."""
    states, outcomes, excess = [], [], []
    for q in range(sites.location.shape[1]):
        state, outcome, share = fit_score(curves, sites, q, level, options, generator, believed)
        states.append(state)
        outcomes.append(outcome)
        excess.append(share)
    return ScoreProcesses(tuple(states), curves.names, np.array(excess)), outcomes


def fit_score(
    curves: Curves,
    sites: Sites,
    q: int,
    level: Array,
    options: FitOptions,
    generator: np.random.Generator,
    believed: Believed | None = None,
) -> tuple[ExactState, FitOutcome, float]:
    """Process of one score, how its fit went, and which share of its noise is deviation of runs.

    Args:
        curves: Curves of a log.
        sites: What their points say.
        q: Which score; the first is the end, whose mean is a law.
        level: What the first score is counted from, (runs,).
        options: Settings.
        generator: Chooses the runs on which parameters are fitted.
        believed: What other sources let one believe of the size term of a law.
    """
    sharp, variance = _sharp(sites, q), sites.variance[:, q]
    value = sites.location[:, q] + (level if q == 0 else 0.0)
    y = torch.from_numpy(value)
    data = Observations(curves.rows, y, torch.ones_like(y))
    core = data.take(torch.from_numpy(sharp))
    subset = choose_subset(np.arange(len(sharp)), options.subset, generator)
    more = more_to_refine(np.arange(len(sharp)), options, generator)
    kinds = ("plane",) if q else _kinds(curves, core, options)
    given = _scale(curves, value[sharp], sharp), (subset, more), options, believed
    fits = [_fit_process(curves, core, kind, *given) for kind in kinds]
    states = [solve_exactly(*fit[:2], options.place) for fit in fits] if len(fits) > 1 else []
    process, core, outcome = fits[second_stays(states[0], states[1], curves.cells[sharp]) if states else 0]
    with torch.no_grad():
        noise = float(plain_noise(process, core.rows)[0])
    trust = np.ones(len(value))
    trust[sharp] = core.weight.numpy()
    share = float(np.clip(1 - np.mean(np.minimum(variance[sharp], noise)) / noise, 0.05, 1.0))
    blunt = np.maximum(variance - np.mean(variance[sharp]), 0.0)
    weight = noise / (noise / np.minimum(trust, 1.0) + blunt)
    weighted = replace(data, weight=torch.from_numpy(weight))
    return solve_exactly(process, weighted, options.place), outcome, share


def _kinds(curves: Curves, core: Observations, options: FitOptions) -> tuple[str, ...]:
    """Means of the end; of two the one stays that foretells better what was left out."""
    output, size = curves.transform.inverse(curves.y), core.rows.size.numpy()
    return ("law",) if options.means else rivals(curves.transform, output, size, curves=False)


def _fit_process(
    curves: Curves,
    core: Observations,
    kind: str,
    scale: LawScale,
    taken: tuple[torch.Tensor, torch.Tensor | None],
    options: FitOptions,
    believed: Believed | None,
) -> tuple[CurveProcess, Observations, FitOutcome]:
    """Process of a score under one mean, and what it was fitted to, weighed.

    Args:
        curves: Curves of a log.
        core: The score of runs that have shown it.
        kind: Mean function; a plane is that of scores beyond the first.
        scale: Centre of the mean.
        taken: Positions of runs on which parameters are fitted, and on which they are refined.
        options: Settings.
        believed: What other sources let one believe of the size term of a law.
    """
    end, (subset, more) = kind != "plane", taken
    mean = curve_mean(curves.transform, scale, core.y, kind, believed)
    with threads_for(len(subset)):
        spread = fit_mean(mean, core)
        spread = float(np.clip(options.spread * spread, 0.01, 1.0 if end else 3.0))
        process = CurveProcess(layout_of(curves.encoder), mean, scale=spread, noise=0.1 * spread)
        rounds, iterations = (options.rounds, options.iterations) if end else (2, 20)
        with held(breaks_of(mean)):
            _, outcome = fit_robustly(process, core.take(subset), rounds=rounds, iterations=iterations)
            if more is not None:
                outcome = refine(process, core.take(more), outcome)
    for _ in range(2):
        core = replace(core, weight=robust_weights(process, core))
    return process, core, outcome


def _sharp(sites: Sites, q: int) -> Positions:
    """Runs that have shown a score."""
    value, variance = sites.location[:, q], sites.variance[:, q]
    typical = float(np.median((value - np.median(value)) ** 2))
    return np.flatnonzero(variance <= max(SHARP * typical, np.quantile(variance, 0.3)))


def _scale(curves: Curves, value: Array, which: Positions) -> LawScale:
    some = curves.rows.take(torch.from_numpy(which))
    scale = law_scale(curves.transform, curves.transform.inverse(value), some, curves.encoder)
    rows = curves.rows
    shortest = None if scale.shortest is None else float((rows.progress - rows.size).min())
    return replace(scale, onset=None, top=curves.top, shortest=shortest)


def refined(
    scores: ScoreProcesses, curves: Curves, precision: Array, moment: Array, level: Array
) -> ScoreProcesses:
    """One more sweep over the sites of runs that have not shown everything, given what the others say."""
    deviation = scores.deviation()
    location, variance = scores.left_out(np.arange(len(curves.names)))
    location[:, 0] -= level
    sites = sites_of(precision, moment, location, variance + deviation)
    states = []
    for q, (state, noise) in enumerate(zip(scores.states, scores.noise(), strict=True)):
        value = sites.location[:, q] + (level if q == 0 else 0.0)
        trust = np.where(sites.variance[:, q] < noise, state.data.weight.numpy(), 1.0)
        weight = noise / (deviation[q] / np.minimum(trust, 1.0) + sites.variance[:, q])
        weights = torch.from_numpy(np.minimum(weight, 1.5))
        data = replace(state.data, y=torch.from_numpy(value), weight=weights)
        states.append(solve_exactly(state.process, data, state.device))
    return replace(scores, states=tuple(states))
