"""A simulated family of trainings to tune: a law whose curves cross, seeds whose optimum lies elsewhere.

Imports no tensor library, so that workers of a cluster start quickly.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from probscale.theory.families import NoiseModel
from probscale.theory.law_family import SCHEDULES, LawFamily

REPORTS = 12
"""Reports of a full training."""

RATES = (1e-5, 3e-2)
BATCHES = (2e4, 8e6)
NOISE = NoiseModel()


@dataclass(frozen=True)
class Problem:
    """A model of one size and so many tokens: what is the best learning rate, batch and schedule?

    Size, tokens and constants of the law are drawn by the seed; a schedule that decays ends lower than it
    looks half way, and learning rates beyond four times the best diverge.
    """

    seed: int

    @cached_property
    def family(self) -> LawFamily:
        """The law, with constants of this problem."""
        drawn = LawFamily.draw_tasks(2, np.random.default_rng([1, self.seed]))
        return LawFamily(drawn.constants[1:])

    @cached_property
    def shape(self) -> dict[str, float]:
        """Model size and tokens."""
        generator = np.random.default_rng([2, self.seed])
        params = float(10 ** generator.uniform(7.7, 9.0))
        return {"params": params, "horizon": params * float(10 ** generator.uniform(0.9, 1.7))}

    def frame(self, configs: list[dict[str, Any]]) -> pd.DataFrame:
        """Configurations as the family reads them."""
        return pd.DataFrame([{**config, **self.shape} for config in configs])

    def curve(self, config: dict[str, Any]) -> list[float]:
        """The reports of a full training, noise and divergence included; the same whenever it is trained."""
        named = json.dumps([self.seed, {key: config[key] for key in sorted(config)}])
        digest = hashlib.sha256(named.encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        at = self.shape["horizon"] * np.arange(1, REPORTS + 1)[None] / REPORTS
        losses, _ = self.family.observe(self.frame([config]), at, NOISE, generator)
        return losses[0].tolist()

    def regret(self, config: dict[str, Any]) -> float:
        """Expected final loss above the best one can do; that of a diverged run includes the divergence."""
        frame, end = self.frame([config]), np.array([self.shape["horizon"]])
        expected = float(self.family.expected(frame, end)[0, 0])
        if self.family.diverges(frame)[0]:
            expected = self.curve(config)[-1]
        return expected - self.least

    @cached_property
    def least(self) -> float:
        """Least expected final loss within the ranges, by a fine grid."""
        rates, batches = np.geomspace(*RATES, 200), np.geomspace(*BATCHES, 100)
        grid = [
            {"learning_rate": rate, "batch_tokens": batch, "schedule": schedule}
            for rate, batch, schedule in product(rates, batches, SCHEDULES)
        ]
        frame = self.frame(grid)
        final = self.family.expected(frame, np.array([self.shape["horizon"]]))[:, 0]
        return float(final[~self.family.diverges(frame)].min())


def curve_of(config: dict[str, Any]) -> list[float]:
    """The curve of a configuration that names its problem."""
    described = {key: value for key, value in config.items() if key != "problem"}
    return Problem(config["problem"]).curve(described)
