"""Fit the functional model: clock, baseline, basis, scores of runs, a Gaussian process per score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.model.baseline import fit_baseline
from probscale.model.divergence import fit_divergence
from probscale.model.exact import ExactState
from probscale.model.fitting import FitOutcome
from probscale.model.means import Believed, LawMean
from probscale.model.offsets import offset_of
from probscale.model.scores import sites_of
from probscale.model.sharing import fit_shared
from probscale.model.spread import CurveSpread
from probscale.model.straying import plain_deviations
from probscale.runs import RunLog
from probscale.surrogate.doubted import DOUBTED, names_of
from probscale.surrogate.fitting import Given, quick_fit
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.functional_basis import basis_like, suitable_basis
from probscale.surrogate.functional_beyond import beyond_factor, unseen_factor
from probscale.surrogate.functional_breaks import with_breaks
from probscale.surrogate.functional_calibration import calibrated
from probscale.surrogate.functional_curves import Curves, observed_of, read_curves
from probscale.surrogate.functional_scores import fit_scores, information_of, refined
from probscale.surrogate.functional_sizes import size_folds, with_size_offsets
from probscale.surrogate.mean_kinds import kind_of
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import Prepared
from probscale.surrogate.report import ExpertReport, repairs_of

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

FEWEST_RUNS = 100
"""Runs from which on the functional engine serves: its eight functions take twelve runs each."""

FEWEST_PER_RUN = 4
"""Points that half of the runs must have: fewer tell an end and little of the way to it."""


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
    basis = suitable_basis(curves, residual, options)
    marks, effects = fit_shared(basis, curves.v, residual, curves.codes, curves.at)
    if len(marks):
        baseline = replace(baseline, marks=marks, effects=effects)
        residual = residual - baseline.shared_at(curves.at)
        basis = basis_like(basis, curves, residual)
    precision, moment = information_of(basis, curves, residual)
    blank = np.zeros((len(curves.names), len(basis.variance)))
    sites = sites_of(precision, moment, blank, blank + basis.variance)
    scores, outcomes = fit_scores(curves, sites, level, options, generator, believed)
    scores = refined(scores, curves, precision, moment, level)
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
        curves.top,
        observed_of(curves),
        annealing=curves.annealing,
        warming=curves.warming,
    )
    expert = calibrated(expert, curves, log, residual, level)
    kind = kind_of(expert.scores.states[0].process.mean)
    again = quick_fit(kind, options, Given(believed=believed))
    expert = _beyond(expert, curves, residual, level, again, generator)
    if apart is not None:
        expert = replace(expert, divergence=fit_divergence(expert.scores.states[0].process, *apart))
    return expert, outcomes


def _beyond(
    expert: FunctionalExpert,
    curves: Curves,
    residual: Array,
    level: Array,
    fit: Callable[[Prepared], ExactState],
    generator: np.random.Generator,
) -> FunctionalExpert:
    """The expert with what folds over sizes and level values say of those that no run has had."""
    folds = size_folds(expert, curves, fit, generator)
    expert, folds = with_size_offsets(expert, folds)
    expert, folds = with_breaks(expert, folds)
    beyond = beyond_factor(expert, curves, residual, level, folds)
    unseen = unseen_factor(expert, curves, residual, level, generator)
    return replace(expert, beyond=beyond, unseen=unseen)


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


def _doubts(expert: FunctionalExpert) -> dict[str, float]:
    """What sizes owe to themselves, and how far their law may break."""
    process = expert.scores.states[0].process
    offset, law = offset_of(process), process.mean
    out = {} if offset is None else {"offset of a size": offset.std}
    if isinstance(law, LawMean) and law.breaks:
        out["break per e-fold"] = law.break_std * expert.beyond
        if law.short_std:
            out["break per e-fold of shorter runs"] = law.short_std
    return out


def functional_report(
    name: str, log: RunLog, expert: FunctionalExpert, outcomes: list[FitOutcome]
) -> ExpertReport:
    """What was fitted, in words and numbers."""
    states = expert.scores.states
    features = expert.encoder.features
    kinds = expert.deviations
    low = states[0].data.weight.numpy() < DOUBTED
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
                "per e-fold of length": float(np.exp(expert.spread.length.new)),
                "typical run": typical,
                "unstable share": float(kinds.weights[kinds.kinds[:, 1] > 4].sum()),
            },
            "continued runs": {**expert.spread.described(), "trust": kinds.trust},
            "beyond": {"scale": expert.beyond} | _doubts(expert),
            **({} if expert.unseen is None else {"unseen level values": {"scale": expert.unseen}}),
        },
        outliers=int(low.sum()),
        doubted=names_of(log, expert.scores.members[low]),
        evaluations=sum(outcome.evaluations for outcome in outcomes),
        log_posterior=outcomes[0].objective,
        repairs=repairs_of(max(s.jitter for s in states), sum(outcome.failures for outcome in outcomes)),
        diverged=0 if expert.divergence is None else expert.divergence.count,
        schedule=tuple(column for part in read if part is not None for column in part.columns),
        learnt=len(expert.observed),
    )
