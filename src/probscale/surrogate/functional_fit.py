"""Fit the functional model: clock, baseline, basis, scores of runs, a Gaussian process per score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.model.baseline import fit_baseline
from probscale.model.basis import Basis, fit_basis
from probscale.model.divergence import fit_divergence
from probscale.model.exact import ExactState, solve_exactly
from probscale.model.fitting import FitOutcome, fit_mean, fit_robustly, robust_weights, threads_for
from probscale.model.gp import CurveProcess, Observations
from probscale.model.means import Believed, LawScale, curve_mean
from probscale.model.scores import ScoreProcesses, Sites, sites_of
from probscale.model.spread import CurveSpread
from probscale.model.straying import plain_deviations
from probscale.runs import RunLog
from probscale.surrogate.expert import layout_of
from probscale.surrogate.fitting import quick_fit
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.functional_beyond import beyond_factor, unseen_factor
from probscale.surrogate.functional_calibration import calibrated
from probscale.surrogate.functional_curves import Curves, observed_of, read_curves
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import choose_subset, law_scale
from probscale.surrogate.report import ExpertReport, repairs_of

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

RANK = 8
FEWEST_RUNS = 100
FEWEST_PER_RUN = 4
SHARP = 0.1
"""Site variance, as a share of a score's variance, below which a run counts as having shown that score."""


def is_functional(log: RunLog, most: int) -> bool:
    """Whether a log has the many curves for which the functional model is made."""
    if log.n_points <= most or log.n_runs < FEWEST_RUNS:
        return False
    counts = np.bincount(log.codes)
    return bool(np.mean(counts >= FEWEST_PER_RUN) > 0.5)


