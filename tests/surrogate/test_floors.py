"""Finals of few sizes: laws of several floors, repeated data, and what lies beyond the largest size."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.runs import RunLog
from probscale.surrogate import floors
from tolerances import EXACT, monte_carlo

REACH = 15.4


def law(params, tokens, unique=None, floor=1.8):
    """A Chinchilla law, of effective tokens where data is repeated."""
    unique = tokens if unique is None else np.minimum(unique, tokens)
    data = unique * (1 + REACH * (1 - np.exp(-(tokens / unique - 1) / REACH)))
    return floor + 300 * params**-0.34 + 400 * data**-0.28


def finals(sizes, *, unique=False, copies=3, seed=0):
    """One row per run: sizes times token counts, with a little noise."""
    rng = np.random.default_rng(seed)
    rows = [
        {"N": n, "tokens": t * (1 + 0.01 * rng.random()), "unique": t / e}
        for n in sizes
        for t in np.geomspace(2e9, 4e10, copies)
        for e in ((1, 8, 40) if unique else (1,))
    ]
    frame = pd.DataFrame(rows)
    frame["loss"] = law(frame.N, frame.tokens, frame.unique if unique else None)
    frame["loss"] *= 1 + 0.001 * rng.standard_normal(len(frame))
    frame["run"] = [f"r{i}" for i in range(len(frame))]
    return frame if unique else frame.drop(columns="unique")


def fitted(frame):
    log = RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N")
    return ps.fit_surrogate(log, embedder=None)


@pytest.fixture(scope="module")
def short():
    return fitted(finals([2e7, 4e7, 8e7]))


def test_laws_of_several_floors_are_mixed_and_reported(short):
    (expert,) = short.report.experts
    assert len(expert.floors) >= 3
    assert sum(expert.floors.values()) == pytest.approx(1.0)
    assert next(iter(expert.floors.values())) == pytest.approx(floors.FREE, abs=0.02)
    assert "laws of several floors" in str(short.report)
    assert expert.tails["beyond"]["break per e-fold"] > 0


def test_long_logs_answer_with_one_law(monkeypatch):
    monkeypatch.setattr(floors, "MOST_POINTS", 8)
    assert fitted(finals([2e7, 4e7, 8e7])).report.experts[0].floors == {}


def test_larger_sizes_lie_within_intervals_that_widen_with_the_distance(short):
    sizes = np.array([8e7, 2e8, 8e8, 3e9])
    curves = short.predict(pd.DataFrame({"N": sizes}), np.array([2e10]))
    lower, upper = (np.asarray(bound)[:, 0] for bound in curves.interval(0.9))
    truth = law(sizes, 2e10)
    assert ((lower < truth) & (truth < upper)).all()
    assert (np.diff(upper - lower) > 0).all()


def test_draws_of_the_mixture_have_its_moments(short):
    curves = short.predict(pd.DataFrame({"N": [3e8, 1e9]}), np.array([1e10, 3e10]))
    draws = curves.sample(4_000, seed=2)
    error = monte_carlo(4_000, curves.std)
    assert (np.abs(draws.mean(axis=0) - curves.mean) < error).all()


def test_repeated_data_is_told_from_fresh_data_at_sizes_never_seen():
    frame = finals([1e7, 3e7, 1e8], unique=True, copies=4)
    surrogate = fitted(frame)
    assert surrogate.report.experts[0].law["R_D"] > 0
    configs = pd.DataFrame({"N": 4e8, "unique": [4e10, 1e9]})
    fresh, repeated = surrogate.predict(configs, np.array([4e10])).mean[:, 0]
    expected = [law(4e8, 4e10, u) for u in (4e10, 1e9)]
    assert repeated - fresh == pytest.approx(expected[1] - expected[0], rel=0.3)


def test_a_column_of_epochs_says_what_one_of_unique_tokens_says():
    frame = finals([1e7, 3e7, 1e8], unique=True, copies=2)
    told = frame.assign(epochs=frame.tokens / frame.unique)
    one, two = (fitted(told.drop(columns=name)) for name in ("epochs", "unique"))
    at, passes = np.array([4e10]), np.array([1.0, 8.0, 40.0])
    by_unique = one.predict(pd.DataFrame({"N": 4e8, "unique": at / passes}), at).mean[:, 0]
    by_epochs = two.predict(pd.DataFrame({"N": 4e8, "epochs": passes}), at).mean[:, 0]
    np.testing.assert_allclose(by_epochs, by_unique, rtol=0.02)
    assert (np.diff(by_epochs) > 0).all()


def test_overfitting_at_sizes_never_seen_is_foretold_from_smaller_ones():
    passes, sizes = [1.0, 4.0, 15.0, 60.0, 240.0], np.geomspace(3e7, 3e9, 9)
    frame = pd.DataFrame(
        [{"N": n, "unique": u, "tokens": u * e} for n in sizes for u in (1e8, 4e8) for e in passes]
    )
    memorised = ((0.5 * (frame.N / frame.unique) ** 1.1) ** -3 + 8.0**-3) ** (-1 / 3)
    memorised *= 1 - np.exp(-(((frame.tokens / frame.unique - 1) / 90) ** 1.7))
    frame["loss"] = law(frame.N, frame.tokens) + memorised
    frame["loss"] *= 1 + 0.003 * np.random.default_rng(1).standard_normal(len(frame))
    frame["run"] = [f"r{i}" for i in range(len(frame))]
    asked = frame[frame.N > 1e9]
    surrogate = fitted(frame[frame.N < 1e9])
    curves = surrogate.predict(asked[["N", "unique"]], asked.tokens.to_numpy()[:, None])
    truth, fresh = asked.loss.to_numpy(), law(asked.N, asked.tokens).to_numpy()
    assert (truth > 3 * fresh).any()
    error = np.abs(np.log(curves.quantile(0.5)[:, 0] / truth))
    assert error.mean() < 0.05
    assert error.max() < 0.25


def test_mixed_laws_of_repeated_data_survive_a_round_trip(tmp_path):
    surrogate = fitted(finals([1e7, 3e7, 1e8], unique=True, copies=2))
    surrogate.save(tmp_path / "s.safetensors")
    loaded = ps.load_surrogate(tmp_path / "s.safetensors")
    configs = pd.DataFrame({"N": [5e7, 1e9], "unique": [1e9, 5e9]})
    one, two = (s.predict(configs, np.array([1e10, 6e10])) for s in (surrogate, loaded))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)
    assert loaded.report == surrogate.report
