"""Probabilistic surrogate models of training runs.

probscale reads the logs of past training runs and forecasts, jointly and with calibrated uncertainty, the
learning curves of runs nobody has paid for yet; from there follow scaling laws, what to run next and what to
stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probscale.lazy import deferred

if TYPE_CHECKING:
    from probscale import catalog, laws, plot, theory
    from probscale.budget import allocate, plan_budget
    from probscale.cost import FlopsCost, MoneyCost, SecondsCost
    from probscale.design import ActiveLoop, suggest
    from probscale.laws import LawFit, fit_law
    from probscale.report import write_report
    from probscale.runs import Roles, RunLog, read_runs
    from probscale.scaling import fit_frontier
    from probscale.surrogate import (
        CurvePosterior,
        CurveSurrogate,
        fine_tune_embedder,
        fit_surrogate,
        load_surrogate,
    )
    from probscale.theory import simulate_runs

__version__ = "0.1.0"

# Names are resolved on first use, so that `import probscale` stays fast and touches no torch.
_HOME = {
    "RunLog": ".runs",
    "Roles": ".runs",
    "read_runs": ".runs",
    "FlopsCost": ".cost",
    "SecondsCost": ".cost",
    "MoneyCost": ".cost",
    "fit_law": ".laws",
    "LawFit": ".laws",
    "simulate_runs": ".theory",
    "fit_surrogate": ".surrogate",
    "fine_tune_embedder": ".surrogate",
    "load_surrogate": ".surrogate",
    "CurveSurrogate": ".surrogate",
    "CurvePosterior": ".surrogate",
    "plan_budget": ".budget",
    "allocate": ".budget",
    "fit_frontier": ".scaling",
    "write_report": ".report",
    "suggest": ".design",
    "ActiveLoop": ".design",
}
_MODULES = ("theory", "laws", "catalog", "plot")

__all__ = [
    "ActiveLoop",
    "CurvePosterior",
    "CurveSurrogate",
    "FlopsCost",
    "LawFit",
    "MoneyCost",
    "Roles",
    "RunLog",
    "SecondsCost",
    "__version__",
    "allocate",
    "catalog",
    "fine_tune_embedder",
    "fit_frontier",
    "fit_law",
    "fit_surrogate",
    "laws",
    "load_surrogate",
    "plan_budget",
    "plot",
    "read_runs",
    "simulate_runs",
    "suggest",
    "theory",
    "write_report",
]

__getattr__, __dir__ = deferred(__name__, _HOME, _MODULES)
