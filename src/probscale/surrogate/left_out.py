"""Settings that a question leaves out although every run of the log has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.donors import donors
from probscale.encode.encoder import Encoder
from probscale.encode.features import labels_of_gaps
from probscale.encode.fields import label
from probscale.model.posterior import Block
from probscale.model.unsettled import UnsettledBlock, drawn_of_ways
from probscale.surrogate.expert import Expert
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.outputs import sample_outputs
from probscale.surrogate.untold import Untold

Array = NDArray[np.float64]

WAYS = 16
"""Values that stand for one that was left out. Sixteen even steps hold 99 % of the variance of a normal."""

MOST_DONORS = 2_000
"""Runs whose values are looked at, at most."""


@dataclass(frozen=True)
class Settled:
    """Configurations with what they leave out filled in.

    Attributes:
        ways: Tables of the same configurations, each with other values; equally likely.
        left_out: Settings that matter and were left out, with how many configurations lack them.
        together: Whether a way tells of all configurations at once, not of each apart.
    """

    ways: tuple[pd.DataFrame, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    together: bool = False


def forecast(expert: Expert | FunctionalExpert | GridExpert, told: Settled, runs: Array, at: Array) -> Block:
    """Posterior of configurations at axis values, over all that left-out settings may be.

    Args:
        expert: Fitted model.
        told: The configurations.
        runs: Run codes, (configs,).
        at: Axis values, (configs, points).

    Cost: that of one forecast per way.
    """
    blocks = tuple(expert.block(way, runs, at) for way in told.ways)
    return blocks[0] if len(blocks) == 1 else UnsettledBlock(blocks, told.together)


def draw_outputs(
    experts: Sequence[Expert], told: Settled, runs: Array, at: Array, seed: int, n: int
) -> list[Array]:
    """Joint draws of outputs, whose left-out settings are the same; see `sample_outputs`."""
    if len(told.ways) == 1:
        return sample_outputs(experts, told.ways[0], runs, at, seed, n)

    def draw(way: pd.DataFrame) -> Callable[[np.random.Generator, int], list[Array]]:
        return lambda generator, count: sample_outputs(
            experts, way, runs, at, int(generator.integers(2**32)), count
        )

    return drawn_of_ways([draw(way) for way in told.ways], np.random.default_rng(seed), n)


@dataclass(frozen=True, eq=False)
class KnownSettings:
    """Settings of the runs of a fit, against which questions are held.

    Attributes:
        configs: Configurations of the runs, and of those added since.
        encoder: Which columns matter.
        fitted: Which of the runs are of the fit, (runs,): what these all have is missed elsewhere.
    """

    configs: pd.DataFrame
    encoder: Encoder
    fitted: NDArray[np.bool_]

    def settled(self, frame: pd.DataFrame, together: bool = False) -> Settled:
        """Asked configurations with what they leave out filled in, in each of several ways; one if none does.

        A value that every run of the log has, and a question has not, may be any of those that runs had which
        resemble it in all else. Where some runs lack it too, being left out is a value like any other.

        Args:
            frame: Asked configurations.
            together: Whether settings are as low or as high in all configurations at once.

        Cost: O(runs × columns² + configs × runs) per set of settings that are left out together.
        """
        frame = self._described(frame)
        lacking = self.lacking(frame)
        if lacking.empty:
            return Settled((frame,))
        known, mattering = self._donors, matters(self.encoder)
        left_out = {str(name): int(lacking[name].sum()) for name in lacking if name in mattering}
        count = WAYS if left_out else 1
        chosen, mixer = [], np.random.default_rng(0)
        for where, names in _alike(lacking):
            have = np.flatnonzero(known[names].notna().all(axis=1))
            runs = donors(known.iloc[have], frame.iloc[where], names, count)
            chosen.append((where, names, have[runs if together else mixer.permuted(runs, axis=1)]))
        ways = (
            _filled(frame, known, [(where, names, runs[:, way]) for where, names, runs in chosen])
            for way in range(count)
        )
        return Settled(tuple(ways), left_out, together)

    def untold(self, configs: pd.DataFrame) -> Untold | None:
        """Those of the runs of an added log that leave out what matters; None where none does.

        Args:
            configs: Configurations of the log, (runs, columns).
        """
        frame = self._described(configs)
        gaps = self.lacking(frame)
        lacks = gaps[[name for name in gaps if name in matters(self.encoder)]].any(axis=1).to_numpy()
        runs = np.flatnonzero(lacks)
        return Untold(runs, frame.iloc[runs], self.settled(frame.iloc[runs]).ways) if len(runs) else None

    def lacking(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Which configurations lack what every run like them has, (configs, columns lacked by any).

        An end that is not given is the asked one, a level must be given, and which repetition it is need not.
        What a run of the log has not told stays open: its points say what that did.
        """
        run, found = self.encoder.roles.run, {}
        fresh = ~frame[run].isin(self.configs.index).to_numpy() if run in frame else np.True_
        for name, labels in self._always.items():
            here = frame[name].isna().to_numpy() if name in frame else np.ones(len(frame), dtype=bool)
            here = here & fresh
            if not here.any():
                continue
            if labels is not None:
                given = next((other for other in labels if other in frame), None)
                if given is None:
                    continue
                here = here & frame[given].map(label).isin(labels[given]).to_numpy()
            if here.any():
                found[name] = here
        return pd.DataFrame(found, index=frame.index)

    @cached_property
    def _donors(self) -> pd.DataFrame:
        """Runs whose values may stand in for those that are left out."""
        count = len(self.configs)
        if count <= MOST_DONORS:
            return self.configs
        return self.configs.iloc[np.linspace(0, count - 1, MOST_DONORS).astype(int)]

    @cached_property
    def _always(self) -> dict[str, dict[str, list[str]] | None]:
        """Columns that every run has (None), or all runs of some labels: these, by the columns of labels."""
        roles, known = self.encoder.roles, self.configs[self.fitted]
        marked = {item.name for item in self.encoder.features.numeric if item.marks_missing or item.repeats}
        out: dict[str, dict[str, list[str]] | None] = {}
        for name in map(str, known):
            if name in (*roles.levels, roles.horizon) or name in marked:
                continue
            told = known[name].notna()
            out[name] = None
            if not told.all():
                out[name] = {
                    other: list(shares.index[shares])
                    for other in labels_of_gaps(~told.to_numpy(), known)
                    for shares in [told.groupby(known[other].map(label).to_numpy()).all()]
                }
        return out

    @cached_property
    def _descriptions(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Level, column that describes it, and the text of each of its values."""
        return [
            (level, name, dict(zip(self.configs[level].map(label), self.configs[name], strict=True)))
            for level, name in self.encoder.features.descriptions.items()
        ]

    def _described(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Configurations whose levels are described as in the log where a question does not describe them."""
        for level, name, texts in self._descriptions:
            given = frame[name] if name in frame else pd.Series(np.nan, index=frame.index, dtype=object)
            if bool(given.isna().any()):
                told = frame[level].map(label).map(texts)
                frame = frame.assign(**{name: given.where(given.notna(), told)})
        return frame


def matters(encoder: Encoder) -> set[str]:
    """Columns of configurations that forecasts depend on."""
    return {*encoder.features.columns, *([encoder.roles.params] if encoder.roles.params else [])}


def _alike(lacking: pd.DataFrame) -> Iterator[tuple[NDArray[np.intp], list[str]]]:
    """Positions of configurations that lack the same columns, and these, without those that lack none."""
    for pattern in lacking.drop_duplicates().to_numpy():
        if pattern.any():
            yield (
                np.flatnonzero((lacking.to_numpy() == pattern).all(axis=1)),
                list(lacking.columns[pattern]),
            )


def _filled(
    frame: pd.DataFrame,
    known: pd.DataFrame,
    chosen: Sequence[tuple[NDArray[np.intp], list[str], NDArray[np.intp]]],
) -> pd.DataFrame:
    """Configurations with columns as some runs have them: rows, columns, and positions of runs, in turn."""
    columns: dict[str, NDArray[Any]] = {}
    for where, names, runs in chosen:
        for name in names:
            if name not in columns:
                given = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
                columns[name] = given.to_numpy(dtype=object, copy=True)
            columns[name][where] = known[name].to_numpy(dtype=object)[runs]
    return frame.assign(
        **{name: pd.Series(values, index=frame.index).infer_objects() for name, values in columns.items()}
    )
