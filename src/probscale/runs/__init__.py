"""Run logs: the validated table of past training runs, its readers and its splits."""

from probscale.runs.divergence import diverged_points, risen_points
from probscale.runs.log import RunLog
from probscale.runs.readers import read_frame, read_runs
from probscale.runs.schema import Roles
from probscale.runs.splits import Split, split_by_level, split_by_prefix, split_by_run, split_by_scale
from probscale.runs.summary import ColumnSummary, Gap, LogSummary

__all__ = [
    "ColumnSummary",
    "Gap",
    "LogSummary",
    "Roles",
    "RunLog",
    "Split",
    "diverged_points",
    "read_frame",
    "read_runs",
    "risen_points",
    "split_by_level",
    "split_by_prefix",
    "split_by_run",
    "split_by_scale",
]
