"""CurvePosterior: the joint predictive distribution of asked curves, in user units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError, ShapeError
from probscale.model.posterior import Block
from probscale.randomness import generator_of

Array = NDArray[np.float64]


def check_probability(q: float) -> None:
    """Raises ConfigError where the probability of a quantile is not one number strictly between 0 and 1."""
    if not (isinstance(q, Real) and 0 < q < 1):
        raise ConfigError(f"q is {q!r}; a quantile needs a probability strictly between 0 and 1", q=q)


def ends_of(level: float) -> tuple[float, float]:
    """Probabilities at both ends of the central interval of a level.

    Raises:
        ConfigError: if the level is not strictly between 0 and 1.
    """
    if not (isinstance(level, Real) and 0 < level < 1):
        raise ConfigError(
            f"level is {level!r}; an interval needs a share strictly between 0 and 1, such as 0.9",
            level=level,
        )
    return (1 - level) / 2, (1 + level) / 2


def said_beyond(beyond: Mapping[str, float]) -> Iterator[str]:
    """How far the columns of a forecast lie beyond those of the log, in words.

    >>> list(said_beyond({"N_params": 3.96}))
    ['N_params up to 3.96 times the largest of the log']
    """
    return (f"{name} up to {factor:.3g} times the largest of the log" for name, factor in beyond.items())


def said_left_out(left_out: Mapping[str, int], count: int) -> Iterator[str]:
    """Which settings of `count` configurations of a forecast were not given, in words.

    >>> list(said_left_out({"lr": 3, "decay": 3}, 3)), list(said_left_out({"lr": 1}, 3))
    (['averaged over lr, decay, not given'], ['averaged over lr, not given in 1 of 3'])
    """
    for times in dict.fromkeys(left_out.values()):
        names = ", ".join(name for name in left_out if left_out[name] == times)
        yield f"averaged over {names}, not given{'' if times == count else f' in {times} of {count}'}"


@dataclass(frozen=True, eq=False)
class CurvePosterior:
    """Joint posterior of curves: configurations × axis values.

    Predictive by default: a new measurement, observation noise included. `latent()` is the same object
    without noise. Curves describe runs that do not diverge; `prob_diverge` says how probable divergence is.
    Made by `CurveSurrogate.predict`; arrays are float64, (configs, points), in the units of the output.

    Attributes:
        at: Axis values, (configs, points), in the units of the axis.
        index: Index of the asked configurations.
        axis: Name of the axis.
        output: Name of the output, whose units all results have.
        blocks: Positions of configurations and the posterior they share; blocks are independent of each
            other.
        again: Asks the same of the surrogate once more; what a pickle holds in place of the blocks.
        runs: Names of the runs as they were asked, (configs,), where the configurations had a run column.
        beyond: By which factor the largest asked value of a column exceeds the largest of the log, for the
            model size, the planned end and the axis; without columns that stay within it.
        left_out: Settings that every run of the log has and configurations leave out, with how many do: their
            forecasts are averaged over the values that runs had. Without those that change nothing.
    """

    at: Array
    index: pd.Index
    axis: str
    output: str
    blocks: tuple[tuple[NDArray[np.intp], Block], ...]
    again: Callable[[], CurvePosterior]
    runs: tuple[Any, ...] | None = None
    beyond: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(configs, points)."""
        return self.at.shape[0], self.at.shape[1]

    def __repr__(self) -> str:
        kind = "predictive" if self._noisy else "latent"
        asked = f"{self.shape[0]} configurations × {self.shape[1]} points"
        told = [*said_beyond(self.beyond), *said_left_out(self.left_out, self.shape[0])]
        return f"CurvePosterior({', '.join([f'{kind} {self.output}', asked, *told])})"

    @property
    def _noisy(self) -> bool:
        return all(block.noisy for _, block in self.blocks)

    def __reduce__(self) -> tuple[Any, ...]:
        # Blocks hold fitted modules, which pickle refuses; the surrogate has a file format of its own.
        return _asked_again, (self.again, self._noisy)

    def __copy__(self) -> CurvePosterior:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CurvePosterior:
        return self

    @cached_property
    def mean(self) -> Array:
        """Expected output, (configs, points)."""
        return self._gather(lambda block, _: block.mean())

    @cached_property
    def std(self) -> Array:
        """Standard deviation of the output, (configs, points); outlying runs widen it more than intervals."""
        return self._gather(lambda block, _: block.std())

    @cached_property
    def median(self) -> Array:
        """Median output, (configs, points)."""
        return self.quantile(0.5)

    @property
    def prob_diverge(self) -> Array:
        """Probability that a run of each configuration diverges by its last asked point, (configs,).

        Mean, quantiles and draws describe runs that do not diverge. Diverged are runs that end with a point
        marked so, as one that is not finite, and those that the fit set apart: they end far above the law,
        beyond a valley. Zeros when there were none.
        """
        out = np.zeros(self.shape[0])
        for where, block in self.blocks:
            if block.prob_diverge is not None:
                out[where] = block.prob_diverge
        return out

    def quantile(self, q: float) -> Array:
        """Output that is undercut with probability `q`, (configs, points).

        Raises:
            ConfigError: if `q` is not strictly between 0 and 1.
        """
        check_probability(q)
        return self._gather(lambda block, _: block.quantile(q))

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """Central interval that holds `level` of the probability: lower and upper, (configs, points) each.

        Raises:
            ConfigError: if `level` is not strictly between 0 and 1.
        """
        low, high = ends_of(level)
        return self.quantile(low), self.quantile(high)

    def prob_below(self, output: ArrayLike) -> Array:
        """Probability that the output is at most `output`, (configs, points).

        Args:
            output: A number, or an array that broadcasts to (configs, points); NaN (not measured) gives NaN.

        Raises:
            ShapeError: if it does not broadcast.
        """
        full = self._full(output)
        below = self._gather(lambda block, where: block.cdf(full[where]))
        return np.where(np.isnan(full), np.nan, below)

    def log_density(self, output: ArrayLike) -> Array:
        """Logarithm of the predictive density at measured outputs, per output unit, (configs, points).

        Args:
            output: A number, or an array that broadcasts to (configs, points); NaN (not measured) gives NaN.

        Raises:
            ShapeError: if it does not broadcast.
        """
        full = self._full(output)
        return self._gather(lambda block, where: block.log_density(full[where]))

    def crps(self, output: ArrayLike) -> Array:
        """Continuous ranked probability score of measured outputs, output units, (configs, points).

        The absolute error of a forecast that admits its uncertainty; smaller is better.

        Args:
            output: A number, or an array that broadcasts to (configs, points); NaN (not measured) gives NaN.

        Raises:
            ShapeError: if it does not broadcast.

        Source: Gneiting and Raftery 2007, eq. 20.
        """
        full = self._full(output)
        return self._gather(lambda block, where: block.crps(full[where]))

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """Joint draws over configurations and points, (n, configs, points); same seed, same draws.

        Raises:
            ConfigError: if `n` is not a positive whole number, or the seed is none.

        Cost: O((configs × points)³) up to 3,000 points in all, then linear in them.
        """
        if not (isinstance(n, Integral) and n >= 1):
            raise ConfigError(f"n is {n!r}; ask for at least one draw, by a whole number", n=n)
        generator = generator_of(seed)
        out = np.empty((n, *self.shape))
        for where, block in self.blocks:
            out[:, where] = block.sample(generator, n)
        return out

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest possible output, infinite where there is none."""
        lows, highs = zip(*(block.transform.bounds for _, block in self.blocks), strict=True)
        return min(lows), max(highs)

    def latent(self) -> CurvePosterior:
        """The curves themselves, without observation noise."""
        return replace(self, blocks=tuple((where, block.latent()) for where, block in self.blocks))

    def to_frame(self, level: float = 0.9) -> pd.DataFrame:
        """Tidy table, one row per configuration and point.

        Columns: config index, axis, mean, std, lower, upper; prob_diverge too where some run may diverge.

        Args:
            level: Share of probability between lower and upper.

        Raises:
            ConfigError: if `level` is not strictly between 0 and 1.
        """
        lower, upper = self.interval(level)
        points = self.shape[1]
        diverges = self.prob_diverge
        table = pd.DataFrame(
            {
                "config": np.repeat(self.index.to_numpy(), points),
                self.axis: self.at.ravel(),
                "mean": self.mean.ravel(),
                "std": self.std.ravel(),
                "lower": lower.ravel(),
                "upper": upper.ravel(),
            }
        )
        return table.assign(prob_diverge=np.repeat(diverges, points)) if (diverges > 0).any() else table

    def _full(self, output: ArrayLike) -> Array:
        value = np.asarray(output, dtype=np.float64)
        try:
            return np.broadcast_to(value, self.shape)
        except ValueError as error:
            raise ShapeError(
                f"output has shape {value.shape}, which does not broadcast to "
                f"(configs, points) = {self.shape}",
                shape=value.shape,
            ) from error

    def _gather(self, of: Callable[[Block, NDArray[np.intp]], Array]) -> Array:
        out = np.empty(self.shape)
        for where, block in self.blocks:
            out[where] = of(block, where)
        return out


def _asked_again(again: Callable[[], CurvePosterior], noisy: bool) -> CurvePosterior:
    """A posterior that was pickled."""
    curves = again()
    return curves if noisy else curves.latent()
