"""Random generators from seeds that users give."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from probscale.errors import ConfigError


def generator_of(seed: int | np.random.Generator | None) -> np.random.Generator:
    """The generator of a seed; a generator is taken as it is.

    Raises:
        ConfigError: for what is no seed.

    >>> bool(generator_of(3).normal() == generator_of(3).normal())
    True
    """
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"seed is {seed!r}; pass a whole number of at least 0", seed=seed) from error


def count_of(value: int, name: str, least: int = 1) -> int:
    """A whole number of things, such as draws or resamples.

    Raises:
        ConfigError: for what is no whole number, or too small.

    >>> count_of(3, "draws")
    3
    """
    if not isinstance(value, Integral) or value < least:
        raise ConfigError(
            f"{name} is {value!r}; pass a whole number of at least {least}", **{name.replace(" ", "_"): value}
        )
    return int(value)
