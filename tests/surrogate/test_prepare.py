"""Cells: what is left out together when spreads are judged."""

import numpy as np
import pandas as pd
import pytest

from probscale import RunLog
from probscale.surrogate.prepare import FEWEST_CELLS, cells_of


def finals(runs, **columns):
    """Cells of runs that each have one point at the same length."""
    frame = pd.DataFrame({"run": range(runs), "step": 100.0, "loss": np.linspace(2, 3, runs)} | columns)
    log = RunLog.from_frame(frame, run="run", axis="step", output="loss")
    return cells_of(log, np.arange(runs), np.full(runs, 100.0))


@pytest.mark.parametrize("runs", [40, 90, 301])
def test_runs_that_only_numbers_tell_apart_are_left_out_in_thirty_parts_at_least(runs):
    cells = finals(runs, lr=np.geomspace(1e-4, 1e-2, runs))
    sizes = np.bincount(cells)
    assert sizes.sum() == runs
    assert sizes.max() <= max(2, runs // FEWEST_CELLS)
    assert sizes.max() - sizes.min() <= 1


def test_labels_part_runs_before_lots_do():
    optimizer = np.repeat(["adam", "lion", "muon"], [100, 20, 2])
    cells = finals(122, optimizer=optimizer)
    for cell in np.unique(cells):
        assert len(set(optimizer[cells == cell])) == 1
    assert len(np.unique(cells[optimizer == "muon"])) == 1


def test_the_same_log_has_the_same_cells():
    assert (finals(90, lr=np.geomspace(1e-4, 1e-2, 90)) == finals(90, lr=np.geomspace(1e-4, 1e-2, 90))).all()
