"""What to run next, and how far."""

from probscale.design.criteria import CRITERIA, Situation, after_survey
from probscale.design.loop import ActiveLoop
from probscale.design.pool import Constraints
from probscale.design.suggest import score_actions, suggest

__all__ = ["CRITERIA", "ActiveLoop", "Constraints", "Situation", "after_survey", "score_actions", "suggest"]


def __getattr__(name: str) -> object:
    if name == "acquisition":
        # BoTorch takes a second to import and is needed only here.
        from probscale.design.botorch import acquisition

        return acquisition
    raise AttributeError(f"module 'probscale.design' has no attribute {name!r}")
