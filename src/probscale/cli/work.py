"""What the commands on a user's own files do."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from probscale.cli.speech import working
from probscale.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from probscale.runs import RunLog

CHUNK = 250
WRITERS = (".csv", ".parquet", ".jsonl")
PICTURES = (".png", ".svg", ".pdf")


def read_log(paths: Sequence[str], roles: dict[str, Any]) -> RunLog:
    """Run log of one or more files."""
    from probscale.runs import read_runs

    return read_runs(list(paths), **roles)


def describe_files(paths: Sequence[str], roles: dict[str, Any]) -> str:
    """What is in the log of one or more files, and which roles were guessed."""
    if all(roles[name] is not None for name in ("run", "axis", "output")):
        return str(read_log(paths, roles).describe())
    from probscale.integrations.tables import axis_column, from_table, run_column
    from probscale.runs import RunLog, read_frame

    frame = read_frame(list(paths))
    run = run_column(frame, roles["run"])
    # What an option has by default is no choice of the user.
    chosen = {name: value for name, value in roles.items() if value not in (None, (), "min", "error", run)}
    log = from_table(frame, run=run, **chosen)
    known = log.roles.arguments() | {"axis": axis_column(frame, log)}
    if known["axis"] is None:
        derived = f"the axis {log.roles.axis!r} was worked out and is no column of the file"
        return f"{log.describe()}\n{derived}: name one with axis=, or read the file in Python with from_table"
    found = {"run": run, **{name: known[name] for name in ("axis", "output", "goal", "params", "horizon")}}
    if frame[log.output].isna().any():
        found["nonfinite"] = _without_output(frame, run, known["axis"], log.output)
    given = roles | {name: value for name, value in found.items() if value not in (None, "min")}
    options = " ".join(
        f"--{name} {_quoted(given[name])}" for name in found if given[name] not in (None, "min")
    )
    return f"{RunLog.from_frame(frame, **given).describe()}\nguessed from the names of columns: {options}"


def _without_output(frame: pd.DataFrame, run: str, axis: str, output: str) -> str:
    """Whether rows without an output are divergence, or rows in which nothing was measured.

    A run that diverges measures nothing more; a tracker leaves cells empty between two evaluations.
    """
    empty = frame[output].isna()
    last = frame[axis].mask(empty).groupby(frame[run]).transform("max")
    return "drop" if (empty & (frame[axis] < last)).any() else "diverged"


def _quoted(value: str | Sequence[str]) -> str:
    """A value as a shell takes it."""
    return shlex.quote(value if isinstance(value, str) else ",".join(value))


def fit_file(
    paths: Sequence[str], roles: dict[str, Any], out: Path, *, embedder: str, seed: int, quiet: bool
) -> None:
    """Fit the runs of files and write the surrogate."""
    check_place(out)
    log = read_log(paths, roles)
    with working(f"fitting {log.n_runs:,} runs, {log.n_points:,} points", quiet=quiet):
        from probscale.surrogate import fit_surrogate

        surrogate = fit_surrogate(log, embedder=embedder_of(embedder), seed=seed)
    surrogate.save(out)
    if not quiet:
        typer.echo(str(surrogate.report))
        typer.echo(f"wrote {out}")


def embedder_of(name: str) -> str | None:
    """Embedder argument of an option: "none" means no text."""
    return None if name.lower() == "none" else name


def predict_file(
    path: Path,
    configs: str,
    at: str,
    out: Path,
    *,
    interval: float,
    output: str | None,
    embedder: str,
    quiet: bool,
) -> None:
    """Forecast the configurations of a file and write the table."""
    from probscale.runs import read_frame

    check_suffix(out)
    check_share(interval, "--interval")
    frame = read_frame(configs)
    if frame.empty:
        raise ConfigError(f"{configs!r} has no rows; give at least one configuration", path=configs)
    values, column = read_axis(at, frame)
    with working(f"predicting {len(frame):,} configurations", quiet=quiet, total=len(frame)) as done:
        from probscale.surrogate import load_surrogate

        surrogate = load_surrogate(path, embedder=embedder_of(embedder))
        asked = frame.drop(columns=column) if column not in (None, *surrogate.log.roles.described) else frame
        parts: list[pd.DataFrame] = []
        beyond: dict[str, float] = {}
        left_out: Counter[str] = Counter()
        for start in range(0, len(frame), CHUNK):
            where = slice(start, start + CHUNK)
            curves = surrogate.predict(asked.iloc[where], values[where], output=output)
            parts.append(curves.to_frame(interval))
            beyond |= {name: max(beyond.get(name, 0.0), factor) for name, factor in curves.beyond.items()}
            left_out.update(curves.left_out)
            done(len(parts[-1]) // values.shape[1])
    table = beside_configs(parts, asked)
    write_table(table, out)
    if not quiet:
        from probscale.cli.tables import shown

        typer.echo(f"{100 * interval:g} % intervals, lower to upper; config counts the rows of {configs}")
        typer.echo(shown(table[list(parts[0].columns)]))
        for told in cautions(beyond, left_out, len(frame)):
            typer.echo(told)
        typer.echo(f"wrote {out}: {values.size:,} forecasts of {output or surrogate.log.output}")


def cautions(beyond: Mapping[str, float], left_out: Mapping[str, int], count: int) -> Iterator[str]:
    """What to keep in mind about forecasts of `count` configurations, a line each."""
    from probscale.surrogate.posterior import said_beyond, said_left_out

    if beyond:
        yield f"beyond the log: {'; '.join(said_beyond(beyond))}; read intervals, not means"
    for told in said_left_out(left_out, count):
        yield f"{told}: every run of the log has them"


def beside_configs(parts: Sequence[pd.DataFrame], frame: pd.DataFrame) -> pd.DataFrame:
    """Forecasts with the columns of their configurations in front."""
    import pandas as pd

    table = pd.concat(parts, ignore_index=True)
    described = frame.loc[table["config"], [name for name in frame if name not in table]]
    return pd.concat(
        [table[["config"]], described.reset_index(drop=True), table.drop(columns="config")], axis=1
    )


def read_axis(text: str, frame: pd.DataFrame) -> tuple[np.ndarray, str | None]:
    """Axis values, (configs, points), and the column they come from, if any.

    Raises:
        ConfigError: if the text is neither numbers, nor a range, nor a column.
    """
    if text in frame:
        return _numbers_of(frame, text)[:, None], text
    try:
        if ":" in text:
            start, stop, count = text.split(":")
            values = np.geomspace(float(start), float(stop), int(count))
        else:
            values = np.array([float(item) for item in text.split(",") if item.strip()])
        if not values.size:
            raise ValueError("no value")
    except ValueError:
        columns = f", or a column ({', '.join(map(str, frame.columns[:8]))})" if len(frame.columns) else ""
        raise ConfigError(
            f"--at {text!r} is not understood; give numbers such as 1e9,2e9, a range START:STOP:COUNT"
            f"{columns}",
            at=text,
        ) from None
    return np.tile(values, (len(frame), 1)), None


def _numbers_of(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A column of axis values.

    Raises:
        ConfigError: if a value is missing or no number.
    """
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        given = frame[column].iloc[bad[0]]
        what = "no value" if pd.isna(given) else repr(given)
        raise ConfigError(
            f"--at {column!r} names a column that must hold a number in every row; row {bad[0]} has {what}",
            at=column,
            row=int(bad[0]),
        )
    return values


