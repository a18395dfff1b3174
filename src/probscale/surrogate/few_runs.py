"""What priors say while a log holds few runs, and how that fades as runs are added."""

from __future__ import annotations

import math

import numpy as np
import torch

from probscale.model.gp import CurveProcess
from probscale.model.layout import Layout
from probscale.model.means import CurveMean
from probscale.model.strays import run_term_of
from probscale.model.transforms import LogFloor
from probscale.surrogate.prepare import Prepared

FEW_RUNS, MANY_RUNS = 8, 14
"""Runs up to which deviations are taken to wane along the axis, and runs at which that has faded."""

APART = 0.5
"""Prior standard deviation between runs over that along a run, where one run cannot tell; chosen on 16 logs
of scores and of losses without a model size (`benchmarks/results/short_logs.md`)."""


def new_run_factor(points: Prepared, mean: CurveMean) -> float:
    """How much further than the runs it was fitted to a new run lies from the mean of curves.

    Few runs lie close to a law of as many parameters, and a kernel as small as that promises too much.

    Source: final prediction error, Akaike 1969, with runs in place of points.
    """
    if not points.encoder.axis.curves:
        return 1.0
    return math.sqrt(1.0 + sum(p.numel() for p in mean.parameters()) / len(np.unique(points.codes)))


def set_run_apart(process: CurveProcess, points: Prepared) -> list[torch.nn.Parameter]:
    """Let new runs lie off the only one of a log by what runs usually do; parameters that a fit cannot learn.

    One run says nothing of how runs differ, and no coordinate does: all columns are constant. Where a model
    size is given, the law's own doubt says it.
    """
    if not points.encoder.axis.curves or len(points.diverged) > 1 or points.encoder.roles.params is not None:
        return []
    spread = max(APART * float(points.data.y.std()), 1e-3)
    term = run_term_of(process)
    if term is None:
        return []
    offset = term.get_parameter("scale")
    offset.data.fill_(math.log(spread))
    return [offset]


def typical_end(points: Prepared) -> float:
    """Logarithm of the axis value at which the median run ends.

    Of runs of equal compute the smallest go on for e-folds longer than the rest, and say little of it.
    """
    progress, codes = points.data.rows.progress.numpy(), points.codes
    ends = np.full(codes.max() + 1, -math.inf)
    np.maximum.at(ends, codes, progress)
    return float(np.median(ends[np.unique(codes)]))


def wanes(layout: Layout, points: Prepared) -> float:
    """How surely deviations wane along the axis, 0 to 1: in logs of few runs of a loss, over few coordinates.

    More runs tell for themselves how the kernel has to be.
    """
    suits = layout.has_few_coordinates and isinstance(points.transform, LogFloor) and not layout.growth
    return fewness(len(points.diverged)) if suits else 0.0


def fewness(runs: int) -> float:
    """One for so few runs that priors decide, zero for so many that they tell for themselves.

    In between it falls by the same with every run, so that no single run makes forecasts jump.
    """
    return min(max((MANY_RUNS - runs) / (MANY_RUNS - FEW_RUNS), 0.0), 1.0)
