"""Probabilistic scaling laws: frontier, optimum and phase."""
