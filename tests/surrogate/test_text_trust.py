"""Runs of a new value tell whether it is like those its text resembles, and texts are trusted accordingly."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from circle import Circle
from probscale.model.exact import solve_exactly
from probscale.surrogate.text_trust import PRIOR, TRUSTS
from tolerances import ALGEBRA, EXACT

TASKS = 12
PLACE = Circle(TASKS).places


def runs_of(tasks, *, odd=(), diverged=0, runs=6, seed=0):
    """Finals of tasks whose offsets follow the circle; those of odd tasks are its opposite."""
    generator = np.random.default_rng(seed)
    rows = []
    for task in tasks:
        size = 10 ** generator.uniform(7, 9, runs)
        offset = 0.15 * np.sin(PLACE[task] + np.pi * (task in odd))
        offset = offset + 0.01 * generator.standard_normal(runs)
        rows.append(pd.DataFrame({"task": f"kind {task}", "N": size, "loss": 1.5 + 40 * size**-0.25}))
        rows[-1]["loss"] *= np.exp(offset)
    frame = pd.concat(rows, ignore_index=True).assign(tokens=1e9)
    frame.loc[frame.index[:diverged], "loss"] = 9.0
    frame["run"] = [f"{seed} {task} {i}" for i, task in enumerate(frame.task)]
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", levels=("task",), params="N")


@pytest.fixture(scope="module")
def fitted():
    return ps.fit_surrogate(runs_of([t for t in range(TASKS) if t != 3]), embedder=Circle(TASKS), seed=0)


def trust_of(surrogate):
    return next(iter(surrogate.experts.values())).trust


def test_a_value_unlike_those_its_text_resembles_lowers_the_trust_in_texts(fitted):
    assert trust_of(fitted) == 1.0
    like, unlike = (fitted.condition(runs_of([3], odd=odd, seed=1)) for odd in ((), (3,)))
    assert trust_of(unlike) < 0.4
    assert trust_of(like) > 0.7


def test_the_trust_is_the_posterior_mean_by_the_evidence_of_all_points(fitted):
    after = next(iter(fitted.condition(runs_of([3], odd=(3,), runs=1, seed=1)).experts.values()))
    before = next(iter(fitted.experts.values()))
    heaviest = int(np.argmax(after.weights))
    process = before.states[heaviest].process
    names = [name for name, _ in process.named_parameters() if name.endswith(".mix")]
    assert len(names) == 1
    mix = process.get_parameter(names[0])
    kept = mix.detach().clone()
    evidence = []
    for trust in TRUSTS:
        mix.data.copy_((kept.sigmoid() * trust).logit())
        evidence.append(solve_exactly(process, after.states[heaviest].data).log_evidence())
    mix.data.copy_(kept)
    share = PRIOR * np.exp(np.array(evidence) - max(evidence))
    assert after.trust == pytest.approx(float(share @ TRUSTS / share.sum()), rel=EXACT)


def test_runs_of_known_values_leave_the_trust_alone(fitted):
    assert trust_of(fitted.condition(runs_of([4], seed=1))) == 1.0


def test_one_step_and_two_steps_trust_alike(fitted):
    first, second = (runs_of([3], odd=(3,), runs=2, seed=seed) for seed in (1, 2))
    known = runs_of([5], seed=3)
    asked = runs_of([3], seed=4).configs.reset_index(drop=True)
    at_once = fitted.condition(first + known + second)
    in_steps = fitted.condition(known).condition(first).condition(second)
    assert trust_of(in_steps) == pytest.approx(trust_of(at_once), rel=ALGEBRA)
    np.testing.assert_allclose(
        in_steps.predict(asked, [1e9]).mean, at_once.predict(asked, [1e9]).mean, rtol=ALGEBRA
    )


def test_what_was_learnt_of_texts_is_saved_with_the_chance_of_divergence(tmp_path):
    log = runs_of([t for t in range(TASKS) if t != 3], diverged=5)
    after = ps.fit_surrogate(log, embedder=Circle(TASKS), seed=0).condition(runs_of([3], odd=(3,), seed=1))
    assert trust_of(after) < 1.0
    after.save(tmp_path / "saved")
    again = ps.load_surrogate(tmp_path / "saved", embedder=Circle(TASKS))
    assert trust_of(again) == trust_of(after)
    more, asked = runs_of([3], seed=2), runs_of([0, 3], seed=3).configs.reset_index(drop=True)
    for one, other in ((after, again), (after.condition(more), again.condition(more))):
        before, loaded = (s.predict(asked, [1e9]) for s in (one, other))
        np.testing.assert_allclose(loaded.mean, before.mean, rtol=EXACT)
        np.testing.assert_allclose(loaded.prob_diverge, before.prob_diverge, rtol=EXACT)
    assert 0 < after.predict(asked, [1e9]).prob_diverge.max() < 1
