"""Runs that were given up, and which of them may be tried again, from the events of a ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def given_up(events: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Runs whose last order failed for good, in the order in which they did.

    Args:
        events: Events of a ledger, oldest first: "failed" ones say whether that was "final", any event may
            name runs that are "retried" from then on.
    """
    failed: dict[Any, None] = {}
    for event in events:
        if event["event"] == "failed" and event["final"]:
            failed[event["run"]] = None
        for run in event.get("retried", ()):
            failed.pop(run, None)
    return list(failed)


def retryable(events: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Runs given up that a call may try again; none for one that resumes a call which did so.

    Args:
        events: Events of a ledger, oldest first; a call that came to its end left a "finished" one.
    """
    ends = [place for place, event in enumerate(events) if event["event"] == "finished"]
    since = events[ends[-1] :] if ends else events
    return [] if any(event.get("retried") for event in since) else given_up(events)
