"""What an import kept, inferred and left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from probscale.runs.schema import listed


@dataclass(frozen=True)
class ImportSummary:
    """Account of one import; `str` gives a readable page, `notes()` the sentences a `RunLog` carries.

    Attributes:
        source: Where the runs came from.
        runs_found: Runs in the source.
        runs_kept: Runs in the log.
        points_kept: Points in the log.
        roles: What was chosen or inferred for each role, in words.
        dropped_runs: Run to the reason it was left out.
        dropped_points: Reason to number of points left out.
        dropped_columns: Configuration column to the reason it was left out.
        converted: Configuration column to what was done to its values.
        other_metrics: Metrics that were logged and not imported.
    """

    source: str
    runs_found: int
    runs_kept: int
    points_kept: int
    roles: Mapping[str, str]
    dropped_runs: Mapping[str, str] = field(default_factory=dict)
    dropped_points: Mapping[str, int] = field(default_factory=dict)
    dropped_columns: Mapping[str, str] = field(default_factory=dict)
    converted: Mapping[str, str] = field(default_factory=dict)
    other_metrics: tuple[str, ...] = ()

    def notes(self) -> tuple[str, ...]:
        """The account as sentences."""
        lines = [f"imported {self.runs_kept} of {self.runs_found} runs from {self.source}"]
        lines += [f"{role}: {text}" for role, text in self.roles.items()]
        lines += _grouped("left out runs", self.dropped_runs)
        lines += [f"left out {count} points: {reason}" for reason, count in self.dropped_points.items()]
        lines += _grouped("left out settings", self.dropped_columns)
        lines += _grouped("converted settings", self.converted)
        if self.other_metrics:
            lines.append(f"metrics not imported: {listed(self.other_metrics)}")
        return tuple(lines)

    def __str__(self) -> str:
        return "\n".join(self.notes())


def _grouped(title: str, reasons: Mapping[str, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    return [f"{title} ({reason}): {listed(names)}" for reason, names in by_reason.items()]
