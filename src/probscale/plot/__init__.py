"""Figures: matplotlib axes in, axes out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probscale.plot.acquisition import plot_acquisition
    from probscale.plot.calibration import plot_parity, plot_reliability
    from probscale.plot.check import draw_check_curves, plot_check
    from probscale.plot.curves import plot_curves, plot_fan
    from probscale.plot.replay import plot_gains, plot_learning
    from probscale.plot.rungs import plot_rungs
    from probscale.plot.scaling import plot_frontier, plot_isoflop, plot_law_posterior
    from probscale.plot.theory import plot_local_exponents, plot_phase_diagram

# Resolved on first use: matplotlib, and what a figure does not show, stay unimported.
_HOME = {
    "draw_check_curves": "check",
    "plot_acquisition": "acquisition",
    "plot_check": "check",
    "plot_curves": "curves",
    "plot_fan": "curves",
    "plot_frontier": "scaling",
    "plot_gains": "replay",
    "plot_isoflop": "scaling",
    "plot_law_posterior": "scaling",
    "plot_learning": "replay",
    "plot_local_exponents": "theory",
    "plot_parity": "calibration",
    "plot_phase_diagram": "theory",
    "plot_reliability": "calibration",
    "plot_rungs": "rungs",
}

__all__ = [
    "draw_check_curves",
    "plot_acquisition",
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'probscale.plot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"probscale.plot.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
