"""ActiveLoop: suggest, train, learn, repeat, until the budget is spent; a kill at any point loses nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.cost import CostModel, as_cost
from probscale.design.actions import OVERHEAD, Actions
from probscale.design.criteria import Value, find_criterion
from probscale.design.pool import (
    Constraints,
    Depths,
    actions_of,
    depths_of,
    grid_of,
    read_pool,
    thinned,
)
from probscale.design.progress import Event, Progress
from probscale.design.suggest import greedy, nothing_left, situation_of
from probscale.digest import short_digest
from probscale.encode.embedders import Embedder, get_embedder
from probscale.errors import BudgetError, ConfigError, expecting_new_values
from probscale.ledger import Ledger, name_of, read_ledger
from probscale.randomness import count_of
from probscale.running import (
    Increment,
    Outcome,
    Runner,
    Workers,
    advance,
    check_runner,
    retryable,
    unless_stalled,
)
from probscale.runs import RunLog
from probscale.runs.order import table_order
from probscale.runs.pools import Configs, numbered_rows, row_names
from probscale.surrogate import CurveSurrogate, fit_surrogate

Array = NDArray[np.float64]


FORMER = {"overhead": 0.0, "cost": None, "embedder": None}
"""What loops had before their ledgers said so: starts cost nothing, and costs and language models were not
compared."""


WHAT = "pool and log"
"""Where a ledger says what its loop learns from and chooses among."""

WATCHED = ("decision", "done", "failed")
"""Events that a watching function is told."""


@dataclass(frozen=True, eq=False)
class ActiveLoop:
    """Active learning on real training.

    Each turn chooses a batch of actions (which run, how far), has the runner carry them out, and conditions
    the surrogate on what came back; its parameters are fitted again, from where they were, whenever the log
    has grown by `growth`. Decisions, intents and outcomes are in the ledger before the next step, so that the
    same loop, run again after a kill, continues: finished increments are never paid again, and one in flight
    is run again from the last state.

    A runner that raises, hangs or returns a loss that is not finite is recorded. Failures are tried again
    `retries` times from the last state, a run that diverged is stopped, and the others go on.

    Attributes:
        log: What is known before; at least three points.
        pool: Configurations that may be trained; a run column may name runs of the log to continue. Of a pool
            too large for one joint posterior each turn compares the begun runs and others at random.
        runner: `points, state = runner(config, until, state)`: trains from `state` (None at first) until the
            axis reaches `until`; points are (axis value, output), the state is JSON.
        cost: Cost model.
        budget: Most that the loop may spend, in the unit of `cost`, earlier runs of the log not counted. A
            loop that spent its budget goes on from its ledger with a larger one.
        ledger: File of events.
        seed: Of fits and draws.
        criterion: Name in `design.CRITERIA`, or a function of a `Situation`, as in `suggest`.
        cost_power: Scores are divided by cost to this power.
        overhead: What starting or resuming a run costs besides training, as in `suggest`.
        batch: Actions per turn.
        at: Grid on the axis, as in `suggest`.
        depths: Where runs may stop, as in `suggest`.
        constraints: What actions must satisfy.
        targets: Configurations whose end matters to the criterion "target".
        growth: Growth of the log that has the parameters fitted again.
        embedder: Language model of the fits.
        executor: Carries out the increments of a batch side by side: any executor, or a function that makes
            one, as in `allocate`; None runs them here, one by one.
        timeout: Seconds an increment may take.
        retries: Attempts after the first.
        retry_failed: Runs that an earlier call of `run` gave up may be tried again, once per call, each from
            its last state and with as many attempts as at first, within what is left of the budget. Without
            it they stay out, however much the budget grows.
        watch: Called with each decision and outcome as the ledger holds it, as in `allocate`; on a resume
            with the earlier ones too.
    """

    log: RunLog
    pool: Configs
    runner: Runner
    _: KW_ONLY
    cost: CostModel
    budget: float
    ledger: str | Path = "loop.jsonl"
    seed: int = 0
    criterion: str | Value = "frontier"
    cost_power: float = 1.0
    overhead: float = OVERHEAD
    batch: int = 1
    at: ArrayLike | None = None
    depths: Depths | None = None
    constraints: Constraints = field(default_factory=Constraints)
    targets: Configs | None = None
    growth: float = 1.5
    embedder: str | Path | Embedder | None = "default"
    executor: Executor | Callable[[], Executor] | None = None
    timeout: float | None = None
    retries: int = 1
    retry_failed: bool = False
    watch: Callable[[Event], None] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", as_cost(self.cost))

    def __repr__(self) -> str:
        return (
            f"ActiveLoop({len(self.pool)} configurations, {self.log.n_runs} runs known, budget "
            f"{self.budget:g} {self.cost.unit}, criterion {name_of(self.criterion)}, ledger "
            f"{str(self.ledger)!r})"
        )

    def run(self) -> RunLog:
        """Spend the budget; returns the log with everything that was learnt.

        Raises:
            BudgetError: if the budget is not positive or pays for no action, or the ledger belongs to another
            loop or is in use.
            ConfigError: if pool, criterion or constraints are not accepted.
        """
        self._check()
        frame = self._named()
        with (
            closing(Workers(self.runner, self.executor, self.timeout)) as workers,
            Ledger(self.ledger, settings=self._settings(frame), former=FORMER) as ledger,
        ):
            if self.retry_failed and (again := retryable(ledger.events())):
                ledger.append({"event": "again", "retried": again})
            for event in ledger.events():
                self._told(event)
            progress = Progress(self.log, frame).replayed(ledger.events())
            progress = self._settled(progress, ledger, workers)
            fitted, surrogate = progress.fitted_after, None
            while True:
                log = progress.log
                if surrogate is None:
                    # After a kill: the parameters the interrupted loop had, then everything since.
                    surrogate = self._refitted(progress).condition(log)
                elif log.n_points >= self.growth * progress.log_until(fitted).n_points:
                    fitted, surrogate = progress.turns, self._fit(log, surrogate)
                else:
                    surrogate = surrogate.condition(log)
                orders = self._decide(progress, surrogate)
                if not orders:
                    if ledger.events()[-1]["event"] != "finished":
                        ledger.append({"event": "finished"})
                    return log
                event = {"event": "decision", "number": progress.turns, "fitted": fitted, "orders": orders}
                ledger.append(event)
                self._told(event)
                progress = self._settled(progress.after(event), ledger, workers)

    def _named(self) -> pd.DataFrame:
        """The pool with the names of its runs, those of the ledger where an earlier version wrote it."""
        frame = named_pool(self.pool, self.log)
        try:
            begun = read_ledger(self.ledger).settings.get(WHAT)
        except (BudgetError, OSError):  # none yet, or one that opening it refuses in full words
            return frame
        former = named_pool(self.pool, self.log, numbered=True)
        return former if begun == self._settings(former)[WHAT] else frame

    def _check(self) -> None:
        if not (isinstance(self.budget, Real) and math.isfinite(self.budget) and self.budget > 0):
            raise BudgetError(
                f"budget is {self.budget!r}; it must be a positive number in the unit of the cost"
            )
        check_runner(self.runner)
        count_of(self.batch, "batch")
        count_of(self.retries, "retries", 0)
        if not self.growth >= 1:
            raise ConfigError(
                f"growth is {self.growth!r}; pass a factor of at least 1 by which the log grows between fits"
            )
        self._value()

    def _value(self) -> Value:
        return find_criterion(self.criterion, aimed=self.targets is not None)

    def _settings(self, frame: pd.DataFrame) -> dict[str, Any]:
        """What a resumed loop must share with the one that began."""
        text = frame.to_json(orient="split", double_precision=15) + repr(self.log.to_frame().to_csv())
        return {
            "loop": "active",
            WHAT: short_digest(text),
            "seed": self.seed,
            "criterion": name_of(self.criterion),
            "cost": self.cost.digest(frame),
            "cost_power": self.cost_power,
            "overhead": self.overhead,
            "batch": self.batch,
            "embedder": _model_name(self.embedder),
        }

    def _fit(self, log: RunLog, start: CurveSurrogate | None) -> CurveSurrogate:
        return fit_surrogate(log, embedder=self.embedder, seed=self.seed, start=start)

    def _refitted(self, progress: Progress) -> CurveSurrogate:
        """The surrogate as last fitted: each fit began where the one before had ended."""
        first, *later = progress.fits
        surrogate = self._fit(progress.log_until(first), None)
        for turns in later:
            surrogate = self._fit(progress.log_until(turns), surrogate)
        return surrogate

    def _decide(self, progress: Progress, surrogate: CurveSurrogate) -> list[Event]:
        """Orders of the next turn; empty once nothing more fits into the budget."""
        actions = self._actions(progress)
        left = self.budget - progress.spent
        legal = np.asarray(actions.within(left).legal.any(axis=1))
        if not legal.any():
            if not progress.turns:
                raise BudgetError(nothing_left(actions.within(left)), budget=self.budget)
            return []
        seed = self.seed + progress.turns
        order = table_order(progress.pool, self.log.roles.run, actions.at)
        begun, points = actions.reached > 0, actions.at.shape[1]
        order = order[np.isin(order, thinned(order, points, keep=begun, legal=legal, seed=seed))]
        pool, actions = progress.pool.iloc[order], actions.ordered(order)
        with expecting_new_values():
            situation = situation_of(surrogate, pool, actions, targets=self.targets, seed=seed)
        chosen = greedy(situation, self._value(), self.batch, self.cost_power, left, self.overhead)
        return [
            {
                "run": progress.names[order[choice.config]],
                "from": float(actions.reached[choice.config]),
                "until": float(actions.at[choice.config, choice.point]),
                "cost": choice.cost,
                "score": choice.score,
            }
            for choice in chosen
        ]

    def _actions(self, progress: Progress) -> Actions:
        grid = grid_of(progress.pool, self.log, self.at)
        stops = depths_of(grid, self.log, self.depths)
        actions = actions_of(
            progress.pool, progress.log, self.cost, grid=grid, depths=stops, constraints=self.constraints
        )
        stopped = np.array([name in progress.stopped for name in progress.names])
        reached = np.maximum(actions.reached, progress.reached)
        paid = self.cost(progress.pool, reached[:, None])[:, 0]
        return replace(actions, reached=reached, paid=paid, allowed=actions.allowed & ~stopped)

    def _settled(self, progress: Progress, ledger: Ledger, workers: Workers) -> Progress:
        """Progress once every order of the last decision has an outcome."""
        locks = Path(f"{ledger.path.resolve()}.locks")
        locks.mkdir(exist_ok=True)
        while pending := progress.pending:
            jobs = []
            for order in pending:
                name = order["run"]
                attempt = progress.failures(name)
                ledger.append({"event": "intent", "number": progress.turns - 1, "attempt": attempt, **order})
                # The pool's row, since any text may name a run.
                lock = locks / str(progress.names.index(name))
                state = progress.states.get(name)
                jobs.append(Increment(name, progress.config(name), order["until"], state, lock))
            for outcome in workers.outcomes(jobs):
                event = self._event(progress, outcome)
                ledger.append(event)
                self._told(event)
                progress = progress.after(event)
        return progress

    def _told(self, event: Event) -> None:
        if self.watch is not None and event["event"] in WATCHED:
            self.watch(event)

    def _event(self, progress: Progress, outcome: Outcome) -> Event:
        """Ledger event of an outcome; what was trained is paid, whether or not it went well."""
        (order,) = [order for order in progress.pending if order["run"] == outcome.run]
        axis = self.log.roles.axis
        outcome = unless_stalled(outcome, order["until"], axis=axis, reached=order["from"])
        where = {"number": progress.turns - 1, "run": outcome.run, "seconds": outcome.seconds}
        if outcome.problem:
            left = self.budget - progress.spent - 2 * order["cost"]
            tried = progress.failures(outcome.run) >= self.retries
            final = tried or outcome.problem == "timeout" or left < 0
            trouble = {"problem": outcome.problem, "message": outcome.message, "trace": outcome.trace}
            # How far a failed attempt came is unknown: the budget is charged as if it had come all the way.
            return {"event": "failed", **where, **trouble, "final": final, "cost": order["cost"]}
        found = advance(
            outcome,
            order["until"],
            axis=axis,
            reached=order["from"],
            seen=progress.seen(outcome.run),
        )
        config = progress.pool.iloc[[progress.names.index(outcome.run)]]
        cost = float(self.cost.increment(config, order["from"], found.reached)[0])
        done = {"points": found.points, "state": found.state, "reached": found.reached, "cost": cost}
        return {"event": "done", **where, **done, "diverged": found.diverged}


def _model_name(embedder: str | Path | Embedder | None) -> str:
    """What a ledger says of a language model: of files and objects what vectors depend on, else the name."""
    if isinstance(embedder, str | Path) and not Path(embedder).is_dir():
        return str(embedder)
    chosen = get_embedder(embedder)
    return "none" if chosen is None else chosen.identity


def named_pool(pool: Configs, log: RunLog, *, numbered: bool = False) -> pd.DataFrame:
    """A pool with one distinct run identifier per row; rows without one get a new one.

    Args:
        pool: Configurations.
        log: Known runs.
        numbered: New identifiers as earlier versions made them.

    Raises:
        ConfigError: if an identifier repeats.
    """
    frame = read_pool(pool, log).reset_index(drop=True)
    run = log.roles.run
    fresh = numbered_rows(len(frame), log.runs) if numbered else row_names(frame, log.runs)
    if run not in frame:
        return frame.assign(**{run: fresh})
    given = frame[run].astype(object)
    frame = frame.assign(**{run: given.where(given.notna(), pd.Series(fresh, index=frame.index))})
    again = frame[run].duplicated()
    if again.any():
        name = frame[run].tolist()[int(np.flatnonzero(again)[0])]
        raise ConfigError(f"run {name!r} is in the pool twice; a run has one row", run=name)
    return frame
