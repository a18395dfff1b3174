"""How commands speak: errors as one paragraph, warnings as notes, progress bars on standard error."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from probscale.cli.groups import with_groups
from probscale.errors import ConfigError, ProbscaleError

if TYPE_CHECKING:
    from rich.progress import Progress

USER_ERROR = 2
BUG = 1
STOPPED = 130


def readable(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose failures are one readable paragraph; with `--debug` they are raised.

    Parameters that are groups of options become these options.
    """
    command = with_groups(command)

    @functools.wraps(command)
    def spoken(*args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            _speak_warnings(kwargs, quiet=bool(kwargs.get("quiet", False)))
            try:
                check_files(kwargs)
                command(*args, **kwargs)
            # A reader that had enough, such as `head`, is no failure: the command line tool ends quietly.
            except (typer.Exit, typer.Abort, BrokenPipeError):
                raise
            except KeyboardInterrupt:
                typer.echo(_stopped(kwargs), err=True)
                raise typer.Exit(STOPPED) from None
            except (ProbscaleError, OSError) as error:
                if kwargs.get("debug"):
                    raise
                _fail(as_options(_words(error), kwargs), USER_ERROR)
            # Whatever else goes wrong is a fault of this package: say so, without a wall of frames.
            except Exception as error:
                if kwargs.get("debug"):
                    raise
                _fail(
                    f"unexpected {type(error).__name__}: {error}. This is a fault of probscale; run "
                    "the command again with --debug and report what it prints",
                    BUG,
                )

    return spoken


READ = ("log", "pool", "configs", "surrogate", "targets")
WRITTEN = {"out": "--out", "summary": "--json", "curves": "--curves", "picture": "--picture"}
"""Parameters of commands that name files which are read, and written."""


def check_files(given: Mapping[str, Any]) -> None:
    """Refuse to write over a file that is read, or one result over another.

    Args:
        given: Parameters of a command.

    Raises:
        ConfigError: then.
    """
    listed = (value if isinstance(value, list | tuple) else [value] for value in map(given.get, READ))
    taken = {Path(path).resolve(): "is read" for paths in listed for path in paths if path is not None}
    for name, option in WRITTEN.items():
        path = given.get(name)
        if path is None:
            continue
        place = Path(path).resolve()
        if place in taken and not place.is_dir():
            raise ConfigError(
                f"{option} would write over {str(path)!r}, which {taken[place]}; give another file",
                path=str(path),
            )
        taken[place] = f"{option} writes"


def as_options(message: str, options: Iterable[str]) -> str:
    """A message whose arguments of functions are written as the options of a command.

    Args:
        message: Words such as 'raise max_cost= or pass nonfinite="drop"'.
        options: Names of the command's parameters.
    """
    message = re.sub(r"\bgoal=\{'([^']+)': \"(\w+)\", \.\.\.\}", r"goal=\1=\2,...", message)
    names = "|".join(map(re.escape, options))
    return re.sub(rf'(?<![\w.(])({names})=(?:"(\w+)"|(?=(\S)?))', _option, message) if names else message


def _option(found: re.Match[str]) -> str:
    value = found[2] or ""
    between = " " if value or re.match(r"[\w'\"]", found[3] or "") else ""
    return f"--{found[1].replace('_', '-')}{between}{value}"


def _words(error: Exception) -> str:
    """What an error says; of the operating system's, the file and the reason without a number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{str(error.filename)!r}: {error.strerror}; check the path and its permissions"
    return str(error)


def _stopped(given: Mapping[str, Any]) -> str:
    """That the user stopped a command, and where it would go on."""
    kept = given.get("ledger") if "runner" in given else given.get("store")
    if kept is None or not Path(kept).exists():
        return "Stopped"
    return f"Stopped; the same command goes on from {kept}"


def _fail(message: str, code: int) -> None:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(code)


def _speak_warnings(options: Iterable[str], *, quiet: bool) -> None:
    """Warnings of this package as notes, each once; those of other packages are not for its user."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        note = as_options(str(message), options)
        if not quiet and category.__module__.startswith("probscale") and note not in said:
            said.add(note)
            typer.echo(f"Note: {note}", err=True)

    warnings.simplefilter("default", UserWarning)
    warnings.showwarning = show


@contextmanager
def working(text: str, *, quiet: bool, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Progress bar around work that may take long.

    Args:
        text: What is being done.
        quiet: Show nothing.
        total: Number of steps; without it the bar only shows that time passes.

    Yields:
        Function that reports finished steps.
    """
    if quiet:
        yield lambda steps: None
        return
    with _bar() as progress:
        task = progress.add_task(text, total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def stages(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Bar of work whose parts have names.

    Args:
        quiet: Show nothing.

    Yields:
        Function that names the part that begins.
    """
    if quiet:
        yield lambda words: None
        return
    with _bar() as progress:
        task = progress.add_task("starting", total=None)
        yield lambda words: progress.update(task, description=words)


@contextmanager
def budget_bar(text: str, total: float) -> Iterator[tuple[Callable[[float], None], Callable[[str], None]]]:
    """Bar of an amount that is spent, with lines above it.

    Args:
        text: What stands beside the bar.
        total: The whole amount.

    Yields:
        Function that reports a part as spent, and one that says a line.
    """
    with _bar() as progress:
        task = progress.add_task(text, total=total)

        def say(line: str) -> None:
            if progress.disable:
                typer.echo(line, err=True)
            else:
                progress.console.print(line, markup=False, highlight=False)

        yield lambda part: progress.advance(task, part), say


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    # In a file, a pipe or a terminal that cannot erase, a bar is noise.
    moving = console.is_terminal and not console.is_dumb_terminal
    return Progress(*columns, console=console, disable=not moving)
