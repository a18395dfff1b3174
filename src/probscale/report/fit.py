"""Section of the fit: what the surrogate learnt, and what it says about runs nobody has paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from probscale.encode.columns import inner_name
from probscale.plot import plot_fan, style
from probscale.report.content import Details, Note, Part, Picture, Row, Section, Table, drawn, listed, plural
from probscale.report.subject import Subject
from probscale.runs.thinning import evenly

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEANINGS = {
    "E": "level that the law comes ever nearer to",
    "A": "size of the term that falls with model size",
    "B": "size of the term that falls along the axis",
    "alpha": "how fast the first term falls: exponent of model size",
    "beta": "how fast the second term falls: exponent of the axis",
    "onset": "axis value at which learning sets in",
    "level": "typical value, on the modelled scale",
    "size_slope": "its change per e-fold of model size",
    "progress_slope": "its change per e-fold of the axis",
    "size_bend": "curvature of that with model size",
    "progress_bend": "curvature of that along the axis",
}
POINTS = 40
SHOWN = 3
LONGEST, LONGEST_PART = 64, 18
"""Characters of what distinguishes a candidate, and of each name and word in it."""
MOST_TOLD = 4
"""Columns by which a candidate is told from others."""

TOLD = {2: "two {}: the better and the worse one", 3: "three {}: the best, a middling and the worst one"}


def fit_section(subject: Subject) -> Section:
    """What was fitted, and forecasts of up to three candidates."""
    report = subject.surrogate.report
    parts: list[Part] = [Row((_fans(subject), _facts(subject)))]
    parts += [Note(line) for line in report.repairs]
    parts.append(Details("Everything the fit reports", str(report)))
    lead = (
        "The surrogate is a statistical model of all runs together: a scaling law gives the general shape, "
        "and what runs have in common, by their settings and by how they are described, corrects it. It "
        "answers with a range, not with a number."
    )
    return Section("fit", "What was learnt?", lead, tuple(parts))


def _facts(subject: Subject) -> Table:
    report = subject.surrogate.report
    pooled = report.experts[-1]
    rows = [
        ("runs and points", f"{pooled.runs:,} and {pooled.points:,}", "what the model learns from"),
        ("modelled quantity", pooled.transform, "scale on which deviations are about even"),
        ("measurement noise", f"{pooled.noise:.2g}", "scatter between neighbouring points, on that scale"),
        ("numbers", listed(pooled.features, 8) or "none", "settings that enter as numbers"),
    ]
    if pooled.labels:
        rows.append(("labels", listed(list(pooled.labels), 8), "settings that enter as names"))
    if pooled.text:
        rows.append(("text", listed(pooled.text, 8), "settings that a language model reads"))
    rows += [
        (name, style.compact(value), MEANINGS.get(name, "of the law")) for name, value in pooled.law.items()
    ]
    if pooled.outliers:
        runs = [style.brief(name, LONGEST_PART) for name in pooled.doubted]
        of = f": {listed(runs, SHOWN)}" if runs else ""
        count = plural(pooled.outliers, pooled.outlying)
        rows.append(("outliers", f"{count}{of}", "too far from the rest to be trusted fully"))
    rows += [
        (f"width, {regime}", f"× {tail['scale']:.2f}", "factor on intervals, learnt from what was left out")
        for regime, tail in pooled.tails.items()
        if "scale" in tail
    ]
    took = f"{report.seconds:.1f} s"
    rows.append(("time to fit", took, f"with{'' if report.embedder else 'out'} a language model"))
    return Table(("what", "value", "meaning"), tuple(rows), words=3)


def _fans(subject: Subject) -> Picture:
    """Best, middle and worst forecast among the candidates."""
    log, frame = subject.log, subject.candidates
    known = frame[[name for name in frame if name in log.roles.described]]
    axis = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    start = float(axis[axis > 0].min()) if (axis > 0).any() else subject.reach
    ends = (
        known[log.roles.horizon].to_numpy(dtype=np.float64) if log.roles.horizon in known else subject.reach
    )
    last = subject.surrogate.predict(known, np.broadcast_to(ends, len(known))[:, None]).mean[:, 0]
    order = np.argsort(-last if subject.rising else last)
    rows = order[evenly(len(order), SHOWN)]
    ends = np.broadcast_to(ends, len(known))[rows]
    at = np.stack([np.geomspace(min(start, end / 4), end, POINTS) for end in ends])
    curves = subject.surrogate.predict(known.iloc[rows], at)
    varied = _telling(known, rows)[:MOST_TOLD]
    names = [_short(known, row, varied) for row in rows]

    def draw(ax: Axes) -> None:
        lower, upper = curves.interval(0.9)
        for row, (colour, dashes, _) in enumerate(style.wheel(len(rows))):
            bands = {0.9: (lower[row], upper[row])}
            looks = {"colour": colour, "dashes": dashes, "label": names[row], "band_label": None}
            plot_fan(at[row], curves.mean[row], bands, ax=ax, **looks)
        style.log_scale(ax, "x", at, least=20.0)
        # As the measured curves are drawn: on a logarithmic scale zeros would be cut off.
        style.log_scale(ax, "y", np.append(curves.mean, log.points[log.output]))
        ax.set_xlabel(log.roles.axis)
        ax.set_ylabel(style.labelled(log.output, subject.shown_unit))
        if len(rows) > 1:
            # Long names: above the axes, as wide as the figure, where they hide nothing.
            labels = [style.brief(name, LONGEST) for name in names]
            handles = ax.get_legend_handles_labels()[0]
            cast("Any", ax.figure).legend(handles, labels, loc="outside upper left", frameon=False)
        style.finish(ax)

    kind = "combinations of settings never run" if subject.origin == "never run" else "configurations"
    told = (
        f"Forecasts of {TOLD[len(rows)].format(kind)}."
        if len(rows) > 1
        else "Forecast of the only candidate."
    )
    words = f"{told}{subject.of_task} Bands hold 90 % of the probability."
    alt = f"forecast {log.output} of {plural(len(rows), 'candidate')} with 90 % bands"
    return drawn("fans", draw, caption=words, alt=alt)


def _telling(known: pd.DataFrame, rows: np.ndarray) -> list[str]:
    """Columns in which some candidates differ, those of most values first."""
    values = {str(name): known[name].iloc[rows].nunique(dropna=False) for name in known}
    return sorted((name for name in values if values[name] > 1), key=lambda name: -values[name])


def _short(frame: pd.DataFrame, row: int, varied: list[str]) -> str:
    """What distinguishes a candidate, on one line; nested names by their last part where that is unique."""
    cells = (frame[name].iloc[row] for name in varied)
    shown = (
        style.compact(float(v))
        if isinstance(v, (int, float, np.number))
        else style.brief(str(v), LONGEST_PART)
        for v in cells
    )
    return ", ".join(f"{name} {value}" for name, value in zip(short_names(frame, varied), shown, strict=True))


def short_names(frame: pd.DataFrame, names: list[str]) -> list[str]:
    """Columns by the last part of nested names where that is unique in a table, cut where they are long."""
    inner = [inner_name(str(name)) for name in frame]
    return [
        style.brief(last if inner.count(last) == 1 else name, LONGEST_PART)
        for name, last in ((name, inner_name(name)) for name in names)
    ]
