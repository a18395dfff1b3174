"""Surrogates that follow a study."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.integrations.growing import GrowingSurrogate


def trials(n):
    """Log of the first trials of a study."""
    generator = np.random.default_rng(0)
    rates, steps = 10 ** generator.uniform(-4, -1, 12), np.arange(1, 7)
    rows = [
        {"trial": i, "step": step, "loss": 2 + abs(np.log10(rate) + 2.5) / 4 + step**-0.7, "rate": rate}
        for i, rate in enumerate(rates[:n])
        for step in steps
    ]
    return ps.RunLog.from_frame(pd.DataFrame(rows), run="trial", axis="step", output="loss")


def test_a_fit_of_many_trials_is_not_led_by_that_of_the_first():
    followed, fresh = GrowingSurrogate(), GrowingSurrogate()
    followed.updated(trials(5))
    asked, at = [{"rate": 1e-3}, {"rate": 5e-2}], [3.0, 6.0]
    ours, theirs = (each.updated(trials(12)).predict(asked, at) for each in (followed, fresh))
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-12)
    np.testing.assert_allclose(ours.std, theirs.std, rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 9, 11])
def test_one_trial_that_went_wrong_does_not_bend_what_the_others_foretell(seed):
    generator = np.random.default_rng(seed)
    rates, steps, wrong = generator.uniform(-5, -1, 20), np.arange(1, 9), generator.choice(20)

    def loss(rate, step):
        return 1 + (rate + 2.5) ** 2 / 4 + 1 / step

    rows = []
    for number, rate in enumerate(rates):
        losses = loss(rate, steps) + 0.01 * generator.standard_normal(8)
        losses += np.linspace(0.3, 3, 8) * (number == wrong)
        rows += [
            {"trial": number, "step": step, "loss": value, "rate": 10**rate}
            for step, value in zip(steps, losses, strict=True)
        ]
    log = ps.RunLog.from_frame(pd.DataFrame(rows), run="trial", axis="step", output="loss")
    asked = np.linspace(-4.8, -1.2, 25)
    curves = GrowingSurrogate().updated(log).predict([{"rate": 10**rate} for rate in asked], [8.0])
    assert np.abs(curves.median[:, 0] - loss(asked, 8)).mean() < 0.055
