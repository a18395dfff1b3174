"""A surrogate that follows a log as it grows: conditioned on each new point, fitted again now and then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from probscale.runs import RunLog
from probscale.surrogate import CurveSurrogate, FitOptions, fit_surrogate

QUICK = FitOptions(iterations=15, most=1_200)
"""Settings of a fit that is repeated while a study runs.

Short, but with all rounds against outliers: one trial of twenty that went wrong more than doubles the errors
of a fit with one round.
"""

GROWTH = 1.25
"""Parameters are fitted again when the points have grown by this factor; in between it is conditioned."""


@dataclass
class GrowingSurrogate:
    """Surrogate of a log that is longer each time.

    Attributes:
        embedder: As in `fit_surrogate`.
        options: As in `fit_surrogate`.
        seed: Seed of the fits.
        growth: Growth of the points at which parameters are fitted again.
        fitted: Surrogate as last fitted.
    """

    embedder: Any = None
    options: FitOptions = QUICK
    seed: int = 0
    growth: float = GROWTH
    fitted: CurveSurrogate | None = None
    _current: CurveSurrogate | None = field(default=None, init=False, repr=False)

    def updated(self, log: RunLog) -> CurveSurrogate:
        """The surrogate of a log that holds all points of the one before."""
        known = self._current or self.fitted
        if known is not None and log.n_points == known.log.n_points and set(log.runs) == set(known.log.runs):
            return known
        fitted = self.fitted
        if (
            known is None
            or fitted is None
            or fitted.log.roles != log.roles
            or log.n_points > self.growth * fitted.log.n_points
        ):
            # From scratch: what five trials made of the parameters led the fits of later ones astray
            # (regret of Optuna studies half as large again), and a quick fit takes as long either way.
            self.fitted = fit_surrogate(
                log,
                embedder=self.embedder,
                seed=self.seed,
                # Engines for many curves have no BoTorch view; the exact one thins a long log.
                model="exact",
                options=self.options,
            )
            self._current = self.fitted
        else:
            self._current = known.condition(log)
        return self._current

    def forget(self) -> None:
        """Start anew with the next log."""
        self.fitted = self._current = None
