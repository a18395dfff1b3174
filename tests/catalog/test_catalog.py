import json
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, RunLogError

SHARED = Path(__file__).parents[3] / "shared"
UPSTREAM, DATA = SHARED / "upstream", SHARED / "data"

here = pytest.mark.skipif(not UPSTREAM.is_dir(), reason="samples of the upstream repositories are not here")
both = pytest.mark.skipif(
    not (UPSTREAM.is_dir() and DATA.is_dir()), reason="the development data are not here"
)

SAMPLED = {
    "ncpl": (50, "loss"),
    "nanogpt": (30, "val_loss"),
    "nanogpt-small": (12, "val_loss"),
    "bilingual-mt": (60, "bleu"),
    "steplaw": (1404, "smooth_loss"),
    "gemstones": (16, "loss"),
    "multi-power": (27, "loss"),
    "chinchilla": (245, "loss"),
}


def curves(log, output=None):
    return log.to_frame().set_index(["run", log.roles.axis])[output or log.output].sort_index()


def test_every_data_set_says_where_it_is_from_and_what_misleads():
    assert set(SAMPLED) < set(ps.catalog.names())
    for name in ps.catalog.names():
        entry = ps.catalog.info(name)
        assert entry.name == name
        assert entry.repository.startswith("https://")
        assert entry.licence
        assert entry.citation
        assert entry.traps
        assert entry.citation in str(entry)
        assert entry.checked in str(entry)
        assert len(entry.checked) > 20
    with pytest.raises(FrozenInstanceError):
        entry.name = "other"


@here
@pytest.mark.parametrize("name", SAMPLED)
def test_a_clone_becomes_a_log_with_its_roles(name, monkeypatch):
    monkeypatch.setenv("PROBSCALE_DATA_HOME", str(UPSTREAM))
    log, entry = ps.catalog.load(name), ps.catalog.info(name)
    assert (log.n_runs, log.output) == SAMPLED[name]
    assert log.roles.levels == entry.levels
    assert (log.roles.axis, log.roles.params, log.roles.horizon) == (entry.axis, entry.params, entry.horizon)
    assert log.roles.goal == entry.goal
    assert any(entry.citation in note for note in log.notes)
    assert log.equals(ps.catalog.load(name, UPSTREAM / entry.folder))


@both
def test_ncpl_recomputes_what_upstream_guessed():
    log = ps.catalog.load("ncpl", UPSTREAM)
    runs = pd.read_parquet(DATA / "ncpl" / "runs.parquet").set_index("run_id").loc[log.runs]
    exact = [
        "N_params",
        "D_tokens",
        "d_ff",
        "d_model",
        "n_layers",
        "n_heads",
        "batch_size",
        "warmup_steps",
        "optimizer",
    ]
    for column in exact:
        assert log.configs[column].tolist() == runs[column].tolist(), column
    for column in ("lr", "weight_decay", "beta1", "beta2", "eps", "grad_clip", "preconditioner_lr"):
        np.testing.assert_allclose(
            log.configs[column].astype(float), runs[column], rtol=1e-12, equal_nan=True
        )
    np.testing.assert_allclose(
        log.configs["min_lr_ratio"].astype(float), runs["min_lr_ratio"], rtol=2e-3, atol=1e-9
    )


@both
def test_ncpl_curves_agree_with_the_development_copy():
    log = ps.catalog.load("ncpl", UPSTREAM)
    points = pd.read_parquet(DATA / "ncpl" / "curves.parquet")
    points = points[points["run_id"].isin(log.runs) & (points["step"] > 0)]
    for run, part in points.groupby("run_id"):
        mine = log.points[log.points["run"] == run]
        assert mine["loss"].tolist() == part["loss"].tolist()
        horizon = log.configs.loc[run, "D_tokens"]
        np.testing.assert_allclose(mine["tokens"] / horizon, part["frac"], atol=1e-3)


