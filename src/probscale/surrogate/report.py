"""What was fitted, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from probscale.runs.schema import listed

MOST_NAMED = 5
"""Runs that a line of the report names."""


@dataclass(frozen=True)
class ExpertReport:
    """One Gaussian process of the surrogate.

    Attributes:
        name: Level value it belongs to, or "all runs".
        engine: Inference engine.
        runs: Number of runs.
        points: Number of points.
        transform: Output transform.
        features: Columns that enter as numbers.
        labels: Columns that enter as labels, with their number of values.
        text: Columns whose text was embedded.
        dropped: Columns left out, with the reason.
        law: Parameters of the mean function, user units.
        noise: Typical noise standard deviation on the modelled scale.
        tails: Calibration applied, per regime: scale, share and spread.
        outliers: Points whose weight fell below a quarter; with the functional engine, runs.
        doubted: Runs of these points, those with most of them first.
        evaluations: Objective evaluations of the optimiser.
        log_posterior: Objective at the end of the fit.
        repairs: Numerical repairs (jitter, failed factorisations), in sentences.
        diverged: Runs that diverged, among the 1,500 at most from which their probability is learnt: those
            that end with a point marked so, and those that the fit set apart.
        text_gain: Log density that left-out values of labels gained by their texts; texts that cost more than
            one were not kept. None where the choice did not arise.
        orders: Log evidence of each order of a latent hierarchy, "task > member"; the taken one first.
        output: Modelled output, where the log has several.
        couplings: Correlation with the principal output per source of variation, of outputs that share a
            Gaussian process.
        floors: Share of each floor where laws of several floors are mixed.
        schedule: Columns from which the learning rate along a run was read.
        kept: Points of the earlier log whose choices of text, transform and spread beyond the observed sizes
            were kept; zero where they were made anew.
        takeover: Axis value D₁ at which a law takes over from a plane, where both are averaged: the share of
            the law is D / (D + D₁).
        donors: Sources of more model sizes, whose laws say what to expect of the size term of this one.
        learnt: Runs whose points the process holds: a long log is thinned. None in files that do not say.
    """

    name: str
    engine: str
    runs: int
    points: int
    transform: str
    features: tuple[str, ...]
    labels: dict[str, int]
    text: tuple[str, ...]
    dropped: dict[str, str]
    law: dict[str, float]
    noise: float
    tails: dict[str, dict[str, float]]
    outliers: int
    evaluations: int
    log_posterior: float
    repairs: tuple[str, ...] = ()
    diverged: int = 0
    text_gain: float | None = None
    orders: dict[str, float] = field(default_factory=dict)
    output: str = ""
    couplings: dict[str, float] = field(default_factory=dict)
    floors: dict[str, float] = field(default_factory=dict)
    schedule: tuple[str, ...] = ()
    kept: int = 0
    takeover: float | None = None
    donors: tuple[str, ...] = ()
    learnt: int | None = None
    doubted: tuple[str, ...] = ()

    @property
    def outlying(self) -> str:
        """What outliers are: "point", or "run" with the engine that has one row for each."""
        return "run" if self.engine.startswith("functional") else "point"


@dataclass(frozen=True)
class FitReport:
    """What `fit_surrogate` did.

    Attributes:
        experts: One entry per Gaussian process.
        levels: Declared hierarchy.
        seconds: Wall-clock seconds of the fit.
        embedder: Identity of the language model, or None.
        notes: What the log dropped or marked, and what the fit left out.
        others: Entries of the outputs beside the principal one.
    """

    experts: tuple[ExpertReport, ...]
    levels: tuple[str, ...]
    seconds: float
    embedder: str | None
    notes: tuple[str, ...] = field(default=())
    others: tuple[ExpertReport, ...] = field(default=())

    @property
    def repairs(self) -> tuple[str, ...]:
        """All numerical repairs."""
        return tuple(line for expert in (*self.experts, *self.others) for line in expert.repairs)

    @property
    def diverged(self) -> int:
        """Number of runs that diverged.

        Runs of a large source are seen by its own model and by the pooled one; they count once.
        """
        *sources, pooled = (expert.diverged for expert in self.experts)
        return max(sum(sources), pooled)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"fitted in {self.seconds:.1f} s; levels: {', '.join(self.levels) or 'none'}"]
        for expert in (*self.experts, *self.others):
            name = f"{expert.output} of {expert.name}" if expert.output else expert.name
            lines.append(f"{name}: {expert.engine} engine, {_size(expert)}, {expert.transform}")
            lines += [f"  {line}" for line in (*_read(expert), *_found(expert), *expert.repairs)]
        return "\n".join([*lines, *self.notes])


def _read(e: ExpertReport) -> Iterator[str]:
    """What the model reads: runs, the mean, columns."""
    if e.learnt is not None and e.learnt + e.diverged < e.runs:
        yield f"holds points of {e.learnt} of the {e.runs} runs"
    law = ", ".join(f"{k} {v:.4g}" for k, v in e.law.items())
    told = f"; few model sizes: its size term expected as in {', '.join(e.donors)}" * bool(e.donors)
    yield f"mean: {law}; noise {e.noise:.2g}{told}"
    yield f"numbers: {', '.join(e.features) or 'none'}"
    if e.labels:
        yield f"labels: {', '.join(f'{k} ({v})' for k, v in e.labels.items())}"
    if e.schedule:
        yield f"learning rate along a run: read from {', '.join(e.schedule)}"
    if e.text_gain is not None:
        kept = f"of {', '.join(e.text)}" if e.text else "not kept"
        yield f"text: {kept}; left-out values gained {e.text_gain:+.1f} in log density by it"


def _found(e: ExpertReport) -> Iterator[str]:
    """What the fit chose, and what it says of intervals and odd runs."""
    if e.orders:
        shown = ", ".join(f"{order} {value:.1f}" for order, value in e.orders.items())
        yield f"log evidence of orders, the first taken: {shown}"
    if e.couplings:
        shown = ", ".join(f"{source} {value:.2f}" for source, value in e.couplings.items())
        yield f"correlation with the principal output: {shown}"
    if e.takeover is not None:
        yield f"a plane as the mean at first; the law takes over at {e.takeover:.4g}"
    if e.floors:
        shown = ", ".join(f"{floor} ({100 * share:.0f} %)" for floor, share in e.floors.items())
        yield f"laws of several floors, mixed: {shown}"
    yield from (f"intervals, {regime}: {_widened(tail)}" for regime, tail in e.tails.items())
    if e.outliers:
        runs = f" ({listed(e.doubted, MOST_NAMED)})" if e.doubted else ""
        yield f"{e.outlying}s taken for outliers: {e.outliers}{runs}"
    if e.diverged:
        yield f"runs that diverged: {e.diverged}"
    if e.kept:
        yield f"text, transform and spread beyond as decided on {e.kept} points of this log"


_TUPLES = ("features", "text", "repairs", "schedule", "donors", "doubted")


def report_from(data: dict[str, Any]) -> FitReport:
    """The report that `to_dict` described."""
    experts, others = (
        tuple(
            ExpertReport(**e | {key: tuple(e[key]) for key in _TUPLES if key in e})
            for e in data.get(part, ())
        )
        for part in ("experts", "others")
    )
    rest: dict[str, Any] = {key: data[key] for key in data if key not in ("experts", "others")}
    rest |= {key: tuple(rest[key]) for key in ("levels", "notes")}
    return FitReport(experts=experts, others=others, **rest)


def repairs_of(jitter: float, failures: int) -> tuple[str, ...]:
    """Numerical repairs in sentences."""
    lines: list[str] = []
    if jitter:
        lines.append(f"jitter of {jitter:g} times the mean variance was added to factor the covariance")
    if failures:
        lines.append(f"{failures} steps of the optimiser met a singular covariance and were rejected")
    return tuple(lines)


def _widened(tail: dict[str, float]) -> str:
    """Factors on what the Gaussian process says of its errors, in words."""
    told, rest = [], dict(tail)
    if "scale" in rest:
        told.append(f"width × {rest.pop('scale'):.2g}")
    if {"share", "spread"} <= set(rest):
        share, spread = rest.pop("share"), rest.pop("spread")
        told += [f"and × {spread:.2g} more in {100 * share:.0f} % of cases"] * (share >= 0.005)
    return ", ".join([*told, *(f"{name} {value:.2g}" for name, value in rest.items())])


def _size(expert: ExpertReport) -> str:
    runs, points = ("s" if count != 1 else "" for count in (expert.runs, expert.points))
    return f"{expert.runs} run{runs}, {expert.points} point{points}"
