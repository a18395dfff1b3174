"""Spread of a functional model, learnt from left-out runs: of new runs, and of begun ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from probscale.model.continuation import Outlook, outlooks_of
from probscale.model.means import breaks_of
from probscale.model.spread import (
    CurveSpread,
    Foretold,
    LengthTrend,
    begun_weights,
    fit_factors,
    foretold,
    new_weights,
    together,
)
from probscale.model.straying import Prefix, fit_deviations, fresh_weights, shown_by
from probscale.runs import RunLog
from probscale.runs.schema import DIVERGED
from probscale.surrogate.functional import FunctionalExpert, Observed
from probscale.surrogate.functional_curves import Curves
from probscale.surrogate.known_points import run_codes
from probscale.surrogate.prepare import divided

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

STRAYING_RUNS = 1_000
"""Runs from which it is learnt how runs stray."""

JUDGED_RUNS = 400
"""Runs on which intervals are judged."""

FEWEST_JUDGED = 30
"""Begun runs below which spreads stay as the processes claim them."""

TRUSTS = (1.0, 0.4, 0.15, 0.05, 0.02)
"""How many independent points a point of a prefix may count for."""

RESTS = (0.0, 0.1, 0.3, 0.6, 1.0)
"""Shares of the remainder that the end of a run may have."""

AT_END = 1e-6
"""Distance in progress from the end within which a point is the end itself."""

ASKED = 8
"""Points of a run that are judged."""

SEEN_BEFORE = float(np.log(1.2))
"""What is added to the log factors of begun runs: baseline, functions and remainder have seen the curves that
judge them. On the training splits of the NCPL curves, cells left out of the whole fit asked for as much."""

PER_PARAMETER = 0.35
"""What each parameter of the process of ends adds to the log factors of new runs, over the number of runs: it
has seen the runs that judge it. On 250 runs of four public logs, runs of which nothing was known asked for
.0 to .3 more; on the 1,500 of an NCPL source for nothing."""

MOST_OPTIMISM = 0.4
"""Most that parameters add."""

SHARES = (0.05, 0.8)
"""Shares of a run that are shown, drawn evenly between these."""


@dataclass(frozen=True)
class Case:
    """A left-out run.

    Attributes:
        run: Its position among the curves.
        v: Progress of all its points, (points,).
        residual: What is left of them without baseline and level, (points,).
        shown: Number of points that are shown.
        seen: These as the model keeps them; None where none is shown.
        asked: Positions of the points that are judged.
        length: Logarithm of its end.
    """

    run: int
    v: Array
    residual: Array
    shown: int
    seen: Prefix | None
    asked: Positions
    length: float


@dataclass(frozen=True)
class LeftOut:
    """Scores expected of runs that are left out.

    Attributes:
        location: Less the level of the first, (runs, scores).
        variance: Their variances, (runs, scores).
        deviation: Variance of a run's scores around them, (scores,).
    """

    location: Array
    variance: Array
    deviation: Array


def calibrated(
    expert: FunctionalExpert, curves: Curves, log: RunLog, residual: Array, level: Array
) -> FunctionalExpert:
    """The expert with kinds of runs and spreads, learnt from runs left out with those of their configuration.

    What the processes claim grows by itself where neighbours are missing. Factors of runs that are left out
    with their whole cell are too wide in the middle, even for configurations of new cells.

    Args:
        expert: As fitted.
        curves: The curves it was fitted to.
        log: Their log: begun runs are shown as many points of it as they will be when asked.
        residual: What is left of the curves without baseline and level, (points,).
        level: Guess of the end of each run, (runs,).

    Cost: O(runs³) per score, and O(runs × points³) for at most 1,000 runs.
    """
    generator = np.random.default_rng(0)
    location, variance = expert.scores.left_out(_alike(curves))
    location[:, 0] -= level
    left = LeftOut(location, variance, expert.scores.deviation())
    chosen = generator.permutation(len(curves.names))[:STRAYING_RUNS]
    shown = []
    for run in chosen:
        where = np.flatnonzero(curves.codes == run)
        shown.append(shown_by(expert.basis, curves.v[where], residual[where]))
    deviations = fit_deviations(shown, location[chosen], variance[chosen] + left.deviation)
    expert = replace(expert, deviations=deviations)
    cases = list(_cases(expert, curves, log, level, chosen[:JUDGED_RUNS], generator))
    new = [replace(case, shown=0, seen=None, asked=judged_positions(0, len(case.v))) for case in cases]
    begun = [case for case in cases if case.seen is not None]
    expert = replace(expert, basis=replace(expert.basis, rest=_rest(expert, left, new)))
    expert = _with_fresh_weights(expert, left, new)
    trust, views = _trusted(expert, left, begun)
    expert = replace(expert, deviations=replace(expert.deviations, trust=trust))
    if len(begun) < FEWEST_JUDGED:
        return expert
    fresh = [outlooks(expert, left, case) for case in new]
    process = expert.scores.states[0].process
    parameters = sum(p.numel() for p in process.parameters()) - len(breaks_of(process.mean))
    unseen = min(PER_PARAMETER * parameters / len(curves.names), MOST_OPTIMISM)
    return replace(expert, spread=_spread(expert, (new, fresh), (begun, views), unseen).widened(SEEN_BEFORE))


def _alike(curves: Curves) -> Positions:
    """Which runs have the same configuration, (runs,).

    Where few configurations make a whole log they are divided: new runs have those too, and of one
    configuration that is all there is nothing would stay in.
    """
    same = np.unique(curves.rows.x.numpy(), axis=0, return_inverse=True)[1]
    return divided(same.ravel().astype(np.intp))


def _spread(
    expert: FunctionalExpert,
    new: tuple[list[Case], list[list[Outlook]]],
    begun: tuple[list[Case], list[list[Outlook]]],
    unseen: float,
) -> CurveSpread:
    """Factors under which intervals of new and of begun runs hold what they promise.

    Args:
        expert: Whose runs they are.
        new: Left-out runs of which nothing was shown, and what was said of them.
        begun: The same for begun ones.
        unseen: What is added to the log factors of new runs.
    """
    trend = LengthTrend.over(expert.scores.states[0].data.rows.progress.numpy())
    first, second = (fit_factors(_foretold(*each, trend), slopes=1) for each in (new, begun))
    trend = replace(trend, new=float(first[-1]), begun=float(second[-1]))
    return CurveSpread(first[:-1] + unseen, second[:-1], trend)


def _cases(
    expert: FunctionalExpert,
    curves: Curves,
    log: RunLog,
    level: Array,
    chosen: Positions,
    generator: np.random.Generator,
) -> Iterator[Case]:
    """Left-out runs with all their points in the log, a random share of them shown."""
    place = {code: i for i, code in enumerate(run_codes(list(log.runs)))}
    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    y = expert.transform.forward(log.points[log.output].to_numpy(dtype=np.float64))
    good = np.isfinite(y) & ~log.points[DIVERGED].to_numpy(dtype=bool)
    starts = np.searchsorted(log.codes, np.arange(log.n_runs + 1))
    for run in chosen:
        member = place[curves.names[run]]
        where = np.arange(starts[member], starts[member + 1])
        where = where[good[where]]
        if not len(where):
            continue
        here = curves.places.take(run)
        v, shape = here.shape(expert.baseline, at[where], np.zeros(len(where), dtype=np.intp))
        share = at[where] / curves.ends[run]
        cut = int(np.searchsorted(share, generator.uniform(*SHARES), side="right"))
        seen = None
        if 0 < cut < len(where):
            passed, residual = expert.residual(Observed(at[where[:cut]], y[where[:cut]]), here)
            seen = Prefix(passed, residual - level[run])
        left, asked = y[where] - shape - level[run], judged_positions(cut, len(where))
        yield Case(int(run), v, left, cut, seen, asked, float(curves.rows.progress[run]))


def judged_positions(first: int, count: int) -> Positions:
    """At most so many positions from `first` on, the last one among them."""
    return (
        np.unique(np.linspace(first, count - 1, ASKED).round().astype(np.intp))
        if first < count
        else np.arange(0)
    )


def outlooks(expert: FunctionalExpert, left: LeftOut, case: Case) -> list[Outlook]:
    """What the model says of the asked points of a left-out run."""
    location, variance = left.location[case.run], left.variance[case.run]
    return outlooks_of(
        expert.basis, expert.deviations, case.v[case.asked], case.seen, location, variance, left.deviation
    )


def _rest(expert: FunctionalExpert, left: LeftOut, cases: list[Case]) -> float:
    """Share of the remainder at the end of runs, under which the ends of left-out runs are likeliest."""
    ends = [replace(case, asked=case.asked[-1:]) for case in cases if abs(case.v[-1] - 1) < AT_END]
    totals = []
    for rest in RESTS if ends else RESTS[:1]:
        some = replace(expert, basis=replace(expert.basis, rest=rest))
        found = [_log_mixture(outlooks(some, left, case), case.residual[case.asked]) for case in ends]
        totals.append(float(np.sum(found)))
    return RESTS[int(np.argmax(totals))]


def _with_fresh_weights(expert: FunctionalExpert, left: LeftOut, cases: list[Case]) -> FunctionalExpert:
    """The expert with the shares of kinds under which single points of new runs are likeliest."""
    every = replace(expert.deviations, fresh=np.ones(len(expert.deviations.kinds)))
    some, density = replace(expert, deviations=every), []
    for case in cases:
        parts = outlooks(some, left, case)
        density.append(np.stack([_log_normal(view, case.residual[case.asked]) for view in parts]))
    return replace(expert, deviations=fresh_weights(expert.deviations, density)) if density else expert


def _trusted(expert: FunctionalExpert, left: LeftOut, cases: list[Case]) -> tuple[float, list[list[Outlook]]]:
    """How far prefixes are trusted for what follows to be likeliest, and the outlooks with that.

    The end of a run counts as much as the way to it.
    """
    best, choice, views = -np.inf, TRUSTS[0], []
    for trust in TRUSTS:
        some = replace(expert, deviations=replace(expert.deviations, trust=trust))
        found = [outlooks(some, left, case) for case in cases]
        total = 0.0
        for case, parts in zip(cases, found, strict=True):
            each = _log_mixture(parts, case.residual[case.asked])
            total += float(each.mean() + each[-1])
        if total <= best:
            break
        best, choice, views = total, trust, found
    return choice, views


def _log_mixture(views: list[Outlook], values: Array) -> Array:
    """Log density of values at points, (points,)."""
    parts = [np.log(view.weight) + _log_normal(view, values) for view in views]
    return np.asarray(logsumexp(np.stack(parts), axis=0))


def _log_normal(view: Outlook, values: Array) -> Array:
    variance = view.variance
    return -0.5 * (values - view.centre) ** 2 / variance - 0.5 * np.log(variance)


def _foretold(cases: list[Case], views: list[list[Outlook]], trend: LengthTrend) -> Foretold:
    """Asked points of all cases side by side."""
    parts = []
    for case, found in zip(cases, views, strict=True):
        v, count = case.v[case.asked], len(case.asked)
        hats = new_weights(v)
        if case.shown:
            hats = begun_weights(v, np.full(count, case.v[case.shown - 1]), np.full(count, case.shown))
        longer = np.full((count, 1), trend.beyond_middle(np.array([case.length]))[0])
        parts.append(foretold(found, case.residual[case.asked], np.hstack([hats, longer])))
    return together(parts)
