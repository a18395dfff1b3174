"""fit_surrogate: from a run log to a calibrated surrogate."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from probscale.encode.cache import CachedEmbedder, EmbeddingCache
from probscale.encode.embedders import Embedder, get_embedder
from probscale.encode.fields import label
from probscale.errors import ConfigError
from probscale.model.devices import find_device
from probscale.model.fitting import FitOutcome
from probscale.model.means import LawMean
from probscale.randomness import generator_of
from probscale.runs import RunLog
from probscale.runs.log import check_log
from probscale.runs.order import canonical
from probscale.surrogate.believing import NOTHING, Background, given_to, sizes_of
from probscale.surrogate.curves import POOLED, CurveExpert, CurveSurrogate
from probscale.surrogate.doubted import doubted_runs
from probscale.surrogate.earlier import earlier_fit
from probscale.surrogate.expert import Expert
from probscale.surrogate.fitting import Given, fit_expert
from probscale.surrogate.floors import floors_of
from probscale.surrogate.functional_fit import fit_functional, functional_report, is_functional
from probscale.surrogate.grid_fit import fit_grid_expert, grid_report, is_finished, is_grid
from probscale.surrogate.latent import fit_latent_expert
from probscale.surrogate.options import FitOptions
from probscale.surrogate.outputs import (
    FEWEST_VALUES,
    OutputFit,
    finite_values,
    fit_outputs,
    outputs_to_fit,
)
from probscale.surrogate.report import ExpertReport, FitReport, repairs_of

FEWEST_PER_EXPERT = 150
"""Runs of a source from which on it has a model of its own beside the pooled one."""

MOST_EXPERTS = 8
"""Sources of a log up to which that is done: each costs a fit."""

POOLED_RUNS = 600
"""Most runs of the pooled model where sources stand apart: it answers for sources that are new."""

MODELS = ("auto", "exact", "functional", "grid", "latent", "latent-variational")

Fitted = tuple[CurveExpert, ExpertReport]
"""A fitted model of one output, and what was fitted."""


def fit_surrogate(
    log: RunLog,
    *,
    embedder: str | Path | Embedder | None = "default",
    seed: int = 0,
    progress: bool = False,
    transform: str = "auto",
    model: str = "auto",
    device: str = "cpu",
    options: FitOptions | None = None,
    start: CurveSurrogate | None = None,
) -> CurveSurrogate:
    """Fit a surrogate to a log of runs.

    Sources (values of the first level) with many runs each get a model of their own beside the pooled one
    that answers for new sources. The engine, the output transform and the mean function follow from the log;
    `surrogate.report` says what was chosen. Outputs of a log that exact inference can hold share one Gaussian
    process, each with a transform, a mean, amplitudes and noise of its own; what is measured of one then
    informs the others. Outputs of larger logs are modelled apart.

    Args:
        log: Finished and unfinished runs. Their order says nothing: the same runs in another give the same
            surrogate.
        embedder: "default" (bundled language model), None (no text), a Hugging Face id or local path, or an
            Embedder.
        seed: Same log and seed, same surrogate.
        progress: Show a progress bar.
        transform: "auto", "log" (insist on log(loss - floor)) or "linear".
        model: "auto" chooses the engine by size and shape. "exact": one dense covariance of at most a few
            thousand points. "functional": low rank along a run, for many curves, ragged and unfinished.
            "grid": all points of runs that share their axis values. "latent": HMOGP-LV, the tasks of one
            level at latent positions, for curves over a hierarchy of one or two levels; "latent-variational"
            keeps these positions uncertain.
        device: Where the algebra runs, "cpu", "cuda" or "cuda:0" and so on; always in float64. Logs, answers
            and saved files are the same everywhere.
        options: Settings that are rarely touched.
        start: Surrogate of a shorter log of the same runs. A fit by the exact engine begins at its parameters
            and takes a fraction of the time; text, transform, spread beyond the observed sizes, and which
            parameters an output takes over from another, stay as decided until the points are three times
            those they were decided on. Where columns have changed, and for other engines, the fit is as
            without it. Same log, seed and start, same surrogate.

    Returns:
        The surrogate, which never changes: `predict` asks it, `condition` and `save` make another or a file.

    Raises:
        FitError: if the log has fewer than three finite points, or not what the asked model needs.
        ConfigError: for an unknown model or transform, a seed that is none, a device that is absent, or a
            start of another kind of log.
        RunLogError: if `transform="log"` and a loss is not positive.
        EmbeddingError: if the language model cannot be used.

    Cost: a few seconds to a minute; memory O(points²) up to a few thousand points.

    Example:
        >>> import probscale as ps
        >>> log = ps.simulate_runs("law", n_runs=10, points=3, seed=0)
        >>> surrogate = fit_surrogate(log, embedder=None)
        >>> surrogate
        CurveSurrogate(10 runs, 30 points, loss by tokens)
        >>> surrogate.predict([{"params": 1e9}], at=[1e9, 1e10]).mean.round(1)
        array([[3.1, 2.5]])
    """
    began = time.perf_counter()
    _check_choices(model, seed)
    check_log(log, "fit_surrogate")
    _check_start(start, log)
    outputs = outputs_to_fit(log)
    options = replace(options or FitOptions(), transform=transform, device=str(find_device(device)))
    language = get_embedder(embedder)
    source = None if language is None else CachedEmbedder(language, EmbeddingCache())
    parts = _parts(canonical(log), model, np.random.default_rng(seed))
    fitted: dict[str, dict[str, Fitted]] = {output: {} for output in outputs}
    for name in tqdm(_order(parts), desc="fitting", disable=not progress):
        part = parts[name]
        present = tuple(output for output in outputs if finite_values(part, output) >= FEWEST_VALUES)
        if present[:1] != outputs[:1]:
            continue
        before = None if start is None else start.experts.get(name)
        others = {other: (parts[other], found[0]) for other, found in fitted[log.output].items()}
        beside = (
            {} if start is None else {o: known[name] for o, known in start.others.items() if name in known}
        )
        given = replace(given_to(part, before, others), beside=beside)
        for output, found in _fit_part(name, part, present, source, model, options, seed, given).items():
            fitted[output][name] = found
    fitted = {output: {name: own[name] for name in parts if name in own} for output, own in fitted.items()}
    experts = {output: {name: found[0] for name, found in own.items()} for output, own in fitted.items()}
    reports = {output: tuple(found[1] for found in own.values()) for output, own in fitted.items()}
    principal = experts.pop(log.output)
    text = source is not None and any(expert.encoder.embedder for expert in principal.values())
    report = FitReport(
        reports.pop(log.output),
        log.roles.levels,
        time.perf_counter() - began,
        source.identity if source is not None and text else None,
        (*log.notes, *_left_out(log, outputs), *_one_length(log)),
        tuple(item for own in reports.values() for item in own),
    )
    return CurveSurrogate(log, principal, report, experts)


def _check_choices(model: str, seed: int) -> None:
    """Raises for an unknown model, and where NumPy takes no seed."""
    if model not in MODELS:
        raise ConfigError(f"model is {model!r}; choose one of {', '.join(map(repr, MODELS))}", model=model)
    generator_of(seed)


def _check_start(start: CurveSurrogate | None, log: RunLog) -> None:
    """Raises where a start cannot say anything about a log."""
    if start is None:
        return
    if not isinstance(start, CurveSurrogate):
        raise ConfigError(
            f"start is a {type(start).__name__}; pass the surrogate that fit_surrogate made of a shorter log"
        )
    mine, theirs = (roles.arguments() for roles in (log.roles, start.log.roles))
    for part in ("axis", "output", "goal", "levels", "params", "horizon"):
        if mine.get(part) != theirs.get(part):
            raise ConfigError(
                f"start was fitted to a log whose {part} is {theirs.get(part)!r}, that of this log is "
                f"{mine.get(part)!r}; pass a surrogate of a shorter log of the same runs",
                role=part,
            )


def _engine(log: RunLog, options: FitOptions) -> str:
    """Engine that suits the size and shape of a log."""
    if _suits_grid(log, options):
        return "grid"
    return "functional" if is_functional(log, options.most) else "exact"


def _left_out(log: RunLog, outputs: tuple[str, ...]) -> list[str]:
    return [
        f"output {output!r} was left out: fewer than {FEWEST_VALUES} finite values"
        for output in log.roles.outputs
        if output not in outputs
    ]


def _one_length(log: RunLog) -> list[str]:
    axis = log.points[log.roles.axis]
    if axis.nunique() > 1:
        return []
    return [
        f"every run has {log.roles.axis} {axis.iloc[0]:.4g}; forecasts at other values rest on what is usual "
        "elsewhere, with the doubt that goes with it"
    ]


def _fit_part(
    name: str,
    log: RunLog,
    outputs: tuple[str, ...],
    source: CachedEmbedder | None,
    model: str,
    options: FitOptions,
    seed: int,
    given: Background,
) -> dict[str, Fitted]:
    """Experts of some runs, one per output, and what was fitted."""
    if len(log.roles.outputs) == 1:
        engine = _engine(log, options) if model == "auto" else model
        generator = np.random.default_rng(seed)
        return {log.output: _fit_engine(name, log, source, engine, options, generator, given)}
    first = log.measured(outputs[0])
    engine = _engine(first, options) if model == "auto" else model
    if engine == "exact" and len(outputs) > 1:
        known = {outputs[0]: given.before, **given.beside}
        earlier = {o: earlier_fit(known.get(o), log.measured(o)) for o in outputs}
        begun = {output: fit for output, fit in earlier.items() if fit is not None}
        fits = fit_outputs(log, outputs, source, options, np.random.default_rng(seed), begun)
        return {fit.log.output: (fit.expert, _linked_report(name, fit)) for fit in fits}
    found = {}
    for output in outputs:
        own = log.measured(output)
        engine = _engine(own, options) if model == "auto" else model
        expert, report = _fit_engine(name, own, source, engine, options, np.random.default_rng(seed))
        found[output] = (expert, replace(report, output=output))
    return found


def _linked_report(name: str, fit: OutputFit) -> ExpertReport:
    report = _report(name, fit.log, fit.alone, fit.outcomes, {})
    jitter = repairs_of(_jitter(fit.expert), 0)
    repairs = tuple(dict.fromkeys((*report.repairs, *jitter)))
    return replace(report, output=fit.log.output, couplings=fit.couplings, repairs=repairs)


def _fit_engine(
    name: str,
    log: RunLog,
    source: CachedEmbedder | None,
    engine: str,
    options: FitOptions,
    generator: np.random.Generator,
    given: Background = NOTHING,
) -> Fitted:
    """Expert of the principal output of some runs by an engine, and what was fitted."""
    if engine == "grid":
        grid, outcomes = fit_grid_expert(log, source, options, generator)
        return grid, grid_report(name, log, grid, outcomes)
    if engine == "functional":
        functional, outcomes = fit_functional(log, source, options, generator, given.believed)
        report = functional_report(name, log, functional, outcomes)
        return functional, replace(report, donors=given.donors)
    if engine.startswith("latent"):
        variational = engine == "latent-variational"
        latent, outcomes, orders = fit_latent_expert(log, source, options, generator, variational=variational)
        return latent, _report(name, log, latent, outcomes, orders)
    known = Given(earlier=earlier_fit(given.before, log), believed=given.believed)
    expert, outcomes = fit_expert(log, source, options, generator, known)
    return expert, replace(_report(name, log, expert, outcomes, {}), donors=given.donors)


def _suits_grid(log: RunLog, options: FitOptions) -> bool:
    """Whether the grid engine serves best: too many points for a dense covariance, no sizes to go beyond.

    Where a third of the runs have reached the end of their grid, and there are runs enough, the functional
    engine foretells new runs and begun ones better.
    """
    if log.n_points <= options.most or log.roles.params is not None or not is_grid(log):
        return False
    return not (is_functional(log, options.most) and is_finished(log))


def _parts(log: RunLog, model: str, generator: np.random.Generator) -> dict[str, RunLog]:
    """Logs of the experts: large sources apart, and all runs (thinned when sources stand apart)."""
    if not log.roles.levels or model.startswith("latent"):
        return {POOLED: log}
    labels = log.configs[log.roles.levels[0]].map(label)
    counts = labels.value_counts()
    large = counts[counts >= FEWEST_PER_EXPERT].index
    if not 2 <= len(counts) <= MOST_EXPERTS or len(large) < 1:
        return {POOLED: log}
    parts = {str(name): log.select((labels == name).to_numpy()) for name in large}
    chosen = np.zeros(log.n_runs, dtype=bool)
    chosen[generator.permutation(log.n_runs)[:POOLED_RUNS]] = True
    return {**parts, POOLED: log if log.n_runs <= POOLED_RUNS else log.select(chosen)}


def _order(parts: dict[str, RunLog]) -> list[str]:
    """Names of the experts, those of many model sizes first: sources with few learn from them."""
    return sorted(parts, key=lambda name: (name == POOLED, -sizes_of(parts[name])))


def _jitter(expert: Expert) -> float:
    """Largest relative jitter that any Gaussian process of a mixture took."""
    return max(state.jitter for state in expert.states)


def _report(
    name: str, log: RunLog, expert: Expert, outcomes: list[FitOutcome], orders: dict[str, float]
) -> ExpertReport:
    state = expert.states[0]
    mean = state.process.mean
    law = {key: float(value) for key, value in mean.described().items()}
    outliers, doubted = doubted_runs(log, expert)
    features = expert.encoder.features
    tail, outer = (
        {key: float(np.mean(value)) for key, value in asdict(spread).items()}
        for spread in (expert.tail, expert.outer)
    )
    beyond = {**outer, "scale": outer["scale"] * expert.beyond}
    if isinstance(mean, LawMean) and mean.breaks:
        beyond["break per e-fold"] = mean.break_std * beyond["scale"]
        if mean.short_std:
            beyond["break per e-fold of shorter runs"] = mean.short_std * beyond["scale"]
    return ExpertReport(
        name=name,
        engine="exact, latent tasks" if orders else "exact",
        runs=log.n_runs,
        points=len(state.data),
        transform=expert.transform.name,
        features=expert.encoder.continuous,
        labels={item.name: len(item.values) for item in features.categorical},
        text=tuple(expert.encoder.projections),
        dropped=dict(features.dropped),
        law=law,
        noise=float(state.process.noise(state.data.rows).detach().mean().sqrt()),
        tails={
            "within the observed scales": tail,
            "beyond": beyond,
            **({} if expert.continued is None else {"continued runs": {**tail, "scale": expert.continued}}),
            **({} if expert.unseen is None else {"unseen level values": {**tail, "scale": expert.unseen}}),
        },
        outliers=outliers,
        doubted=doubted,
        evaluations=sum(outcome.evaluations for outcome in outcomes),
        log_posterior=outcomes[0].objective,
        repairs=repairs_of(_jitter(expert), sum(outcome.failures for outcome in outcomes)),
        diverged=0 if expert.divergence is None else expert.divergence.count,
        schedule=() if expert.encoder.annealing is None else expert.encoder.annealing.columns,
        text_gain=expert.text_gain,
        orders=orders,
        floors=floors_of(expert),
        kept=0 if expert.decided == log.n_points else expert.decided,
        takeover=None if expert.takeover is None else math.exp(expert.takeover),
        learnt=expert.held_runs,
    )