@both
@pytest.mark.parametrize(("name", "copy"), [("nanogpt", "nanogpt_large"), ("nanogpt-small", "nanogpt_small")])
def test_nanogpt_curves_and_sizes_agree_with_the_development_copy(name, copy):
    log = ps.catalog.load(name, UPSTREAM)
    other = pd.read_parquet(DATA / "schram" / f"{copy}.parquet")
    frame = log.to_frame().merge(other, on=["n_embd", "n_layer", "tokens"], suffixes=("", "_theirs"))
    assert len(frame) == log.n_points == len(other)
    np.testing.assert_allclose(frame["val_loss"], frame["val_loss_theirs"], rtol=1e-12)
    assert (frame["N_nonembedding"] == frame["n_params_nonemb"]).all()
    # The copy of the small set counts 10,240 parameters more or less in the embeddings of each shape.
    np.testing.assert_allclose(frame["N_params"], frame["n_params_total"], rtol=1e-3)


@both
def test_translation_scores_agree_with_the_development_copy():
    log = ps.catalog.load("bilingual-mt", UPSTREAM)
    other = pd.read_parquet(DATA / "schram" / "bilingual_mt.parquet")
    wide = other.pivot_table(index=["model", "src", "tgt", "train_size"], columns="metric", values="value")
    frame = log.to_frame().set_index(["model", "src", "tgt", "train_size"]).sort_index()
    for metric in ("bleu", "chrf"):
        np.testing.assert_allclose(frame[metric], wide[metric].loc[frame.index], rtol=1e-12)
    assert len(frame) == len(wide)


@both
def test_steplaw_finals_agree_with_the_ncpl_curves_and_the_unstable_runs():
    log = ps.catalog.load("steplaw", UPSTREAM)
    finals = log.to_frame().set_index("run")
    runs = pd.read_parquet(DATA / "ncpl" / "runs.parquet").set_index("run_id")
    shared = finals.index.intersection(runs.index)
    assert len(shared) > 500
    assert (finals.loc[shared, "N_params"] == runs.loc[shared, "N_params"]).all()
    assert (finals.loc[shared, "tokens"] == runs.loc[shared, "D_tokens"]).all()
    unstable = pd.read_parquet(DATA / "ncpl" / "steplaw_unstable.parquet").set_index("exp_name")
    also = finals.index.intersection(unstable.index)
    assert len(also) > 20
    assert (finals.loc[also, "smooth_loss"] == unstable.loc[also, "smooth loss"]).all()


@both
def test_gemstones_agree_with_the_development_copy():
    log = ps.catalog.load("gemstones", UPSTREAM)
    other = pd.read_parquet(DATA / "gemstones" / "curves.parquet")
    hot = other[other["series"] == "hot"].set_index(["run_name", "tokens"])["loss"]
    mine = curves(log)
    shared = mine.index.intersection(hot.index)
    assert len(shared) > 100
    np.testing.assert_allclose(mine.loc[shared], hot.loc[shared], rtol=1e-9)
    sizes = other.drop_duplicates("run_name").set_index("run_name")["params"]
    assert (log.configs["params"] == sizes.loc[log.runs]).all()


@both
def test_multi_power_curves_agree_with_the_development_copy():
    log = ps.catalog.load("multi-power", UPSTREAM)
    other = pd.read_parquet(DATA / "multipowerlaw" / "multipowerlaw.parquet")
    theirs = other.set_index(["run_id", "step"])["loss"].sort_index()
    mine = curves(log)
    np.testing.assert_allclose(mine, theirs.loc[mine.index], rtol=1e-12)
    lasting = log.configs[~log.configs["schedule_kind"].isin(["wsdcon"])]
    planned = other.drop_duplicates("run_id").set_index("run_id")["total_steps"]
    assert (lasting["planned_steps"] == planned.loc[lasting.index]).all()


@both
def test_chinchilla_agrees_with_the_development_copy():
    log = ps.catalog.load("chinchilla", UPSTREAM)
    other = pd.read_parquet(DATA / "chinchilla_epoch" / "chinchilla_epoch.parquet").set_index("run_id")
    frame = log.to_frame().set_index("run").loc[other.index]
    for column in ("tokens", "loss", "params"):
        np.testing.assert_allclose(frame[column], other[column], rtol=1e-12)


def misfitting_clone(folder):
    """A clone whose table holds the development copy in upstream's columns, ambiguous runs included."""
    other = pd.read_parquet(DATA / "misfitting" / "misfitting.parquet")
    names = {"params": "N", "params_nonembed": "N_no_emb", "tokens": "D", "step": "current_steps"}
    (folder / "data").mkdir()
    other.rename(columns=names).to_csv(folder / "data" / "scaling_results.csv", index=False)
    return other


