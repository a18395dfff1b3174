"""Posterior of configurations some of whose settings are not known: one posterior per way to settle them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from probscale.model.posterior import Block, CurveBlock
from probscale.model.transforms import OutputTransform

Array = NDArray[np.float64]


@final
@dataclass(frozen=True)
class UnsettledBlock(Block):
    """Mixture of posteriors of the same configurations, each with other values of unknown settings.

    All ways are equally likely. Within a configuration the unknown is the same all along the curve; that of
    one configuration says nothing of another, unless it is the same in all.

    Attributes:
        ways: The posteriors, which share their transform.
        together: Whether a way tells of all configurations at once, not of each apart.
    """

    ways: tuple[CurveBlock, ...]
    together: bool = False

    @property
    def transform(self) -> OutputTransform:  # pyright: ignore[reportIncompatibleVariableOverride]  # noqa: D102
        return self.ways[0].transform

    @property
    def noisy(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  # noqa: D102
        return self.ways[0].noisy

    @property
    def prob_diverge(self) -> Array | None:  # pyright: ignore[reportIncompatibleVariableOverride]  # noqa: D102
        known = [way.prob_diverge for way in self.ways if way.prob_diverge is not None]
        return np.mean(known, axis=0) if known else None

    @property
    def shape(self) -> tuple[int, int]:  # noqa: D102
        return self.ways[0].shape

    def latent(self) -> UnsettledBlock:  # noqa: D102
        return replace(self, ways=tuple(way.latent() for way in self.ways))

    def gaussians(self) -> list[tuple[float | Array, Array, Array]]:  # noqa: D102
        share = 1 / len(self.ways)
        return [(share * w, m, v) for way in self.ways for w, m, v in way.gaussians()]

    def joint(self) -> tuple[Array, Array, Array]:  # noqa: D102
        centres, covariances, noises = zip(*(way.joint() for way in self.ways), strict=True)
        centre = np.mean(centres, axis=0)
        total, drift = np.mean(covariances, axis=0), np.stack(centres) - centre
        apart = np.einsum("kap,kbq->apbq", drift, drift) / len(self.ways)
        if not self.together:
            # Where ways were drawn for each apart, configurations vary together only by how few were drawn.
            apart *= np.eye(self.shape[0])[:, None, :, None]
        return centre, total + apart.reshape(total.shape), np.mean(noises, axis=0)

    def sample(self, generator: np.random.Generator, n: int) -> Array:  # noqa: D102
        def draw(way: CurveBlock) -> Callable[[np.random.Generator, int], list[Array]]:
            return lambda generator, count: [way.sample(generator, count)]

        return drawn_of_ways([draw(way) for way in self.ways], generator, n)[0]


def drawn_of_ways(
    ways: Sequence[Callable[[np.random.Generator, int], list[Array]]], generator: np.random.Generator, n: int
) -> list[Array]:
    """Draws of equally likely ways, in random order.

    Args:
        ways: Each draws arrays whose first axis is the number asked for, the same arrays in every way.
        generator: Source of chance.
        n: Number of draws.
    """
    counts = generator.multinomial(n, np.full(len(ways), 1 / len(ways)))
    draws = [draw(generator, int(count)) for draw, count in zip(ways, counts, strict=True) if count]
    order = generator.permutation(n)
    return [np.concatenate(parts)[order] for parts in zip(*draws, strict=True)]
