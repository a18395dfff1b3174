"""Sections of decisions: which runs to do next, and how to spend a budget."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from probscale.budget import BudgetPlan, plan_budget
from probscale.design import score_actions, suggest
from probscale.plot import plot_acquisition, plot_rungs, style
from probscale.report.content import Note, Part, Picture, Row, Section, Table, Text, drawn, plural
from probscale.report.fit import short_names
from probscale.report.subject import Subject
from probscale.surrogate import CurvePosterior

SUGGESTED = 5
WORLDS = 100
MOST_COLUMNS = 5
POINTS = 8
SHARE = 0.25


def next_section(subject: Subject) -> Section:
    """Which runs teach most per cost."""
    frame, log = subject.candidates, subject.log
    criterion = "frontier" if log.roles.params is not None else "improvement"
    grid = _grid(subject, frame)
    options = {"cost": subject.cost, "at": grid, "depths": "full" if log.roles.horizon else grid[0, -1:]}
    chosen = suggest(subject.surrogate, frame, SUGGESTED, criterion, **options, seed=subject.seed)
    actions = score_actions(subject.surrogate, frame, criterion, **options, seed=subject.seed)
    forecast = subject.surrogate.predict(_known(subject, chosen), chosen["until"].to_numpy()[:, None])
    parts: list[Part] = [_suggested(subject, chosen, forecast), Text(_origin(subject))]
    picture = _map(subject, actions, chosen)
    parts += [Row((picture,))] if picture else []
    parts += [Note(note) for note in chosen.attrs.get("notes", [])]
    aim = (
        "how much it narrows down the frontier"
        if criterion == "frontier"
        else f"how much it is expected to improve on the best {log.output} so far"
    )
    lead = (
        f"Each possible run is scored by {aim}, per cost. The choices belong together: each one reckons "
        "with what those before it will teach."
    )
    return Section("next", "Which run next?", lead, tuple(parts))


def _grid(subject: Subject, frame: pd.DataFrame) -> np.ndarray:
    """Axis values along which candidates are considered, (configs, points), up to their ends."""
    log = subject.log
    ends = np.full(len(frame), subject.reach)
    if log.roles.horizon is not None and log.roles.horizon in frame:
        ends = frame[log.roles.horizon].to_numpy(dtype=np.float64)
    return ends[:, None] * np.geomspace(1 / 64, 1, POINTS)


def _known(subject: Subject, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[name for name in frame if name in subject.log.roles.described]]


def _origin(subject: Subject) -> str:
    count = plural(len(subject.candidates), "candidate")
    origins = {
        "given": "as they were given",
        "never run": "combinations of the log's model shapes and settings that were never run",
        "run before": "the configurations of the log run once more, since they leave few others to combine",
    }
    return f"{count}: {origins[subject.origin]}.{subject.of_task}"


def _varied(subject: Subject) -> list[str]:
    """Columns in which candidates differ, size first."""
    frame, size = subject.candidates, subject.log.roles.params
    names = [str(name) for name in frame if name != size and frame[name].nunique(dropna=False) > 1]
    return ([size] if size is not None and size in frame else []) + names


def _cell(value: object) -> str:
    return style.compact(float(value)) if isinstance(value, (int, float, np.number)) else str(value)


def _suggested(subject: Subject, chosen: pd.DataFrame, forecast: CurvePosterior) -> Table:
    log, names = subject.log, _varied(subject)[:MOST_COLUMNS]
    lower, upper = forecast.interval(0.9)
    rows = []
    for rank, (_, row) in enumerate(chosen.iterrows()):
        ends = f"{forecast.mean[rank, 0]:.4g} ({lower[rank, 0]:.4g} to {upper[rank, 0]:.4g})"
        cells = [_cell(row[name]) for name in names]
        price = style.amount(float(row["cost"]))
        rows.append((f"{rank + 1}", *cells, _cell(float(row["until"])), price, ends))
    head = (
        "",
        *short_names(subject.candidates, names),
        f"until ({log.roles.axis})",
        f"cost ({subject.cost.unit})",
        f"{log.output}, 90 % interval",
    )
    return Table(head, tuple(rows), "Runs to do next, best first, and what they are forecast to reach.")


def _map(subject: Subject, actions: pd.DataFrame, chosen: pd.DataFrame) -> Picture | None:
    """Scores over the size and the setting with most values; None where candidates differ in one column."""
    names, size = _varied(subject), subject.log.roles.params
    # Columns that follow the size would only repeat it.
    free = [n for n in names if size is None or actions.groupby(size)[n].nunique().max() > 1]
    free = [n for n in free if n != size]
    pair = ([size] if size in names else []) + sorted(free, key=lambda n: -actions[n].nunique())
    if len(pair) < 2:
        return None
    x, y = str(pair[0]), str(pair[1])
    known = {str(size): "parameters"}
    units = {"x_unit": known.get(x), "y_unit": known.get(y)}
    label = f"score (value per {subject.cost.unit})"
    draw = partial(plot_acquisition, actions, x, y, chosen=chosen, score_label=label, **units)
    words = (
        "Score of every candidate, the best of those at one place; numbers mark the choices above. Blank: no "
        "candidate."
    )
    return drawn("acquisition", lambda ax: draw(ax=ax), caption=words, alt=f"score over {x} and {y}")


def plan_section(subject: Subject, total: float | None) -> tuple[Section, BudgetPlan]:
    """How a budget would be spent on the candidates."""
    log, cost = subject.log, subject.cost
    budget = total if total is not None else SHARE * float(cost.spent(log).sum())
    pool = subject.candidates
    horizon = log.roles.horizon if log.roles.horizon in pool else subject.reach
    plan = plan_budget(
        pool,
        total=budget,
        cost=cost,
        surrogate=subject.surrogate,
        axis=log.roles.axis,
        horizon=horizon,
        worlds=WORLDS,
        seed=subject.seed,
    )
    share = "" if total is not None else f", {100 * SHARE:.0f} % of what the runs of the log cost together"
    lead = (
        f"Suppose {style.amount(budget)} {cost.unit} to spend{share}. Instead of training one guess to "
        "the end, the plan starts several runs, drops those that are unlikely to win, and "
        "goes on with the rest."
    )
    odds = (
        f"In {WORLDS} futures drawn from the surrogate, the run that would have been best with the whole "
        f"budget wins in {100 * plan.prob_best:.0f} %"
    )
    missed = (
        ""
        if subject.rising
        else f"; on average the result is {100 * max(plan.regret, 0.0):.1f} % worse than the best possible"
    )
    rungs = len(plan.table())
    picture = drawn(
        "rungs",
        partial(plot_rungs, plan),
        height=max(2.2, 0.62 * rungs + 0.9),
        caption="Rungs in order of time. A bar spans how far the runs of a rung are trained; its thickness "
        "is the share of the budget. “Best kept”: how often the best run is still among them.",
        alt=f"budget plan of {rungs} rungs",
    )
    parts = (Text(f"{odds}{missed}."), Row((picture, _rungs(plan))))
    return Section("plan", "How would a budget be spent?", lead, parts), plan


def _rungs(plan: BudgetPlan) -> Table:
    rows = tuple(
        (
            str(rung["rung"]),
            f"{rung['runs']:.2g}",
            style.compact(float(rung[plan.axis])),
            style.amount(float(rung[plan.unit])),
        )
        for _, rung in plan.table().iterrows()
    )
    head = ("rung", "runs", f"trained to ({plan.axis})", f"cost ({plan.unit})")
    return Table(head, rows, "The same in numbers: means over the futures; of how far, the median run.")