@both
def test_misfitting_agrees_with_the_development_copy_and_leaves_out_ambiguous_runs(tmp_path):
    other = misfitting_clone(tmp_path)
    log = ps.catalog.load("misfitting", tmp_path)
    clear = other[~other["ambiguous"]].set_index(["run_id", "tokens"])["loss"].sort_index()
    mine = curves(log)
    assert set(log.runs) <= set(other["run_id"])
    shared = mine.index.intersection(clear.index)
    assert len(shared) > 0.95 * len(clear)
    np.testing.assert_allclose(mine.loc[shared], clear.loc[shared], rtol=1e-12)
    # Two runs were logged once more, six steps after their planned end.
    last = log.points.groupby("run", sort=False)["tokens"].last()
    assert (1.03 * log.configs["planned_tokens"] >= last).all()


UPSTREAM_HEADER = (
    "loss,C4 Eval Loss,N,N_no_emb,D,C,C_no_emb,C_6ND,C_6ND_no_emb,portion_steps_elapsed,model,train_tokens,"
    "total_steps,current_steps,total_epochs,current_epoch,peak_lr,sweep"
)


def test_misfitting_reads_a_table_with_the_columns_and_kinds_of_values_of_upstream(tmp_path):
    """Upstream counts 128 steps an epoch, and in `train_tokens` the tokens so far, not those planned."""
    lines = [UPSTREAM_HEADER]
    for epoch in (1, 2, 3):
        tokens, loss = epoch * 134217728, 6.0 / epoch
        lines.append(
            f"{loss},{loss},93940416,35842752,{tokens},75650815224446976,28864396439322624,75650815217369088,"
            f"28864396432244736,{0.008 * epoch},misfitting_35m,{tokens},16000,{128 * epoch},125,{epoch},0.002,"
            "2024_11_26-18_49_27_sweep_test"
        )
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scaling_results.csv").write_text("\n".join(lines) + "\n")
    log = ps.catalog.load("misfitting", tmp_path)
    assert list(log.runs) == ["2024_11_26-18_49_27_sweep_test|misfitting_35m|lr0.002|S16000"]
    assert log.points["tokens"].tolist() == [134217728, 268435456, 402653184]
    assert log.configs["planned_tokens"].tolist() == [16_000 * 1_048_576]
    assert log.configs[["params", "params_nonembedding"]].to_numpy().tolist() == [[93940416, 35842752]]


def test_a_run_logged_twice_with_different_losses_is_left_out(tmp_path):
    rows = [
        {"loss": 3.0 - s / 10 + bump, "N": 1e6, "N_no_emb": 9e5, "total_steps": 4, "current_steps": s, "peak_lr": lr,
         "model": "m", "sweep": "a"}
        for lr in (1e-3, 2e-3) for bump in ((0.0, 0.1) if lr == 2e-3 else (0.0,)) for s in range(1, 5)
    ]  # fmt: skip
    (tmp_path / "data").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "data" / "scaling_results.csv", index=False)
    log = ps.catalog.load("misfitting", tmp_path)
    assert list(log.runs) == ["a|m|lr0.001|S4"]
    assert log.points["tokens"].tolist() == [1_048_576 * s for s in range(1, 5)]