def fit_functional(
    log: RunLog,
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
    believed: Believed | None = None,
) -> tuple[FunctionalExpert, list[FitOutcome]]:
    """Fit a functional model of all curves of a log.

    Args:
        log: Runs to learn from; points without a finite output are left out.
        embedder: Source of text vectors.
        options: Settings.
        generator: Chooses the runs on which parameters are fitted.
        believed: What other sources let one believe of the size term of a law.

    Cost: O(points) for baseline and basis, O(scores × (subset³ × iterations + runs³)) for the scores.

    Source: functional principal components with sparse curves (James, Hastie and Sugar 2000) whose scores are
        Gaussian processes of the configuration; the first score is the end point itself.
    """
    curves, apart = read_curves(log, embedder, options, generator)
    points = curves.places.points(curves.at, curves.codes)
    baseline = fit_baseline(points, curves.y, curves.codes)
    shape = baseline.shape(points, curves.places.finish(curves.codes))
    centre = _centre(curves, curves.y - shape)
    level = centre[0] + curves.z @ centre[1:]
    residual = curves.y - shape - level[curves.codes]
    rank = int(np.clip(len(curves.names) // 12, 2, RANK))
    basis = fit_basis(curves.v, residual, curves.codes, rank=rank)
    precision, moment = _information(basis, curves, residual)
    blank = np.zeros((len(curves.names), len(basis.variance)))
    sites = sites_of(precision, moment, blank, blank + basis.variance)
    scores, outcomes = _fit_scores(curves, sites, level, options, generator, believed)
    scores = _refined(scores, curves, precision, moment, level)
    expert = FunctionalExpert(
        curves.encoder,
        curves.clock,
        curves.transform,
        baseline,
        centre,
        basis,
        scores,
        plain_deviations(len(basis.variance)),
        CurveSpread.plain(),
        1.0,
        curves.size_default,
        (float(curves.rows.size.max()), float(curves.rows.progress.max())),
        observed_of(curves),
        annealing=curves.annealing,
        warming=curves.warming,
    )
    expert = calibrated(expert, curves, log, residual, level)
    again = quick_fit("law", options, believed)
    beyond = beyond_factor(expert, curves, residual, level, again, generator)
    unseen = unseen_factor(expert, curves, residual, level, generator)
    expert = replace(expert, beyond=beyond, unseen=unseen)
    if apart is not None:
        expert = replace(expert, divergence=fit_divergence(scores.states[0].process, *apart))
    return expert, outcomes


def _centre(curves: Curves, unbent: Array) -> Array:
    """Robust linear regression of the end, read off the last point of each run, on coordinates."""
    last = np.flatnonzero(np.append(curves.codes[1:] != curves.codes[:-1], True))
    design = np.column_stack([np.ones(len(curves.names)), curves.z])
    target = np.empty(len(curves.names))
    target[curves.codes[last]] = unbent[last]
    weight = np.ones(len(target))
    solution = np.zeros(design.shape[1])
    for _ in range(6):
        gram = design.T @ (weight[:, None] * design) + 1e-3 * weight.sum() * np.diag(
            np.r_[0.0, np.ones(design.shape[1] - 1)]
        )
        solution = np.linalg.solve(gram + 1e-9 * np.eye(len(gram)), design.T @ (weight * target))
        left = np.abs(target - design @ solution)
        weight = np.minimum(1.0, 2 * np.median(left) / np.maximum(left, 1e-300))
    return solution


def _information(basis: Basis, curves: Curves, residual: Array) -> tuple[Array, Array]:
    count = len(basis.variance)
    precision = np.zeros((len(curves.names), count, count))
    moment = np.zeros((len(curves.names), count))
    for where in np.split(np.arange(len(curves.codes)), np.flatnonzero(np.diff(curves.codes)) + 1):
        run = curves.codes[where[0]]
        precision[run], moment[run] = basis.information(curves.v[where], residual[where])
    return precision, moment


def _fit_scores(
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
        value = sites.location[:, q] + (level if q == 0 else 0.0)
        variance = sites.variance[:, q]
        typical = float(np.median((sites.location[:, q] - np.median(sites.location[:, q])) ** 2))
        sharp = np.flatnonzero(variance <= max(SHARP * typical, np.quantile(variance, 0.3)))
        state, outcome, share = _fit_score(curves, value, variance, sharp, q, options, generator, believed)
        states.append(state)
        outcomes.append(outcome)
        excess.append(share)
    return ScoreProcesses(tuple(states), curves.names, np.array(excess)), outcomes


def _fit_score(
    curves: Curves,
    value: Array,
    variance: Array,
    sharp: Positions,
    q: int,
    options: FitOptions,
    generator: np.random.Generator,
    believed: Believed | None,
) -> tuple[ExactState, FitOutcome, float]:
    y = torch.from_numpy(value)
    data = Observations(curves.rows, y, torch.ones_like(y))
    core = data.take(torch.from_numpy(sharp))
    subset = choose_subset(np.arange(len(sharp)), options.subset, generator)
    scale = _scale(curves, value[sharp], sharp)
    mean = curve_mean(curves.transform, scale, core.y, "plane" if q else "law", believed)
    layout = layout_of(curves.encoder)
    with threads_for(len(subset)):
        spread = fit_mean(CurveProcess(layout, mean, scale=1.0, noise=0.1), core)
        spread = float(np.clip(options.spread * spread, 0.01, 3.0 if q else 1.0))
        process = CurveProcess(layout, mean, scale=spread, noise=0.1 * spread)
        rounds, iterations = (options.rounds, options.iterations) if q == 0 else (2, 20)
        _, outcome = fit_robustly(process, core.take(subset), rounds=rounds, iterations=iterations)
    for _ in range(2):
        core = replace(core, weight=robust_weights(process, core))
    with torch.no_grad():
        noise = float(process.noise(core.rows)[0])
    trust = np.ones(len(value))
    trust[sharp] = core.weight.numpy()
    share = float(np.clip(1 - np.mean(np.minimum(variance[sharp], noise)) / noise, 0.05, 1.0))
    blunt = np.maximum(variance - np.mean(variance[sharp]), 0.0)
    weight = noise / (noise / np.minimum(trust, 1.0) + blunt)
    weighted = replace(data, weight=torch.from_numpy(weight))
    return solve_exactly(process, weighted, options.place), outcome, share


def _scale(curves: Curves, value: Array, which: Positions) -> LawScale:
    rows = curves.rows.take(torch.from_numpy(which))
    scale = law_scale(curves.transform, curves.transform.inverse(value), rows, curves.encoder)
    return replace(scale, onset=None, top=None)


def _refined(
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


def functional_report(
    name: str, log: RunLog, expert: FunctionalExpert, outcomes: list[FitOutcome]
) -> ExpertReport:
    """What was fitted, in words and numbers."""
    states = expert.scores.states
    features = expert.encoder.features
    kinds = expert.deviations
    typical = float(np.exp(np.average(np.log(kinds.kinds[:, 0]), weights=kinds.weights)))
    read = (expert.annealing, expert.warming)
    return ExpertReport(
        name=name,
        engine=f"functional, rank {len(states)}",
        runs=log.n_runs,
        points=sum(len(seen.at) for seen in expert.observed.values()),
        transform=expert.transform.name,
        features=expert.encoder.continuous,
        labels={item.name: len(item.values) for item in features.categorical},
        text=tuple(expert.encoder.projections),
        dropped=dict(features.dropped),
        law={key: float(value) for key, value in states[0].process.mean.described().items()},
        noise=float(np.sqrt(expert.scores.deviation()[0])),
        tails={
            "new runs": {
                **dict(
                    zip(("early", "middle", "late", "end"), np.exp(expert.spread.new).tolist(), strict=True)
                ),
                "typical run": typical,
                "unstable share": float(kinds.weights[kinds.kinds[:, 1] > 4].sum()),
            },
            "continued runs": {**expert.spread.described(), "trust": kinds.trust},
            "beyond": {"scale": expert.beyond},
            **({} if expert.unseen is None else {"unseen level values": {"scale": expert.unseen}}),
        },
        outliers=int((states[0].data.weight.numpy() < 0.25).sum()),
        evaluations=sum(outcome.evaluations for outcome in outcomes),
        log_posterior=outcomes[0].objective,
        repairs=repairs_of(max(s.jitter for s in states), sum(outcome.failures for outcome in outcomes)),
        diverged=0 if expert.divergence is None else expert.divergence.count,
        schedule=tuple(column for part in read if part is not None for column in part.columns),
    )
