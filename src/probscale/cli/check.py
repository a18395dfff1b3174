"""What `probscale check` does: refit, score, say, draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from probscale.cli.speech import working
from probscale.cli.tables import columns, window
from probscale.cli.work import check_folder, embedder_of, read_log, write_table

if TYPE_CHECKING:
    from probscale.evaluate import CheckReport
    from probscale.runs import RunLog


def check_file(
    paths: Sequence[str],
    roles: dict[str, Any],
    out: Path,
    *,
    regimes: Sequence[str] | None,
    folds: int,
    most_runs: int,
    embedder: str,
    seed: int,
    quiet: bool,
) -> None:
    """Check the runs of files; writes check.csv, check_points.csv, check.json, check.md and pictures."""
    check_folder(out)
    log = read_log(paths, roles)
    shown = min(log.n_runs, most_runs)
    with working(f"refitting with parts of {shown:,} runs left out", quiet=quiet):
        from probscale.evaluate import check

        report = check(
            log,
            regimes=_names(regimes) or "auto",
            embedder=embedder_of(embedder),
            seed=seed,
            folds=folds,
            most_runs=most_runs,
        )
    out.mkdir(parents=True, exist_ok=True)
    write_table(report.to_frame(), out / "check.csv")
    write_table(report.points, out / "check_points.csv")
    (out / "check.json").write_text(json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n")
    (out / "check.md").write_text(report.to_markdown() + "\n")
    with working("drawing", quiet=quiet):
        _draw(report, log, out)
    typer.echo("\n".join(f"{name}: {text}" for name, text in report.verdicts.items()))
    if not quiet:
        typer.echo(f"\n{_table(report, window())}")
        for note in report.notes:
            typer.echo(f"note: {note}")
        typer.echo(f"\n{_reading()}\nwrote {', '.join(_written(out))}")


def _draw(report: CheckReport, log: RunLog, out: Path) -> None:
    from probscale.plot import draw_check_curves, plot_check, style

    with style.style():
        figure = style.new_figure(5.4, 4.6, dpi=150)
        plot_check(report, ax=figure.subplots())
        figure.savefig(out / "check_reliability.png")
    draw_check_curves(report, log=log).savefig(out / "check_curves.png")


def _names(given: Sequence[str] | None) -> list[str]:
    """Regimes of a repeated option, each possibly a list joined by commas."""
    return [name.strip() for item in given or () for name in item.split(",") if name.strip()]


def _table(report: CheckReport, width: int | None) -> str:
    """The table of check.md: as it is for a file or a pipe, in columns for a window of a width."""
    text = report.to_markdown()
    if width is None:
        return text
    head, _, *rows = text.splitlines()
    return columns([[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *rows)], width)


def _reading() -> str:
    return (
        "MAE and CRPS are in units of the output; ratio is our MAE over that of the best plain method. "
        '"90 % holds" is the share of measured points inside 90 % intervals (± one standard error over '
        'runs), "90 % at the end" that of the last points of runs alone, where a forecast is mostly asked; '
        '"widen by" is the factor on the width of intervals that would make the first 90 %.'
    )


def _written(out: Path) -> list[str]:
    return [str(path) for path in sorted(out.glob("check*"))]
