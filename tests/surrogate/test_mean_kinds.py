"""Folds fit a mean again as what it is."""

import numpy as np
import pytest
import torch

from probscale.model.bent import BentMean
from probscale.model.falling import FallingMean
from probscale.model.mean_choice import curve_mean
from probscale.model.means import LawMean, LawScale, PlaneMean
from probscale.model.rising import RisingMean
from probscale.model.transforms import choose_transform
from probscale.surrogate.mean_kinds import kind_of

GENERATOR = np.random.default_rng(0)
LOSSES = 2.0 + GENERATOR.exponential(1.0, 40)
SCORES = GENERATOR.uniform(0.1, 0.9, 40)
SIGNED = GENERATOR.standard_normal(40)

CASES = {
    "law of losses": (LOSSES, "min", "auto", "law", LawMean),
    "product of powers": (LOSSES, "min", "auto", "falling", FallingMean),
    "plane of losses": (LOSSES, "min", "auto", "plane", PlaneMean),
    "signed outputs that flatten": (SIGNED, "min", "auto", "law", BentMean),
    "signed outputs that do not": (SIGNED, "min", "auto", "plane", PlaneMean),
    "log odds of scores": (SCORES, "max", "score", "law", RisingMean),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("curves", [False, True], ids=["finals", "curves"])
def test_a_mean_fitted_again_is_of_the_kind_it_was(case, curves):
    output, goal, way, kind, expected = CASES[case]
    transform = choose_transform(output, goal, kind=way)
    scale = LawScale(
        size=18.0, progress=20.0, smallest=float(np.abs(output).min()), typical=float(np.abs(output).mean()),
        varies_in_size=True, varies_in_progress=True, onset=18.0 if curves else None,
    )  # fmt: skip
    y = torch.from_numpy(transform.forward(output))
    first = curve_mean(transform, scale, y, kind)
    if expected is not RisingMean or curves:
        assert type(first) is expected
    assert type(curve_mean(transform, scale, y, kind_of(first))) is type(first)
