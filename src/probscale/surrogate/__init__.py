"""The surrogate: joins encoding and model, and speaks user units."""

from probscale.surrogate.best import BestConfig
from probscale.surrogate.curves import CurveSurrogate
from probscale.surrogate.fit import fit_surrogate
from probscale.surrogate.options import FitOptions
from probscale.surrogate.posterior import CurvePosterior
from probscale.surrogate.report import ExpertReport, FitReport
from probscale.surrogate.saving import load_surrogate
from probscale.surrogate.text_tuning import fine_tune_embedder

__all__ = [
    "BestConfig",
    "CurvePosterior",
    "CurveSurrogate",
    "ExpertReport",
    "FitOptions",
    "FitReport",
    "fine_tune_embedder",
    "fit_surrogate",
    "load_surrogate",
]
