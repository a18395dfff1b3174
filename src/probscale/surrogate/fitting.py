"""Fit one expert: encode, transform, choose a mean function, fit robustly, solve exactly, calibrate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.encoder import Encoder, fit_encoder
from probscale.encode.fields import label
from probscale.model.exact import ExactState, solve_exactly
from probscale.model.fitting import FitOutcome, fit_robustly, robust_weights
from probscale.model.gp import CurveProcess, Observations
from probscale.model.means import LawScale, Rows, curve_mean
from probscale.model.posterior import Tail
from probscale.model.tails import FEWEST, fit_beyond, fit_tail
from probscale.model.transforms import LogFloor, OutputTransform, choose_transform
from probscale.runs import RunLog
from probscale.surrogate.curves import run_codes
from probscale.surrogate.expert import Expert, layout_of, rows_of

Array = NDArray[np.float64]

SUBSET = 500


@dataclass(frozen=True)
class FitOptions:
    """Settings of a fit that users rarely touch.

    Attributes:
        means: Mean functions to mix.
        subset: Most points on which parameters are fitted.
        iterations: Optimiser iterations of the first pass.
        rounds: Reweighting rounds against outliers.
        transform: "auto", "log" or "linear".
    """

    means: tuple[str, ...] = ("law",)
    subset: int = SUBSET
    iterations: int = 30
    rounds: int = 4
    transform: str = "auto"


def fit_expert(
    log: RunLog,
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
) -> tuple[Expert, list[FitOutcome]]:
    """Fit a model of all runs of a log.

    Args:
        log: Runs to learn from; points without a finite output are left out.
        embedder: Source of text vectors.
        options: Settings.
        generator: Chooses the subset on which parameters are fitted.

    Cost: O(subset³ × iterations + points³).
    """
    encoder = fit_encoder(log, embedder)
    output = log.points[log.output].to_numpy(dtype=np.float64)
    keep = np.isfinite(output)
    codes, at = log.codes[keep], log.points[log.roles.axis].to_numpy(dtype=np.float64)[keep]
    output = output[keep]
    transform = choose_transform(output, log.roles.goal, kind=options.transform)
    curves = encoder.encode(log.configs, run_codes(list(log.runs)), codes, at)
    default = float(np.nanmedian(curves.size)) if np.isfinite(curves.size).any() else 0.0
    rows = rows_of(curves, default)
    y = torch.from_numpy(transform.forward(output))
    data = Observations(rows, y, torch.ones_like(y))
    subset = choose_subset(codes, options.subset, generator)
    outcomes: list[FitOutcome] = []
    states: list[ExactState] = []
    evidences: list[float] = []
    for kind in options.means:
        state, outcome = _fit_state(encoder, transform, output, data, subset, kind, options)
        states.append(state)
        outcomes.append(outcome)
        evidences.append(outcome.objective)
    weights = np.exp(np.array(evidences) - max(evidences))
    cells = cells_of(log, codes, at)
    tail = fit_state_tail(states[0], cells)
    expert = Expert(
        encoder,
        transform,
        tuple(states),
        weights / weights.sum(),
        tail,
        extrapolation_factor(states[0], tail) if encoder.roles.params is not None else 1.0,
        default,
        (float(rows.size.max()), float(rows.progress.max())),
    )
    return expert, outcomes


def extrapolation_factor(state: ExactState, tail: Tail) -> float:
    """How much wider predictions beyond the largest size must be: the two largest sizes predicted from smaller ones."""
    size = state.data.rows.size.numpy()
    distinct = np.unique(size)
    residuals, variances, noises = [], [], []
    for held in distinct[2:][-2:]:
        smaller = torch.from_numpy(np.flatnonzero(size < held - 1e-9))
        asked = state.data.take(torch.from_numpy(np.flatnonzero(np.abs(size - held) <= 1e-9)))
        if len(smaller) < FEWEST:
            continue
        mean, variance = solve_exactly(state.process, state.data.take(smaller)).marginals(asked.rows)
        with torch.no_grad():
            noises.append(state.process.noise(asked.rows).numpy())
        residuals.append((asked.y - mean).numpy())
        variances.append(variance.numpy())
    if not residuals:
        return fit_beyond(np.empty(0), np.empty(0), np.empty(0), tail, folds=0)
    parts = (np.concatenate(part) for part in (residuals, variances, noises))
    return fit_beyond(*parts, tail, folds=len(residuals))


def _fit_state(
    encoder: Encoder,
    transform: OutputTransform,
    output: Array,
    data: Observations,
    subset: torch.Tensor,
    kind: str,
    options: FitOptions,
) -> tuple[ExactState, FitOutcome]:
    scale = law_scale(transform, output, data.rows, encoder.roles.params is not None)
    mean = curve_mean(transform, scale, data.y, kind)
    spread = typical_spread(data.y)
    process = CurveProcess(layout_of(encoder), mean, scale=spread, noise=0.1 * spread)
    _, outcome = fit_robustly(
        process, data.take(subset), rounds=options.rounds, iterations=options.iterations
    )
    for _ in range(2):
        data = replace(data, weight=robust_weights(process, data))
    return solve_exactly(process, data), outcome


def fit_state_tail(state: ExactState, cells: NDArray[np.intp]) -> Tail:
    """Spread of predictions for cells that were not observed, from leave-cell-out residuals."""
    residual, variance = state.leave_groups_out(cells)
    with torch.no_grad():
        noise = state.process.noise(state.data.rows)
    return fit_tail(residual.numpy(), variance.numpy(), noise.numpy(), groups=len(np.unique(cells)))


def cells_of(log: RunLog, codes: NDArray[np.intp], at: Array) -> NDArray[np.intp]:
    """Cell of each point: runs with the same labels, model size and (to a quarter e-fold) length.

    New configurations mostly come as new cells; runs of one cell are near-replicates that vouch for each other.
    """
    roles = log.roles
    ends = np.zeros(log.n_runs)
    np.maximum.at(ends, codes, at)
    keys = pd.DataFrame({"end": np.round(4 * np.log(np.maximum(ends, 1e-300)))}, index=log.configs.index)
    for name in log.configs:
        column = log.configs[name]
        if name in roles.levels or name == roles.params:
            keys[f"role {name}"] = column
        elif not pd.api.types.is_numeric_dtype(column) and column.nunique() <= len(column) / 4:
            keys[f"label {name}"] = column.map(label)
    cells = keys.groupby(list(keys), sort=False, dropna=False).ngroup().to_numpy()
    return cells[codes].astype(np.intp)


def typical_spread(y: torch.Tensor) -> float:
    """Robust standard deviation of the modelled outputs, kept away from zero."""
    spread = float((y - y.median()).abs().median()) * 1.4826
    return min(max(spread, 0.02), 1.0)


def choose_subset(codes: NDArray[np.intp], most: int, generator: np.random.Generator) -> torch.Tensor:
    """Positions of at most `most` points: whole runs, drawn at random, their points thinned evenly."""
    if len(codes) <= most:
        return torch.arange(len(codes))
    runs = np.unique(codes)
    per_run = len(codes) / len(runs)
    thin = int(max(1, min(per_run, 12)))
    chosen = generator.permutation(runs)[: max(most // thin, 2)]
    picked = []
    for run in chosen:
        where = np.flatnonzero(codes == run)
        picked.append(where[np.unique(np.linspace(0, len(where) - 1, thin).round().astype(int))])
    return torch.from_numpy(np.sort(np.concatenate(picked)))


def law_scale(transform: OutputTransform, output: Array, rows: Rows, sized: bool) -> LawScale:
    """Centre of a law: medians, and what varies."""
    if isinstance(transform, LogFloor):
        u = output if transform.upper is None else transform.upper - output
    else:
        u = output
    size, progress = rows.size.numpy(), rows.progress.numpy()
    return LawScale(
        size=float(np.median(size)),
        progress=float(np.median(progress)),
        smallest=float(u.min()),
        typical=float(np.median(u)),
        varies_in_size=sized,
        varies_in_progress=bool(np.ptp(progress) > 1e-6),
    )
