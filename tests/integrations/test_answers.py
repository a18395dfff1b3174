"""The lines of the guide that go from a tracker to an answer run as they are shown, on stores of the real tools."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parents[1] / "docs" / "howto" / "import.md").read_text(encoding="utf-8")
MARK = r"^% run by tests/integrations/test_answers\.py\n```python\n(.*?)^```$"
SHOWN = {
    re.findall(r"import (from_\w+)", code)[0]: code
    for code in re.findall(MARK, PAGE, flags=re.MULTILINE | re.DOTALL)
}

WANDB = """
import wandb
for size in (5e5, 1e6):
    for rate in (1e-3, 3e-3, 1e-2):
        config = {"lr": rate, "n_params": size}
        run = wandb.init(project="sweep", mode="offline", name=f"{size:g}-{rate:g}", config=config)
        for i in range(1, 9):
            loss = 1.5 + 300 * size ** -0.4 + 40 * (1e5 * i) ** -0.3 + 0.3 * (rate > 5e-3)
            run.log({"eval/loss": loss, "tokens": 1e5 * i})
        run.finish()
"""

TRAINER = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

shape = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
)
tokens = torch.randint(0, 32, (32, 8), generator=torch.Generator().manual_seed(0))
data = [{"input_ids": row, "labels": row} for row in tokens]
for rate in (1e-3, 3e-3, 1e-2):
    set_seed(0)
    arguments = TrainingArguments(
        output_dir=f"checkpoints/lr{rate}", learning_rate=rate, max_steps=20, per_device_train_batch_size=4,
        eval_strategy="steps", eval_steps=4, logging_steps=4, save_steps=20, report_to=[], disable_tqdm=True,
        use_cpu=True, include_num_input_tokens_seen="all",
    )
    Trainer(
        model=LlamaForCausalLM(shape), args=arguments, train_dataset=data, eval_dataset=data[:8]
    ).train()
"""


def scripted(code, folder):
    keep = {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-P", "-c", code]
    subprocess.run(run, check=True, capture_output=True, cwd=folder, env=os.environ | keep, timeout=120)


def write_wandb(folder):
    pytest.importorskip("wandb", reason="writes the runs that are read here")
    scripted(WANDB, folder)


def write_mlflow(folder):
    # Written by mlflow itself, through mlflow_store.py.
    shutil.copytree(HERE / "data" / "mlruns", folder / "mlruns")


def write_trainer(folder):
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    scripted(TRAINER, folder)


STORES = {
    "from_wandb_offline": write_wandb,
    "from_mlflow": write_mlflow,
    "from_trainer_states": write_trainer,
}


def test_the_guide_has_one_answer_for_each_of_these_tools():
    assert set(SHOWN) == set(STORES)


@pytest.mark.parametrize("tool", STORES)
def test_at_most_five_lines_go_from_a_store_to_an_answer(tool, tmp_path, monkeypatch):
    code = SHOWN[tool]
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    STORES[tool](tmp_path)
    monkeypatch.chdir(tmp_path)
    names, said = {}, io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, f"import.md, {tool}", "exec"), names)
    table = pd.read_csv(io.StringIO(said.getvalue()), sep=r"\s+")
    table = table.drop(columns="prob_diverge", errors="ignore")  # There where a run of the store diverged.
    assert list(table.columns)[-4:] == ["mean", "std", "lower", "upper"]
    assert len(table) == 2
    assert (table["lower"] < table["mean"]).all()
    assert (table["mean"] < table["upper"]).all()
    measured = names["surrogate"].log.points[names["surrogate"].log.output]
    assert table["mean"].between(0.5 * measured.min(), 1.5 * measured.max()).all()
    assert (table["std"] < measured.max()).all()
