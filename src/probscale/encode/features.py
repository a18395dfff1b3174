"""From configurations to coordinates: which columns enter, on which scale, and which say nothing new."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.columns import numbers_repetitions
from probscale.encode.fields import (
    CategoricalField,
    NumericField,
    label,
    numeric_field,
    to_numbers,
    unordered,
)
from probscale.encode.text import is_free_text
from probscale.runs import Roles

Array = NDArray[np.float64]

# A column that others explain up to this share of its standard deviation brings no information of its own.
REDUNDANT = 0.02
MOST_MISSING = 0.98
# A model size that shapes explain up to this share is left to the law; embeddings account for the rest.
NEARLY_REDUNDANT = 0.15
MOST_SHAPES = 3
# Pairs of level values that are there in both orders, from which on what they share can be learnt.
FEWEST_MIRRORED = 6
# Values that two levels have in common, from which on a value may bring the same in either.
FEWEST_SHARED = 3


@dataclass(frozen=True)
class FeatureMap:
    """Which columns of a configuration become coordinates, and how; learnt from the training configurations.

    Attributes:
        numeric: Columns that enter as numbers, sizes first.
        categorical: Columns that enter as labels.
        free_text: Columns of long text, which only an embedder can read.
        dropped: Columns left out, with the reason.
        descriptions: Columns of prose that tell more about a level's values, by level.
    """

    numeric: tuple[NumericField, ...]
    categorical: tuple[CategoricalField, ...]
    free_text: tuple[str, ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Coordinate names, in column order."""
        return tuple(name for item in self.numeric for name in item.names)

    @property
    def untold(self) -> tuple[int, ...]:
        """Coordinates that mark values that were not given."""
        marks = [mark for item in self.numeric for mark in (False, True)[: len(item.names)]]
        return tuple(place for place, mark in enumerate(marks) if mark)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that enters."""
        items = (*self.numeric, *(item for item in self.categorical if not item.of))
        return (*(item.name for item in items), *self.free_text, *self.descriptions.values())

    def coordinates(self, configs: pd.DataFrame) -> Array:
        """Standardised coordinates, shape (rows, coordinates); columns not given count as missing."""
        blocks = [item.apply(_column(configs, item.name)) for item in self.numeric]
        return np.concatenate(blocks, axis=1) if blocks else np.zeros((len(configs), 0))

    @property
    def sharing(self) -> tuple[tuple[str, str], ...]:
        """Pairs of levels that are no numbers and have values in common."""
        numbers = {item.name for item in self.numeric}
        levels = [item for item in self.categorical if item.level and item.name not in numbers]
        return tuple(
            (one.name, other.name)
            for one, other in itertools.combinations(levels, 2)
            if len({*one.values} & {*other.values}) >= FEWEST_SHARED
        )

    def labels(self, configs: pd.DataFrame) -> list[list[str]]:
        """One list of canonical labels per categorical field."""
        return [_labels(configs, item) for item in self.categorical]


def _labels(configs: pd.DataFrame, item: CategoricalField) -> list[str]:
    columns = [[label(v) for v in _column(configs, name)] for name in item.of or (item.name,)]
    return unordered(columns) if item.of else columns[0]


def _column(configs: pd.DataFrame, name: str) -> pd.Series:
    return configs[name] if name in configs else pd.Series(np.nan, index=configs.index)


def fit_features(configs: pd.DataFrame, roles: Roles, axis_end: Array, *, curves: bool = False) -> FeatureMap:
    """Choose fields for the configurations of a log.

    Args:
        configs: One row per run.
        roles: Meaning of the columns.
        axis_end: Last observed axis value of each run (or its horizon), shape (runs,): a column that is a
            function of sizes and axis alone brings nothing.
        curves: Whether runs have more than one point.

    Cost: O(runs × columns²).
    """
    dropped: dict[str, str] = {}
    numeric: list[NumericField] = []
    categorical: list[CategoricalField] = []
    free_text: list[str] = []
    descriptions: dict[str, str] = {}
    for name in _ordered(roles):
        values = configs[name]
        is_level = name in roles.levels
        if not is_level and (level := _described_level(values, configs, roles, descriptions)):
            descriptions[level] = name
            continue
        if _is_number(values):
            if item := _numeric(name, values, configs, dropped, size=name in (roles.params, roles.horizon)):
                numeric.append(item)
            if not is_level:
                continue
        _add_label(name, values, is_level, categorical, free_text, dropped)
    categorical += _mirrored(configs, roles)
    kept = _independent(numeric, configs, roles, axis_end, dropped)
    if curves and not categorical and not free_text:
        kept = _shapes(kept, configs, roles, dropped)
    return FeatureMap(tuple(kept), tuple(categorical), tuple(free_text), dropped, descriptions)


def _described_level(
    values: pd.Series, configs: pd.DataFrame, roles: Roles, taken: Mapping[str, str]
) -> str | None:
    """The level that a column of prose describes: each of several values has one text, and most their own."""
    if _is_number(values) or not is_free_text(values.drop_duplicates()):
        return None
    texts = values.map(label)
    for level in roles.levels:
        per_value = texts.groupby(configs[level].map(label))
        distinct = texts.nunique()
        if level not in taken and 2 < distinct < len(texts) and per_value.nunique().max() == 1:
            return level
    return None


def _ordered(roles: Roles) -> tuple[str, ...]:
    """Columns in order of precedence: declared levels and sizes keep their place when others repeat them."""
    sizes = tuple(name for name in (roles.params, roles.horizon) if name is not None)
    return tuple(dict.fromkeys((*roles.levels, *sizes, *roles.config)))


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _numeric(
    name: str, values: pd.Series, configs: pd.DataFrame, dropped: dict[str, str], *, size: bool
) -> NumericField | None:
    missing = to_numbers(values)
    share = float(np.mean(~np.isfinite(missing)))
    if share > MOST_MISSING:
        dropped[name] = f"missing in {100 * share:.0f} % of the runs"
        return None
    marks = share > 0 and not any(labels_of_gaps(~np.isfinite(missing), configs))
    scale = "log" if size else None
    repeats = not size and numbers_repetitions(name)
    item = numeric_field(name, values, marks_missing=marks, scale=scale, repeats=repeats)
    if item is None:
        dropped[name] = "the same in every run"
    return item


def labels_of_gaps(mask: NDArray[np.bool_], configs: pd.DataFrame) -> Iterator[str]:
    """Labels that say already where values are missing (a field only one optimizer has, say)."""
    for name in configs:
        column = configs[name]
        if _is_number(column) or column.nunique() > len(column) / 4:
            continue
        shares = pd.Series(mask).groupby(column.map(label).to_numpy()).mean()
        if bool(((shares == 0) | (shares == 1)).all()):
            yield str(name)


def _add_label(
    name: str,
    values: pd.Series,
    is_level: bool,
    categorical: list[CategoricalField],
    free_text: list[str],
    dropped: dict[str, str],
) -> None:
    labels = tuple(dict.fromkeys(label(v) for v in values))
    if is_level:
        # Kept even where it is the same in every run: what it is for an asked run may be new.
        categorical.append(CategoricalField(name, labels, level=True))
    elif len(labels) == 1:
        dropped.setdefault(name, "the same in every run")
    elif len(labels) > max(2, len(values) / 2) and len(values) > 4:
        free_text.append(name)
    else:
        categorical.append(CategoricalField(name, labels))


def _mirrored(configs: pd.DataFrame, roles: Roles) -> list[CategoricalField]:
    """Pairs of levels that share their values, such as source and target languages, in either order.

    What is particular to a pair beyond its two members, such as how close two languages are, mostly holds in
    both directions.

    Source: the relationship effects of the social relations model, Kenny and La Voie 1984.
    """
    found = []
    for one, other in itertools.combinations(roles.levels, 2):
        if _is_number(configs[one]) or _is_number(configs[other]):
            continue
        pairs = [[label(v) for v in configs[name]] for name in (one, other)]
        directed = set(zip(*pairs, strict=True))
        both = {pair for pair in directed if pair[0] != pair[1] and pair[::-1] in directed}
        if len(both) >= FEWEST_MIRRORED:
            values = tuple(dict.fromkeys(unordered(pairs)))
            found.append(CategoricalField(f"{one} and {other} in either order", values, of=(one, other)))
    return found


def _independent(
    numeric: list[NumericField],
    configs: pd.DataFrame,
    roles: Roles,
    axis_end: Array,
    dropped: dict[str, str],
) -> list[NumericField]:
    """Numeric fields whose values the earlier ones and the axis do not already determine."""
    kept: list[NumericField] = []
    axis = np.log(np.maximum(axis_end, 1e-300))
    basis = [np.ones(len(configs))]
    if np.ptp(axis) > 1e-9:
        basis.append((axis - axis.mean()) / axis.std())
    for item in numeric:
        z = item.apply(configs[item.name])[:, 0]
        if item.name not in roles.levels and (reason := _repeats(item, z, kept, basis, configs, roles)):
            dropped[item.name] = reason
            continue
        kept.append(item)
        if len(basis) + 1 < len(configs) / 2:
            basis.append(z)
    return kept


def _shapes(
    kept: list[NumericField], configs: pd.DataFrame, roles: Roles, dropped: dict[str, str]
) -> list[NumericField]:
    """Fields without the model size, where two or three others (width and depth, say) all but fix it.

    The law reads the size in any case; effects of width and of depth add up, those of width and size do not.
    """
    size = [item for item in kept if item.name == roles.params and item.name not in roles.levels]
    others = [item for item in kept if item.name not in (roles.params, roles.horizon)]
    if not size or len(kept) - 1 != len(others) or not 2 <= len(others) <= MOST_SHAPES:
        return kept
    if len(configs) < len(others) + 2:
        return kept
    design = np.column_stack(
        [np.ones(len(configs)), *(item.apply(configs[item.name])[:, 0] for item in others)]
    )
    z = size[0].apply(configs[size[0].name])[:, 0]
    slopes = np.linalg.lstsq(design, z, rcond=None)[0]
    if float((z - design @ slopes).std()) > NEARLY_REDUNDANT or (slopes[1:] <= 0).any():
        return kept
    names = ", ".join(item.name for item in others)
    dropped[size[0].name] = f"nearly determined by other columns ({names}); the law still reads it"
    return others


def _repeats(
    item: NumericField,
    z: Array,
    kept: list[NumericField],
    basis: list[Array],
    configs: pd.DataFrame,
    roles: Roles,
) -> str | None:
    """Why a field says nothing new: a function of model size, or a combination of earlier fields."""
    if (
        item.name != roles.params
        and roles.params is not None
        and configs[roles.params].nunique() <= len(configs) / 4
    ):
        by_size = pd.Series(z).groupby(configs[roles.params].to_numpy())
        # Width and depth of shapes fix the size too, but the size does not tell a deep model from a wide one.
        steps = np.diff(by_size.first().to_numpy())
        monotone = bool((steps >= -1e-9).all() or (steps <= 1e-9).all())
        if monotone and float(by_size.std().fillna(0.0).max()) < 1e-6:
            return f"a function of {roles.params}"
    design = np.stack(basis, axis=1)
    residual = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
    if float(residual.std()) < REDUNDANT:
        others = ", ".join([roles.axis, *(other.name for other in kept)][:4])
        return f"determined by other columns ({others})"
    return None
