"""What an active loop has done so far, as a value rebuilt from its ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.running import given_up
from probscale.runs import RunLog

Array = NDArray[np.float64]
Event = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Progress:
    """State of a loop: the events that count, and what follows from them.

    Attributes:
        start: Log the loop began with.
        pool: Pool, with run identifiers.
        events: Decisions, outcomes and runs tried again, oldest first.
    """

    start: RunLog
    pool: pd.DataFrame
    events: tuple[Event, ...] = field(default=())

    def replayed(self, events: Iterable[Event]) -> Progress:
        """The same loop after the events of a ledger."""
        return replace(
            self, events=tuple(e for e in events if e.get("event") in ("decision", "done", "failed", "again"))
        )

    def after(self, event: Event) -> Progress:
        """The loop after one more event."""
        return replace(self, events=(*self.events, event))

    @cached_property
    def names(self) -> list[Any]:
        """Run identifiers of the pool's rows, as a ledger holds them."""
        values = self.pool[self.start.roles.run].tolist()
        return [value.item() if isinstance(value, np.generic) else value for value in values]

    def config(self, name: Any) -> dict[str, Any]:
        """Configuration of a run as its runner sees it."""
        row = self.pool.iloc[self.names.index(name)].to_dict()
        return {str(k): v.item() if isinstance(v, np.generic) else v for k, v in row.items()}

    @cached_property
    def decisions(self) -> list[Event]:
        """Decisions so far."""
        return [event for event in self.events if event["event"] == "decision"]

    @property
    def turns(self) -> int:
        """Number of decisions."""
        return len(self.decisions)

    @property
    def fitted_after(self) -> int:
        """Number of decisions whose outcomes the parameters of the last surrogate were fitted on."""
        return self.decisions[-1]["fitted"] if self.decisions else 0

    @property
    def fits(self) -> list[int]:
        """Numbers of decisions after which parameters were fitted, oldest first."""
        return list(dict.fromkeys([0, *(event["fitted"] for event in self.decisions)]))

    @property
    def pending(self) -> list[Event]:
        """Orders of the last decision that have no outcome yet."""
        if not self.decisions:
            return []
        closed = {
            event["run"]
            for event in self._since_decision()
            if event["event"] == "done" or event.get("final", False)
        }
        return [order for order in self.decisions[-1]["orders"] if order["run"] not in closed]

    def failures(self, name: Any) -> int:
        """Failed attempts at a run's current order."""
        return sum(e["event"] == "failed" and e["run"] == name for e in self._since_decision())

    @property
    def spent(self) -> float:
        """Cost of everything trained, failed attempts included."""
        return float(sum(event["cost"] for event in self.events if event["event"] in ("done", "failed")))

    @property
    def stopped(self) -> set[Any]:
        """Runs that may not be trained further: diverged or given up."""
        return {e["run"] for e in self.events if e.get("diverged", False)} | set(given_up(self.events))

    @property
    def states(self) -> dict[Any, Any]:
        """State of each run that was trained."""
        return {e["run"]: e["state"] for e in self.events if e["event"] == "done"}

    @property
    def reached(self) -> Array:
        """Axis value each row of the pool was trained to by the loop, (rows,)."""
        reached = dict.fromkeys(self.names, 0.0)
        for event in self.events:
            if event["event"] == "done":
                reached[event["run"]] = event["reached"]
        return np.array([reached[name] for name in self.names])

    def seen(self, name: Any) -> float:
        """Last axis value observed of a run; -inf for none."""
        roles = self.start.roles
        mine = self.start.points.loc[self.start.points[roles.run] == name, roles.axis]
        later = [e["points"][-1][0] for e in self.events if _adds_points(e) and e["run"] == name]
        return float(max([*mine, *later], default=-np.inf))

    @cached_property
    def log(self) -> RunLog:
        """Everything known now."""
        return self.log_until(self.turns)

    def log_until(self, turns: int) -> RunLog:
        """Everything known once the first `turns` decisions were carried out."""
        seen, rows = 0, []
        for event in self.events:
            seen += event["event"] == "decision"
            if event["event"] == "done" and seen <= turns:
                rows += [(event["run"], at, output) for at, output in event["points"]]
        return self.start + _as_log(rows, self.start, self.pool) if rows else self.start

    def _since_decision(self) -> list[Event]:
        last = max(i for i, event in enumerate(self.events) if event["event"] == "decision")
        return list(self.events[last + 1 :])


def _adds_points(event: Event) -> bool:
    return event["event"] == "done" and bool(event["points"])


def _as_log(rows: list[tuple[Any, float, float]], start: RunLog, pool: pd.DataFrame) -> RunLog:
    """Points of pool runs as a log in the roles of another; points that log already holds are left out."""
    roles = start.roles
    frame = pd.DataFrame(rows, columns=[roles.run, roles.axis, start.output])
    described = pool.set_index(roles.run)
    for name in roles.described:
        values = described[name] if name in described else pd.Series(np.nan, index=described.index)
        frame[name] = frame[roles.run].map(values)
    for name in roles.outputs[1:]:
        frame[name] = np.nan
    known = pd.MultiIndex.from_frame(start.points[[roles.run, roles.axis]])
    frame = frame[~pd.MultiIndex.from_frame(frame[[roles.run, roles.axis]]).isin(known)]
    frame = frame.drop_duplicates([roles.run, roles.axis]).sort_values([roles.run, roles.axis], kind="stable")
    return RunLog.from_frame(frame.reset_index(drop=True), **_roles(start), nonfinite="diverged")


def _roles(start: RunLog) -> Mapping[str, Any]:
    return start.roles.arguments()
