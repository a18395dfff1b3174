"""Parametric scaling laws as pure values: evaluate, differentiate, fit robustly, compare."""

from probscale.laws.bnsl import BrokenPowerLaw
from probscale.laws.bootstrap import LawBootstrap
from probscale.laws.comparison import compare_laws
from probscale.laws.fitting import fit_law
from probscale.laws.inference_optimum import InferenceOptimum, inference_optimum
from probscale.laws.law import Law, Optimum, Parameter
from probscale.laws.optimal_allocation import OptimalAllocation, envelope_allocation, isoflop_allocation
from probscale.laws.pass_at_k import pass_at_k
from probscale.laws.prior import PUBLISHED, PublishedLaw, published_law
from probscale.laws.registry import available_laws, find_law
from probscale.laws.result import LawFit, LawPrediction
from probscale.laws.schedule import Schedule

__all__ = [
    "PUBLISHED",
    "BrokenPowerLaw",
    "InferenceOptimum",
    "Law",
    "LawBootstrap",
    "LawFit",
    "LawPrediction",
    "OptimalAllocation",
    "Optimum",
    "Parameter",
    "PublishedLaw",
    "Schedule",
    "available_laws",
    "compare_laws",
    "envelope_allocation",
    "find_law",
    "fit_law",
    "inference_optimum",
    "isoflop_allocation",
    "pass_at_k",
    "published_law",
]
