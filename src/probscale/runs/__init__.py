"""Run logs: the validated table of past training runs, its readers and its splits."""

from probscale.runs.log import RunLog
from probscale.runs.schema import Roles
from probscale.runs.summary import ColumnSummary, Gap, LogSummary

__all__ = ["ColumnSummary", "Gap", "LogSummary", "Roles", "RunLog"]
