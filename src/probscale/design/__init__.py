"""What to run next, and how far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probscale.design.criteria import CRITERIA, Situation, after_survey
from probscale.design.loop import ActiveLoop
from probscale.design.pool import Constraints
from probscale.design.suggest import score_actions, suggest
from probscale.lazy import deferred

if TYPE_CHECKING:
    from probscale.design.botorch import acquisition

__all__ = [
    "CRITERIA",
    "ActiveLoop",
    "Constraints",
    "Situation",
    "acquisition",
    "after_survey",
    "score_actions",
    "suggest",
]

# BoTorch takes a second to import and is needed there only.
__getattr__, __dir__ = deferred(__name__, {"acquisition": ".botorch"})
