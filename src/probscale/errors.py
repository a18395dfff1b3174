"""Every failure a user can cause, and every warning the library emits.

Each exception is also the builtin that a caller would naturally catch, and carries its context as attributes,
so that programs need not parse messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class ProbscaleError(Exception):
    """Root of all errors raised on purpose.

    Args:
        message: What was wrong with the value, what is accepted, and what to do about it.
        **context: Values the message mentions; available as attributes and in `context`.
    """

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.context = context
        for name, value in context.items():
            setattr(self, name, value)


class RunLogError(ProbscaleError, ValueError):
    """A table of runs that cannot be read as a run log."""


class ConfigError(ProbscaleError, ValueError):
    """A configuration, pool or option that is not accepted."""


class ShapeError(ProbscaleError, ValueError):
    """An array whose shape does not match its partner."""


class BudgetError(ProbscaleError, ValueError):
    """A budget that cannot be spent as asked, or a ledger that contradicts it."""


class LawError(ProbscaleError, ValueError):
    """Data or parameters outside the domain of a parametric law."""


class FitError(ProbscaleError, RuntimeError):
    """A fit that could not be completed from the data given."""


class NotPositiveDefiniteError(ProbscaleError, RuntimeError):
    """A covariance that stayed singular after the jitter allowed for it."""


class EmbeddingError(ProbscaleError, RuntimeError):
    """A language model or its cache that cannot be used."""


class MissingExtraError(ProbscaleError, ImportError):
    """An optional dependency that is not installed.

    Args:
        extra: Name of the extra that brings it, as in `pip install "probscale-surrogates[extra]"`.
        feature: What needed it.
    """

    def __init__(self, extra: str, feature: str) -> None:
        super().__init__(
            f'{feature} needs the optional extra "{extra}"; '
            f'install it with: pip install "probscale-surrogates[{extra}]"',
            extra=extra,
            feature=feature,
        )


class ExtrapolationWarning(UserWarning):
    """A prediction lies beyond the scales, or leaves the one value of a column, that were observed."""


class NumericalWarning(UserWarning):
    """A numerical repair was needed; the report says which."""


class GoalWarning(UserWarning):
    """Most runs get worse by the goal that was given; it may be the wrong one."""


class MisfitWarning(UserWarning):
    """A law does not describe what it was fitted to; its parameters mean little."""


class UnknownColumnWarning(UserWarning):
    """Columns of a query that the fit never saw and that are therefore ignored."""


_new_values_expected: ContextVar[bool] = ContextVar("new values expected", default=False)


@contextmanager
def expecting_new_values() -> Iterator[None]:
    """Within, values that no run has had are no surprise: a loop is to try them, or a fold left them out.

    A context of its own for each thread, unlike a filter of warnings.
    """
    token = _new_values_expected.set(True)
    try:
        yield
    finally:
        _new_values_expected.reset(token)


def new_values_expected() -> bool:
    """Whether `expecting_new_values` holds here."""
    return _new_values_expected.get()
