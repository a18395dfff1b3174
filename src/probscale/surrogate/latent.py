"""Fit of the latent hierarchical model (HMOGP-LV) behind the contract of every expert."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.encoder import Encoder, fit_encoder
from probscale.errors import FitError
from probscale.model.devices import threads_for
from probscale.model.evidence import laplace_evidence
from probscale.model.exact import solve_exactly
from probscale.model.fitting import FitOutcome, fit_process
from probscale.model.gp import Observations
from probscale.model.latent import LATENT_DIMENSIONS, LatentColumns, LatentProcess, LatentTasks, LevelMean
from probscale.model.latent_bound import LatentBound
from probscale.model.tails import LEAST_BEYOND
from probscale.model.transforms import PLANE_FLOOR_SHARE
from probscale.runs import RunLog
from probscale.surrogate.averaging import alone, mixture_tail
from probscale.surrogate.expert import Expert
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import Prepared, choose_subset, prepare
from probscale.surrogate.rows import layout_of

Array = NDArray[np.float64]

RESTARTS = 2
"""Starts of the latent positions per order: what the data suggest, then random ones."""

MOST_INDUCING = 60
"""Inducing inputs of the variational fit."""

MOST_PLACES = 8
"""Inducing positions of the variational fit."""

SPREADS = (0.05, 5e-4)
"""Variances of positions, relative to the prior's, from which the variational fit begins."""

AXIS_BINS = 4
"""Parts of the axis in which the typical curve of a member is read off."""

NOISE_SHARE = 0.05
"""Prior noise, as a share of the spread of the modelled values."""


@dataclass(frozen=True)
class LatentFit:
    """One order of the hierarchy, fitted.

    Attributes:
        order: Level of the latent tasks, then what tells their members apart.
        process: The fitted process.
        outcome: How the optimiser ended.
        evidence: Log evidence of the points of the fit, parameters integrated out.
    """

    order: tuple[str, ...]
    process: LatentProcess
    outcome: FitOutcome
    evidence: float


def fit_latent_expert(
    log: RunLog,
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
    *,
    variational: bool = False,
) -> tuple[Expert, list[FitOutcome], dict[str, float]]:
    """Fit HMOGP-LV, and infer exactly.

    Latent positions are at their maximum a posteriori; with `variational` they get normal beliefs from a
    variational bound, and covariances are expected over these. Either of the first two levels may be the one
    with latent positions; the order with the larger evidence is taken.

    Args:
        log: Runs with at least one level of two values or more.
        embedder: Source of text vectors, which foretell the positions of tasks.
        options: Settings; `most` bounds the points.
        generator: Chooses the subset on which parameters are fitted, and the runs from which divergence is
            learnt.
        variational: Whether positions are uncertain.

    Returns:
        The expert, how the fits ended, and the log evidence of each order; the chosen order comes first.

    Raises:
        FitError: without a level of at least two values.

    Cost: O(subset³ × iterations × orders + points³).
    """
    encoder = fit_encoder(log, embedder)
    orders = list(latent_orders(encoder))
    if not orders:
        given = ", ".join(map(repr, log.roles.levels)) or "none"
        raise FitError(
            f'model="latent" needs a level with at least two values (levels: {given}); declare one with '
            'RunLog.from_frame(..., levels=("task", "member")), or use model="auto"'
        )
    points = prepare(
        log,
        encoder,
        transform=options.transform,
        share=PLANE_FLOOR_SHARE,
        most=options.most,
        generator=generator,
    )
    subset = points.data.take(choose_subset(points.codes, options.subset, generator))
    with threads_for(len(subset)):
        fits = [_fit_order(names, columns, encoder, subset, options, generator) for names, columns in orders]
    fits.sort(key=lambda fit: -fit.evidence)
    if variational:
        with threads_for(len(subset)):
            fits[0] = _variational(fits[0], subset, options, generator)
    evidence = {" > ".join(fit.order): fit.evidence for fit in fits}
    expert = latent_expert(points, fits[0].process, options.place, generator)
    return expert, [fit.outcome for fit in fits], evidence


def latent_expert(
    points: Prepared, process: LatentProcess, device: torch.device, generator: np.random.Generator
) -> Expert:
    """Expert of a fitted process: exact inference on all points, spread from left-out cells and levels."""
    state = solve_exactly(process, points.data, device)
    tail = mixture_tail(alone(state), points.cells)
    return Expert(
        encoder=points.encoder,
        transform=points.transform,
        states=(state,),
        weights=np.ones(1),
        tail=tail,
        beyond=LEAST_BEYOND if points.encoder.roles.params is not None else 1.0,
        size_default=points.size_default,
        largest=(float(points.data.rows.size.max()), float(points.data.rows.progress.max())),
        divergence=points.divergence(process, generator),
    )


def latent_orders(encoder: Encoder) -> Iterator[tuple[tuple[str, ...], LatentColumns]]:
    """Orders of the hierarchy to compare: either of the first two levels may have latent positions."""
    layout = layout_of(encoder)
    labels = [block for block in layout.labels if not block.mirrored]
    levels = [block for name in encoder.roles.levels for block in labels if block.name == name]
    for task in levels[:2]:
        others = [block for block in labels if block is not task]
        names = tuple(block.name for block in others)
        members = tuple(block.code for block in others)
        if not any(block.level for block in others) and layout.run is not None:
            names, members = (encoder.roles.run,), (layout.run,)
        number = [i for i, name in enumerate(layout.continuous) if name == task.name]
        inputs = tuple(
            i
            for i, name in enumerate(layout.continuous)
            if i in layout.axis or name == encoder.roles.axis or name not in _told_by_levels(encoder)
        )
        yield (task.name, *names), LatentColumns(task.code, members, inputs, (*task.text, *number))


