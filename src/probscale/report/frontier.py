"""Section of the frontier: what compute buys, and where it is best spent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from probscale.plot import plot_frontier, plot_isoflop, plot_law_posterior, style
from probscale.report.content import Note, Part, Row, Section, Table, drawn
from probscale.report.subject import Subject
from probscale.scaling import Frontier, Isoflops, fit_frontier, fit_isoflops

LEVELS = 40
BEYOND = 10.0
"""How far past the dearest observed run the frontier is asked for."""

SHADED = " Shaded: dearer than any run."
ISOFLOPS = 4
FEWEST_SIZES = 3


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the section draws."""

    frontier: Frontier
    isoflops: Isoflops
    dearest: float


def frontier_section(subject: Subject) -> Section:
    """Frontier with its law, isoFLOP curves, and what more compute buys."""
    found = _scaling(subject)
    cost, unit = subject.cost, subject.shown_unit
    limit = "ceiling" if found.frontier.law.rising else "floor"
    beyond = found.frontier.compute[-1] > found.dearest * (1 + 1e-9)
    pictures = (
        drawn(
            "frontier",
            partial(plot_frontier, found.frontier, log=subject.focus, cost=cost, unit=unit),
            caption="The best that each amount of compute can reach with runs no longer than the "
            f"longest observed, with a 90 % band, and the law through it.{SHADED if beyond else ''}",
            alt=f"best {subject.log.output} against compute",
        ),
        drawn(
            "isoflop",
            partial(plot_isoflop, found.isoflops, unit=unit),
            caption="The same compute spent on models of different size, each with the best settings that "
            "the log has for it: too small a model learns too little, too large a one sees too few examples. "
            "Dotted: longer runs than any observed.",
            alt=f"best {subject.log.output} against model size at {ISOFLOPS} levels of compute",
        ),
        drawn(
            "law",
            partial(plot_law_posterior, found.frontier.law, "exponent", limit, units={limit: unit}),
            caption=f"How sure the law is: draws of its exponent (how fast compute pays) and its {limit} "
            "(what no compute passes).",
            alt=f"posterior draws of exponent and {limit}",
        ),
    )
    parts: list[Part] = [_gains(subject, found), Row((*pictures, _law(found)))]
    if subject.focus_words:
        parts.insert(0, Note(f"Tasks are not compared with each other; this is for {subject.focus_words}."))
    lead = (
        "The frontier is the best result for each amount of compute, over all settings the log knows. Its "
        "law says what the next factor of compute is worth, and its band how much of that is known."
    )
    return Section("frontier", "What does compute buy?", lead, tuple(parts))


def _scaling(subject: Subject) -> Scaling:
    log, cost = subject.focus, subject.cost
    spent = cost.spent(log)
    dearest = float(spent.max())
    configs = log.configs.drop_duplicates().reset_index(drop=True)
    # Without a planned end given, each compute has its own.
    pool = configs.drop(columns=[log.roles.horizon] if log.roles.horizon else [])
    first = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    begun = float(np.quantile(cost(configs, np.array([first[first > 0].min()]))[:, 0], 0.5))
    low = min(max(dearest / 100, begun), dearest / 3)
    # No run longer than the longest observed: how small models fare far beyond is a guess.
    most = float(cost(configs, np.array([subject.reach])).max())
    compute = np.geomspace(low, min(dearest * BEYOND, max(most, dearest)), LEVELS)
    options = {"cost": cost, "seed": subject.seed}
    frontier = fit_frontier(subject.surrogate, pool, compute=compute, until=subject.reach, **options)
    levels = np.geomspace(*_middle(subject, low, dearest), ISOFLOPS)
    isoflops = fit_isoflops(subject.surrogate, pool, compute=levels, **options)
    return Scaling(frontier, isoflops, dearest)


def _middle(subject: Subject, low: float, dearest: float) -> tuple[float, float]:
    """Levels at which several sizes stay within the observed axis."""
    log, cost = subject.focus, subject.cost
    configs = log.configs.drop_duplicates(subset=[str(log.roles.params)])
    ends = np.sort(cost(configs, np.array([subject.reach]))[:, 0])
    top = min(float(np.median(ends)), dearest)
    return min(max(low, top / 30), top / 4), top


def _gains(subject: Subject, found: Scaling) -> Table:
    """Expected best at multiples of the dearest run."""
    frontier, rows = found.frontier, []
    table = frontier.to_frame()
    for factor in (0.1, 0.3, 1.0, 3.0, 10.0):
        if not frontier.compute[0] < 1.05 * factor * found.dearest < 1.1 * frontier.compute[-1]:
            continue
        level = int(np.abs(np.log(frontier.compute / (factor * found.dearest))).argmin())
        row = table.iloc[level]
        if not np.isfinite(row["mean"]):
            continue
        size = "–" if "params" not in row else style.compact(float(row["params"]))
        name = f"{factor:g} × the dearest run" if factor != 1 else "as much as the dearest run"
        ends = f"{row['lower']:.4g} to {row['upper']:.4g}"
        rows.append((name, style.amount(row["compute"]), f"{row['mean']:.4g}", ends, size))
    unit = f" ({subject.shown_unit})"
    head = ("spending", f"compute ({subject.cost.unit})", f"best {subject.log.output}{unit}", "90 % interval")
    return Table((*head, "mean best size"), tuple(rows))


def _law(found: Scaling) -> Table:
    law = found.frontier.law
    meanings = {
        "exponent": "how fast compute pays",
        "floor": "what no compute passes",
        "ceiling": "what no compute passes",
        "coefficient": "c of the law",
        "slope": "slope of a straight line through it",
        "intercept": "that line at one unit of compute",
    }
    ends = law.interval(0.9)
    rows = tuple(
        (meanings[name], name, style.compact(law.median[name]), _between(*ends[name])) for name in law.names
    )
    sign = "−" if law.rising else "+"
    caption = f"Law: {'ceiling' if law.rising else 'floor'} {sign} c · compute^(−exponent)."
    return Table(("meaning", "parameter", "median", "90 % interval"), rows, caption, words=2)


def _between(low: float, high: float) -> str:
    return f"{style.compact(low)} to {style.compact(high)}"


def can_scale(subject: Subject) -> str:
    """Why there is no frontier; empty if there is."""
    size = subject.log.roles.params
    if size is None:
        return "the log names no model size; say which column it is (--params)"
    count = int(subject.focus.configs[size].nunique())
    if count < FEWEST_SIZES:
        return f"the runs have {count} model size(s); a law needs at least {FEWEST_SIZES}"
    return ""
