"""`probscale suggest`: which runs of a pool teach most for their cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probscale.cli.costs import CostOptions
from probscale.cli.options import (
    Debug,
    EmbedderName,
    Known,
    KnownRoles,
    Pool,
    Quiet,
    RoleOptions,
    Seed,
    Table,
)
from probscale.cli.speech import readable, working
from probscale.errors import ConfigError

EXAMPLE = (
    "Example: `probscale suggest runs.parquet pool.csv --run run_id --axis tokens --output loss --params N "
    "-n 4 --criterion frontier --max-cost 1e19`; also `probscale suggest surrogate.safetensors pool.csv`"
)


NumberOption = Annotated[int, typer.Option("-n", "--number", help="Runs to choose.", min=1)]
CriterionOption = Annotated[
    str,
    typer.Option(
        help='What counts: "frontier", "law", "survey, then law", "integrated variance", "variance", '
        '"improvement" or "target".'
    ),
]
BudgetOption = Annotated[
    float | None, typer.Option(help="Most that all of them may cost together.", show_default=False)
]
MaxCostOption = Annotated[float | None, typer.Option(help="Most that one may cost.", show_default=False)]
CostPowerOption = Annotated[
    float, typer.Option(help="Scores are divided by cost to this power; 0 ignores cost.", min=0)
]
OverheadOption = Annotated[
    float,
    typer.Option(
        help="What starting or resuming a run costs in scores, as a share of the whole run's price.", min=0
    ),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        help="Axis values where runs may stop: a list or START:STOP:COUNT; by default from the log.",
        show_default=False,
    ),
]
DepthsOption = Annotated[
    str | None,
    typer.Option(
        help='"full" for whole runs only, "any" for every axis value; by default "full" where runs have '
        "a planned end.",
        show_default=False,
    ),
]
TargetsOption = Annotated[
    str | None,
    typer.Option(help='Configurations whose end matters to "target": a file.', show_default=False),
]


@readable
def suggest(
    log: Known,
    pool: Pool,
    *,
    roles: KnownRoles,
    costs: CostOptions,
    n: NumberOption = 4,
    criterion: CriterionOption = "frontier",
    budget: BudgetOption = None,
    max_cost: MaxCostOption = None,
    cost_power: CostPowerOption = 1.0,
    overhead: OverheadOption = 0.05,
    at: AtOption = None,
    depths: DepthsOption = None,
    targets: TargetsOption = None,
    out: Table = Path("suggestions.csv"),
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Choose the next runs of POOL, and how far to train them.

    LOG may be a surrogate that `probscale fit` wrote. A row of POOL that names a run of the log continues it,
    and pays for the rest only. Runs are chosen together: each takes into account what those before it will
    teach.
    """
    fit = {"embedder": embedder, "seed": seed, "quiet": quiet}
    asked = {"n": n, "criterion": criterion, "budget": budget, "max_cost": max_cost}
    asked |= {"cost_power": cost_power, "overhead": overhead}
    run_suggest(log, pool, roles, costs, fit, asked | {"depths": depths}, (at, targets), out)


def run_suggest(
    known: list[str],
    pool: str,
    roles: RoleOptions,
    costs: CostOptions,
    fit: dict[str, Any],
    asked: dict[str, Any],
    places: tuple[str | None, str | None],
    out: Path,
) -> None:
    """Choose, print, write."""
    from dataclasses import replace

    from probscale.cli.evidence import read_table, surrogate_of
    from probscale.cli.tables import number, shown
    from probscale.cli.work import check_suffix, read_axis, write_table
    from probscale.design.criteria import find_criterion

    check_suffix(out)
    costs.check()
    find_criterion(asked["criterion"])
    frame = read_table(pool)
    at, targets = places
    grid = None if at is None else read_axis(at, frame)[0]
    aimed = None if targets is None else read_table(targets)
    if asked["criterion"] == "target" and aimed is None:
        raise ConfigError("--criterion target needs --targets, the configurations whose end matters")
    surrogate = surrogate_of(known, roles, **fit)
    columns = surrogate.log.roles
    cost = replace(costs, params=costs.params or columns.params).model(
        known, run=columns.run, axis=columns.axis
    )
    with working(f"comparing {len(frame):,} configurations", quiet=fit["quiet"]):
        from probscale.design import suggest as choose

        chosen = choose(surrogate, frame, cost=cost, at=grid, targets=aimed, seed=fit["seed"], **asked)
    write_table(chosen, out)
    if not fit["quiet"]:
        for note in chosen.attrs.get("notes", ()):
            typer.echo(f"Note: {note}", err=True)
        typer.echo(
            f"{len(chosen)} of {len(frame)} configurations by {asked['criterion']!r}, together "
            f"{number(float(chosen['cost'].sum()))} {cost.unit}; each is trained until {columns.axis} "
            "reaches the column until"
        )
        typer.echo(shown(chosen))
        typer.echo(f"wrote {out}")
