"""Options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

_ROLES = "Roles of the columns"


class GoalName(StrEnum):
    """Whether small or large outputs are good."""

    min = "min"
    max = "max"


class NonfiniteName(StrEnum):
    """What becomes of points without a finite output."""

    error = "error"
    diverged = "diverged"
    drop = "drop"


def _role(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_ROLES, show_default=False)


Log = Annotated[
    list[str],
    typer.Argument(
        help="Long tables, one row per run and axis value: parquet, csv, tsv, jsonl; files or folders.",
        show_default=False,
    ),
]
Run = Annotated[str, _role("Column that names the run.", "--run")]
Axis = Annotated[str, _role("Column of the progress axis: tokens, steps, epochs.", "--axis")]
Output = Annotated[str, _role("Column of the measured output.", "--output")]
Levels = Annotated[
    list[str] | None,
    _role("Column of the task hierarchy; repeat, coarse to fine, or join by commas.", "--levels"),
]
Params = Annotated[str | None, _role("Column of the model size.", "--params")]
Horizon = Annotated[str | None, _role("Column of the planned end of the axis.", "--horizon")]
Config = Annotated[
    list[str] | None,
    _role(
        "Configuration columns; repeat or join by commas. Default: all that are constant within a run.",
        "--config",
    ),
]
EmbedderName = Annotated[
    str, typer.Option("--embedder", help='"default", "none", a Hugging Face id or a local path.')
]
Seed = Annotated[int, typer.Option("--seed", help="Same data and seed, same result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no notes; errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error arose, with a traceback.")]


@dataclass(frozen=True)
class RoleOptions:
    """Roles as given on the command line."""

    run: str
    axis: str
    output: str
    goal: str
    levels: list[str] | None
    params: str | None
    horizon: str | None
    config: list[str] | None
    nonfinite: str

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `read_runs`."""
        given = dict(vars(self))
        given["levels"] = _names(self.levels) or ()
        given["config"] = _names(self.config)
        return given


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    """Column names of a repeated option, each possibly a list joined by commas."""
    if not given:
        return None
    return tuple(name.strip() for item in given for name in item.split(",") if name.strip())
