"""Options that commands share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
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


def _role(text: str, *names: str, show_default: bool = False) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=_ROLES, show_default=show_default)


Log = Annotated[
    list[str],
    typer.Argument(
        help="Long tables, one row per run and axis value: parquet, csv, tsv, jsonl; files or folders.",
        show_default=False,
    ),
]
Known = Annotated[
    list[str],
    typer.Argument(
        help="Long tables, one row per run and axis value; or one surrogate that `probscale fit` wrote, "
        "which needs no roles.",
        show_default=False,
    ),
]
Pool = Annotated[
    str,
    typer.Argument(help="Configurations, one a row: parquet, csv, tsv or jsonl.", show_default=False),
]
Run = Annotated[str, _role("Column that names the run.", "--run")]
Axis = Annotated[str, _role("Column of the progress axis: tokens, steps, epochs.", "--axis")]
Output = Annotated[str, _role("Column of the measured output.", "--output")]
Outputs = Annotated[
    str,
    _role("Column of the measured output; several joined by commas, the principal one first.", "--output"),
]
Goal = Annotated[GoalName, _role("Whether small or large outputs are good.", "--goal", show_default=True)]
Goals = Annotated[
    str, _role('"min" or "max"; for several outputs one for all, or loss=min,accuracy=max.', "--goal")
]
MaybeRun = Annotated[str | None, _role("Column that names the run; needed for a log.", "--run")]
MaybeAxis = Annotated[str | None, _role("Column of the progress axis; needed for a log.", "--axis")]
MaybeOutput = Annotated[str | None, _role("Column of the measured output; needed for a log.", "--output")]
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
Nonfinite = Annotated[
    NonfiniteName,
    _role(
        "What becomes of points whose output is not a number or infinite: refused, kept and marked as "
        "diverged, or dropped.",
        "--nonfinite",
        show_default=True,
    ),
]
Table = Annotated[Path, typer.Option("-o", "--out", help="Table to write: .csv, .parquet or .jsonl.")]
Total = Annotated[float, typer.Option(help="Budget, in the unit of the cost.", show_default=False)]
PoolAxis = Annotated[str, typer.Option("--axis", help="Name of the progress axis: tokens, steps, epochs.")]
StrategyName = Annotated[
    str,
    typer.Option(
        "--strategy",
        help="surrogate, early_commitment, size_prior, expected_improvement, halving, hyperband, asha, "
        "uniform, halving_joint, halving_power, halving_ensemble, halving_coregional, one_random or "
        "one_chinchilla.",
    ),
]
ETA_HELP = 'One in eta runs goes on, where there are rungs; one in two where "surrogate" goes by size.'
Eta = Annotated[float, typer.Option("--eta", help=ETA_HELP)]
Ends = Annotated[
    str | None,
    typer.Option(
        "--horizon", help="Furthest axis value of a run: a number, or a column of POOL.", show_default=False
    ),
]
Resolution = Annotated[
    str | None,
    typer.Option(
        help="Runs are trained to whole multiples of this, such as tokens in a step: a number or column.",
        show_default=False,
    ),
]
Warm = Annotated[
    Path | None,
    typer.Option(
        "--surrogate", help="Surrogate of earlier runs that `probscale fit` wrote.", show_default=False
    ),
]
Summary = Annotated[
    Path | None,
    typer.Option("--json", help="File for everything that is printed, as JSON.", show_default=False),
]
Picture = Annotated[
    Path | None,
    typer.Option("--picture", help="File for the picture: .png, .svg or .pdf.", show_default=False),
]
EmbedderName = Annotated[
    str, typer.Option("--embedder", help='"default", "none", a Hugging Face id or a local path.')
]
Seed = Annotated[int, typer.Option("--seed", help="Same data and seed, same result.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print no progress, notes or tables; errors, and the verdicts of demo and check.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error arose, with a traceback.")]


@dataclass(frozen=True, kw_only=True)
class RoleOptions:
    """Roles as given on the command line, where a surrogate that knows them may stand in place of a log."""

    run: MaybeRun = None
    axis: MaybeAxis = None
    output: MaybeOutput = None
    goal: Goals = "min"
    levels: Levels = None
    params: Params = None
    horizon: Horizon = None
    config: Config = None
    nonfinite: Nonfinite = NonfiniteName.error

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `read_runs`."""
        given = dict(vars(self)) | {"goal": str(self.goal), "nonfinite": str(self.nonfinite)}
        given["levels"] = _names(self.levels) or ()
        given["config"] = _names(self.config)
        if self.output is not None and "," in self.output:
            given["output"] = _names([self.output])
        if "=" in self.goal:
            pairs = (item.partition("=") for item in _names([self.goal]) or ())
            given["goal"] = {name.strip(): goal.strip() for name, _, goal in pairs}
        return given


@dataclass(frozen=True, kw_only=True)
class GuessedRoles(RoleOptions):
    """Roles of which those left out are guessed from the names of columns."""

    run: Annotated[str | None, _role("Column that names the run; by default guessed.", "--run")] = None
    axis: Annotated[str | None, _role("Column of the progress axis; by default guessed.", "--axis")] = None
    output: Annotated[
        str | None,
        _role("Column of the measured output; several joined by commas; by default guessed.", "--output"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class KnownRoles(RoleOptions):
    """Roles where one output is asked for."""

    goal: Goal = GoalName.min


@dataclass(frozen=True, kw_only=True)
class FinishedRoles(RoleOptions):
    """Roles of logs that are replayed: less output is better, and diverged runs are part of the game."""

    goal: str = field(default="min", init=False)
    nonfinite: Nonfinite = NonfiniteName.diverged


@dataclass(frozen=True, kw_only=True)
class LogRoles(KnownRoles):
    """Roles of a log with one output."""

    run: Run = field()
    axis: Axis = field()
    output: Output = field()


@dataclass(frozen=True, kw_only=True)
class OutputsRoles(RoleOptions):
    """Roles of a log with one or several outputs."""

    run: Run = field()
    axis: Axis = field()
    output: Outputs = field()


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    """Column names of a repeated option, each possibly a list joined by commas."""
    if not given:
        return None
    return tuple(name.strip() for item in given for name in item.split(",") if name.strip())
