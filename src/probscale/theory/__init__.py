"""The solvable scaling model: power-law random features, their phases and their compute-optimal frontier."""

from probscale.theory.equivalent import equivalent_modes
from probscale.theory.families import Family, FrontierExponents, NoiseModel, SimulatedLog, simulate_runs
from probscale.theory.feature_family import RandomFeatureFamily
from probscale.theory.law_family import LawConstants, LawFamily
from probscale.theory.optimum import Frontier, frontier
from probscale.theory.phases import (
    EXAMPLE_POINTS,
    PHASES,
    AsymptoticTerms,
    Boundary,
    Exponents,
    adjacent_phases,
    asymptotic_terms,
    boundaries,
    exponents,
    exponents_by_programme,
    phase,
    term_powers,
)
from probscale.theory.random_features import exact_loss, feature_modes, sample_features, simulate_sgd
from probscale.theory.spectrum import Modes
from probscale.theory.volterra import expected_loss, kernel_norm, largest_stable_rate, max_learning_rate

__all__ = [
    "EXAMPLE_POINTS",
    "PHASES",
    "AsymptoticTerms",
    "Boundary",
    "Exponents",
    "Family",
    "Frontier",
    "FrontierExponents",
    "LawConstants",
    "LawFamily",
    "Modes",
    "NoiseModel",
    "RandomFeatureFamily",
    "SimulatedLog",
    "adjacent_phases",
    "asymptotic_terms",
    "boundaries",
    "equivalent_modes",
    "exact_loss",
    "expected_loss",
    "exponents",
    "exponents_by_programme",
    "feature_modes",
    "frontier",
    "kernel_norm",
    "largest_stable_rate",
    "max_learning_rate",
    "phase",
    "sample_features",
    "simulate_runs",
    "simulate_sgd",
    "term_powers",
]
