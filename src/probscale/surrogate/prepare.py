"""From a log to tensors: what is modelled, on which scale, and which runs have diverged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probscale.encode.columns import inner_name, plain_name
from probscale.encode.encoder import Encoder
from probscale.encode.fields import label
from probscale.model.divergence import (
    DivergenceModel,
    beside_own_value,
    divergence_threshold,
    fit_divergence,
)
from probscale.model.gp import CurveProcess, Observations
from probscale.model.mean_choice import curve_mean
from probscale.model.mean_fit import fit_mean
from probscale.model.means import CurveMean, LawScale, Rows
from probscale.model.repeats import UniqueData
from probscale.model.transforms import LogFloor, OutputTransform, choose_transform
from probscale.runs import RunLog
from probscale.runs.thinning import evenly
from probscale.surrogate.known_points import ended_diverged, run_codes, spikes_of, thinned, usual_ends
from probscale.surrogate.options import FitOptions
from probscale.surrogate.rows import layout_of, rows_of

Array = NDArray[np.float64]

EPOCHS = ("epochs", "num_epochs", "n_epochs", "data_epochs", "passes")
"""Plain names of columns that count passes over the data."""


MOST_CLASSIFIED = 1_500
"""Runs from which divergence is learnt: each Newton step factors a matrix of as many rows."""

FEWEST_CELLS = 30
"""Parts of a log that are left out in turn, at least."""

FEWEST_TAKEN, MOST_TAKEN = 6, 12
"""Points of a run on which parameters of curves are fitted: twelve where all runs fit, else fewer of more
runs. On 61 folds inside training rows of ten logs (runs, sizes, levels, and ends left out) the CRPS is .94 of
what twelve points of fewer runs give, .84 to 1.07 by log (`benchmarks/results/general_curves.md`)."""


@dataclass(frozen=True)
class Prepared:
    """Modelled points of a log.

    Attributes:
        encoder: Configurations to rows.
        transform: Outputs to the modelled scale.
        data: Points of runs that did not diverge.
        output: Their outputs, user units, (points,).
        codes: Position of the run of each point in the log, (points,).
        cells: Cell of each point, (points,).
        diverged: Which runs of the log were set apart as diverged, of those with a finite output, (runs,).
        run_rows: One row per run from which divergence is learnt: at its last point, or where it diverged, as
            far as runs go.
        marks: Which of these diverged: those set apart, and those that end with a point marked so.
        size_default: Logarithm of the model size assumed where none is given.
        law: The law of these points and what it leaves over, where judging divergence found it.
        judges: Positions of points that teach no parameter and judge the spread; None where all do both.
    """

    encoder: Encoder
    transform: OutputTransform
    data: Observations
    output: Array
    codes: NDArray[np.intp]
    cells: NDArray[np.intp]
    diverged: NDArray[np.bool_]
    run_rows: Rows
    marks: NDArray[np.bool_]
    size_default: float
    law: tuple[CurveMean, float] | None = None
    judges: NDArray[np.intp] | None = None

    def take(self, index: NDArray[np.intp]) -> Prepared:
        """Some of the points."""
        return replace(
            self,
            data=self.data.take(torch.from_numpy(index)),
            output=self.output[index],
            codes=self.codes[index],
            cells=self.cells[index],
            law=None,
            judges=None,
        )

    def classified(self, generator: np.random.Generator) -> tuple[Rows, NDArray[np.bool_]]:
        """Rows and marks of the runs from which divergence is learnt, (runs,) each.

        Args:
            generator: Chooses them where there are many.
        """
        chosen = np.arange(len(self.marks))
        if len(chosen) > MOST_CLASSIFIED:
            chosen = np.sort(generator.permutation(chosen)[:MOST_CLASSIFIED])
        return self.run_rows.take(torch.from_numpy(chosen)), self.marks[chosen]

    def divergence(self, process: CurveProcess, generator: np.random.Generator) -> DivergenceModel | None:
        """Probability that runs diverge, by the kernel of a process; None where none did.

        Args:
            process: Fitted process.
            generator: See `classified`.

        Cost: O(runs³) for at most `MOST_CLASSIFIED` runs.
        """
        return fit_divergence(process, *self.classified(generator)) if self.marks.any() else None

    @property
    def law_scale(self) -> LawScale:
        """Centre of a law for these points."""
        return law_scale(self.transform, self.output, self.data.rows, self.encoder)


def prepare(
    log: RunLog, encoder: Encoder, *, transform: str, share: float, most: int, generator: np.random.Generator
) -> Prepared:
    """Encode and transform the points of a log; set diverged runs apart; thin long logs.

    Args:
        log: Runs; points without a finite output are left out.
        encoder: Fitted on the log.
        transform: Kind of output transform.
        share: Floor of the transform, as a share of the smallest loss.
        most: Most points to keep.
        generator: Chooses runs when there are more runs than points may be kept.
    """
    output = log.points[log.output].to_numpy(dtype=np.float64)
    codes, at = log.codes, log.points[log.roles.axis].to_numpy(dtype=np.float64)
    keep = np.flatnonzero(np.isfinite(output) & ~spikes_of(log))
    keep = keep[thinned(codes[keep], most, generator)]
    output, codes, at = output[keep], codes[keep], at[keep]
    chosen = choose_transform(output, log.roles.goal, kind=transform, share=share)
    curves = encoder.encode(log.configs, run_codes(log.runs), codes, at)
    default = float(np.nanmedian(curves.size)) if np.isfinite(curves.size).any() else 0.0
    rows = rows_of(curves, default)
    y = torch.from_numpy(chosen.forward(output))
    data = Observations(rows, y, torch.ones_like(y))
    diverged, law = diverged_runs(encoder, chosen, output, data, codes, log.n_runs)
    present = np.unique(codes)
    ended = ended_diverged(log)
    judged = np.union1d(present, np.flatnonzero(ended))
    places = _places(log, codes, at, ended)[judged]
    run_rows = rows_of(encoder.encode(log.configs, run_codes(log.runs), judged, places), default)
    stable = np.flatnonzero(~diverged[codes])
    index = torch.from_numpy(stable)
    cells = cells_of(log, codes, at)
    final = choose_transform(output[stable], log.roles.goal, kind=transform, share=share)
    y = torch.from_numpy(final.forward(output[stable]))
    data = Observations(rows.take(index), y, torch.ones_like(y))
    return Prepared(
        encoder,
        final,
        data,
        output[stable],
        codes[stable],
        cells[stable],
        diverged[present],
        run_rows,
        (diverged | ended)[judged],
        default,
        None if diverged.any() else law,
    )


def _places(log: RunLog, codes: NDArray[np.intp], at: Array, ended: NDArray[np.bool_]) -> Array:
    """Last kept point of each run, or as far as runs go where it diverged, (runs,)."""
    last = np.zeros(log.n_runs)
    np.maximum.at(last, codes, at)
    return np.where(ended, usual_ends(log, ended), last)


def diverged_runs(
    encoder: Encoder,
    transform: OutputTransform,
    output: Array,
    data: Observations,
    codes: NDArray[np.intp],
    runs: int,
) -> tuple[NDArray[np.bool_], tuple[CurveMean, float] | None]:
    """Which runs end far above the law, beyond a valley that separates them from the rest, (runs,).

    Returns:
        Which; and the law with its robust spread, where there is one.
    """
    none = np.zeros(runs, dtype=bool)
    if not isinstance(transform, LogFloor) or len(data) < 20:
        return none, None
    mean = curve_mean(transform, law_scale(transform, output, data.rows, encoder), data.y)
    spread = fit_mean(mean, data)
    with torch.no_grad():
        excess = (data.y - mean(data.rows)).numpy()
    ends = np.append(codes[1:] != codes[:-1], True)
    last = data.rows.x.numpy()[ends]
    own = beside_own_value(excess[ends], [(last[:, item.code], item.level) for item in encoder.labels])
    threshold = divergence_threshold(own, spread)
    if threshold is None:
        return none, (mean, spread)
    none[codes[ends][own > threshold]] = True
    return none, (mean, spread)


def choose_subset(codes: NDArray[np.intp], most: int, generator: np.random.Generator) -> torch.Tensor:
    """Positions of at most `most` points: whole runs, drawn at random, their points thinned evenly."""
    if len(codes) <= most:
        return torch.arange(len(codes))
    runs = np.unique(codes)
    thin = int(max(1, min(len(codes) / len(runs), MOST_TAKEN)))
    return _thinned_runs(codes, generator.permutation(runs)[: max(most // thin, 2)], thin)


def choose_curves(codes: NDArray[np.intp], most: int, generator: np.random.Generator) -> torch.Tensor:
    """Positions of at most `most` points of curves: of more runs, where there are more, and fewer of each.

    Runs are drawn at random and thinned evenly. See `FEWEST_TAKEN`.
    """
    if len(codes) <= most:
        return torch.arange(len(codes))
    runs, counts = np.unique(codes, return_counts=True)
    shares = range(FEWEST_TAKEN, MOST_TAKEN + 1)
    thin = max((t for t in shares if np.minimum(counts, t).sum() <= most), default=FEWEST_TAKEN)
    order = generator.permutation(len(runs))
    taken = np.cumsum(np.minimum(counts[order], thin))
    return _thinned_runs(codes, runs[order[: max(int(np.sum(taken <= most)), 2)]], thin)


def _thinned_runs(codes: NDArray[np.intp], chosen: NDArray[np.intp], thin: int) -> torch.Tensor:
    """Positions of at most `thin` points of each of some runs, evenly spaced."""
    picked = []
    for run in chosen:
        where = np.flatnonzero(codes == run)
        picked.append(where[evenly(len(where), thin)])
    return torch.from_numpy(np.sort(np.concatenate(picked)))


def more_to_refine(
    codes: NDArray[np.intp], options: FitOptions, generator: np.random.Generator, *, share: float = 1.0
) -> torch.Tensor | None:
    """Positions of points on which parameters are refined; None where these are no more than the subset was.

    Args:
        codes: Run of each point, (points,).
        options: Settings.
        generator: Draws them.
        share: Largest share of the points.
    """
    most = min(options.refined, round(share * len(codes)))
    return None if most <= options.subset else choose_subset(codes, most, generator)


def cells_of(log: RunLog, codes: NDArray[np.intp], at: Array) -> NDArray[np.intp]:
    """Cell of each point: runs with the same labels, model size and (to a quarter e-fold) length.

    New configurations mostly come as new cells; runs of one cell are near-replicates and vouch for each
    other. Where few cells hold a whole log, as where only numbers vary, they are cut at random: leaving a
    size or half of the log out asks for more than new configurations do.
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
    return divided(cells.astype(np.intp))[codes]


