"""What a check found: a table per regime, every scored point, and verdicts in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probscale.evaluate.regimes import UNSEEN_LEVEL, UNSEEN_SOURCE
from probscale.evaluate.scores import pooled
from probscale.runs import RunLog

TOLERANCE = 0.04
"""Distance of a 90 % coverage from .9 that is of no consequence for a bet."""

FEWEST_CLUSTERS = 5
"""Independent units below which coverage is not judged."""

BASELINE = "baseline "


@dataclass(frozen=True, eq=False)
class CheckReport:
    """Result of `check`; `str` gives the verdicts and the table.

    Attributes:
        table: One row per regime: scores of `pooled`, clusters, the best plain method with its MAE, our
            MAE over it, and, of curves, the share of last points of runs inside 90 % intervals.
        points: Every scored point: regime, fold, run, at, truth, forecasts, scores, baselines.
        output: Name of the output.
        axis: Name of the axis.
        notes: What was thinned or left out, in sentences.
        seconds: Wall-clock seconds of the check.
    """

    table: pd.DataFrame
    points: pd.DataFrame
    output: str
    axis: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def regimes(self) -> tuple[str, ...]:
        """Regimes that were checked."""
        return tuple(str(name) for name in self.table.index)

    def _regime(self, name: str) -> pd.Series:
        row = self.table.loc[name]
        assert isinstance(row, pd.Series)
        return row

    @property
    def verdicts(self) -> dict[str, str]:
        """What the figures say, a sentence or two per regime."""
        return {name: verdict(self._regime(name)) for name in self.regimes}

    def to_frame(self) -> pd.DataFrame:
        """The table with the regime as a column, and its verdict."""
        return self.table.assign(verdict=pd.Series(self.verdicts)).rename_axis("regime").reset_index()

    def to_markdown(self) -> str:
        """The table of the figures that matter, as Markdown."""
        head = ["regime", "runs", "points", "MAE", "best plain method", "ratio", "CRPS"]
        head += [f"{level} % holds" for level in (50, 80, 90, 95)] + ["90 % at the end", "widen by"]
        lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
        lines += ["| " + " | ".join(_cells(name, self._regime(name))) + " |" for name in self.regimes]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the points; numbers that are not finite become None."""
        rows = {
            name: {key: _plain(value) for key, value in self.table.loc[name].items()} for name in self.regimes
        }
        return {
            "output": self.output,
            "axis": self.axis,
            "seconds": round(self.seconds, 2),
            "notes": list(self.notes),
            "regimes": rows,
            "verdicts": self.verdicts,
        }

    def __str__(self) -> str:
        lines = [f"{name}: {text}" for name, text in self.verdicts.items()]
        return "\n".join([*lines, "", self.to_markdown(), *(f"note: {note}" for note in self.notes)])


def report_of(points: pd.DataFrame, log: RunLog, notes: tuple[str, ...], seconds: float) -> CheckReport:
    """Pools scored points per regime and sets the best plain method beside them."""
    rows = {
        str(name): _row(part.dropna(axis=1, how="all")) for name, part in points.groupby("regime", sort=False)
    }
    table = pd.DataFrame(rows.values(), index=pd.Index(rows, name="regime"))
    return CheckReport(table, points, log.output, log.roles.axis, notes, seconds)


def _row(part: pd.DataFrame) -> dict[str, Any]:
    regime = part["regime"].iloc[0]
    # Runs of a new task are wrong together; only with several tasks can their scatter be judged.
    shared = regime in (UNSEEN_LEVEL, UNSEEN_SOURCE) and part["cluster"].nunique() >= FEWEST_CLUSTERS
    cluster = "cluster" if shared else "run"
    figures = pooled(part, cluster=cluster).iloc[0]
    row: dict[str, Any] = {str(key): value for key, value in figures.items()}
    row["clusters"] = int(part[cluster].nunique())
    row |= _ends(part)
    plain = {
        str(name).removeprefix(BASELINE): float((part[name] - part["truth"]).abs().mean())
        for name in part
        if str(name).startswith(BASELINE)
    }
    if plain:
        best = min(plain, key=lambda name: plain[name])
        row |= {"baseline": best, "baseline_mae": plain[best], "ratio": row["mae"] / plain[best]}
    return row


def _ends(part: pd.DataFrame) -> dict[str, float]:
    """Share of last points inside 90 % intervals: many points of a run say little of where it ends."""
    if not part.duplicated("run").any():
        return {}
    last = part.sort_values("at", kind="stable").drop_duplicates("run", keep="last")
    inside = (last["lower_90"] <= last["truth"]) & (last["truth"] <= last["upper_90"])
    return {"ends_90": float(inside.mean())}


def verdict(row: pd.Series) -> str:
    """What one row of the table says."""
    coverage, error = float(row["coverage_90"]), float(row["coverage_90_se"])
    count = f"{int(row['points']):,} points of {_plural(int(row['runs']), 'run')}"
    text = f"90 % intervals hold {100 * coverage:.0f} %"
    text += f" (± {100 * error:.0f})" if math.isfinite(error) else ""
    text = f"{text} of {count}: {_judged(row, coverage, error)}"
    if np.isfinite(row.get("ends_90", np.nan)):
        text = f"{text}; {100 * row['ends_90']:.0f} % of their last points"
    if "ratio" not in row or not np.isfinite(row["ratio"]):
        return text
    mae, plain = f"{row['mae']:.3g}", f"{row['baseline']} ({row['baseline_mae']:.3g})"
    if row["ratio"] <= 1:
        return f"{text}. Mean error {mae}, {_times(1 / row['ratio'])} better than {plain}"
    return f"{text}. Mean error {mae}, {_times(row['ratio'])} that of {plain}"


def _judged(row: pd.Series, coverage: float, error: float) -> str:
    off, widen = coverage - 0.9, float(row["widen"])
    if int(row["clusters"]) < FEWEST_CLUSTERS:
        return f"too few runs to judge (fewer than {FEWEST_CLUSTERS})"
    if abs(off) <= TOLERANCE:
        return "well calibrated"
    if abs(off) <= 2 * error:
        units = "runs" if row["clusters"] == row["runs"] else "independent groups of runs"
        few = f"{int(row['clusters'])} {units} cannot tell that from chance"
        return f"{'narrow' if off < 0 else 'wide'}, though {few}"
    if off < 0:
        return f"too narrow, by {_times(max(widen, 1.0))}"
    return f"wider than needed, by {_times(1 / min(max(widen, 1e-6), 1.0))}"


def _times(factor: float) -> str:
    return f"{factor:.2f} ×" if factor < 10 else f"{factor:.3g} ×"


def _cells(name: str, row: pd.Series) -> list[str]:
    plain = f"{row['baseline']} {row['baseline_mae']:.3g}" if isinstance(row.get("baseline"), str) else "-"
    ratio = f"{row['ratio']:.2f}" if plain != "-" else "-"
    cells = [name, f"{int(row['runs'])}", f"{int(row['points']):,}", f"{row['mae']:.3g}", plain, ratio]
    cells.append(f"{row['crps']:.3g}")
    for level in (50, 80, 90, 95):
        error = float(row[f"coverage_{level}_se"])
        shown = f" ± {100 * error:.0f}" if level == 90 and math.isfinite(error) else ""
        cells.append(f"{100 * row[f'coverage_{level}']:.0f}{shown} %")
    ends = row.get("ends_90", np.nan)
    cells.append(f"{100 * ends:.0f} %" if np.isfinite(ends) else "-")
    return [*cells, f"{row['widen']:.2f}"]


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    number = float(value)
    return None if not math.isfinite(number) else int(number) if number.is_integer() else number
