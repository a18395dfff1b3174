"""The demo: forecast the largest bundled models from the smaller ones, and count the hits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from probscale.cli.speech import working
from probscale.cli.work import write_table

if TYPE_CHECKING:
    import pandas as pd

    from probscale.runs import RunLog
    from probscale.surrogate import CurveSurrogate

LEVELS = (0.8, 0.9)


def run_demo(out: Path, hold_out: int, *, seed: int, quiet: bool) -> None:
    """Fit, forecast, count, draw; writes `demo.png` and `demo.csv` into a folder."""
    from probscale.runs import split_by_scale
    from probscale.runs.bundled import bundled_runs

    log = bundled_runs()
    train, test = split_by_scale(log, hold_out=hold_out)
    size = test.configs[str(log.roles.params)]
    if not quiet:
        typer.echo(f"bundled runs: {log.n_runs} small GPTs trained on the standard library's sources")
        typer.echo(
            f"fit on {train.n_runs} runs of up to {train.configs[size.name].max():,} parameters; "
            f"forecast of {test.n_runs} runs of {size.min():,} to {size.max():,}, not seen in the fit"
        )
    with working(f"fitting {train.n_points:,} points", quiet=quiet):
        from probscale.surrogate import fit_surrogate

        surrogate = fit_surrogate(train, seed=seed)
    with working("predicting", quiet=quiet, total=test.n_runs) as done:
        table = forecast(surrogate, test, done)
    with working("drawing", quiet=quiet):
        from probscale.cli.picture import draw_demo

        out.mkdir(parents=True, exist_ok=True)
        draw_demo(table, train, out / "demo.png", levels=LEVELS)
    write_table(table, out / "demo.csv")
    typer.echo(verdict(table))
    typer.echo(f"wrote {out / 'demo.png'} and {out / 'demo.csv'}")


def forecast(surrogate: CurveSurrogate, test: RunLog, done: object) -> pd.DataFrame:
    """Forecasts of runs at the points where they were measured, as runs nobody has begun."""
    import pandas as pd

    roles, parts = test.roles, []
    for run, config in test.configs.iterrows():
        points = test.points[test.points[roles.run] == run]
        at = points[roles.axis].to_numpy(dtype=np.float64)
        curves = surrogate.predict([config.to_dict()], at)
        columns = {"run": run, **config.to_dict(), roles.axis: at, "true": points[test.output].to_numpy()}
        columns |= {"mean": curves.mean[0], "std": curves.std[0]}
        for level in LEVELS:
            lower, upper = curves.interval(level)
            columns |= {f"lower_{level * 100:.0f}": lower[0], f"upper_{level * 100:.0f}": upper[0]}
        parts.append(pd.DataFrame(columns))
        if callable(done):
            done(1)
    return pd.concat(parts, ignore_index=True)


def verdict(table: pd.DataFrame) -> str:
    """How the forecasts did, in words."""
    truth, mean = table["true"].to_numpy(), table["mean"].to_numpy()
    lines = []
    for level in LEVELS:
        name = f"{level * 100:.0f}"
        inside = (table[f"lower_{name}"] <= truth) & (truth <= table[f"upper_{name}"])
        share = f"{int(inside.sum()):,} of {len(table):,} true points inside ({inside.mean():.0%})"
        lines.append(f"{name} % intervals: {share}")
    last = table.groupby("run", sort=False).tail(1)
    error = np.abs(last["mean"] - last["true"])
    whole = np.abs(mean - truth).mean()
    lines.append(f"mean absolute error: {whole:.3f} over the curves, {error.mean():.3f} at their ends")
    return "\n".join(lines)
