"""How good is it: scores, calibration, replay."""

from probscale.evaluate.calibration import check
from probscale.evaluate.checkreport import CheckReport
from probscale.evaluate.scores import crps_from_samples, pooled, reliability, score_points

__all__ = ["CheckReport", "check", "crps_from_samples", "pooled", "reliability", "score_points"]
