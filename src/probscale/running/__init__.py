"""Carrying out training that a user's runner does: calls, checks, timeouts, workers that die."""

from probscale.running.increment import Increment, Outcome, Runner, check_runner
from probscale.running.named import NamedRunner, named_runner
from probscale.running.progress import Advance, advance, unless_stalled
from probscale.running.retries import given_up, retryable
from probscale.running.workers import Workers, computing_workers, process_workers

__all__ = [
    "Advance",
    "Increment",
    "NamedRunner",
    "Outcome",
    "Runner",
    "Workers",
    "advance",
    "check_runner",
    "computing_workers",
    "given_up",
    "named_runner",
    "process_workers",
    "retryable",
    "unless_stalled",
]
