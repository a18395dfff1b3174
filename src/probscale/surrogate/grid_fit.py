"""Fit of the grid engine: when a log is one, parameters on some runs, one exact solve on all, calibration."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.encoder import Encoder, fit_encoder
from probscale.errors import FitError
from probscale.model.devices import threads_for
from probscale.model.fitting import FitOutcome, fit_process
from probscale.model.gp import CurveProcess
from probscale.model.grid import INDUCING, GridData, GridProcess
from probscale.model.grid_posterior import GridQuery, solve_grid
from probscale.model.means import PlaneMean
from probscale.model.posterior import Tail
from probscale.model.tails import LEAST_BEYOND, fit_tail
from probscale.model.transforms import OutputTransform, choose_transform, log_slope
from probscale.runs import RunLog
from probscale.surrogate.grid import GridExpert, axis_coordinates, config_layout, config_rows
from probscale.surrogate.known_points import FEWEST_PER_RUN, run_codes, spikes_of
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import Prepared, prepare
from probscale.surrogate.report import ExpertReport, repairs_of
from probscale.surrogate.rows import layout_of
from probscale.surrogate.transform_choice import log_odds_for

Array = NDArray[np.float64]

FEWEST_GRID_POINTS = 5
"""Axis values that runs must share: with fewer a curve is no curve."""

MOST_GRID_POINTS = 128
"""Axis values that runs may share: each run takes a factor of as many."""

LEAST_FILLED = 0.1
"""Share of the cells that must have been observed."""

MOST_SCORES = 4_000
"""Most runs × features that one dense factor holds; only complete grids may have more."""

MOST_COMPLETE = 4_000
"""Most runs of a complete grid."""

FINISHED = 1 / 3
"""Share of the runs that must have reached the end of the grid for ends to be learnt from them alone."""

LEARNT_RUNS = 60
"""Runs on which parameters are fitted."""

FLOOR_SHARES = (0.3, 0.6, 0.85)
"""Floors of the output transform to compare, as shares of the smallest loss."""

FOLDS = 4
"""Parts of the runs that are left out in turn to learn spreads."""

WIDEST = 3.0
"""How much wider than usual a run may typically stray: on a logarithmic scale more has no mean."""

SHOWN = (0.06, 0.6)
"""Shares of a run that are shown, their logarithms drawn evenly between these."""

JUDGED_RUNS = 120
"""Runs beside those of the fit on which spreads are judged."""

JUDGED_POINTS = 4
"""Points of a run on which spreads are judged, from the next one to the last."""

BOUND = 3.0
"""How far raw parameters may move from where they start."""


@dataclass(frozen=True)
class GridCandidate:
    """One output transform, fitted.

    Attributes:
        transform: Outputs to the modelled scale.
        data: All runs.
        process: The fitted process.
        outcome: How the optimiser ended.
        evidence: Objective in output units.
    """

    transform: OutputTransform
    data: GridData
    process: GridProcess
    outcome: FitOutcome
    evidence: float


def is_grid(log: RunLog) -> bool:
    """Whether the runs share an axis grid that the grid engine can hold."""
    grid = log.points[log.roles.axis].nunique()
    if not FEWEST_GRID_POINTS <= grid <= MOST_GRID_POINTS or log.n_points < LEAST_FILLED * log.n_runs * grid:
        return False
    complete = log.n_points == log.n_runs * grid and bool(np.isfinite(log.points[log.output]).all())
    return log.n_runs * (INDUCING + 2) <= MOST_SCORES or (complete and log.n_runs <= MOST_COMPLETE)


def is_finished(log: RunLog) -> bool:
    """Whether so many runs have reached the end of the grid that other engines foretell the rest better."""
    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    last = at[np.append(log.codes[1:] != log.codes[:-1], True)]
    return float(np.mean(last >= at.max())) >= FINISHED


def fit_grid_expert(
    log: RunLog,
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
) -> tuple[GridExpert, list[FitOutcome]]:
    """Fit the grid engine.

    Args:
        log: Runs that share their axis values; each may have seen any of them.
        embedder: Source of text vectors.
        options: Settings.
        generator: Chooses the runs on which parameters are fitted.

    Raises:
        FitError: if the runs do not share an axis grid.

    Cost: O(subset³ × iterations), then one solve; see `solve_grid`.
    """
    if not is_grid(log):
        raise FitError(
            f'model="grid" needs runs that share {FEWEST_GRID_POINTS} to {MOST_GRID_POINTS} values of '
            f"{log.roles.axis!r}, and at most {MOST_SCORES // (INDUCING + 2)} runs ({MOST_COMPLETE} when no "
            f"value is missing); the log has {log.n_runs} runs, {log.n_points} points and "
            f'{log.points[log.roles.axis].nunique()} values. Use model="auto"'
        )
    encoder = fit_encoder(log, embedder)
    most = max(options.most, FEWEST_PER_RUN * log.n_runs)
    share = FLOOR_SHARES[0]
    points = prepare(log, encoder, transform=options.transform, share=share, most=most, generator=generator)
    stable = _present(log)[~points.diverged]
    chosen = np.sort(generator.permutation(len(stable))[:LEARNT_RUNS])
    with threads_for(len(chosen)):
        scales = transforms_of(log, stable, options.transform)
        candidates = [_candidate(log, encoder, stable, chosen, scale, options) for scale in scales]
        best = max(candidates, key=lambda candidate: candidate.evidence)
        tail, prefix_tail = _tails(best, torch.from_numpy(chosen), options.place, generator)
    size = points.data.rows.size
    expert = GridExpert(
        encoder=encoder,
        transform=best.transform,
        state=solve_grid(best.process, best.data, options.place),
        grid=np.unique(log.points[log.roles.axis].to_numpy(dtype=np.float64)),
        members=run_codes(log.runs)[stable],
        tail=tail,
        prefix_tail=prefix_tail,
        beyond=LEAST_BEYOND if encoder.roles.params is not None else 1.0,
        size_default=points.size_default,
        largest=(float(size.max()), float(points.data.rows.progress.max())),
    )
    outcomes = [c.outcome for c in sorted(candidates, key=lambda c: -c.evidence)]
    return _with_divergence(expert, points, generator), outcomes


def _present(log: RunLog) -> NDArray[np.intp]:
    """Runs that `prepare` keeps: those with a finite output."""
    return np.unique(log.codes[np.isfinite(log.points[log.output].to_numpy(dtype=np.float64))])


def transforms_of(log: RunLog, stable: NDArray[np.intp], kind: str) -> tuple[OutputTransform, ...]:
    """Output transforms to compare, each once: several floors, and log odds of scores whose best is known.

    Args:
        log: Runs.
        stable: Those that are learnt from.
        kind: As `choose_transform` takes it.
    """
    output = log.points[log.output].to_numpy(dtype=np.float64)
    output = output[_kept(log, stable)]
    found = [choose_transform(output, log.roles.goal, kind=kind, share=share) for share in FLOOR_SHARES]
    odds = log_odds_for(found[0], output, log.roles.goal) if kind == "auto" else None
    return tuple(dict.fromkeys(found if odds is None else [*found, odds]))


def _kept(log: RunLog, stable: NDArray[np.intp]) -> NDArray[np.intp]:
    """Positions of the points of some runs that are learnt from."""
    finite = np.isfinite(log.points[log.output].to_numpy(dtype=np.float64))
    return np.flatnonzero(finite & ~spikes_of(log) & np.isin(log.codes, stable))


def _candidate(
    log: RunLog,
    encoder: Encoder,
    stable: NDArray[np.intp],
    chosen: NDArray[np.intp],
    transform: OutputTransform,
    options: FitOptions,
) -> GridCandidate:
    output = log.points[log.output].to_numpy(dtype=np.float64)
    place = np.full(log.n_runs, -1, dtype=np.intp)
    place[stable] = np.arange(len(stable))
    keep = _kept(log, stable)
    at, run = log.points[log.roles.axis].to_numpy(dtype=np.float64)[keep], place[log.codes[keep]]
    grid = np.unique(log.points[log.roles.axis].to_numpy(dtype=np.float64))
    y, seen = np.zeros((len(stable), len(grid))), np.zeros((len(stable), len(grid)), dtype=bool)
    cell = (run, np.searchsorted(grid, at))
    y[cell], seen[cell] = transform.forward(output[keep]), True
    axis = axis_coordinates(encoder, grid)
    data = GridData(
        config_rows(encoder, log.configs.iloc[stable]), axis, torch.from_numpy(y), torch.from_numpy(seen)
    )
    process = GridProcess(
        config_layout(encoder),
        scale=max(float(y[seen].std()), 1e-3),
        centre=float(np.median(y[seen])),
        ends=(float(axis[0]), float(axis[-1])),
    )
    subset = data.take(torch.from_numpy(chosen)).to(options.place)
    outcome = fit_process(process.to(options.place), subset, iterations=2 * options.iterations, bound=BOUND)
    slope = log_slope(transform, output[keep][np.isin(run, chosen)]).sum()
    return GridCandidate(transform, data, process.cpu(), outcome, outcome.objective + float(slope))


def _tails(
    fitted: GridCandidate, chosen: torch.Tensor, device: torch.device, generator: np.random.Generator
) -> tuple[Tail, Tail]:
    """Spread of new runs, from runs left out; and of continued ones, from runs cut short.

    Where there are enough others, the runs on which the parameters were fitted judge nothing.
    """
    data = fitted.data.take(_judged_first(len(fitted.data), chosen, generator))
    count, grid = data.seen.shape
    judges = min(count - len(chosen), JUDGED_RUNS) if count >= 2 * len(chosen) else count
    last = torch.where(data.seen, torch.arange(grid), -1).amax(1)
    fold = torch.full((count,), -1)
    fold[:judges] = torch.from_numpy(generator.permutation(judges) % FOLDS)
    share = torch.from_numpy(np.exp(generator.uniform(np.log(SHOWN[0]), np.log(SHOWN[1]), count)))
    parts: tuple[list[Array], list[Array]] = ([], [])
    for number in range(FOLDS):
        held = torch.nonzero((fold == number) & (last >= 1))[:, 0]
        cut = (share[held] * (last[held] + 1)).long().clamp_min(1)
        for kind, kept in enumerate((torch.zeros_like(cut), cut)):
            seen = data.seen.clone()
            seen[held] &= torch.arange(grid) < kept[:, None]
            state = solve_grid(fitted.process, replace(data, seen=seen), device)
            member = held if kind else torch.full_like(held, -1)
            places = _places(kept, last[held])
            asked = GridQuery(data.x[held], data.axis[places], member)
            mean, variance = state.marginals(asked)
            table = torch.stack([data.y[held[:, None], places] - mean, variance, state.noise(asked)])
            parts[kind].append(table[:, data.seen[held[:, None], places]].numpy())
    return _tail_of(parts[0], judges), _tail_of(parts[1], judges)


def _judged_first(runs: int, chosen: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Positions of the runs with which spreads are learnt: some that taught nothing, then those that did."""
    others = np.setdiff1d(np.arange(runs), chosen.numpy())
    others = np.sort(generator.permutation(others)[:JUDGED_RUNS])
    return torch.cat([torch.from_numpy(others), chosen])


