"""Parametric scaling laws as pure values: evaluate, differentiate, fit robustly, compare."""

from probscale.laws.bnsl import BrokenPowerLaw
from probscale.laws.bootstrap import LawBootstrap
from probscale.laws.fitting import fit_law
from probscale.laws.law import Law, Optimum, Parameter
from probscale.laws.registry import available_laws, find_law
from probscale.laws.result import LawFit, LawPrediction
from probscale.laws.schedule import Schedule

__all__ = [
    "BrokenPowerLaw",
    "Law",
    "LawBootstrap",
    "LawFit",
    "LawPrediction",
    "Optimum",
    "Parameter",
    "Schedule",
    "available_laws",
    "find_law",
    "fit_law",
]
