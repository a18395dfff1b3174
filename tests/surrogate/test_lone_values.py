"""First runs of a second value of a level tell how far it is from the only one that the fit saw."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.model.levels import LevelTerm
from probscale.surrogate.lone_values import STEPS
from tolerances import ALGEBRA


def runs_of(task, *, offset=0.0, exponent=0.25, runs=24, seed=0, points=(1e9,), diverged=0):
    """Runs of a task whose loss has an offset and an exponent of its own."""
    generator = np.random.default_rng(seed)
    size = 10 ** generator.uniform(7, 9, runs)
    own = 0.003 * generator.standard_normal(runs)
    rows = []
    for tokens in points:
        reducible = (size / 1e8) ** -exponent + 0.5 * (tokens / 1e9) ** -0.3
        rows.append(
            pd.DataFrame({"N": size, "tokens": tokens, "loss": 1.5 + reducible * np.exp(offset + own)})
        )
        rows[-1]["run"] = [f"{task} {seed} {i}" for i in range(runs)]
    frame = pd.concat(rows, ignore_index=True).assign(task=task)
    frame.loc[frame.index[:diverged], "loss"] = np.nan
    roles = {"levels": ("task",), "params": "N", "nonfinite": "diverged"}
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", **roles)


@pytest.fixture(scope="module")
def fitted():
    return ps.fit_surrogate(runs_of("old"), embedder=None, seed=0)


def asked(log):
    configs = log.configs.reset_index(drop=True)
    return configs, log.points.groupby("run", sort=False).loss.last().loc[log.configs.index].to_numpy()


def covered(surrogate, log, level=0.9):
    configs, loss = asked(log)
    lower, upper = surrogate.predict(configs, [1e9]).interval(level)
    return float(((lower[:, 0] <= loss) & (loss <= upper[:, 0])).mean())


def width(surrogate, log):
    lower, upper = surrogate.predict(asked(log)[0], [1e9]).interval(0.9)
    return float(np.mean(upper - lower))


def scales(surrogate):
    process = next(iter(surrogate.experts.values())).states[0].process
    return [
        float(term.get_parameter("scale").detach())
        for term in process.modules()
        if isinstance(term, LevelTerm)
    ]


def test_one_run_of_a_second_value_does_not_tell_how_it_goes_on_at_other_sizes(fitted):
    other = {"offset": 0.4, "exponent": 0.2}
    held = [
        covered(
            fitted.condition(runs_of("new", runs=1, seed=seed, **other)),
            runs_of("new", runs=40, seed=2, **other),
        )
        for seed in range(4)
    ]
    assert np.mean(held) > 0.8


def test_a_second_value_that_is_alike_is_forecast_as_surely_as_it_is_like(fitted):
    asked_for = runs_of("new", runs=20, seed=2)
    alike, unlike = (fitted.condition(runs_of("new", offset=offset, runs=2, seed=1)) for offset in (0.0, 0.4))
    assert width(alike, asked_for) < 0.6 * width(unlike, asked_for)
    assert covered(alike, asked_for) >= 0.85


def test_the_scale_is_at_most_the_usual_one_and_known_values_leave_it_alone(fitted):
    (usual,) = scales(fitted)
    (alike,) = scales(fitted.condition(runs_of("new", runs=3, seed=1)))
    (unlike,) = scales(fitted.condition(runs_of("new", offset=1.0, runs=3, seed=1)))
    assert usual + STEPS[0] < alike < unlike - 0.3
    assert unlike <= usual + 0.05
    assert scales(fitted.condition(runs_of("old", runs=3, seed=1))) == [usual]


def test_forecasts_of_the_lone_value_itself_are_those_of_a_log_without_levels(fitted):
    log = runs_of("old")
    bare = ps.RunLog.from_frame(
        log.points.merge(log.configs.drop(columns="task").reset_index(), on="run"),
        run="run", axis="tokens", output="loss", params="N",
    )  # fmt: skip
    plain = ps.fit_surrogate(bare, embedder=None, seed=0)
    known = runs_of("old", runs=5, seed=3)
    mine = fitted.predict(asked(known)[0], [1e9]).mean
    theirs = plain.predict(asked(known)[0].drop(columns="task"), [1e9]).mean
    np.testing.assert_allclose(mine, theirs, rtol=0.005)


def test_one_step_and_two_steps_come_to_the_same_scale(fitted):
    first, second = (runs_of("new", offset=0.1, runs=2, seed=seed) for seed in (1, 2))
    at_once, in_steps = fitted.condition(first + second), fitted.condition(first).condition(second)
    assert scales(in_steps) == pytest.approx(scales(at_once), rel=ALGEBRA)
    configs = asked(runs_of("new", runs=4, seed=4))[0]
    np.testing.assert_allclose(
        in_steps.predict(configs, [1e9]).mean, at_once.predict(configs, [1e9]).mean, rtol=ALGEBRA
    )


def test_what_is_saved_after_first_runs_forecasts_the_same(fitted, tmp_path):
    after = fitted.condition(runs_of("new", offset=0.2, runs=2, seed=1))
    after.save(tmp_path / "s")
    loaded = ps.load_surrogate(tmp_path / "s", embedder=None)
    configs = asked(runs_of("new", runs=4, seed=4))[0]
    np.testing.assert_array_equal(loaded.predict(configs, [1e9]).std, after.predict(configs, [1e9]).std)


def test_the_probability_of_divergence_goes_on_after_first_runs():
    log = runs_of("old", runs=30, diverged=8)
    fitted = ps.fit_surrogate(log, embedder=None, seed=0)
    after = fitted.condition(runs_of("new", offset=0.2, runs=2, seed=1))
    after = after.condition(runs_of("new", offset=0.2, runs=2, seed=2))
    assert np.isfinite(after.predict(asked(log)[0], [1e9]).prob_diverge).all()
