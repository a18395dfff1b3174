"""The commands and their options; the work is imported when a command runs, so that help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from probscale.cli import allocate, best, frontier, plan, replay, report, suggest
from probscale.cli.options import (
    Debug,
    EmbedderName,
    GuessedRoles,
    Log,
    LogRoles,
    OutputsRoles,
    Quiet,
    Seed,
)
from probscale.cli.speech import as_options, readable

BEGIN, FORECAST, DECIDE = "Begin", "Forecast, and see how far to trust it", "Decide what to train"
"""Headings of the commands, in the order in which a newcomer needs them."""

app = typer.Typer(
    name="probscale",
    help="Calibrated forecasts of learning curves from the logs of past training runs.\n\n"
    "Start with `probscale demo`. Every command's --help ends with an example.",
    epilog="Example: `probscale describe runs.csv --run run_id --axis tokens --output loss`, then the same "
    "roles with `fit`, `check` or `report`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from probscale import __version__

        typer.echo(f"probscale {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


@app.command(rich_help_panel=BEGIN, epilog="Example: `probscale demo --out demo_output`")
@readable
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the picture and the table.")] = Path("demo_output"),
    hold_out: Annotated[
        int, typer.Option(help="How many of the largest model sizes to forecast.", min=1)
    ] = 3,
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit the bundled runs without the largest models, and forecast these.

    Says how many of their true points fell inside the 80 % and 90 % intervals; writes a picture and a table.
    """
    from probscale.cli.demo import run_demo
    from probscale.runs.bundled import bundled_runs

    run_demo(bundled_runs(), out, hold_out, seed=seed, quiet=quiet)


@app.command(
    rich_help_panel=BEGIN,
    epilog="Example: `probscale describe runs.parquet --run run_id --axis tokens --output loss`",
)
@readable
def describe(
    log: Log,
    *,
    roles: GuessedRoles,
    debug: Debug = False,
) -> None:
    """Say what is in LOG: runs, levels, ranges, gaps, unfinished and diverged runs.

    Roles of columns that are left out are guessed from their names, and said.
    """
    from probscale.cli.work import describe_files

    typer.echo(as_options(describe_files(log, roles.arguments()), roles.arguments()))


@app.command(
    rich_help_panel=FORECAST,
    epilog="Example: `probscale fit runs.parquet --run run_id --axis tokens --output loss --params N "
    "--levels source -o surrogate.safetensors`",
)
@readable
def fit(
    log: Log,
    *,
    roles: OutputsRoles,
    out: Annotated[Path, typer.Option("-o", "--out", help="File to write the surrogate to.")] = Path(
        "surrogate.safetensors"
    ),
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit a surrogate to the runs of LOG and write it to a file."""
    from probscale.cli.work import fit_file

    fit_file(log, roles.arguments(), out, embedder=embedder, seed=seed, quiet=quiet)


@app.command(
    rich_help_panel=FORECAST,
    epilog="Example: `probscale predict surrogate.safetensors configs.csv --at 1e9,2e9 -o forecast.csv`; "
    "also `--at 1e8:1e10:20` (20 values, evenly spaced in the logarithm), `--at D_tokens` (a column)",
)
@readable
def predict(
    surrogate: Annotated[Path, typer.Argument(help="File that `probscale fit` wrote.", show_default=False)],
    configs: Annotated[
        str, typer.Argument(help="Configurations, one a row: parquet, csv, tsv or jsonl.", show_default=False)
    ],
    *,
    at: Annotated[
        str, typer.Option(help="Axis values: a list, START:STOP:COUNT, or a column.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Table to write: .csv, .parquet or .jsonl.")
    ] = Path("forecast.csv"),
    interval: Annotated[float, typer.Option(help="Share of probability between lower and upper.")] = 0.9,
    output: Annotated[
        str | None,
        typer.Option(help="Which of several outputs to forecast; by default the first.", show_default=False),
    ] = None,
    embedder: EmbedderName = "default",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Forecast the curves of CONFIGS: mean, standard deviation and predictive interval.

    A run column that names a run of the log asks for that run's continuation.
    """
    from probscale.cli.work import predict_file

    predict_file(
        surrogate, configs, at, out, interval=interval, output=output, embedder=embedder, quiet=quiet
    )


@app.command(
    rich_help_panel=FORECAST,
    epilog="Example: `probscale check runs.parquet --run run_id --axis tokens --output loss --params N "
    '--horizon D -o check`; `--regimes "larger scale,prefix"` for some regimes only',
)
@readable
def check(
    log: Log,
    *,
    roles: LogRoles,
    regimes: Annotated[
        list[str] | None,
        typer.Option(
            help="in-distribution, larger scale, prefix, unseen level, unseen source; repeat or join by "
            "commas. Default: all that the log allows.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Refits per regime.", min=1)] = 3,
    most_runs: Annotated[
        int, typer.Option(help="Logs with more runs are thinned to so many at random.", min=6)
    ] = 400,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for tables and pictures.")] = Path("check"),
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say how far forecasts from LOG can be trusted, and in which regimes.

    Fits parts of the log and compares forecasts of the rest with what was measured: random runs, the largest
    models, the rest of begun runs, unseen level values. Plain methods stand beside.
    """
    from probscale.cli.check import check_file

    check_file(
        log,
        roles.arguments(),
        out,
        regimes=regimes,
        folds=folds,
        most_runs=most_runs,
        embedder=embedder,
        seed=seed,
        quiet=quiet,
    )


for panel, command, example in (
    (FORECAST, report.report, report.EXAMPLE),
    (DECIDE, best.best, best.EXAMPLE),
    (DECIDE, frontier.frontier, frontier.EXAMPLE),
    (DECIDE, suggest.suggest, suggest.EXAMPLE),
    (DECIDE, plan.plan, plan.EXAMPLE),
    (DECIDE, allocate.allocate, allocate.EXAMPLE),
    (DECIDE, replay.replay, replay.EXAMPLE),
):
    app.command(rich_help_panel=panel, epilog=example)(command)


def main() -> None:
    """Entry point of the `probscale` script."""
    app()
