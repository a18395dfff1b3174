import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import probscale as ps
from probscale.errors import ConfigError
from probscale.integrations import ProbscaleRegressor
from probscale.surrogate import FitOptions

QUICK = FitOptions(iterations=5, rounds=1)


# None is left out: the one check that does not run needs an array library that is switched on by an environment variable.
@pytest.mark.slow
@parametrize_with_checks([ProbscaleRegressor(options=QUICK)])
@pytest.mark.filterwarnings("ignore")
def test_the_estimator_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


def curves(generator, runs=14):
    rows = []
    for i in range(runs):
        size, rate = 10 ** generator.uniform(6, 8), 10 ** generator.uniform(-4, -2)
        for tokens in np.geomspace(1e7, 1e9, 5):
            loss = (
                1.7 + 2 * (size / 1e6) ** -0.3 + 3 * (tokens / 1e6) ** -0.3 + 0.1 * (np.log10(rate) + 3) ** 2
            )
            rows.append(
                {"run": f"r{i}", "tokens": tokens, "N": size, "lr": rate, "optimizer": "adam", "loss": loss}
            )
    return pd.DataFrame(rows)


def test_tables_of_curves_give_the_predictions_of_the_surrogate():
    frame = curves(np.random.default_rng(0))
    model = ProbscaleRegressor(axis="tokens", run="run", params="N", options=QUICK)
    model.fit(frame.drop(columns="loss"), frame["loss"])
    log = ps.RunLog.from_frame(
        frame, run="run", axis="tokens", output="loss", params="N", config=["lr", "optimizer"]
    )
    direct = ps.fit_surrogate(log, embedder=None, options=QUICK)
    asked = pd.DataFrame(
        {
            "run": ["new", "r3"],
            "tokens": [2e9, 3e9],
            "N": [3e7, frame["N"][15]],
            "lr": [1e-3, frame["lr"][15]],
            "optimizer": "adam",
        }
    )
    mean, std = model.predict(asked, return_std=True)
    expected = direct.predict(asked.drop(columns="tokens"), asked["tokens"].to_numpy()[:, None])
    np.testing.assert_allclose(mean, expected.mean[:, 0], rtol=1e-8)
    np.testing.assert_allclose(std, expected.std[:, 0], rtol=1e-8)
    assert model.score(frame.drop(columns="loss"), frame["loss"]) > 0.99


def test_it_stands_beside_a_gaussian_process_of_scikit_learn():
    generator = np.random.default_rng(1)
    x = generator.uniform(-1, 1, (40, 2))
    y = np.sin(2 * x[:, 0]) + x[:, 1] ** 2 + 0.05 * generator.standard_normal(40)
    mine = cross_val_score(ProbscaleRegressor(options=QUICK), x, y, cv=4).mean()
    theirs = cross_val_score(
        GaussianProcessRegressor(RBF() + WhiteKernel(), normalize_y=True), x, y, cv=4
    ).mean()
    assert mine > 0.9 * theirs


def test_columns_of_arrays_are_named_by_position():
    generator = np.random.default_rng(2)
    x = np.column_stack([10 ** generator.uniform(6, 8, 20), generator.uniform(1, 2, 20)])
    y = 2 + (x[:, 0] / 1e6) ** -0.3
    model = ProbscaleRegressor(axis=0, options=QUICK).fit(x, y)
    assert model.surrogate_.log.roles.axis == "x0"
    assert model.predict(x[:2]).shape == (2,)


def test_a_pickled_estimator_predicts_the_same_and_holds_no_model_code():
    frame = curves(np.random.default_rng(3), runs=6)
    model = ProbscaleRegressor(axis="tokens", run="run", options=QUICK).fit(
        frame.drop(columns="loss"), frame["loss"]
    )
    content = pickle.dumps(model)
    texts = [str(argument) for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)]
    assert not [text for text in texts if text.split(".")[0] in {"torch", "gpytorch"}]
    asked = frame.drop(columns="loss").head(3)
    np.testing.assert_array_equal(pickle.loads(content).predict(asked), model.predict(asked))


def test_wrong_columns_and_unfitted_models_are_refused():
    frame = curves(np.random.default_rng(4), runs=3)
    with pytest.raises(ConfigError, match="no column 'steps'"):
        ProbscaleRegressor(axis="steps").fit(frame, frame["loss"])
    with pytest.raises(NotFittedError):
        ProbscaleRegressor().predict(frame)
    with pytest.raises(ConfigError, match="at least 3"):
        ProbscaleRegressor().fit(frame.head(2), frame["loss"].head(2))
    assert clone(ProbscaleRegressor(axis="tokens")).axis == "tokens"


def test_random_states_of_scikit_learn_are_taken():
    generator = np.random.default_rng(5)
    x = generator.uniform(1, 2, (12, 2))
    y = x.sum(axis=1) + 0.1 * generator.standard_normal(12)
    for state in (None, np.random.RandomState(0), np.int64(3)):
        fitted = ProbscaleRegressor(options=QUICK, random_state=state).fit(x, y)
        assert np.isfinite(fitted.predict(x[:2])).all()


def test_the_output_transform_is_that_of_the_surrogate():
    frame = curves(np.random.default_rng(1), runs=8)
    fits = {
        kind: ProbscaleRegressor(
            axis="tokens", run="run", params="N", output_transform=kind, options=QUICK
        ).fit(frame.drop(columns="loss"), frame["loss"])
        for kind in ("auto", "linear")
    }
    names = {kind: fit.surrogate_.report.experts[0].transform for kind, fit in fits.items()}
    assert names["auto"].startswith("log(loss")
    assert names["linear"].startswith("(output - ")
    assert fits["auto"].get_params()["output_transform"] == "auto"


def test_roles_are_those_of_the_log():
    rows = [
        {
            "task": task,
            "N": size,
            "end": end,
            "steps": at * end,
            "run": f"{task}{size:g}{end}",
            "optimizer": name,
        }
        for task in ("a", "b")
        for size in (1e6, 1e7, 1e8)
        for end, name in ((1e3, "adamw"), (4e3, "muon"))
        for at in (0.25, 1.0)
    ]
    frame = pd.DataFrame(rows)
    score = (
        0.8
        - (frame["N"] / 1e5) ** -0.3
        - (frame["steps"] + frame["end"]) ** -0.5
        + 0.05 * (frame["task"] == "b")
    )
    roles = {"axis": "steps", "run": "run", "params": "N", "levels": "task", "horizon": "end", "goal": "max"}
    model = ProbscaleRegressor(**roles, options=QUICK).fit(frame, score)
    found = model.surrogate_.log.roles
    assert (found.levels, found.horizon, found.goal, found.params) == (("task",), "end", "max", "N")
    log = ps.RunLog.from_frame(frame.assign(score=score), output="score", config=["optimizer"], **roles)
    direct = ps.fit_surrogate(log, embedder=None, options=QUICK)
    new = frame.assign(run="new", end=2e3, steps=2e3).head(3)
    expected = direct.predict(new.drop(columns="steps"), [2e3]).mean[:, 0]
    np.testing.assert_allclose(model.predict(new), expected, rtol=1e-8)
