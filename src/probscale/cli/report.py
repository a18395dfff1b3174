"""`probscale report`: one page about a log."""

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
    Quiet,
    RoleOptions,
    Seed,
)
from probscale.cli.speech import readable, stages

EXAMPLE = (
    "Example: `probscale report runs.csv --run run_id --axis tokens --output loss --params N_params "
    '--output-unit "nats per token" -o report.html`'
)

PoolOption = Annotated[
    str | None,
    typer.Option(
        "--pool",
        help="Candidates for the next runs, one a row. Default: combinations of the log's own settings that "
        "were never run.",
        show_default=False,
    ),
]
TotalOption = Annotated[
    float | None,
    typer.Option(
        "--total",
        help="Budget of the plan, in the unit of the cost. Default: a quarter of what the log cost.",
        show_default=False,
    ),
]


@readable
def report(
    log: Known,
    *,
    roles: KnownRoles,
    costs: CostOptions,
    pool: PoolOption = None,
    total: TotalOption = None,
    output_unit: Annotated[
        str | None,
        typer.Option(help='Unit of the output, for labels: "nats per token".', show_default=False),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page.", show_default=False)] = None,
    most_runs: Annotated[
        int, typer.Option(help="Runs that the held-out check uses at most, drawn at random.", min=6)
    ] = 150,
    out: Annotated[Path, typer.Option("-o", "--out", help="Page to write.")] = Path("report.html"),
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write one page about LOG: data, fit, calibration, frontier, which runs next, a budget plan.

    LOG may be a surrogate that `probscale fit` wrote. The page is one file that asks the network for nothing.
    """
    words = {"total": total, "unit": output_unit, "title": title, "most_runs": most_runs, "seed": seed}
    write_page(log, roles, costs, pool, out, words, embedder=embedder, quiet=quiet)


def write_page(
    known: list[str],
    roles: RoleOptions,
    costs: CostOptions,
    pool: str | None,
    out: Path,
    options: dict[str, Any],
    *,
    embedder: str,
    quiet: bool,
) -> None:
    """Fit where a log is given, and write the page."""
    from dataclasses import replace

    from probscale.cli.evidence import read_table, surrogate_of
    from probscale.cli.work import check_place, embedder_of
    from probscale.report import check_page, write_report

    check_page(out)
    check_place(out)
    costs.check()
    frame = None if pool is None else read_table(pool)
    surrogate = surrogate_of(known, roles, embedder=embedder, seed=options["seed"], quiet=quiet)
    columns, cost = surrogate.log.roles, None
    if costs != CostOptions(params=costs.params):
        priced = replace(costs, params=costs.params or columns.params)
        cost = priced.model(known, run=columns.run, axis=columns.axis)
    with stages(quiet=quiet) as say:
        given = {"pool": frame, "cost": cost, "embedder": embedder_of(embedder), "progress": say}
        write_report(surrogate, out, **given, **options)
    if not quiet:
        typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
