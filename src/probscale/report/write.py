"""write_report: from a log to a page."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probscale.budget.intake import check_budget
from probscale.cost import CostModel
from probscale.errors import ConfigError, ProbscaleError
from probscale.plot import style
from probscale.report.content import Details, Note, Section, plural
from probscale.report.data import data_section
from probscale.report.decide import next_section, plan_section
from probscale.report.fit import fit_section
from probscale.report.frontier import can_scale, frontier_section
from probscale.report.page import page
from probscale.report.subject import Subject, subject_of
from probscale.report.trust import HARDER, meaning, trust_section
from probscale.runs import RunLog
from probscale.surrogate import CurveSurrogate, fit_surrogate
from probscale.surrogate.curves import check_fitted

if TYPE_CHECKING:
    from probscale.encode.embedders import Embedder
    from probscale.evaluate import CheckReport

MOST_RUNS = 150
"""Runs that the held-out check refits; more are thinned, which the page says."""

Say = Callable[[str], object]


def write_report(
    source: RunLog | CurveSurrogate,
    path: str | Path,
    *,
    pool: pd.DataFrame | Sequence[dict[str, Any]] | None = None,
    cost: CostModel | None = None,
    total: float | None = None,
    title: str | None = None,
    unit: str | None = None,
    embedder: str | Path | Embedder | None = "default",
    most_runs: int = MOST_RUNS,
    seed: int = 0,
    progress: Say | None = None,
) -> Path:
    """Write one self-contained HTML page: data, fit, calibration, frontier, next runs, budget plan.

    The page asks the network for nothing. A section that the log has too little for says why.

    Args:
        source: Runs, to which a surrogate is fitted; or a fitted surrogate.
        path: File to write.
        pool: Candidates for the next runs; by default combinations of the log's own settings never run.
        cost: Cost model; by default 6·N FLOPs a token where the log has a size and counts tokens, else size ×
            axis, or the axis itself.
        total: Budget of the plan, in the unit of the cost; by default a quarter of what the log cost.
        title: Heading.
        unit: Unit of the output, for labels.
        embedder: As in `fit_surrogate`; the held-out check refits with it.
        most_runs: Runs that the held-out check uses at most.
        seed: Same log and seed, same page but for the times.
        progress: Called with a few words before each step.

    Returns:
        The path.

    Raises:
        ConfigError: if the file name has another suffix than .html or .htm, or the pool is empty.
        BudgetError: if the total is not a positive number.
        FitError: if the surrogate cannot be fitted.

    Cost: three fits or so; about a minute for 3,000 points.
    """
    target = check_page(path)
    if total is not None:
        check_budget(total)
    say = progress or (lambda words: None)
    start = time.perf_counter()
    surrogate = source
    if isinstance(surrogate, RunLog):
        say(f"fitting {surrogate.n_runs:,} runs, {surrogate.n_points:,} points")
        surrogate = fit_surrogate(surrogate, embedder=embedder, seed=seed)
    check_fitted(surrogate, "write_report")
    subject = subject_of(surrogate, cost=cost, unit=unit, pool=pool, seed=seed)
    sections, found = _sections(subject, embedder, most_runs, total, say)
    heading = title or f"{subject.log.output} of {plural(subject.log.n_runs, 'run')}"
    seconds = time.perf_counter() - start
    sections.append(_about(subject, seconds))
    text = page(heading, _subtitle(seconds, seed), _tiles(subject, found), sections)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def check_page(path: str | Path) -> Path:
    """Refuse a file name that is no page, before any work is done.

    Raises:
        ConfigError: for another suffix than .html or .htm.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"cannot write {target.name!r}: a report is a page; end its name in .html", path=str(target)
        )
    return target


def _sections(
    subject: Subject, embedder: str | Path | Embedder | None, most_runs: int, total: float | None, say: Say
) -> tuple[list[Section], CheckReport | None]:
    """All sections; one that cannot be made says why."""
    found: list[CheckReport] = []

    def trust() -> Section:
        section, report = trust_section(subject, embedder, most_runs)
        found.append(report)
        return section

    def frontier() -> Section:
        reason = can_scale(subject)
        if reason:
            raise ConfigError(reason)
        return frontier_section(subject)

    steps: tuple[tuple[str, str, str, Callable[[], Section]], ...] = (
        ("data", "What was read?", "drawing the runs", lambda: data_section(subject)),
        ("fit", "What was learnt?", "forecasting candidates", lambda: fit_section(subject)),
        ("trust", "Can the forecasts be trusted?", "refitting with runs left out", trust),
        ("frontier", "What does compute buy?", "tracing the frontier", frontier),
        ("next", "Which run next?", "scoring candidates", lambda: next_section(subject)),
        (
            "plan",
            "How would a budget be spent?",
            "planning a budget",
            lambda: plan_section(subject, total)[0],
        ),
    )
    sections = []
    for key, title, words, make in steps:
        say(words)
        sections.append(_guarded(key, title, make))
    return sections, found[0] if found else None


def _guarded(key: str, title: str, make: Callable[[], Section]) -> Section:
    """A section with its warnings as notes; where the log does not allow it, one that says so."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            section = make()
        except ProbscaleError as error:
            section = Section(key, title, "This log does not allow an answer.", (Note(str(error)),))
    own = [str(w.message) for w in caught if w.category.__module__.startswith("probscale")]
    notes = tuple(Note(f"{words[0].upper()}{words[1:]}.") for words in dict.fromkeys(own))
    return replace(section, parts=(*section.parts, *notes))


def _subtitle(seconds: float, seed: int) -> str:
    from probscale import __version__

    made = time.strftime("%Y-%m-%d")
    return f"Made by probscale {__version__} on {made} in {seconds:.0f} s (seed {seed})"


def _tiles(subject: Subject, found: CheckReport | None) -> list[tuple[str, str]]:
    log = subject.log
    values = log.points[log.output].to_numpy(dtype=np.float64)
    best = np.nanmax(values) if subject.rising else np.nanmin(values)
    spent = float(subject.cost.spent(log).sum())
    tiles = [
        (f"{log.n_runs:,}", f"runs, {log.n_points:,} points"),
        (f"{best:.4g}", f"best {log.output} measured ({subject.shown_unit})"),
        (style.amount(spent), f"{subject.cost.unit} spent on all runs"),
    ]
    if found is not None:
        shares = zip(found.regimes, found.table["coverage_90"].to_numpy(dtype=np.float64), strict=True)
        held = {name: f"{100 * share:.0f} %" for name, share in shares}
        first, *others = held
        words = f"of measurements of {meaning(first)}, left out, inside 90 % intervals"
        words += "".join(f"; {meaning(name)} {held[name]}" for name in others if name in HARDER)
        tiles.append((held[first], words))
    return tiles


def _about(subject: Subject, seconds: float) -> Section:
    """How to make the page again."""
    from probscale import __version__

    lines = [
        f"probscale {__version__}, Python {platform.python_version()} on {platform.system()}",
        f"made in {seconds:.1f} s, seed {subject.seed}",
        f"log: {subject.log!r}",
        f"cost: {subject.cost!r}",
        f"candidates: {len(subject.candidates)}",
        f"language model: {subject.surrogate.report.embedder or 'none'}",
    ]
    lead = "Same log, same seed, same version: same page, but for the times."
    return Section(
        "about", "How was this page made?", lead, (Details("Versions and settings", "\n".join(lines)),)
    )
