"""How commands speak: errors as one paragraph, warnings as notes, progress bars on standard error."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from probscale.cli.groups import with_groups
from probscale.errors import ProbscaleError

if TYPE_CHECKING:
    from rich.progress import Progress

USER_ERROR = 2
BUG = 1


def readable(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose failures are one readable paragraph; with `--debug` they are raised.

    Parameters that are groups of options become these options.
    """
    command = with_groups(command)

    @functools.wraps(command)
    def spoken(*args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            _speak_warnings(quiet=bool(kwargs.get("quiet", False)))
            try:
                command(*args, **kwargs)
            except (ProbscaleError, OSError) as error:
                if kwargs.get("debug"):
                    raise
                _fail(_as_options(str(error)), USER_ERROR)
            except (typer.Exit, typer.Abort):
                raise
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


def _as_options(message: str) -> str:
    """A message whose arguments of functions are written as options of commands."""
    return re.sub(r'\b(nonfinite|goal)="(\w+)"', r"--\1 \2", message)


def _fail(message: str, code: int) -> None:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(code)


def _speak_warnings(*, quiet: bool) -> None:
    """Warnings of this package as notes; those of other packages are not for the user of a command."""

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if not quiet and category.__module__.startswith("probscale"):
            typer.echo(f"Note: {_as_options(str(message))}", err=True)

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
    # In a file or a pipe a bar is noise.
    return Progress(*columns, console=console, disable=not console.is_terminal)
