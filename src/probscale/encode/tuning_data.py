"""What a fine-tuning is given: texts, targets and groups, checked and brought into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.encode.embedders import checked_texts
from probscale.encode.text_process import TextTargets
from probscale.errors import ConfigError

Texts = Sequence[str] | Mapping[str, Sequence[str]]
Numbers = ArrayLike | Mapping[str, ArrayLike]
Groups = Sequence[object] | Mapping[str, Sequence[object]]

FEWEST_GROUPS = 8
"""Groups of a field below which there is nothing to learn from and nothing to judge by."""

MOST_TARGETS = 400
"""Targets of a field; of more, some are drawn."""

ALONE = "text"
"""Name of the field where texts are of one kind."""


def checked_data(
    texts: Texts, targets: Numbers, groups: Groups | None, generator: np.random.Generator
) -> tuple[list[str], dict[str, TextTargets]]:
    """Distinct texts of all fields, and what those of each field are to tell.

    Args:
        texts: Text of each target, or a mapping from fields to such.
        targets: Numbers, in the same form.
        groups: Group of each target, in the same form; None: its text.
        generator: Draws targets where there are many.

    Raises:
        ConfigError: for what does not match, is too little, constant or not finite.
    """
    named = {name: checked_texts(values) for name, values in _fields(texts, "texts").items()}
    numbers = _fields(targets, "targets")
    kept = named if groups is None else _fields(groups, "groups")
    for other, what in ((numbers, "targets"), (kept, "groups")):
        if set(other) != set(named):
            raise ConfigError(
                f"{what} are given for {sorted(other)}, texts for {sorted(named)}; name the same",
                fields=sorted(other),
            )
    distinct = list(dict.fromkeys(text for values in named.values() for text in values))
    position = {text: number for number, text in enumerate(distinct)}
    data: dict[str, TextTargets] = {}
    for name, values in named.items():
        number = _checked_numbers(name, numbers[name], len(values))
        group = _codes(name, kept[name], len(values))
        place = np.array([position[value] for value in values], dtype=np.intp)
        data[name] = _some(TextTargets(place, group, number), generator)
    return distinct, data


def _fields(given: object, what: str) -> dict[str, Sequence]:
    if not isinstance(given, Mapping):
        return {ALONE: given}  # type: ignore[reportReturnType]
    if not given:
        raise ConfigError(f"{what} is an empty mapping; give at least one field")
    return dict(given)


def _checked_numbers(name: str, given: ArrayLike, count: int) -> NDArray[np.float64]:
    numbers = np.asarray(given, dtype=np.float64)
    if numbers.shape != (count,):
        raise ConfigError(
            f"targets of {name!r} have shape {numbers.shape} for {count} texts; give one number a text",
            shape=numbers.shape,
        )
    if not np.isfinite(numbers).all() or not float(np.ptp(numbers)) > 0:
        raise ConfigError(
            f"targets of {name!r} must be finite and differ; leave out those that are missing", field=name
        )
    return (numbers - numbers.mean()) / numbers.std()


def _codes(name: str, given: Sequence, count: int) -> NDArray[np.intp]:
    listed = [str(value) for value in given]
    if len(listed) != count:
        raise ConfigError(
            f"groups of {name!r} are {len(listed)} for {count} texts; give one a text", field=name
        )
    found = len(set(listed))
    if found < FEWEST_GROUPS:
        raise ConfigError(
            f"{name!r} has {found} groups of texts; fine-tuning needs at least {FEWEST_GROUPS}, and pays "
            "from some dozens on. Use the language model as it is",
            groups=found,
        )
    return np.unique(listed, return_inverse=True)[1].astype(np.intp)


def _some(data: TextTargets, generator: np.random.Generator) -> TextTargets:
    """At most 400 targets, the first of each group before any second one."""
    count = len(data.target)
    if count <= MOST_TARGETS:
        return data
    order = generator.permutation(count)
    seen: dict[int, int] = {}
    turn = np.empty(count, dtype=np.intp)
    for place in order:
        turn[place] = seen[int(data.group[place])] = seen.get(int(data.group[place]), -1) + 1
    kept = np.zeros(count, dtype=bool)
    kept[order[np.argsort(turn[order], kind="stable")][:MOST_TARGETS]] = True
    return data.take(kept)
