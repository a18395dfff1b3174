"""Logs of public sources, as their authors left them."""

from pathlib import Path

import pandas as pd
import pytest

from probscale.runs import RunLog, split_by_scale

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the development data are not beside the project")

SOURCES = {
    "gemstones": ("gemstones/curves.parquet", {"axis": "tokens", "output": "loss", "params": "params"}),
    "routed": (
        "routed_lm/curves.parquet",
        {"axis": "step", "output": ["loss_c4", "loss_pile"], "levels": "num_experts"},
    ),
    "olmo": (
        "olmo_ladder/curves.parquet",
        {"axis": "step", "output": ["c4_en_loss", "pile_loss"], "levels": "model"},
    ),
    "modded": ("modded_nanogpt/modded_nanogpt_curves.parquet", {"axis": "step", "output": "val_loss"}),
    "nmt": ("nmt_lc/curves.parquet", {"axis": "checkpoint", "output": "bleu", "goal": "max"}),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_public_log_is_read_as_it_is(source):
    path, roles = SOURCES[source]
    frame = pd.read_parquet(DATA / path)
    log = RunLog.from_frame(frame, run="run_id", nonfinite="diverged", **roles)
    assert log.n_points == len(frame)
    assert log.n_runs == frame["run_id"].nunique()
    assert RunLog.from_frame(log.to_frame(), **log.roles.arguments()).equals(log)
    assert str(log.describe())


def test_explosions_in_public_runs_are_found_and_stable_runs_are_left_alone():
    frame = pd.read_parquet(DATA / "ncpl/curves.parquet")
    log = RunLog.from_frame(frame, run="run_id", axis="step", output="loss", levels="source")
    worst = log.points.groupby("run_id", sort=False)["loss"].max()
    first = log.points.groupby("run_id", sort=False)["loss"].first()
    marked = log.points.loc[log.points["diverged"], "run_id"].unique()
    assert 0 < len(marked) < 0.03 * log.n_runs
    assert (worst[marked] > 1.1 * first[marked]).all()


def test_the_largest_public_sizes_are_held_out():
    finals = pd.read_parquet(DATA / "ncpl/runs.parquet")
    finals = finals[finals["source"] == "steplaw"].dropna(subset="final_loss")
    log = RunLog.from_frame(
        finals,
        run="run_id",
        axis="D_tokens",
        output="final_loss",
        params="N_params",
        config=["lr", "batch_size"],
    )
    train, test = split_by_scale(log, threshold=3.7e8)
    assert train.configs["N_params"].max() < 3.7e8 <= test.configs["N_params"].min()
    assert train.n_runs + test.n_runs == len(finals)