def lcbench_json(curve):
    config = {"batch_size": 64, "learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.01, "num_layers": 2}
    log = {
        "epoch": list(range(len(curve))),
        "Train/val_cross_entropy": list(curve),
        "Train/loss": list(curve),
    }
    return {"config": config | {"max_units": 64, "max_dropout": 0.1}, "log": log, "results": {}}


def test_lcbench_files_become_a_task_hierarchy(tmp_path):
    content = {t: {str(i): lcbench_json([2.0, 1.5, 1.0 + i]) for i in range(2)} for t in ("adult", "higgs")}
    (tmp_path / "data_2k_lw.json").write_text(json.dumps(content))
    log = ps.catalog.load("lcbench", tmp_path)
    assert (log.n_runs, log.n_points, log.roles.levels) == (4, 12, ("task",))
    assert log.points["val_cross_entropy"].tolist()[-1] == 2.0
    (tmp_path / "data_2k_lw.json").write_text(json.dumps({"adult": {"0": {}}}))
    with pytest.raises(RunLogError, match="not an LCBench file"):
        ps.catalog.load("lcbench", tmp_path)


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data are not here")
def test_lcbench_agrees_with_the_development_copy(tmp_path):
    wide = pd.read_parquet(DATA / "lcbench" / "higgs.parquet").head(5)
    epochs = [f"e{i}" for i in range(52)]
    runs = {str(int(row["config_id"])): lcbench_json(row[epochs].tolist()) for _, row in wide.iterrows()}
    (tmp_path / "data_2k_lw.json").write_text(json.dumps({"higgs": runs}))
    log = ps.catalog.load("lcbench", tmp_path)
    assert (
        log.points["val_cross_entropy"].to_numpy().reshape(5, 52).tolist() == wide[epochs].to_numpy().tolist()
    )


def test_a_missing_clone_is_named_with_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PROBSCALE_DATA_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"git clone https://github\.com/vschram/ZeroShot_for_PSL"):
        ps.catalog.load("nanogpt")
    with pytest.raises(ConfigError, match="holds no"):
        ps.catalog.load("nanogpt", tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'nanogpt'"):
        ps.catalog.load("nano-gpt")


@here
def test_a_truncated_table_of_curves_is_refused(tmp_path):
    source = UPSTREAM / "ZeroShot_for_PSL" / "Datasets" / "Dataset" / "init_data"
    target = tmp_path / "Datasets" / "Dataset" / "init_data"
    target.mkdir(parents=True)
    (target / "layer_over_embd_pdata.txt").write_text((source / "layer_over_embd_pdata.txt").read_text())
    (target / "layer_over_embd.txt").write_text("512, 3.0, 2.0\n768, 3.0, 2.0\n")
    with pytest.raises(RunLogError, match="expected 67"):
        ps.catalog.load("nanogpt", tmp_path)


DAMAGES = {
    "empty": b"",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n",
    "a page of a web server": b"<!DOCTYPE html><html><body>404</body></html>\n",
    "not UTF-8": b"\xff\xfe\x00\x81,1,2\n",
}
FIRST = {
    "ncpl": "data/train/run/config.json",
    "nanogpt": "Datasets/Dataset/init_data/layer_over_embd.txt",
    "bilingual-mt": "Datasets/Dataset/bilingual/data_LC/Transformer/seed1/bleu_en_id_.npy",
    "steplaw": "data/dense_lr_bs_loss.csv",
    "gemstones": "wandb_dfs/wandb_df_for_fitting_hot_477.jsonl",
    "misfitting": "data/scaling_results.csv",
    "multi-power": "loss_curve_repo/csv_25/cosine_24000.csv",
    "chinchilla": "data/svg_extracted_data.csv",
    "lcbench": "data_2k_lw.json",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FIRST)
def test_a_damaged_file_of_a_clone_is_named_with_the_command_that_restores_it(name, damage, tmp_path):
    file = tmp_path / FIRST[name]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(DAMAGES[damage])
    beside = {"ncpl": ("losses.json", "{}"), "nanogpt": ("layer_over_embd_pdata.txt", "0,1\n" * 66)}
    if name in beside:
        (file.parent / beside[name][0]).write_text(beside[name][1])
    remedy = "git lfs pull" if "LFS" in damage else "git checkout"
    with pytest.raises(RunLogError, match=f"(?s){file.name}.*{remedy}"):
        ps.catalog.load(name, tmp_path)


@here
@pytest.mark.parametrize("name", ["ncpl", "nanogpt", "gemstones", "chinchilla"])
def test_a_byte_order_mark_is_no_part_of_a_file(name, tmp_path):
    entry = ps.catalog.info(name)
    clone = tmp_path / entry.folder
    shutil.copytree(UPSTREAM / entry.folder, clone)
    for pattern in entry.files:
        for file in clone.glob(pattern):
            file.chmod(0o644)
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert ps.catalog.load(name, tmp_path).equals(ps.catalog.load(name, UPSTREAM))
