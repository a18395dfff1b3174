"""Section of the calibration: refits with runs left out, and what came of their forecasts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probscale.evaluate import CheckReport, check, reliability
from probscale.evaluate.regimes import thinned_points
from probscale.plot import plot_fan, plot_parity, plot_reliability, style
from probscale.report.content import Items, Note, Part, Picture, Row, Section, Table, drawn
from probscale.report.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from probscale.encode.embedders import Embedder

MEANINGS = {
    "in-distribution": "runs at random",
    "larger scale": "the largest models",
    "unseen level": "tasks never seen",
    "unseen source": "sources never seen",
}
HARDER = ("larger scale", "unseen level", "unseen source")
"""Regimes whose coverage stands beside that of runs at random: a reader may mean one of them."""

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST_SERIES = 4
MOST_POINTS = 25


def trust_section(
    subject: Subject, embedder: str | Path | Embedder | None, most_runs: int
) -> tuple[Section, CheckReport]:
    """Held-out check: coverage, reliability, parity, and curves of runs the fit did not see."""
    found = _checked(subject, embedder, most_runs)
    hardest = "larger scale" if "larger scale" in found.regimes else found.regimes[0]
    part = found.points[found.points["regime"] == hardest]
    said = Items(tuple(f"{meaning(name).capitalize()}: {words}." for name, words in found.verdicts.items()))
    pictures = [_reliability(found), _parity(subject, part, hardest)]
    if part["run"].value_counts().iloc[0] > 2:
        pictures.append(_held_out(subject, part, hardest))
    parts: list[Part] = [_table(subject, found), Row((*pictures, said))]
    parts += [Note(f"{note[0].upper()}{note[1:]}.") for note in found.notes]
    lead = (
        "The test of a forecast is a run it has not seen. The model is fitted again without some runs, "
        "forecasts them, and is compared with what was measured: an honest 90 % interval holds 90 % of the "
        "measurements, no fewer and not many more."
    )
    return Section("trust", "Can the forecasts be trusted?", lead, tuple(parts)), found


def _checked(subject: Subject, embedder: str | Path | Embedder | None, most_runs: int) -> CheckReport:
    """One refit a regime, of curves thinned where they are dense: a page is not worth minutes."""
    thin = thinned_points(subject.log, MOST_POINTS)
    found = check(thin, folds=1, embedder=embedder, seed=subject.seed, most_runs=most_runs)
    if thin.n_points == subject.log.n_points:
        return found
    return replace(found, notes=(*found.notes, f"checked with at most {MOST_POINTS} points of each run"))


def meaning(regime: str) -> str:
    """A regime in plain words."""
    if regime.startswith("prefix "):
        return f"runs continued after {regime.removeprefix('prefix ')}"
    return MEANINGS.get(regime, regime)


def _table(subject: Subject, found: CheckReport) -> Table:
    rows = []
    for name in found.regimes:
        row: dict[Any, Any] = found.table.loc[name].to_dict()
        plain = "–"
        if isinstance(row.get("baseline"), str):
            plain = f"{row['baseline_mae']:.3g} ({row['baseline']})"
        inside = (f"{100 * row[f'coverage_{level}']:.0f} %" for level in (50, 80, 90))
        ends = f"{100 * row['ends_90']:.0f} %" if np.isfinite(row.get("ends_90", np.nan)) else "–"
        rows.append((meaning(name), f"{int(row['runs'])}", *inside, ends, f"{row['mae']:.3g}", plain))
    head = (
        "left out and forecast",
        "runs",
        "50 % hold",
        "80 % hold",
        "90 % hold",
        "at the end",
        "mean error",
        "plain method",
    )
    caption = (
        f"Share of measurements inside intervals of 50, 80 and 90 %, of the last one of each run inside that "
        f"of 90 %, and the mean absolute error ({found.output}, {subject.shown_unit}), beside that of the "
        "best of several plain methods."
    )
    return Table(head, tuple(rows), caption)


def _reliability(found: CheckReport) -> Picture:
    names = [name for name in found.regimes if name not in ("prefix 10 %", "prefix 50 %")][:MOST_SERIES]

    def draw(ax: Axes) -> None:
        for series, name in enumerate(names):
            line = reliability(found.points[found.points["regime"] == name], SHARES)
            values = (line[column].to_numpy() for column in ("promised", "observed"))
            plot_reliability(*values, errors=line["se"].fillna(0), label=meaning(name), series=series, ax=ax)

    words = "Intervals of every width against what they held. On the diagonal a forecast means what it says."
    return drawn("reliability", draw, caption=words, alt="observed against promised coverage of intervals")


def _parity(subject: Subject, part: pd.DataFrame, regime: str) -> Picture:
    last = part.groupby("run", sort=False).tail(1)

    def draw(ax: Axes) -> None:
        ends = (last["lower_90"], last["upper_90"])
        plot_parity(
            last["truth"], last["mean"], ends, output=subject.log.output, unit=subject.shown_unit, ax=ax
        )

    words = f"The last measurement of each run left out ({meaning(regime)}) against its forecast."
    return drawn("parity", draw, caption=words, alt="forecast against measured last values")


def _held_out(subject: Subject, part: pd.DataFrame, regime: str) -> Picture:
    """The run whose forecast erred by the median, so that the picture flatters nobody."""
    error = (part["mean"] - part["truth"]).abs().groupby(part["run"], sort=False).mean()
    run = error.sort_values(kind="stable").index[len(error) // 2]
    curve = part[part["run"] == run]

    def draw(ax: Axes) -> None:
        at = curve["at"].to_numpy()
        bands = {level / 100: (curve[f"lower_{level}"], curve[f"upper_{level}"]) for level in (50, 90)}
        plot_fan(at, curve["mean"], bands, ax=ax)
        looks = {"color": style.INK, "mfc": "white", "mew": 0.8, "ms": 3.4}
        ax.plot(at, curve["truth"], "o", **looks, label="measured, not seen in the fit")
        style.log_scale(ax, "x", at, least=20.0)
        style.log_scale(ax, "y", np.asarray(curve["truth"]))
        ax.set_xlabel(subject.log.roles.axis)
        ax.set_ylabel(style.labelled(subject.log.output, subject.shown_unit))
        style.legend(ax)
        style.finish(ax)

    words = f"A run left out ({meaning(regime)}): {run}. Half of the others were forecast better, half worse."
    return drawn("held-out", draw, caption=words, alt=f"forecast and measured curve of run {run}")
