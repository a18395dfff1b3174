"""Where a Ray Tune searcher finds its configurations: the domains of a parameter space, or a pool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from probscale.errors import ConfigError
from probscale.integrations.proposals import mixed, shares
from probscale.integrations.ray_model import describes, plain

_LOCAL = 0.1


class TuneSpace:
    """Domains of Ray Tune's parameter space, nested or flat, and its constants.

    Raises:
        ConfigError: if a domain is a function, or there is none.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        from ray.tune.search.sample import Categorical
        from ray.tune.search.variant_generator import parse_spec_vars

        fixed, domains, grids = parse_spec_vars(dict(space))
        # Objects such as data sets are Tune's to pass on; they describe nothing.
        self.constants = {_name(p): v for p, v in fixed if describes(v)}
        # Grids refuse to be sampled one by one.
        choices = [(path, Categorical(grid.categories)) for path, grid in grids]
        self.domains = {_name(path): domain for path, domain in (*domains, *choices)}
        for name, domain in self.domains.items():
            if domain.is_function():
                raise ConfigError(
                    f"{name} is drawn by a function, which cannot be modelled; give a range or choices",
                    name=name,
                )
        if not self.domains:
            raise ConfigError(
                "the parameter space has nothing to choose; give it ranges or choices, such as "
                "tune.loguniform(1e-4, 1e-1), or give the searcher a pool"
            )

    def chosen(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a configuration that was chosen."""
        return {name: value for name, value in config.items() if name in self.domains}

    def mixed(self) -> set[str]:
        """Domains whose choices are of several kinds, such as None, 8 and 16."""
        choices = {n: getattr(d, "categories", ()) for n, d in self.domains.items()}
        return {n for n, values in choices.items() if mixed(plain({n: v}) for v in values if describes(v))}

    def candidates(
        self, count: int, best: Sequence[Mapping[str, Any]], generator: np.random.Generator
    ) -> list[dict[str, Any]]:
        """Random configurations, flat, then some near the best ones; see `proposals.shares`."""
        anywhere, near = shares(count, best)
        drawn = [self._drawn(None, generator) for _ in range(anywhere)]
        return drawn + [self._drawn(best[i % len(best)], generator) for i in range(near)]

    def _drawn(self, near: Mapping[str, Any] | None, generator: np.random.Generator) -> dict[str, Any]:
        drawn = dict(self.constants)
        for name, domain in self.domains.items():
            centre = None if near is None else near.get(name)
            drawn[name] = _sample(domain, generator) if centre is None else _beside(domain, centre, generator)
        return drawn


class TunePool:
    """Configurations to choose from, each once.

    Raises:
        ConfigError: if there is none.
    """

    def __init__(self, pool: pd.DataFrame | Sequence[Mapping[str, Any]]) -> None:
        rows = pool.to_dict("records") if isinstance(pool, pd.DataFrame) else [dict(row) for row in pool]
        if not rows:
            raise ConfigError("the pool is empty; give at least one configuration")
        self.rows: list[dict[str, Any]] = [{str(k): _plain(v) for k, v in row.items()} for row in rows]

    def left(self, used: set[int]) -> list[int]:
        """Rows not used yet."""
        return [row for row in range(len(self.rows)) if row not in used]


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration with keys joined by "/" as dicts within dicts."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        *path, last = key.split("/")
        place = result
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return result


def _name(path: Sequence[Any]) -> str:
    return "/".join(map(str, path))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _sample(domain: Any, generator: np.random.Generator) -> Any:
    return _plain(domain.sample(random_state=generator))


def _beside(domain: Any, centre: Any, generator: np.random.Generator) -> Any:
    """A value close to another one."""
    from ray.tune.search.sample import Categorical, Integer, LogUniform, Quantized, Uniform

    sampler, step = domain.get_sampler(), None
    if isinstance(sampler, Quantized):
        sampler, step = sampler.get_sampler() or Uniform(), sampler.q
    if isinstance(domain, Categorical):
        same = [value for value in domain.categories if value == centre or str(value) == centre]
        return same[0] if same and generator.random() > _LOCAL else _sample(domain, generator)
    low, high = getattr(domain, "lower", None), getattr(domain, "upper", None)
    if not isinstance(sampler, Uniform | LogUniform) or low is None or high is None:
        return _sample(domain, generator)
    log = isinstance(sampler, LogUniform)
    a, b, c = (math.log(v) if log else float(v) for v in (low, high, centre))
    value = min(max(c + _LOCAL * (b - a) * generator.standard_normal(), a), b)
    value = math.exp(value) if log else value
    # The upper end of a range of integers is not part of it.
    top = high - 1 if isinstance(domain, Integer) and step is None else high
    value = round(value / step) * step if step is not None else value
    value = min(max(value, low), top)
    return round(value) if isinstance(domain, Integer) else float(value)