def divided(cells: NDArray[np.intp]) -> NDArray[np.intp]:
    """Cells of at most a thirtieth of all members each, larger ones divided by lot, (members,)."""
    most = max(2, len(cells) // FEWEST_CELLS)
    lot = np.random.default_rng(0).permutation(len(cells))
    order = lot[np.argsort(cells[lot], kind="stable")]
    _, first, counts = np.unique(cells[order], return_index=True, return_counts=True)
    place = np.arange(len(cells)) - np.repeat(first, counts)
    pieces = -(-counts // most)
    piece = place * np.repeat(pieces, counts) // np.repeat(counts, counts)
    out = np.empty(len(cells), dtype=np.intp)
    out[order] = np.repeat(np.cumsum(pieces) - pieces, counts) + piece
    return out


def law_scale(transform: OutputTransform, output: Array, rows: Rows, encoder: Encoder) -> LawScale:
    """Centre of a law: medians, and what varies."""
    u = output
    if isinstance(transform, LogFloor) and transform.upper is not None:
        u = transform.upper - output
    size, progress = rows.size.numpy(), rows.progress.numpy()
    curves, in_size, in_progress = (
        encoder.axis.curves,
        encoder.roles.params is not None,
        bool(np.ptp(progress) > 1e-6),
    )
    per_size = in_size and in_progress and not curves
    return LawScale(
        size=float(np.median(size)),
        progress=float(np.median(progress)),
        smallest=float(u.min()),
        typical=float(np.median(u)),
        varies_in_size=in_size,
        varies_in_progress=in_progress,
        onset=float(np.quantile(progress, 0.1)) if curves else None,
        top=(float(size.max()), float(progress.max())),
        unique=unique_data(encoder) if per_size else None,
        common=layout_of(encoder).is_small_grid,
        shortest=float((progress - size).min()) if per_size else None,
        one_length=not (curves or in_progress),
    )


def unique_data(encoder: Encoder) -> UniqueData | None:
    """Where rows tell how much of the data is unique.

    A logarithmic column named so (`unique_tokens`), or one of epochs where the axis counts tokens.
    """
    logarithms = [item for item in encoder.features.numeric if item.scale == "log"]
    unique = [(item, False) for item in logarithms if "unique" in plain_name(item.name)]
    passes = [(item, True) for item in logarithms if plain_name(inner_name(item.name)) in EPOCHS]
    for item, epochs in (*unique, *(passes if "token" in plain_name(encoder.roles.axis) else ())):
        return UniqueData(encoder.continuous.index(item.names[0]), item.centre, item.spread, epochs)
    return None
