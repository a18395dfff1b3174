"""The bench of a live allocation: a runner carries out orders, and everything is in the ledger first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.budget.bench import NEGLIGIBLE, ROUNDING, Array, Decision, Order, check_decision, whole_step
from probscale.budget.stages import Stage
from probscale.cost import CostModel
from probscale.ledger import Ledger
from probscale.running import Increment, Outcome, Workers, advance, unless_stalled


@dataclass
class RunState:
    """What is known of one run.

    Attributes:
        reached: Axis value trained to.
        spent: Compute paid.
        points: Observed (axis value, output) in user units, the axis rising.
        state: What the runner returned last; None before the first increment.
        status: "waiting", "trained", "diverged" or "failed".
        problem: Message of the failure that ended it.
    """

    reached: float = 0.0
    spent: float = 0.0
    points: list[tuple[float, float]] = field(default_factory=list)
    state: Any = None
    status: str = "waiting"
    problem: str = ""


class LiveBench:
    """Runs trained by a runner; satisfies `bench.Bench`.

    Each decision, intent and outcome is in the ledger before the next step. A resumed bench takes what the
    ledger holds and trains only what it does not: an increment without an outcome is run again from the last
    state.
    """

    def __init__(
        self,
        configs: pd.DataFrame,
        cost: CostModel,
        total: float,
        axis: str,
        goal: str,
        *,
        params: str | None,
        last: Array,
        resolution: Array,
        workers: Workers,
        ledger: Ledger,
        retries: int,
        visible: Sequence[Mapping[str, Any]],
        watch: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.configs = configs
        self.axis = axis
        self.goal = goal
        self.params = params
        self.in_flops = cost.unit == "FLOPs"
        self.total = float(total)
        self.runs = [RunState() for _ in range(len(configs))]
        self.decisions: list[Decision] = []
        self.lost = 0.0
        self._cost = cost
        self._last = last
        self._ends = np.full(len(configs), np.inf)
        finite = np.isfinite(last)
        if finite.any():
            self._ends[finite] = cost(configs[finite], last[finite][:, None])[:, 0]
        self._resolution = resolution
        self._workers = workers
        self._ledger = ledger
        self._retries = retries
        self.visible = visible
        self._watch = watch or (lambda event: None)
        self._record = _Record(ledger.events())
        self._locks = Path(f"{ledger.path.resolve()}.locks")
        self._locks.mkdir(exist_ok=True)

    @property
    def spent(self) -> Array:
        """Compute paid for each run."""
        return np.array([run.spent for run in self.runs])

    @property
    def remaining(self) -> float:
        """Budget not spent yet."""
        return max(self.total - float(self.spent.sum()), 0.0)

    @property
    def ends(self) -> Array:
        """Compute at which each run ends."""
        return self._ends

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which runs may be trained further."""
        sound = np.array([run.status in ("waiting", "trained") for run in self.runs])
        reached = np.array([run.reached for run in self.runs])
        room = self._last - reached > ROUNDING * np.maximum(reached, 1.0)
        # A run whose next whole step is beyond the budget cannot be trained with it.
        lasts = zip(reached, self._resolution, self._last, strict=True)
        following = np.array([whole_step(at, at, step, last) for at, step, last in lasts])
        price = self._cost(self.configs, following[:, None])[:, 0] - self.spent
        return sound & room & (price <= self.remaining * (1 + ROUNDING))

    def given(self, stage: Stage) -> None:
        """Take a larger budget, with all that was paid before; runs given up may be tried again."""
        if stage.total != self.total or stage.retried:
            told = {"event": "budget", "total": stage.total, "before": self.total}
            self._watch({**told, "retried": list(stage.retried)})
        self.total = stage.total
        for run in stage.retried:
            known = self.runs[run]
            known.status, known.problem = "trained" if known.spent else "waiting", ""

    def points(self, run: int) -> list[tuple[float, float]]:
        """Observed points, lower better."""
        sign = 1.0 if self.goal == "min" else -1.0
        return [(at, sign * value) for at, value in self.runs[run].points]

    def axis_at(self, runs: Sequence[int], compute: Array) -> Array:
        """Axis values that runs reach with some compute each."""
        return self._cost.axis_at(self.configs.iloc[list(runs)], compute)

    def train(self, decision: Decision) -> Decision:
        """Carry out a decision, or take what the ledger says came of it."""
        number = len(self.decisions)
        recorded = self._record.decisions.get(number)
        if recorded is None:
            recorded = self._planned(number, decision)
            self._ledger.append(recorded)
        targets = {int(order["run"]): float(order["until"]) for order in recorded["orders"]}
        taken = Decision(
            tuple(Order(int(order["run"]), float(order["compute"])) for order in recorded["orders"]),
            recorded["kind"],
            tuple(recorded["kept"]),
            {int(run): share for run, share in recorded["prob_best"].items()},
            recorded["note"],
        )
        self.decisions.append(taken)
        self._watch(recorded)
        self._carry_out(number, targets)
        return taken

    def _planned(self, number: int, decision: Decision) -> dict[str, Any]:
        """Record of a decision: targets on the axis, together within the budget."""
        check_decision(decision, len(self.runs))
        left, orders = self.remaining, []
        for order in decision.orders:
            run = self.runs[order.run]
            compute = min(order.until, run.spent + left, self._ends[order.run])
            until = self._target(order.run, compute)
            price = self._price(order.run, until)
            if until <= run.reached or price > left * (1 + ROUNDING) + NEGLIGIBLE * self.total:
                continue
            left -= price
            orders.append({"run": order.run, "until": until, "compute": compute, "cost": price})
        return {
            "event": "decision",
            "number": number,
            "kind": decision.kind,
            "kept": list(decision.kept),
            "prob_best": {str(run): share for run, share in decision.prob_best.items()},
            "note": dict(decision.note),
            "orders": orders,
            "remaining": self.remaining,
        }

    def _target(self, run: int, compute: float) -> float:
        """Axis value for some compute, at a whole step where steps are known; at least the next one."""
        until = float(min(self.axis_at([run], np.array([compute]))[0], self._last[run]))
        return whole_step(until, self.runs[run].reached, float(self._resolution[run]), float(self._last[run]))

    def _price(self, run: int, until: float) -> float:
        return float(self._cost(self.configs.iloc[[run]], [[until]])[0, 0]) - self.runs[run].spent

    def _carry_out(self, number: int, targets: dict[int, float]) -> None:
        """Train to targets on the axis, with retries; outcomes already recorded are taken as they are."""
        for run in list(targets):
            for event in self._record.outcomes.get((number, run), ()):
                self._apply(run, event)
            if (number, run) in self._record.closed:
                del targets[run]
        while targets:
            attempts = {run: self._record.failures(number, run) for run in targets}
            jobs = [self._job(number, run, until, attempts[run]) for run, until in targets.items()]
            for outcome in self._workers.outcomes(jobs):
                event = self._event(number, outcome, targets[outcome.run], attempts[outcome.run])
                self._ledger.append(event)
                self._record.add(event)
                self._apply(outcome.run, event)
                if event["event"] != "failed" or event["final"]:
                    del targets[outcome.run]

    def _job(self, number: int, run: int, until: float, attempt: int) -> Increment:
        known = self.runs[run]
        self._ledger.append(
            {
                **{"event": "intent", "decision": number, "run": run, "attempt": attempt},
                **{"from": known.reached, "until": until, "cost": self._price(run, until)},
            }
        )
        return Increment(run, self.visible[run], until, known.state, self._locks / str(run))

    def _event(self, number: int, outcome: Outcome, until: float, attempt: int) -> dict[str, Any]:
        """Ledger event of an outcome."""
        known = self.runs[outcome.run]
        outcome = unless_stalled(outcome, until, axis=self.axis, reached=known.reached)
        where = {"decision": number, "run": outcome.run, "attempt": attempt, "seconds": outcome.seconds}
        if not outcome.problem:
            seen = known.points[-1][0] if known.points else -math.inf
            found = advance(outcome, until, axis=self.axis, reached=known.reached, seen=seen)
            done = {"reached": found.reached, "cost": self._price(outcome.run, found.reached)}
            return {"event": "done", **where, **done, "points": found.points, "state": found.state}
        # The old worker of a timed-out increment may still be training: a second one would share its files.
        final = attempt >= self._retries or outcome.problem == "timeout"
        trouble = {"problem": outcome.problem, "message": outcome.message, "trace": outcome.trace}
        return {
            "event": "failed",
            **where,
            **trouble,
            "final": final,
            "at_risk": self._price(outcome.run, until),
        }

    def _apply(self, run: int, event: Mapping[str, Any]) -> None:
        known = self.runs[run]
        self._watch(event)
        if event["event"] == "failed":
            self.lost += float(event["at_risk"])
            if event["final"]:
                known.status, known.problem = "failed", f"{event['problem']}: {event['message']}"
            return
        known.points += [(float(at), float(value)) for at, value in event["points"]]
        known.reached, known.state = float(event["reached"]), event["state"]
        known.spent += float(event["cost"])
        broken = bool(known.points) and not math.isfinite(known.points[-1][1])
        known.status = "diverged" if broken else "trained"


class _Record:
    """What a ledger says, by decision and run."""

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        self.decisions: dict[int, Mapping[str, Any]] = {}
        self.outcomes: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
        self.closed: set[tuple[int, int]] = set()
        for event in events:
            if event["event"] == "decision":
                self.decisions[event["number"]] = event
            elif event["event"] in ("done", "failed"):
                self.add(event)

    def add(self, event: Mapping[str, Any]) -> None:
        key = event["decision"], event["run"]
        self.outcomes.setdefault(key, []).append(event)
        if event["event"] == "done" or event["final"]:
            self.closed.add(key)

    def failures(self, number: int, run: int) -> int:
        return sum(event["event"] == "failed" for event in self.outcomes.get((number, run), ()))
