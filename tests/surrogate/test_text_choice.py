"""Text is kept where it foretells left-out values, and else leaves no trace."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from circle import Circle
from tolerances import EXACT

TASKS = 14
PLACE = Circle(TASKS).places


def runs_of(tasks, runs=6, seed=0):
    """Finals of tasks whose offsets follow the circle."""
    generator = np.random.default_rng(seed)
    rows = []
    for task in tasks:
        size = 10 ** generator.uniform(7, 9, runs)
        offset = 0.15 * np.sin(PLACE[task]) + 0.003 * generator.standard_normal(runs)
        rows.append(pd.DataFrame({"task": f"kind {task}", "N": size, "loss": 1.5 + 40 * size**-0.25}))
        rows[-1]["loss"] *= np.exp(offset)
    frame = pd.concat(rows, ignore_index=True).assign(tokens=1e9)
    frame["run"] = [f"r{i}" for i in range(len(frame))]
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", levels=("task",), params="N")


@pytest.fixture(scope="module")
def fits():
    """Surrogates without text, with texts that tell, and with texts that mislead; three tasks kept out."""
    log = runs_of([task for task in range(TASKS) if task % 5 != 3])
    kinds = {"none": None, "telling": Circle(TASKS), "misleading": Circle(TASKS, crossed=True)}
    return {name: ps.fit_surrogate(log, embedder=kind, seed=0) for name, kind in kinds.items()}


def error(surrogate):
    asked = runs_of(range(3, TASKS, 5), seed=1)
    curves = surrogate.predict(asked.configs.reset_index(drop=True), [1e9])
    return float(np.abs(curves.median[:, 0] - asked.points.loss.to_numpy()).mean())


def test_telling_texts_are_kept_and_foretell_new_tasks(fits):
    report = fits["telling"].report.experts[0]
    assert report.text == ("task",)
    assert report.text_gain > 1
    assert error(fits["telling"]) < 0.5 * error(fits["none"])


def test_misleading_texts_leave_no_trace(fits):
    report = fits["misleading"].report.experts[0]
    assert report.text == ()
    assert report.text_gain < -1
    assert "text: not kept" in str(fits["misleading"].report)
    configs = [{"task": "kind 3", "N": 3e7}, {"task": "kind 1", "N": 3e8}]
    one, two = (fits[name].predict(configs, [1e9]) for name in ("misleading", "none"))
    np.testing.assert_allclose(one.mean, two.mean, rtol=EXACT)
    np.testing.assert_allclose(one.std, two.std, rtol=EXACT)


def test_without_texts_there_is_no_choice(fits):
    assert fits["none"].report.experts[0].text_gain is None


def test_the_choice_survives_saving(fits, tmp_path):
    for name, embedder in (("telling", Circle(TASKS)), ("misleading", "default")):
        fits[name].save(tmp_path / name)
        again = ps.load_surrogate(tmp_path / name, embedder=embedder)
        assert again.report.experts[0].text_gain == fits[name].report.experts[0].text_gain
        config = [{"task": "kind 8", "N": 3e7}]
        before, after = (s.predict(config, [1e9]).mean for s in (fits[name], again))
        np.testing.assert_allclose(before, after, rtol=EXACT)
