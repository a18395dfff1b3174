"""Several outputs of a log: each fitted alone, then joined by what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.encoder import Encoder
from probscale.errors import FitError
from probscale.model.devices import threads_for
from probscale.model.exact import solve_exactly
from probscale.model.fitting import FitOutcome
from probscale.model.gp import Observations
from probscale.model.linking import fit_links
from probscale.model.means import Rows
from probscale.model.outputs import OUTPUT, RUN, OutputsProcess, with_output
from probscale.model.posterior import Tail
from probscale.model.tails import fit_continuation
from probscale.model.tying import Tie
from probscale.runs import RunLog
from probscale.runs.thinning import evenly
from probscale.surrogate.earlier import Earlier
from probscale.surrogate.expert import Expert, Siblings, joined
from probscale.surrogate.fitting import Given, encoders_of, fit_output
from probscale.surrogate.known_points import run_codes
from probscale.surrogate.options import FitOptions
from probscale.surrogate.prepare import Prepared, cells_of

Array = NDArray[np.float64]

MOST_JOINT = 4_500
"""Points of all outputs together that exact inference holds."""

LEAST_PRINCIPAL = 2_000
"""Points of the principal output that further outputs do not displace."""

LINKED = 600
"""Points on which correlations between outputs are fitted."""

CHECKED = 1_200
"""Points on which the spread of outputs given other outputs is learnt."""

MOST_PAIRED = 6
"""Points of a run on which correlations are fitted, even in rank."""

FEWEST_RUNS = 5
"""Runs with several outputs, below which the spread of one given others is not judged."""

FEWEST_VALUES = 3
"""Finite values without which an output is left out."""


@dataclass(frozen=True)
class OutputFit:
    """One output of a log, fitted.

    Attributes:
        log: The log of this output.
        alone: Model of this output from its own observations.
        points: What was modelled.
        outcomes: How the fits went.
        tie: What is common with the principal output; None where all parameters were fitted.
        expert: Model that also knows the other outputs.
        couplings: Correlation with the principal output per source of variation; empty for that itself.
    """

    log: RunLog
    alone: Expert
    points: Prepared
    outcomes: list[FitOutcome]
    tie: Tie | None
    expert: Expert
    couplings: dict[str, float]

    @property
    def leading(self) -> int:
        """Position of the state with the largest share."""
        return int(np.argmax(self.alone.weights))

    def observations(self, place: int, state: int) -> Observations:
        """Observations of a state as those of output `place`."""
        data = self.alone.states[state].data
        codes = torch.from_numpy(run_codes(self.log.runs)[self.points.codes])
        errors = data.weight.clamp_max(1.0).rsqrt()
        return Observations(with_output(data.rows, codes, place, errors), data.y, torch.ones_like(data.y))


def finite_values(log: RunLog, output: str) -> int:
    """Number of finite values of an output."""
    return int(np.isfinite(log.points[output].to_numpy(dtype=np.float64)).sum())


def outputs_to_fit(log: RunLog) -> tuple[str, ...]:
    """Outputs with enough values to fit them, the principal one first.

    Raises:
        FitError: if the principal output is not among them.
    """
    counts = {output: finite_values(log, output) for output in log.roles.outputs}
    if counts[log.output] < FEWEST_VALUES:
        raise FitError(
            f"the log has {counts[log.output]} finite value(s) of {log.output!r}; a fit needs at least "
            f"{FEWEST_VALUES}",
            points=counts[log.output],
            output=log.output,
        )
    return tuple(output for output, count in counts.items() if count >= FEWEST_VALUES)


def fit_outputs(
    log: RunLog,
    outputs: tuple[str, ...],
    embedder: Embedder | CachedEmbedder | None,
    options: FitOptions,
    generator: np.random.Generator,
    earlier: Mapping[str, Earlier] | None = None,
) -> list[OutputFit]:
    """Fit outputs of a log, and how they go together.

    Each output gets its own transform, mean, kernel and noise, as if it were alone. Further outputs share
    the lengthscales of the principal one, or keep their own where the evidence of both outputs together is
    larger so. Then correlations are fitted, one per source of variation and pair of outputs.

    Args:
        log: Runs to learn from.
        outputs: Those to fit, the principal one first.
        embedder: Source of text vectors.
        options: Settings.
        generator: Chooses the points on which parameters are fitted.
        earlier: Fits of a shorter log from which these begin; while they last, so do ties between outputs.

    Cost: that of two fits per further output, and O(points³) for all outputs together.
    """
    options = replace(options, average=False)
    most = min(options.most, max(MOST_JOINT // len(outputs), LEAST_PRINCIPAL))
    rest = min(options.most, max((MOST_JOINT - most) // (len(outputs) - 1), 100))
    before = {} if earlier is None or any(output not in earlier for output in outputs) else dict(earlier)
    whole, start = replace(options, most=most), before.get(outputs[0])
    first = _alone(log, outputs[0], encoders_of(log, embedder), whole, generator, earlier=start)
    encoders = (first.points.encoder,)
    lead = first.alone.states[first.leading].process
    seed = int(generator.integers(2**32))
    fits = [first]
    for output in outputs[1:]:
        mine = before.get(output)
        ties = (Tie(lead, proportional=True), Tie(lead, proportional=False), None)
        if start is not None and mine is not None and mine.lasts:
            ties = (mine.tie_to(start, lead),)
        part = replace(options, most=rest)
        candidates = [
            _alone(log, output, encoders, part, np.random.default_rng(seed), tie, mine) for tie in ties
        ]
        scored = [_pair_score(first, each, seed) if len(ties) > 1 else 0.0 for each in candidates]
        fits.append(candidates[int(np.argmax(scored))])
    return _joined(log, fits, options, seed)


def _alone(
    log: RunLog,
    output: str,
    encoders: Sequence[Encoder],
    options: FitOptions,
    generator: np.random.Generator,
    tie: Tie | None = None,
    earlier: Earlier | None = None,
) -> OutputFit:
    own = log.measured(output)
    expert, outcomes, points = fit_output(own, encoders, options, generator, Given(tie, earlier))
    return OutputFit(own, expert, points, outcomes, tie, expert, {})


def _pair_score(first: OutputFit, second: OutputFit, seed: int) -> float:
    """Log posterior of two outputs together, over a subset of points."""
    _, outcome, _ = _link((first, second), first.leading, seed)
    with torch.no_grad():
        return outcome.objective + float(second.alone.states[second.leading].process.log_prior())


def _link(
    fits: Sequence[OutputFit], state: int, seed: int
) -> tuple[OutputsProcess, FitOutcome, Observations]:
    """Joint process of outputs for one state of the first, how its fit went, and all observations."""
    chosen = [state, *(fit.leading for fit in fits[1:])]
    data = joined([fit.observations(place, chosen[place]) for place, fit in enumerate(fits)])
    parts = [fit.alone.states[k].process for fit, k in zip(fits, chosen, strict=True)]
    some = data.take(paired_subset(data.rows, LINKED, np.random.default_rng(seed)))
    with threads_for(len(some)):
        process, outcome = fit_links(parts, some)
    return process, outcome, data


def _joined(log: RunLog, fits: list[OutputFit], options: FitOptions, seed: int) -> list[OutputFit]:
    """Outputs whose experts share one Gaussian process per state of the principal output."""
    first = fits[0].alone
    links = [_link(fits, k, seed) for k in range(len(first.states))]
    states = tuple(solve_exactly(process, data, options.place) for process, _, data in links)
    process, outcome, data = links[fits[0].leading]
    transforms = tuple(fit.alone.transform for fit in fits)
    names = tuple(fit.log.output for fit in fits)
    matrices = process.links.matrices().detach()
    out = []
    for place, fit in enumerate(fits):
        companion = companion_scale(process, data, log, place, fit.alone.tail, seed)
        siblings = Siblings(place, names, transforms, companion)
        expert = replace(fit.alone, states=states, weights=first.weights, siblings=siblings)
        shown = {name: float(c) for name, c in zip(process.links.names, matrices[:, 0, place], strict=True)}
        outcomes = [*fit.outcomes, outcome] if place == 0 else fit.outcomes
        out.append(replace(fit, expert=expert, couplings=shown if place else {}, outcomes=outcomes))
    return out


def paired_subset(rows: Rows, most: int, generator: np.random.Generator) -> torch.Tensor:
    """Positions of about `most` rows: whole runs at random, at points shared by outputs before others."""
    codes, at = rows.x[:, RUN].numpy(), rows.progress.numpy()
    if len(codes) <= most:
        return torch.arange(len(codes))
    points = pd.DataFrame({"run": codes, "at": at, "row": np.arange(len(codes))})
    points["shared"] = points.groupby(["run", "at"])["row"].transform("size") > 1
    runs, picked, count = points["run"].unique(), [], 0
    grouped = dict(list(points.groupby("run")))
    for run in generator.permutation(runs):
        own = grouped[run]
        kept = [_even(own.loc[own["shared"] == kind, "at"].unique()) for kind in (True, False)]
        part = own.loc[own["at"].isin(np.concatenate(kept)), "row"].to_numpy()
        picked.append(part)
        count += len(part)
        if count >= most:
            break
    return torch.from_numpy(np.sort(np.concatenate(picked)))


def _even(values: Array) -> Array:
    """A few of sorted values, evenly spaced in rank, the last among them."""
    return values[evenly(len(values), MOST_PAIRED)]


def companion_scale(
    process: OutputsProcess, data: Observations, log: RunLog, output: int, tail: Tail, seed: int
) -> float | None:
    """Scale of the spread of an output where others were measured: its cells are left out, others stay.

    Returns:
        The scale; None with fewer than five runs that have several outputs.

    Cost: O(rows³) of at most 1,200 rows.
    """
    some = data.take(paired_subset(data.rows, CHECKED, np.random.default_rng(seed)))
    x = some.rows.x.numpy()
    names = pd.Index(run_codes(log.runs))
    cells = cells_of(log, names.get_indexer(pd.Index(x[:, RUN])), np.exp(some.rows.progress.numpy()))
    own = x[:, OUTPUT] == output
    others = np.isin(x[:, RUN], x[~own, RUN])
    asked = np.flatnonzero(own & others)
    runs = len(np.unique(x[asked, RUN]))
    if runs < FEWEST_RUNS:
        return None
    groups = np.where(own, cells, cells.max() + 1 + np.arange(len(x)))
    state = solve_exactly(process, some)
    residual, variance = (np.asarray(part)[asked] for part in state.leave_groups_out(groups))
    with torch.no_grad():
        noise = process.noise(some.rows).numpy()[asked]
    return fit_continuation(residual, variance, noise, tail, runs=runs)


def sample_outputs(
    experts: Sequence[Expert], configs: pd.DataFrame, runs: Array, at: Array, seed: int, n: int
) -> list[Array]:
    """Joint draws of outputs that share their Gaussian processes, (n, configs, points) each.

    Args:
        experts: One per asked output.
        configs: One row per asked curve.
        runs: Run codes, (configs,).
        at: Axis values, (configs, points).
        seed: Seed of the draws.
        n: Number of draws.

    Cost: O((outputs × configs × points)³) up to a few thousand values.
    """
    generator = np.random.default_rng(seed)
    blocks = [expert.block(configs, runs, at) for expert in experts]
    index = np.repeat(np.arange(len(configs)), at.shape[1])
    rows, *others = [expert.rows(configs, runs, index, at.ravel()) for expert in experts]
    for other in others:
        rows = rows.cat(other)
    weights = experts[0].weights
    counts = generator.multinomial(n, weights / weights.sum())
    parts: list[list[Array]] = [[] for _ in experts]
    for k, (state, count) in enumerate(zip(experts[0].states, counts, strict=True)):
        if count:
            joint = state.draw(rows, generator, int(count)).reshape(count, len(experts), *at.shape)
            for i, block in enumerate(blocks):
                parts[i].append(block.shifted(block.components[k], joint[:, i], generator))
    order = generator.permutation(n)
    return [
        block.transform.inverse(np.concatenate(part)[order])
        for block, part in zip(blocks, parts, strict=True)
    ]
