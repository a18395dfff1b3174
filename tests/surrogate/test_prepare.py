"""Points on which parameters are fitted; cells: what is left out together when spreads are judged."""

import numpy as np
import pandas as pd
import pytest

from probscale import RunLog
from probscale.surrogate import fitting
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import FEWEST_CELLS, cells_of, choose_curves, choose_subset


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


def taken(counts, most, seed=0):
    """Points that are taken of each run that teaches; runs have so many points."""
    codes = np.repeat(np.arange(len(counts)), counts)
    chosen = codes[choose_curves(codes, most, np.random.default_rng(seed)).numpy()]
    return np.unique(chosen, return_counts=True)[1]


@pytest.mark.parametrize(("runs", "each"), [(20, 12), (45, 10), (75, 6), (200, 6)])
def test_curves_are_thinned_to_half_a_dozen_points_before_runs_are_left_out(runs, each):
    found = taken([25] * runs, 450)
    assert (found == each).all()
    assert len(found) == min(runs, 450 // each)


def test_runs_of_few_points_leave_room_for_more_runs():
    found = taken([2, 30] * 200, 450)
    assert 445 <= found.sum() <= 450
    assert len(found) > 100


def test_two_curves_at_least_are_taken_and_a_short_log_as_a_whole():
    assert (taken([30, 30, 30], 8) == 6).all()
    assert len(taken([30, 30, 30], 8)) == 2
    assert (taken([30, 30, 30], 90) == 30).all()


def test_finals_are_drawn_alike_whoever_draws():
    codes = np.random.default_rng(1).permutation(900)
    both = (draw(codes, 450, np.random.default_rng(0)) for draw in (choose_curves, choose_subset))
    assert (next(both) == next(both)).all()


def test_parameters_of_curves_are_fitted_on_more_runs_of_fewer_points(monkeypatch):
    frame = pd.DataFrame({"run": np.repeat(np.arange(40), 15), "step": np.tile(np.arange(1.0, 16), 40)})
    frame["lr"] = np.geomspace(1e-4, 1e-2, 40)[frame["run"]]
    frame["loss"] = 2 + frame["step"] ** -0.5 + 0.1 * np.log10(frame["lr"] / 1e-3) ** 2
    log, seen = RunLog.from_frame(frame, run="run", axis="step", output="loss"), []

    def watched(points, subset, *arguments):
        seen.append(len(np.unique(points.codes[subset.numpy()])))
        raise InterruptedError

    monkeypatch.setattr(fitting, "_fit_state", watched)
    options = FitOptions(subset=120)
    with pytest.raises(InterruptedError):
        fitting.fit_output(log, fitting.encoders_of(log, None), options, np.random.default_rng(0))
    assert seen == [20]