def _places(first: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Positions on the grid from `first` to `last`, both included, (runs, judged points)."""
    share = torch.linspace(0, 1, JUDGED_POINTS, dtype=torch.float64)
    low = torch.minimum(first, last)[:, None]
    return (low + share * (last[:, None] - low)).round().long()


def grid_report(name: str, log: RunLog, expert: GridExpert, outcomes: list[FitOutcome]) -> ExpertReport:
    """What was fitted."""
    state, features = expert.state, expert.encoder.features
    tails = {"new runs": expert.tail, "continued runs": expert.prefix_tail}
    return ExpertReport(
        name=name,
        engine="grid, eigenvectors" if state.data.complete else "grid",
        runs=log.n_runs,
        points=int(state.data.seen.sum()),
        transform=expert.transform.name,
        features=expert.encoder.continuous,
        labels={item.name: len(item.values) for item in features.categorical},
        text=tuple(expert.encoder.projections),
        dropped=dict(features.dropped),
        law={"level": state.process.centre, "spread": state.process.scale},
        noise=float(state.process.noise(state.data.axis).detach().mean().sqrt()),
        tails={key: {k: float(np.mean(v)) for k, v in asdict(tail).items()} for key, tail in tails.items()},
        outliers=0,
        evaluations=sum(outcome.evaluations for outcome in outcomes),
        log_posterior=outcomes[0].objective,
        repairs=repairs_of(0.0, sum(outcome.failures for outcome in outcomes)),
        diverged=0 if expert.divergence is None else expert.divergence.count,
        learnt=len(expert.members),
    )


def _tail_of(parts: list[Array], runs: int) -> Tail:
    residual, variance, noise = np.concatenate(parts, axis=1)
    return fit_tail(residual, variance, noise, groups=runs, widest=WIDEST)


def _with_divergence(expert: GridExpert, points: Prepared, generator: np.random.Generator) -> GridExpert:
    if not points.marks.any():
        return expert
    mean = PlaneMean(points.law_scale, level=0.0, spread=1.0)
    process = CurveProcess(layout_of(expert.encoder, expert.transform), mean, scale=1.0, noise=0.1)
    return replace(expert, divergence=points.divergence(process, generator))
