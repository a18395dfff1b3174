"""Groups of options: a command takes a dataclass whose fields are options of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters of dataclass types are replaced by the fields of these classes.

    Fields become keyword-only parameters, in the order and with the annotations and defaults of the class;
    one that was made with `init=False` is no option. A field that two groups share is one option, whose value
    goes to both.

    Args:
        command: Function whose annotations can be evaluated.
    """
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters
    groups = {name: options_of(hints[name]) for name in own if is_dataclass(hints[name])}

    @functools.wraps(command)
    def expanded(*args: Any, **given: Any) -> None:
        made = {
            name: hints[name](**{option: given[option] for option in options if option in given})
            for name, options in groups.items()
        }
        shared = {option for options in groups.values() for option in options} - set(own)
        command(*args, **{name: value for name, value in given.items() if name not in shared}, **made)

    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in own.items():
        found = groups.get(name, {name: parameter.replace(annotation=hints[name])})
        parameters |= {option: spec for option, spec in found.items() if option not in parameters}
    expanded.__annotations__ = {name: spec.annotation for name, spec in parameters.items()}
    expanded.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    return expanded


def options_of(group: Any) -> Mapping[str, inspect.Parameter]:
    """The fields of a dataclass as keyword-only parameters."""
    hints = get_type_hints(group, include_extras=True)
    return {
        field.name: inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[field.name]
        )
        for field in fields(group)
        if field.init
    }


def _default(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default
