"""Canonical sentences for configurations and for the values of categorical fields.

One configuration has one sentence: the order of its fields, the type that holds a number and the way a
missing value is written leave no trace, so that the sentence can be embedded once and looked up ever after.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd

from probscale.encode.glossary import explain
from probscale.encode.vocabulary import field_phrase
from probscale.errors import ConfigError

# Leading zeros mark an identifier ("007"), not a number.
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_MISSING_WORDS = frozenset({"", "nan", "none", "null", "<na>", "n/a", "nat"})
_BOOLEANS = {"true": True, "false": False}
_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
_PROSE_WORDS = 8
_PROSE_CHARACTERS = 80
_DESCRIPTION_RANK = 1_000_000


def config_sentence(config: Mapping[str, object], *, fields: Iterable[str] | None = None) -> str:
    """Canonical sentence of a configuration.

    Args:
        config: Field names and values. None, NaN and pd.NA mean that the field was not given. Nested
            mappings (or JSON text of one) are read as fields of their own.
        fields: Fields to speak of; others are left out, and names not in `config` are ignored. Default: all.

    Returns:
        Phrases joined by commas: usual fields in a fixed order, then others by name, then free text, whole.

    Example:
        >>> config_sentence({"lr": 3e-4, "N_params": 130_000_000, "optimizer": "muon", "dropout": None})
        '130M parameters, optimizer muon, learning rate 0.0003'
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"configuration {config!r} is not a mapping of fields to values", config=config)
    wanted = _wanted(fields)
    chosen = {str(name): value for name, value in config.items() if wanted is None or name in wanted}
    phrases = sorted(set(_phrases(chosen)))
    short = ", ".join(text for rank, _, text in phrases if rank < _DESCRIPTION_RANK)
    long = [text for rank, _, text in phrases if rank >= _DESCRIPTION_RANK]
    return " ".join(_closed([short] if short else [], long)) or "unspecified configuration"


def config_sentences(frame: pd.DataFrame, *, fields: Iterable[str] | None = None) -> list[str]:
    """Canonical sentence of every row of a table of configurations; see `config_sentence`."""
    wanted = _wanted(fields)
    columns = [name for name in frame.columns if wanted is None or name in wanted]
    names = [str(name) for name in columns]
    cells = [frame[name].tolist() for name in columns]
    rows = zip(*cells, strict=True) if cells else ((),) * len(frame)
    return [config_sentence(dict(zip(names, row, strict=True))) for row in rows]


def value_sentence(field: str, value: object) -> str:
    """Sentence for one value of a categorical field: an optimizer, a data set, a language, a description.

    Args:
        field: Field name as the user wrote it.
        value: The value; a missing one reads "unspecified".

    Returns:
        The phrase of `config_sentence`, followed by an explanation where the glossary has one; free text
        alone.

    Example:
        >>> value_sentence("optimizer", "lion")
        'optimizer lion: Lion, sign of momentum, no second moment'
    """
    phrase = field_phrase(field)
    cleaned = _clean(value)
    if cleaned is None:
        return f"unspecified {phrase.name}"
    if isinstance(cleaned, str) and _is_prose(cleaned):
        return cleaned
    spoken = _speak(field, cleaned)
    meaning = explain(phrase.name, cleaned) if isinstance(cleaned, str) else None
    return f"{spoken}: {meaning}" if meaning else spoken


def is_free_text(values: Sequence[object] | pd.Series) -> bool:
    """Whether a column holds prose rather than names or numbers.

    A column is prose when at least half of its given values are strings of eight words or of eighty
    characters with spaces. Paths, identifiers and names of any length are not prose.
    """
    given = [value for value in map(_clean, values) if value is not None]
    prose = sum(isinstance(value, str) and _is_prose(value) for value in given)
    return prose > 0 and 2 * prose >= len(given)


def _wanted(fields: Iterable[str] | None) -> set[str] | None:
    if isinstance(fields, str):
        raise ConfigError(f"fields is the single string {fields!r}; put it in a list", fields=fields)
    return None if fields is None else set(fields)


def _closed(short: list[str], long: list[str]) -> Iterator[str]:
    """Sentences with a full stop between them, none added at the end."""
    sentences = short + long
    for sentence in sentences[:-1]:
        yield sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    yield from sentences[-1:]


def _phrases(config: Mapping[str, object]) -> Iterator[tuple[int, str, str]]:
    for name, raw in config.items():
        value = _clean(raw)
        if value is None:
            continue
        if isinstance(value, dict):
            yield from _phrases({f"{name}.{key}": inner for key, inner in value.items()})
        elif isinstance(value, str) and _is_prose(value):
            yield _DESCRIPTION_RANK, field_phrase(name).name, f"{field_phrase(name).name}: {value}"
        else:
            yield field_phrase(name).rank, field_phrase(name).name, _speak(name, value)


def _clean(value: object) -> object:
    """The value as None, bool, float, str, dict or list, whatever type held it."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    match value:
        case bool():
            return value
        case Mapping():
            return {str(key): inner for key, inner in value.items()}
        case set() | frozenset():
            return sorted(map(str, value))
        case list() | tuple() | np.ndarray():
            return list(value)
        case numbers.Real() | Decimal():
            return None if math.isnan(value) else float(value)
    # None, pd.NA and NaT spell themselves as words for "missing".
    return _clean_text(str(value))


def _clean_text(text: str) -> object:
    stripped = " ".join(text.split())
    lowered = stripped.lower()
    if lowered in _MISSING_WORDS:
        return None
    if lowered in _BOOLEANS:
        return _BOOLEANS[lowered]
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    if stripped.startswith("{") and stripped.endswith("}"):
        try:
            return dict(json.loads(stripped))
        except ValueError:
            return stripped
    return stripped


def _is_prose(text: str) -> bool:
    words = text.count(" ") + 1
    return words >= _PROSE_WORDS or (words > 2 and len(text) >= _PROSE_CHARACTERS)


def _speak(name: str, value: object) -> str:
    phrase = field_phrase(name)
    if isinstance(value, bool):
        return f"{'with' if value else 'without'} {phrase.name}"
    return phrase.template.format(_spoken_value(value))


def _spoken_value(value: object) -> str:
    if isinstance(value, float):
        return spoken_number(value)
    if isinstance(value, list):
        return " ".join(_spoken_value(inner) for inner in map(_clean, value) if inner is not None)
    if isinstance(value, dict):
        return " ".join(f"{key} {_spoken_value(_clean(inner))}" for key, inner in sorted(value.items()))
    return str(value).replace("_", " ")


def spoken_number(value: float) -> str:
    """A number as people write it: `128`, `0.0003`, `1e-8`, `134.2M`, `2.684B`, `2.161e18`.

    Counts of a million and more keep four digits, other numbers six: the sentence carries meaning, and the
    exact value enters the model as a number.
    """
    if not math.isfinite(value):
        return "infinite" if value > 0 else "minus infinite"
    size = abs(value)
    # 999,950,000 rounds to 1000M in four digits; step up to the next suffix just below the limit.
    for scale, suffix in _SCALES:
        if scale * 0.99995 <= size < 1e15:
            return f"{_digits(value / scale, 4)}{suffix}"
    return _digits(value, 4 if size >= 1e15 else 6)


def _digits(value: float, digits: int) -> str:
    text = f"{value + 0.0:.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
