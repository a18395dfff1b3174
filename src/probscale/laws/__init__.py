"""Parametric scaling laws as pure values: evaluate, differentiate, fit robustly, compare."""

from probscale.laws.bootstrap import LawBootstrap
from probscale.laws.fitting import fit_law
from probscale.laws.law import Law, Optimum, Parameter
from probscale.laws.registry import available_laws, find_law
from probscale.laws.result import LawFit, LawPrediction

__all__ = [
    "Law",
    "LawBootstrap",
    "LawFit",
    "LawPrediction",
    "Optimum",
    "Parameter",
    "available_laws",
    "find_law",
    "fit_law",
]
