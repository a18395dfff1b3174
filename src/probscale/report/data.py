"""Section of the data: what was read, and how it looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from probscale.plot import style
from probscale.report.content import (
    MOST_DRAWN,
    Note,
    Part,
    Picture,
    Row,
    Section,
    Table,
    drawn,
    listed,
    plural,
)
from probscale.report.subject import Subject
from probscale.runs import RunLog
from probscale.runs.summary import ColumnSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection


def data_section(subject: Subject) -> Section:
    """What was read: columns, curves, and what is odd about them."""
    log, summary = subject.log, subject.log.describe()
    low, _, high = summary.points_per_run
    each = f"{low} to {high} places" if low != high else plural(low, "place")
    pictures = (_curves(subject), _finals(subject)) if log.roles.params is not None else (_curves(subject),)
    parts: list[Part] = [_columns(log), Row(pictures)]
    for words, runs in (
        (
            "ended diverged; the points marked so are left out, and forecasts describe runs that do not",
            summary.diverged,
        ),
        ("had a spike and recovered; the points marked as diverged are left out", summary.recovered),
        ("stopped before the planned end", summary.unfinished),
        ("with long stretches without a point", tuple(dict.fromkeys(gap.run for gap in summary.gaps))),
    ):
        if runs:
            parts.append(Note(f"{plural(len(runs), 'run')} {words} ({listed(runs, 4)})."))
    parts += [Note(note) for note in summary.notes]
    lead = (
        f"A run is one training job. Its {log.output} was measured at {each} along {log.roles.axis}; "
        f"{'larger' if subject.rising else 'smaller'} is better. Everything below is learnt from these "
        f"{plural(summary.runs, 'run')}."
    )
    return Section("data", "What was read?", lead, tuple(parts))


def _columns(log: RunLog) -> Table:
    summary = log.describe()
    rows = [("progress axis", summary.axis[0], f"{_number(summary.axis[1])} to {_number(summary.axis[2])}")]
    for name, low, high, missing in summary.outputs:
        gaps = f", {missing:,} missing" if missing else ""
        rows.append(("output", name, f"{_number(low)} to {_number(high)}{gaps}"))
    named = [("task level", column) for column in summary.levels]
    named += [("model size", summary.params)] if summary.params else []
    named += [("planned end", summary.horizon)] if summary.horizon else []
    named += [("setting", column) for column in summary.config]
    for role, column in named:
        rows.append((role, column.name, _values(column)))
    return Table(("role", "column", "values"), tuple(rows), words=3)


def _values(column: ColumnSummary) -> str:
    """Range of a number, the most frequent values of anything else."""
    if column.kind != "number" or column.low is None or column.high is None:
        return str(column).removeprefix(f"{column.name}: ")
    low, high = _number(column.low), _number(column.high)
    without = f", {plural(column.missing, 'run')} without" if column.missing else ""
    ends = low if low == high else f"{low} to {high}"
    return f"{ends}, {plural(column.distinct, 'value')}{without}"


def _number(value: float) -> str:
    return style.compact(value)


def _curves(subject: Subject) -> Picture:
    log, size = subject.log, subject.log.roles.params
    shown = _some(log, subject.seed)
    what = "one line each" if size is None else f"coloured by {size}"
    what = what if (np.bincount(shown.codes) > 1).any() else "one point each"
    few = "" if shown.n_runs == log.n_runs else f" ({shown.n_runs} of them, drawn at random)"
    return drawn(
        "curves",
        lambda ax: _draw_curves(ax, subject, shown),
        caption=f"All runs{few}, {what}.",
        alt=f"{log.output} against {log.roles.axis} of {shown.n_runs} runs",
    )


def _some(log: RunLog, seed: int) -> RunLog:
    if log.n_runs <= MOST_DRAWN:
        return log
    keep = np.zeros(log.n_runs, dtype=bool)
    keep[np.random.default_rng(seed).permutation(log.n_runs)[:MOST_DRAWN]] = True
    return log.select(keep)


def _draw_curves(ax: Axes, subject: Subject, log: RunLog) -> None:
    from matplotlib.collections import LineCollection

    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    values = log.points[log.output].to_numpy(dtype=np.float64)
    kept = np.isfinite(values)
    lines = [np.column_stack([at[mine], values[mine]]) for mine in _by_run(log, kept)]
    single = max(map(len, lines)) < 2
    if single:
        ax.plot(at[kept], values[kept], "o", color=style.BLUE, ms=3, alpha=0.6)
    else:
        collection = LineCollection(lines, linewidths=0.8, alpha=0.8)
        ax.add_collection(collection, autolim=True)
        if log.roles.params is None:
            collection.set_color(style.BLUE)
        else:
            _colour_by_size(ax, collection, log)
    ax.autoscale_view()
    style.log_scale(ax, "x", at, least=20.0)
    # A diverged run would flatten all others.
    usual = values[kept & ~log.points["diverged"].to_numpy(dtype=bool)]
    usual = usual if usual.size else values[kept]
    style.log_scale(ax, "y", usual)
    low, high = float(usual.min()), float(usual.max())
    ax.set_ylim((low / 1.05, high * 1.05) if ax.get_yscale() == "log" else style.padded(usual))
    ax.set_xlabel(log.roles.axis)
    ax.set_ylabel(style.labelled(log.output, subject.shown_unit))
    style.finish(ax)


def _by_run(log: RunLog, kept: np.ndarray) -> list[np.ndarray]:
    return [kept & (log.codes == run) for run in range(log.n_runs)]


def _colour_by_size(ax: Axes, collection: LineCollection, log: RunLog) -> None:
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import NullFormatter

    size = log.configs[str(log.roles.params)].to_numpy(dtype=np.float64)
    wide = size.max() / size.min() > 3
    collection.set(
        array=size, cmap=style.SEQUENTIAL, norm=(LogNorm if wide else Normalize)(size.min(), size.max())
    )
    bar = cast("Any", ax.figure).colorbar(collection, ax=ax, pad=0.02)
    places = style.round_values(float(size.min()), float(size.max()))
    bar.set_ticks(places, labels=[style.compact(place) for place in places])
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.set_label(style.labelled(str(log.roles.params), "parameters"))


def _finals(subject: Subject) -> Picture:
    log = subject.log

    def draw(ax: Axes) -> None:
        last = log.finals()
        size = last.configs[str(log.roles.params)].to_numpy(dtype=np.float64)
        values = last.points[log.output].to_numpy(dtype=np.float64)
        kept = np.isfinite(values) & ~last.points["diverged"].to_numpy(dtype=bool)
        ax.plot(size[kept], values[kept], "o", color=style.BLUE, ms=4, alpha=0.65, mew=0)
        style.log_scale(ax, "x", size)
        style.log_scale(ax, "y", values[kept])
        ax.set_xlabel(style.labelled(str(log.roles.params), "parameters"))
        ax.set_ylabel(style.labelled(f"last {log.output}", subject.shown_unit))
        style.finish(ax)

    words = (
        "Where each run ended, by model size. Points above each other differ in their other settings or in "
        "how long they ran."
    )
    alt = f"last {log.output} against {log.roles.params}"
    return drawn("finals", draw, caption=words, alt=alt)
