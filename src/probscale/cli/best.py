"""`probscale best`: which configuration of a pool, or between ranges, is best at an axis value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probscale.cli.options import (
    Debug,
    EmbedderName,
    Known,
    KnownRoles,
    Quiet,
    RoleOptions,
    Seed,
    Table,
)
from probscale.cli.speech import readable, working
from probscale.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from probscale.surrogate import BestConfig, CurveSurrogate

EXAMPLE = (
    "Example: `probscale best surrogate.safetensors --pool pool.csv --at 2e10`; between ranges "
    "`probscale best surrogate.safetensors --at 2e10 --set params=3e8 --set learning_rate=1e-4:1e-2 "
    "--set schedule=cosine,constant`"
)

MOST_SHOWN = 10
"""Candidates that are printed; all are in the file."""

PoolOption = Annotated[
    str | None,
    typer.Option(help="Configurations, one a row: parquet, csv, tsv or jsonl.", show_default=False),
]
AtOption = Annotated[
    str,
    typer.Option(
        help="Axis value at which they are compared, or a column that holds it.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="In place of a pool, settings to search: NAME=LOW:HIGH (a range), NAME=A,B,C (choices) or "
        "NAME=VALUE; repeat.",
        show_default=False,
    ),
]
WithinOption = Annotated[float, typer.Option(help="Margin of prob_within, in the unit of the output.", min=0)]


@readable
def best(
    log: Known,
    *,
    roles: KnownRoles,
    pool: PoolOption = None,
    settings: SetOption = None,
    at: AtOption,
    within: WithinOption = 0.01,
    out: Table = Path("best.csv"),
    embedder: EmbedderName = "default",
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Name the best configuration of a pool, or between ranges, and say how sure that is.

    LOG may be a surrogate that `probscale fit` wrote. Every candidate gets its probability of being the best,
    and of lying within a margin of the best.
    """
    fit = {"embedder": embedder, "seed": seed, "quiet": quiet}
    run_best(log, roles, pool, settings or [], at, within, fit, out)


def run_best(
    known: list[str],
    roles: RoleOptions,
    pool: str | None,
    settings: list[str],
    at: str,
    within: float,
    fit: dict[str, Any],
    out: Path,
) -> None:
    """Find, print, write."""
    from probscale.cli.evidence import read_table, surrogate_of
    from probscale.cli.work import check_suffix, read_axis, write_table

    check_suffix(out)
    if (pool is None) == (not settings):
        given = "both" if settings else "neither"
        raise ConfigError(
            f"give candidates as --pool FILE or as --set NAME=VALUE for each setting; got {given}"
        )
    frame = None if pool is None else read_table(pool)
    surrogate = surrogate_of(known, roles, **fit)
    asked = frame if frame is not None else ranges_of(settings, surrogate.log.configs)
    values, column = read_axis(at, _fixed(asked))
    if isinstance(asked, dict):
        values = values[0]
    elif column not in (None, *surrogate.log.roles.described):
        asked = asked.drop(columns=str(column))
    with working("comparing configurations", quiet=fit["quiet"]):
        found = surrogate.best(asked, values, within=within, seed=fit["seed"])
    write_table(found.table, out)
    if not fit["quiet"]:
        typer.echo(told(found, surrogate))
        typer.echo(f"wrote {out}, best first")


def told(found: BestConfig, surrogate: CurveSurrogate) -> str:
    """The best configuration and its rivals, in words and a table."""
    from probscale.cli.tables import number, shown
    from probscale.cli.work import cautions

    count = len(found.table)
    chosen = ", ".join(f"{name} {number(value)}" for name, value in found.config.items())
    low, high = map(number, found.interval)
    lines = [f"best: {chosen}", f"{surrogate.log.output} {number(found.mean)}, 90 % interval {low} to {high}"]
    lines += cautions(found.beyond, found.left_out, count)
    if count > 1:
        lines += [
            f"the best of {count:,} with probability {found.prob_best:.2f}; with probability "
            f"{found.prob_within:.2f} at most {number(found.within)} from the best",
            shown(found.table.head(MOST_SHOWN)),
        ]
    if count > MOST_SHOWN:
        lines.append(f"(and {count - MOST_SHOWN:,} more)")
    return "\n".join(lines)


def ranges_of(settings: list[str], configs: pd.DataFrame) -> dict[str, Any] | pd.DataFrame:
    """Settings of `--set` as `CurveSurrogate.best` takes them; a table of one row where none has a choice.

    Args:
        settings: Texts NAME=VALUE.
        configs: Configurations of the log, which say what is a number.

    Raises:
        ConfigError: for what is no NAME=VALUE, a setting given twice, or a word for a column of numbers.
    """
    import pandas as pd

    ranges: dict[str, Any] = {}
    for text in settings:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (name and sign and value):
            raise ConfigError(
                f"--set {text!r} is not understood; write NAME=LOW:HIGH, NAME=A,B,C or NAME=VALUE"
            )
        if name in ranges:
            raise ConfigError(f"--set names {name!r} twice; list choices in one: {name}=A,B,C", column=name)
        ranges[name] = _range(name, value, configs)
    if any(isinstance(value, tuple | list) for value in ranges.values()):
        return ranges
    return pd.DataFrame([ranges])


def _range(name: str, text: str, configs: pd.DataFrame) -> Any:
    """One setting: a range where both ends are numbers, choices where there is a comma, else a value."""
    low, between, high = text.partition(":")
    ends = (_number(low), _number(high))
    if between and ends[0] is not None and ends[1] is not None and not _is_words(name, configs):
        if not ends[0] < ends[1]:
            raise ConfigError(f"--set {name}={text}: write the lower end first, LOW:HIGH", column=name)
        return ends
    values = [_value(name, item.strip(), configs) for item in text.split(",") if item.strip()]
    return values if "," in text else values[0]


def _value(name: str, text: str, configs: pd.DataFrame) -> Any:
    from pandas.api.types import is_bool_dtype

    truth = {"true": True, "false": False}.get(text.lower())
    if name in configs and is_bool_dtype(configs[name]) and truth is not None:
        return truth
    if _is_words(name, configs):
        return text
    found = _number(text)
    if found is None and name in configs:
        raise ConfigError(
            f"--set {name}={text}: {name} is a number in the log; write a range such as 1e-4:1e-2, choices "
            "such as 1,2,4 or one number",
            column=name,
        )
    return text if found is None else found


def _is_words(name: str, configs: pd.DataFrame) -> bool:
    from pandas.api.types import is_numeric_dtype

    return name in configs and not is_numeric_dtype(configs[name])


def _number(text: str) -> float | int | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _fixed(asked: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    """Where `--at` looks for a column: the pool, or the settings that have one value."""
    import pandas as pd

    if isinstance(asked, pd.DataFrame):
        return asked
    return pd.DataFrame([{name: v for name, v in asked.items() if not isinstance(v, tuple | list)}])
