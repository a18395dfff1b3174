"""Names that a misspelt one may stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def close_names(
    name: object, known: Iterable[object], most: int = 3, likeness: float = 0.6
) -> tuple[str, ...]:
    """Known names like another one, the most alike first.

    Args:
        name: What was asked for.
        known: What there is.
        most: At most so many.
        likeness: Least ratio of matching characters, from zero to one.
    """
    return tuple(difflib.get_close_matches(str(name), [str(each) for each in known], most, likeness))


def did_you_mean(close: Iterable[str], then: str = "") -> str:
    """What a message asks where names are close, and nothing where none is; then what it says in any case.

    >>> did_you_mean(close_names("lrr", ["lr", "width"]))
    "did you mean 'lr'?"
    >>> did_you_mean(("lr", "wd"))
    "did you mean 'lr' or 'wd'?"
    >>> did_you_mean((), "known are 'lr', 'wd'")
    "known are 'lr', 'wd'"
    """
    names = " or ".join(map(repr, close))
    return " ".join(filter(None, (f"did you mean {names}?" if names else "", then)))
