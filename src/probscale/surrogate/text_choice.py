"""Whether text helps: values of labels left out in turn, foretold with their texts and without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from probscale.model.exact import ExactState, solve_exactly
from probscale.model.transforms import log_slope
from probscale.surrogate.prepare import Prepared, choose_subset
from probscale.surrogate.rows import layout_of

LEAST_GAIN = -1.0
"""Log density that text may cost on left-out values and still be kept: what it brings to values unlike the
known ones, these cannot tell."""

MOST_JUDGED = 600
"""Points on which the two are compared."""


def text_gain(
    told: tuple[Prepared, ExactState], plain: tuple[Prepared, ExactState], generator: np.random.Generator
) -> float:
    """Log density that left-out values gain by their texts, both fits at their own parameters.

    Every label that carries text has its values left out in turn, all points of a value together; where
    single runs are described, cells are left out. The mean over labels counts.

    Args:
        told: Points and posterior of the fit that reads texts.
        plain: Those of the fit that does not, of the same points.
        generator: Chooses the points where there are many.

    Cost: O(points³) for each label, with at most 600 points.
    """
    points, state = told
    chosen = choose_subset(points.codes, MOST_JUDGED, generator)
    groups = [values[chosen.numpy()] for values in _partitions(points)]
    weight = plain[1].data.weight
    total = 0.0
    for sign, (prepared, judged) in ((1.0, told), (-1.0, plain)):
        # Outliers must be the same for both, or the one that has more of them looks better.
        data = replace(judged.data, weight=weight).take(chosen)
        some = solve_exactly(judged.process, data, state.device)
        slope = float(log_slope(prepared.transform, prepared.output[chosen.numpy()]).sum())
        total += sign * (slope + float(np.mean([_left_out(some, values) for values in groups])))
    return total


def _partitions(points: Prepared) -> list[NDArray[np.intp]]:
    """Groups of points to leave out together, one array for each label with text."""
    layout = layout_of(points.encoder)
    columns = [block.code for block in layout.labels if block.text]
    codes = [np.unique(points.data.rows.x[:, c].numpy(), return_inverse=True)[1] for c in columns]
    described = set(points.encoder.features.free_text) & set(points.encoder.projections)
    return [values.astype(np.intp) for values in codes] + ([points.cells] if described else [])


def _left_out(state: ExactState, groups: NDArray[np.intp]) -> float:
    """Sum over groups of their joint log density given all others."""
    return sum(state.log_density_of(np.flatnonzero(groups == group)) for group in np.unique(groups))
