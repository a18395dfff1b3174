"""Probabilistic scaling laws: frontier, isoFLOP curves, optimum and phase."""

from probscale.scaling.frontier import Frontier, fit_frontier
from probscale.scaling.isoflop import Isoflops, fit_isoflops

__all__ = ["Frontier", "Isoflops", "fit_frontier", "fit_isoflops"]
