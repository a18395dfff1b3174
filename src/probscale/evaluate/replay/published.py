"""Published logs: files that a game expects as they were published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probscale.errors import ConfigError, ProbscaleError

LONGEST = 120
"""Characters of a reason that are shown."""


@contextmanager
def published(game: str, path: str | Path) -> Iterator[None]:
    """Around the reading of a game's log: a file that is not this log is refused by its name.

    Args:
        game: Name of the game.
        path: File that the user gave.

    Raises:
        ConfigError: if it cannot be read as the published log.
    """
    try:
        yield
    except (ProbscaleError, FileNotFoundError):
        raise
    # What a foreign file lacks shows in as many ways: columns, numbers, rows of one length.
    except (LookupError, ValueError, TypeError, ArithmeticError, OSError) as error:
        lacks = f"no column {error.args[0]!r}" if isinstance(error, KeyError) and error.args else str(error)
        reason = lacks if len(lacks) < LONGEST else f"{lacks[:LONGEST]} ..."
        raise ConfigError(
            f"{str(path)!r} is not the published log of {game} ({reason}); give that file, or replay "
            'a log of your own as the game "active" or "budget"',
            game=game,
            path=str(path),
        ) from error