def _told_by_levels(encoder: Encoder) -> frozenset[str]:
    """Numbers that levels determine: the levels themselves, and the model size beside two of them."""
    levels = set(encoder.roles.levels)
    params = {encoder.roles.params} if len(levels) >= 2 and encoder.roles.params else set()
    return frozenset(levels | params)


def _fit_order(
    names: tuple[str, ...],
    columns: LatentColumns,
    encoder: Encoder,
    data: Observations,
    options: FitOptions,
    generator: np.random.Generator,
) -> LatentFit:
    layout = layout_of(encoder)
    codes = torch.unique(data.rows.x[:, columns.task])
    level = float(data.y.median())
    scale = max(float((data.y - level).std()), 1e-3) if len(data) > 1 else 1.0
    best: tuple[LatentProcess, FitOutcome] | None = None
    there = data.to(options.place)
    for start in _starts(columns, codes, data, generator):
        tasks = LatentTasks(columns, codes, *start)
        mean = LevelMean(level=level, spread=scale)
        process = LatentProcess(layout, tasks, mean, scale=scale, noise=NOISE_SHARE * scale)
        outcome = fit_process(process.to(options.place), there, iterations=3 * options.iterations)
        if best is None or outcome.objective > best[1].objective:
            best = process, outcome
    assert best is not None
    evidence = laplace_evidence(best[0], there)
    return LatentFit(names, best[0].cpu(), best[1], evidence)


def _variational(
    fit: LatentFit, data: Observations, options: FitOptions, generator: np.random.Generator
) -> LatentFit:
    """The same order with normal beliefs about positions, from where the point estimate ended.

    Beliefs that are wide at first may end where positions say nothing and all is noise; the best bound of
    `SPREADS` is taken.
    """
    columns = fit.process.tasks.columns
    seen = list((*columns.inputs, *columns.members))
    first = np.unique(data.rows.x[:, seen].numpy(), axis=0, return_index=True)[1]
    chosen = np.sort(generator.permutation(first)[:MOST_INDUCING])
    tasks = np.unique(data.rows.x[:, columns.task].numpy(), return_index=True)[1]
    some = np.sort(generator.permutation(tasks)[:MOST_PLACES])
    with torch.no_grad():
        places = fit.process.tasks.positions(data.rows.x[torch.from_numpy(some)])[0]
    inducing, there = data.rows.x[torch.from_numpy(chosen)], data.to(options.place)
    found: list[tuple[LatentBound, FitOutcome]] = []
    for spread in SPREADS:
        bound = LatentBound(copy.deepcopy(fit.process), inducing, places, spread=spread).to(options.place)
        found.append((bound, fit_process(bound, there, iterations=2 * options.iterations)))
    bound, outcome = max(found, key=lambda each: each[1].objective)
    process = bound.cpu().process
    process.tasks.spread.copy_(bound.variances.detach())
    return replace(fit, process=process, outcome=outcome)


def _starts(
    columns: LatentColumns, codes: torch.Tensor, data: Observations, generator: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """First positions of the tasks and of what their descriptions foretell: all equal would be a saddle."""
    shape = (len(codes), LATENT_DIMENSIONS)
    suggested = _suggested(columns, codes, data)
    if columns.described:
        x = data.rows.x.numpy()
        first = np.unique(x[:, columns.task], return_index=True)[1]
        described = x[first][:, list(columns.described)]
        gram = described.T @ described + np.eye(described.shape[1])
        weight = np.linalg.solve(gram, described.T @ suggested)
        yield torch.from_numpy(suggested - described @ weight), torch.from_numpy(weight)
    else:
        yield torch.from_numpy(suggested), None
    for _ in range(RESTARTS - 1):
        yield torch.from_numpy(generator.standard_normal(shape)), None


def _suggested(columns: LatentColumns, codes: torch.Tensor, data: Observations) -> Array:
    """Principal components of what tasks deviate from the typical curve of each member."""
    x, y = data.rows.x.numpy(), data.y.numpy()
    task = np.searchsorted(codes.numpy(), x[:, columns.task])
    axis = x[:, columns.inputs[-1]]
    edges = np.quantile(axis, np.linspace(0, 1, AXIS_BINS + 1)[1:-1])
    keys = np.column_stack([x[:, list(columns.members)], np.searchsorted(edges, axis)])
    cells = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    shape = (len(codes), int(cells.max()) + 1)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (task, cells), y)
    np.add.at(count, (task, cells), 1.0)
    mean = total / np.maximum(count, 1)
    centre = mean.sum(axis=0) / np.maximum((count > 0).sum(axis=0), 1)
    left, singular, _ = np.linalg.svd(np.where(count > 0, mean - centre, 0.0), full_matrices=False)
    out = np.zeros((len(codes), LATENT_DIMENSIONS))
    kept = min(LATENT_DIMENSIONS, left.shape[1])
    out[:, :kept] = left[:, :kept] * singular[:kept] / max(float(singular[0]), 1e-12)
    return out * np.sqrt(len(codes)) + 1e-2 * np.arange(len(codes))[:, None] / len(codes)
