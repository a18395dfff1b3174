"""Figures: matplotlib axes in, axes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probscale.lazy import deferred

if TYPE_CHECKING:
    from probscale.plot.acquisition import plot_acquisition
    from probscale.plot.allocation import plot_allocation
    from probscale.plot.calibration import plot_parity, plot_reliability
    from probscale.plot.check import draw_check_curves, plot_check
    from probscale.plot.curves import plot_curves, plot_fan
    from probscale.plot.replay import plot_gains, plot_learning
    from probscale.plot.rungs import plot_rungs
    from probscale.plot.scaling import plot_frontier, plot_isoflop, plot_law_posterior
    from probscale.plot.theory import plot_local_exponents, plot_phase_diagram

# Resolved on first use: matplotlib, and what a figure does not show, stay unimported.
_HOME = {
    "draw_check_curves": ".check",
    "plot_acquisition": ".acquisition",
    "plot_allocation": ".allocation",
    "plot_check": ".check",
    "plot_curves": ".curves",
    "plot_fan": ".curves",
    "plot_frontier": ".scaling",
    "plot_gains": ".replay",
    "plot_isoflop": ".scaling",
    "plot_law_posterior": ".scaling",
    "plot_learning": ".replay",
    "plot_local_exponents": ".theory",
    "plot_parity": ".calibration",
    "plot_phase_diagram": ".theory",
    "plot_reliability": ".calibration",
    "plot_rungs": ".rungs",
}

__all__ = [
    "draw_check_curves",
    "plot_acquisition",
    "plot_allocation",
    "plot_check",
    "plot_curves",
    "plot_fan",
    "plot_frontier",
    "plot_gains",
    "plot_isoflop",
    "plot_law_posterior",
    "plot_learning",
    "plot_local_exponents",
    "plot_parity",
    "plot_phase_diagram",
    "plot_reliability",
    "plot_rungs",
]

__getattr__, __dir__ = deferred(__name__, _HOME)
