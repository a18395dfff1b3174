"""Probabilistic scaling laws: frontier, optimum and phase."""

from probscale.scaling.frontier import Frontier, fit_frontier

__all__ = ["Frontier", "fit_frontier"]