def check_share(value: float, option: str) -> None:
    """Refuse a probability that is none.

    Raises:
        ConfigError: unless it is strictly between 0 and 1.
    """
    if not 0 < value < 1:
        raise ConfigError(f"{option} is {value:g}; it needs a share strictly between 0 and 1, such as 0.9")


def check_suffix(out: Path) -> None:
    """Refuse a table that could not be written, before any work is done.

    Raises:
        ConfigError: for an unknown suffix, a folder, or a place where nothing can be written.
    """
    if out.suffix.lower() not in WRITERS:
        raise ConfigError(f"cannot write {out.name!r}: accepted are {', '.join(WRITERS)}", path=str(out))
    check_place(out)


def check_place(out: Path) -> None:
    """Refuse a file that could not be written, before any work is done.

    Raises:
        ConfigError: for a folder, or a place where nothing can be written.
    """
    if out.is_dir():
        raise ConfigError(
            f"cannot write {str(out)!r}: it is a folder; give the path of a file", path=str(out)
        )
    if out.exists() and not os.access(out, os.W_OK):
        raise ConfigError(
            f"cannot write {str(out)!r}: it may not be changed; give another file", path=str(out)
        )
    check_folder(out.parent)


def check_picture(path: Path) -> None:
    """Refuse a picture that could not be written, before any work is done.

    Raises:
        ConfigError: for an unknown suffix, or a place where nothing can be written.
    """
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"cannot draw {path.name!r}: accepted are {', '.join(PICTURES)}", path=str(path))
    check_place(path)


def draw_picture(path: Path, draw: Callable[[Axes], Any]) -> None:
    """Write a picture of one panel, which `draw` fills."""
    from probscale.plot.style import new_figure, style

    with style():
        figure = new_figure(7.0, 4.6, dpi=150)
        draw(figure.subplots())
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def check_folder(folder: Path) -> None:
    """Refuse a folder that could not be made or written to, before any work is done.

    Raises:
        ConfigError: for a file, or a place where nothing can be written.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise ConfigError(f"cannot write to {str(folder)!r}: {str(nearest)!r} is a file", path=str(folder))
    try:
        # Rights alone do not tell: a file system may be read-only, or full.
        with TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write to {str(folder)!r}: {error.strerror}; give another place", path=str(folder)
        ) from None


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write a table in the format its suffix names."""
    out.parent.mkdir(parents=True, exist_ok=True)
    suffix = out.suffix.lower()
    if suffix == ".csv":
        table.to_csv(out, index=False)
    elif suffix == ".parquet":
        table.to_parquet(out, index=False)
    else:
        table.to_json(out, orient="records", lines=True)
