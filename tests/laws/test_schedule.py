from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probscale.errors import LawError
from probscale.laws import Schedule, find_law, fit_law, published_law

ALGEBRA = 1e-8
DATA = Path(__file__).parents[3] / "shared/data/multipowerlaw/multipowerlaw.parquet"
TRAINED_ON = ("cosine_24000", "constant_24000", "wsdcon_9")
PEAK, WARMUP = 3e-4, 200


def _rates(shape, total):
    """Learning rate at every step 1..total, and the schedule that describes it."""
    steps = np.arange(total + 1)
    warm = np.minimum(steps / WARMUP, 1.0) * PEAK
    if shape == "cosine":
        share = np.clip((steps - WARMUP) / (total - WARMUP), 0, 1)
        rates = np.where(steps < WARMUP, warm, 3e-5 + (PEAK - 3e-5) * (1 + np.cos(np.pi * share)) / 2)
        return rates, Schedule.cosine(PEAK, 3e-5, total=total, warmup=WARMUP)
    if shape == "two_stage":
        rates = np.where(steps < 1000, warm, 6e-5)
        return rates, Schedule.two_stage(PEAK, 6e-5, at=999.5, total=total, warmup=WARMUP)
    if shape == "wsd":
        share = np.clip((steps - 1500) / (total - 1500), 0, 1)
        rates = np.where(steps < 1500, warm, PEAK * (2e-5 / PEAK) ** share)
        return rates, Schedule.wsd(PEAK, 2e-5, decay_from=1500, total=total, warmup=WARMUP)
    return warm, Schedule.constant(PEAK, warmup=WARMUP)


SHAPES = ["cosine", "two_stage", "wsd", "constant"]
AT = np.array([400.0, 900.0, 1200.0, 1700.0, 2400.0, 3000.0])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_area_is_the_sum_of_the_rates(shape):
    rates, schedule = _rates(shape, 3000)
    np.testing.assert_allclose(schedule.area(AT), np.cumsum(rates)[AT.astype(int)], rtol=2e-3)
    np.testing.assert_allclose(schedule.rate(AT), rates[AT.astype(int)], rtol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_multi_power_law_agrees_with_its_sum_over_every_step(shape):
    rates, schedule = _rates(shape, 3000)
    values = dict(published_law("luo_100m").values)
    area = np.cumsum(rates)

    def direct(t):
        k = np.arange(1, t + 1)
        since = area[t] - area[k - 1]
        growth = 1 - (1 + values["C"] * rates[k] ** -values["gamma"] * since) ** -values["beta"]
        fallen = np.sum((rates[k - 1] - rates[k]) * growth)
        return values["L0"] + values["A"] * area[t] ** -values["alpha"] - values["B"] * fallen

    expected = [direct(int(t)) for t in AT]
    np.testing.assert_allclose(
        find_law("multi_power").evaluate(values, step=AT, schedule=schedule), expected, atol=2e-3
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_annealing_law_agrees_with_its_recursion(shape):
    rates, schedule = _rates(shape, 3000)
    values = {"L0": 2.6, "A": 0.6, "C": 0.9, "alpha": 0.45, "decay": 0.999}
    momentum, total, annealed = 0.0, 0.0, [0.0]
    for before, after in pairwise(rates):
        momentum = values["decay"] * momentum + before - after
        total += momentum
        annealed.append(total)
    index = AT.astype(int)
    expected = values["L0"] + values["A"] * np.cumsum(rates)[index] ** -0.45 - 0.9 * np.array(annealed)[index]
    np.testing.assert_allclose(
        find_law("annealing").evaluate(values, step=AT, schedule=schedule), expected, atol=2e-3
    )


def test_a_logged_schedule_reads_like_the_formula():
    rates, schedule = _rates("cosine", 3000)
    steps = np.arange(WARMUP, 3001, 25)
    logged = Schedule.from_log(steps, rates[steps], warmup=WARMUP)
    values = dict(published_law("luo_100m").values)
    one, two = (find_law("multi_power").evaluate(values, step=AT, schedule=s) for s in (schedule, logged))
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_points_of_several_schedules_may_be_mixed():
    schedules = [_rates(shape, 3000)[1] for shape in SHAPES]
    values, law = dict(published_law("luo_25m").values), find_law("multi_power")
    apart = np.concatenate([law.evaluate(values, step=AT, schedule=one) for one in schedules])
    order = np.random.default_rng(0).permutation(apart.size)
    mixed = [schedules[i // AT.size] for i in order]
    together = law.evaluate(values, step=np.tile(AT, 4)[order], schedule=mixed)
    np.testing.assert_allclose(together, apart[order], rtol=ALGEBRA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(np.array([0.0, 5.0, 3.0]), np.ones(3)), "steps must not fall; step 3 follows 5"),
        (lambda: Schedule(np.array([0.0, 5.0]), np.array([1.0, -1.0])), "learning rate is -1 at step 5"),
        (lambda: Schedule(np.arange(3.0), np.ones(2)), "one rate per knot"),
        (lambda: Schedule.from_log([0, 10, 20], [1e-3, 1e-3, 1e-4], jumps=(15,)), "no step 15 was logged"),
        (lambda: Schedule.from_log([0, 10], [1e-3, np.nan]), "found nan at position 1"),
        (
            lambda: fit_law("multi_power", step=AT, schedule=[1e-3] * 6, loss=AT),
            r"needs a probscale.laws.Schedule",
        ),
        (lambda: fit_law("annealing", step=AT, schedule=[Schedule.constant(1e-3)], loss=AT), "got 1 entries"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(LawError, match=message):
        make()


@pytest.fixture(scope="module")
def runs():
    if not DATA.exists():
        pytest.skip("multi-power-law curves are absent (shared/data/multipowerlaw)")
    frame = pd.read_parquet(DATA).astype({"model": str})
    schedules = {}
    for run, rows in frame.groupby("run_id"):
        jumps = (8000,) if "wsdcon" in run else ()
        schedules[run] = Schedule.from_log(rows["step"], rows["lr"], warmup=2160, jumps=jumps)
    return frame.assign(shape=frame["run_id"].map(schedules))


def _error_by_curve(rows, predicted):
    error = (predicted - rows["loss"]).abs()
    return error[~rows["schedule"].isin(TRAINED_ON)].groupby(rows["schedule"]).mean()


@pytest.mark.parametrize(("size", "bound"), [("25", 0.0055), ("100", 0.0055), ("400", 0.0060)])
def test_three_schedules_predict_six_others(runs, size, bound):
    rows = runs[runs["model"] == size]
    seen = rows[rows["schedule"].isin(TRAINED_ON)]
    fit = fit_law("multi_power", step=seen["step"], schedule=seen["shape"], loss=seen["loss"], seed=0)
    errors = _error_by_curve(rows, fit.predict(step=rows["step"], schedule=rows["shape"]))
    assert errors.size == 6
    assert errors.mean() <= bound


@pytest.mark.parametrize(("size", "published"), [("25", 0.0041), ("100", 0.0052), ("400", 0.0048)])
def test_published_constants_reproduce_the_published_error(runs, size, published):
    rows = runs[runs["model"] == size]
    values = dict(published_law(f"luo_{size}m").values)
    predicted = find_law("multi_power").evaluate(values, step=rows["step"], schedule=rows["shape"])
    assert _error_by_curve(rows, predicted).mean() == pytest.approx(published, abs=6e-4)
