"""Encoder: from configurations, runs and axis values to the rows that the model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.annealing import Annealing, bend, find_annealing
from probscale.encode.cache import CachedEmbedder
from probscale.encode.embedders import Embedder
from probscale.encode.features import FeatureMap, fit_features
from probscale.encode.fields import CategoricalField, label_code
from probscale.encode.projection import Projection, center_project
from probscale.encode.text import value_sentence
from probscale.runs import Roles, RunLog

Array = NDArray[np.float64]

LABEL_RANK = 8
FREE_TEXT_RANK = 6


@dataclass(frozen=True)
class CurveSet:
    """Points as arrays.

    Attributes:
        x: Coordinates, (points, columns); see `Encoder.columns`.
        size: Logarithm of model size, (points,); zero without a params role.
        progress: Logarithm of the axis value, (points,).
    """

    x: Array
    size: Array
    progress: Array


@dataclass(frozen=True)
class LabelColumns:
    """Where a label sits: its code, its text, its kind, and the code of its only value; see `LabelBlock`."""

    name: str
    code: int
    text: tuple[int, ...]
    level: bool
    lone: float | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class AxisScale:
    """How axis values become coordinates.

    Attributes:
        offset: Added before the logarithm; positive only where the axis starts at zero.
        centre: Mean logarithm.
        spread: Standard deviation of the logarithm.
        curves: Whether runs have several points; otherwise the axis is one more size.
        fraction: Whether the share of the horizon is a coordinate too.
    """

    offset: float
    centre: float
    spread: float
    curves: bool
    fraction: bool

    def log(self, at: Array) -> Array:
        """Logarithm of axis values."""
        return np.log(np.maximum(at + self.offset, 1e-300))

    def value(self, log: Array) -> Array:
        """Axis values of logarithms, the inverse of `log`."""
        return np.maximum(np.exp(log) - self.offset, 0.0)


@dataclass(frozen=True)
class Encoder:
    """Frozen map from configurations and axis values to rows.

    Attributes:
        roles: Meaning of the columns.
        features: Which columns enter.
        axis: Scale of the axis.
        projections: Per text-bearing column, the directions in which its texts differ.
        embedder: Source of the vectors; None without text.
        annealing: Where configurations tell how the learning rate goes; None where they do not.
    """

    roles: Roles
    features: FeatureMap
    axis: AxisScale
    projections: dict[str, Projection] = field(default_factory=dict)
    embedder: Embedder | CachedEmbedder | None = None
    annealing: Annealing | None = None

    @property
    def continuous(self) -> tuple[str, ...]:
        """Names of the continuous columns of `x`."""
        text = tuple(f"{name} text {i}" for name in self._texts for i in range(self.projections[name].span))
        tail = (self.roles.axis,) + (("share of horizon",) if self.axis.fraction else ())
        return (*self.features.names, *text, *tail)

    @property
    def _texts(self) -> tuple[str, ...]:
        return tuple(name for name in self.features.free_text if name in self.projections)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Continuous columns that measure scale."""
        roles = {self.roles.params, self.roles.horizon, self.roles.axis}
        if self.axis.curves and self.roles.horizon is None:
            roles -= {self.roles.axis}
        return tuple(i for i, name in enumerate(self.continuous) if name in roles)

    @property
    def progress(self) -> tuple[int, ...]:
        """Continuous columns that measure progress; empty when every run has one point."""
        if not self.axis.curves:
            return ()
        count = len(self.continuous)
        return tuple(range(count - 1 - int(self.axis.fraction), count))

    @property
    def labels(self) -> tuple[LabelColumns, ...]:
        """Where each label sits in `x`."""
        position, out = len(self.continuous), []
        for item in self.features.categorical:
            span = self.projections[item.name].span if item.name in self.projections else 0
            text = tuple(range(position + 1, position + 1 + span))
            lone = label_code(item.values[0]) if len(item.values) == 1 else None
            out.append(LabelColumns(item.name, position, text, item.level, lone, bool(item.of)))
            position += 1 + span
        return tuple(out)

    @property
    def run_column(self) -> int | None:
        """Column of the run's code, when runs have several points."""
        if not self.axis.curves:
            return None
        return len(self.continuous) + sum(1 + len(item.text) for item in self.labels)

    def encode(self, configs: pd.DataFrame, runs: Array, index: NDArray[np.intp], at: Array) -> CurveSet:
        """Rows of points.

        Args:
            configs: One row per run.
            runs: Code of each run, (runs,); equal codes share a run deviation.
            index: Position in `configs` of each point, (points,).
            at: Axis value of each point, (points,).
        """
        return self.place(self.encode_configs(configs), configs, runs, index, at)

    def encode_configs(self, configs: pd.DataFrame) -> tuple[Array, Array]:
        """The columns that do not depend on the axis: continuous ones, then labels; (runs, ·) each."""
        blocks = [self.features.coordinates(configs)]
        blocks += [self._text(name, _texts(configs, name)) for name in self._texts]
        labels: list[Array] = []
        for item, values in zip(self.features.categorical, self.features.labels(configs), strict=True):
            distinct = list(dict.fromkeys(values))
            where = np.array([distinct.index(v) for v in values], dtype=np.intp)
            codes = np.array([label_code(v) for v in distinct])[:, None]
            text = self._text(item.name, label_sentences(self.features, item.name, distinct, values, configs))
            labels.append(np.concatenate([codes, text], axis=1)[where])
        empty = np.zeros((len(configs), 0))
        return np.concatenate(blocks, axis=1), np.concatenate([empty, *labels], axis=1)

    def place(
        self,
        encoded: tuple[Array, Array],
        configs: pd.DataFrame,
        runs: Array,
        index: NDArray[np.intp],
        at: Array,
    ) -> CurveSet:
        """Put encoded configurations at axis values."""
        continuous, labels = encoded
        progress = self.axis.log(at)
        columns = [continuous[index], ((progress - self.axis.centre) / self.axis.spread)[:, None]]
        if self.axis.fraction:
            horizon = self._role(configs, self.roles.horizon)[index]
            # A horizon that is not given is the asked end.
            known = np.isfinite(horizon)
            share = np.where(known, at / np.where(known, horizon, 1.0), 1.0)
            forms = None if self.annealing is None else self.annealing.forms(configs)[index]
            warped = 1.5 * np.clip(share, 0.0, 1.0) + 1.5 * bend(forms, share)
            columns.append(warped[:, None])
        columns.append(labels[index])
        if self.axis.curves:
            columns.append(runs[index][:, None])
        size = np.log(self._role(configs, self.roles.params)) if self.roles.params else np.zeros(len(configs))
        return CurveSet(np.concatenate(columns, axis=1), size[index], progress)

    def _role(self, configs: pd.DataFrame, name: str | None) -> Array:
        if name is None or name not in configs:
            return np.full(len(configs), np.nan)
        return pd.to_numeric(configs[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)

    def _text(self, name: str, texts: Sequence[str]) -> Array:
        if name not in self.projections or self.embedder is None:
            return np.zeros((len(texts), 0))
        projection = self.projections[name]
        return projection.apply(self.embedder.embed(texts))[:, : projection.span]


def _texts(configs: pd.DataFrame, name: str) -> list[str]:
    if name not in configs:
        return [""] * len(configs)
    return ["" if pd.isna(v) else str(v) for v in configs[name]]


def label_sentences(
    features: FeatureMap, name: str, distinct: Sequence[str], values: Sequence[str], configs: pd.DataFrame
) -> list[str]:
    """Sentences of the values of a label, with what a column of the configurations tells of them.

    Args:
        features: Which column describes which level.
        name: Field of the label.
        distinct: The values to speak of.
        values: The value of each configuration.
        configs: One row per configuration.
    """
    sentences = [value_sentence(name, value) for value in distinct]
    if name not in features.descriptions:
        return sentences
    told = dict(zip(reversed(values), reversed(_texts(configs, features.descriptions[name])), strict=True))
    pairs = zip(sentences, (told[value] for value in distinct), strict=True)
    return [f"{short}. {more}" if more else short for short, more in pairs]


def read_texts(features: FeatureMap, configs: pd.DataFrame) -> dict[str, list[str]]:
    """The text that a language model reads of each configuration, by the field that it stands for."""
    found: dict[str, list[str]] = {}
    for item, values in zip(features.categorical, features.labels(configs), strict=True):
        if is_read(features, item):
            sentences = label_sentences(features, item.name, item.values, values, configs)
            told = dict(zip(item.values, sentences, strict=True))
            found[item.name] = [told[value] for value in values]
    return found | {name: _texts(configs, name) for name in features.free_text}


def is_read(features: FeatureMap, item: CategoricalField) -> bool:
    """Whether the text of a label's values is read; values that enter as numbers speak for themselves."""
    return len(item.values) > 2 and item.name not in features.names and not item.of


def fit_encoder(log: RunLog, embedder: Embedder | CachedEmbedder | None) -> Encoder:
    """Learn an encoder from the configurations of a log.

    Args:
        log: Training runs.
        embedder: Source of text vectors; None leaves text out.
    """
    roles = log.roles
    at = log.points[roles.axis].to_numpy(dtype=np.float64)
    codes = log.codes
    ends = np.zeros(log.n_runs)
    np.maximum.at(ends, codes, at)
    curves = log.n_points > log.n_runs
    features = fit_features(log.configs, roles, ends, curves=curves)
    axis = _axis_scale(log, at, ends, curves)
    projections: dict[str, Projection] = {}
    if embedder is not None:
        for item, values in zip(features.categorical, features.labels(log.configs), strict=True):
            if is_read(features, item):
                sentences = label_sentences(features, item.name, item.values, values, log.configs)
                projections[item.name] = center_project(embedder.embed(sentences), LABEL_RANK)
        for name in features.free_text:
            texts = list(dict.fromkeys(_texts(log.configs, name)))
            projections[name] = center_project(embedder.embed(texts), FREE_TEXT_RANK)
    annealing = find_annealing(log.configs, roles.config) if axis.fraction else None
    return Encoder(roles, features, axis, projections, embedder if projections else None, annealing)


def _axis_scale(log: RunLog, at: Array, ends: Array, curves: bool) -> AxisScale:
    positive = at[at > 0]
    offset = 0.0 if at.min() > 0 else (0.5 * float(positive.min()) if positive.size else 1.0)
    logs = np.log(at + offset)
    spread = float(logs.std())
    fraction = False
    if curves and log.roles.horizon is not None:
        horizon = log.configs[log.roles.horizon].to_numpy(dtype=np.float64)
        fraction = bool(np.any(horizon < np.inf)) and float(np.median(at / horizon[log.codes])) < 1.0
    return AxisScale(offset, float(logs.mean()), spread if spread > 1e-9 else 1.0, curves, fraction)
