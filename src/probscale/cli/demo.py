"""The demo: forecast the largest bundled models from the smaller ones, and count the hits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from probscale.cli.speech import working
from probscale.cli.work import check_folder, write_table

if TYPE_CHECKING:
    import pandas as pd

    from probscale.runs import RunLog
    from probscale.surrogate import CurveSurrogate

LEVELS = (0.8, 0.9)


def run_demo(log: RunLog, out: Path, hold_out: int, *, seed: int, quiet: bool) -> None:
    """Fit, forecast, count, draw; writes `demo.png` and `demo.csv` into a folder.

    Args:
        log: The bundled runs, or some of them.
        out: The folder.
        hold_out: How many of the largest model sizes to forecast.
        seed: Seed of the fit.
        quiet: Print the verdict alone.
    """
    from probscale.runs import split_by_scale

    check_folder(out)
    train, test = split_by_scale(log, hold_out=hold_out)
    size = test.configs[str(log.roles.params)]
    if not quiet:
        typer.echo(f"{log.n_runs} small GPTs trained on the standard library's sources")
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


def forecast(surrogate: CurveSurrogate, test: RunLog, done: Callable[[int], None]) -> pd.DataFrame:
    """Forecasts of runs at the points where they were measured, as runs nobody has begun."""
    import pandas as pd

    axis, parts = test.roles.axis, []
    for position, run in enumerate(test.runs):
        points = test.points[test.codes == position]
        config = test.configs.iloc[[position]]
        at = points[axis].to_numpy(dtype=np.float64)
        # Without the run's name, so that nothing of it counts as begun.
        curves = surrogate.predict(config.reset_index(drop=True), at)
        described = {str(name): config[name].iloc[0] for name in config}
        columns = {"run": run, **described, axis: at, "true": points[test.output].to_numpy()}
        columns |= {"mean": curves.mean[0], "std": curves.std[0]}
        for level in LEVELS:
            lower, upper = curves.interval(level)
            columns |= {f"lower_{level * 100:.0f}": lower[0], f"upper_{level * 100:.0f}": upper[0]}
        parts.append(pd.DataFrame(columns))
        done(1)
    return pd.concat(parts, ignore_index=True)


def verdict(table: pd.DataFrame) -> str:
    """How the forecasts did, in words."""
    truth, mean = table["true"].to_numpy(), table["mean"].to_numpy()
    lines = []
    for level in LEVELS:
        name = f"{level * 100:.0f}"
        lower, upper = (table[f"{side}_{name}"].to_numpy() for side in ("lower", "upper"))
        inside = (lower <= truth) & (truth <= upper)
        share = (
            f"{np.count_nonzero(inside):,} of {len(table):,} true points inside ({100 * inside.mean():.0f} %)"
        )
        lines.append(f"{name} % intervals: {share}")
    error = np.abs(mean - truth)
    last = ~table["run"].duplicated(keep="last").to_numpy()
    lines.append(
        f"mean absolute error: {error.mean():.3f} over the curves, {error[last].mean():.3f} at their ends"
    )
    return "\n".join(lines)
