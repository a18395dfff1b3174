"""Fine-tuning on a log: what texts should tell, and a surrogate that reads with the result."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.encode.embedders import HuggingFaceEmbedder
from probscale.encode.lora import LoraEmbedder
from probscale.errors import ConfigError, EmbeddingError
from probscale.surrogate.text_tuning import text_residuals

WORDS = [
    "adamw",
    "muon",
    "lion",
    "width",
    "layers",
    "batch",
    "size",
    "warmup",
    "steps",
    "decay",
    "tokens",
    "rate",
]
OFFSET = np.linspace(-0.15, 0.15, len(WORDS))


def runs_of(words, points=1, runs=5, seed=0, **columns):
    """Runs of tasks named by words, each with its own offset."""
    generator = np.random.default_rng(seed)
    rows = []
    for place, word in enumerate(words):
        for number in range(runs):
            size = 10 ** generator.uniform(7, 9)
            at = np.geomspace(1e8, 1e9, points + 1)[1:]
            loss = 1.5 + (40 * size**-0.25 + 300 * at**-0.3) * np.exp(OFFSET[place])
            loss *= np.exp(0.002 * generator.standard_normal(points))
            rows.append(
                pd.DataFrame({"run": f"{word}{number}", "task": word, "N": size, "tokens": at, "loss": loss})
            )
    frame = pd.concat(rows, ignore_index=True).assign(**columns)
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", levels=("task",), params="N")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    builders = runpy.run_path(str(Path(__file__).parents[1] / "encode" / "tiny_models.py"))
    return HuggingFaceEmbedder(
        str(builders["save_llama"](tmp_path_factory.mktemp("models") / "llama")), "last"
    )


@pytest.fixture(scope="module")
def log():
    return runs_of(WORDS)


def test_residuals_are_what_left_out_values_miss(log):
    texts, targets, groups = text_residuals(log, seed=0)
    assert set(texts) == set(targets) == set(groups) == {"task"}
    table = pd.DataFrame({"group": groups["task"], "text": texts["task"], "target": targets["task"]})
    assert (table.groupby("group").text.nunique() == 1).all()
    mean = table.groupby("group").target.mean()[WORDS]
    assert np.corrcoef(mean, OFFSET)[0, 1] > 0.97
    assert table.groupby("group").target.std().max() < 0.4 * mean.std()


def test_only_the_last_point_of_each_run_counts(log):
    _, targets, _ = text_residuals(runs_of(WORDS, points=3))
    assert len(targets["task"]) == log.n_runs


def test_free_text_is_left_out_with_the_level_above_it():
    log = runs_of(WORDS)
    told = log.to_frame()
    told["about"] = [f"a long text about run number {run} of the task, in eight words" for run in told.run]
    roles = {"run": "run", "axis": "tokens", "output": "loss", "levels": ("task",), "params": "N"}
    texts, _, groups = text_residuals(ps.RunLog.from_frame(told, **roles))
    assert set(texts) == {"task", "about"}
    assert len(set(texts["about"])) == log.n_runs
    assert set(groups["about"]) == set(WORDS)


def test_too_few_values_are_refused_with_their_number(tmp_path):
    with pytest.raises(ConfigError, match=r"no field has 8 values .* \(found \{'task': 4\}\)"):
        ps.fine_tune_embedder(runs_of(WORDS[:4]), folder=tmp_path / "new")
    frame = runs_of(WORDS[:4]).to_frame().drop(columns="task")
    untold = ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N")
    with pytest.raises(ConfigError, match="found no text at all"):
        ps.fine_tune_embedder(untold, folder=tmp_path / "new")


def test_a_surrogate_reads_with_the_adapter_and_is_saved_with_its_name(log, model, tmp_path):
    found = ps.fine_tune_embedder(log, folder=tmp_path / "adapter", base=model, rank=2, epochs=2, seed=0)
    assert isinstance(found, LoraEmbedder)
    surrogate = ps.fit_surrogate(log, embedder=found, seed=0)
    ask = log.configs.head(3).reset_index(drop=True)
    mean = surrogate.predict(ask, [1e9]).mean
    path = tmp_path / "surrogate.safetensors"
    surrogate.save(path)
    if surrogate.report.embedder is None:
        pytest.fail("text was dropped: this log no longer shows how it is saved")
    assert surrogate.report.embedder == found.identity
    again = ps.load_surrogate(path, embedder=tmp_path / "adapter")
    np.testing.assert_array_equal(again.predict(ask, [1e9]).mean, mean)
    with pytest.raises(EmbeddingError, match="pass embedder= as in the fit"):
        ps.load_surrogate(path, embedder=model)
