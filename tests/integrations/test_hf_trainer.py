import json
import os
import subprocess
import sys

import numpy as np
import pytest

from probscale.errors import RunLogError
from probscale.integrations import from_trainer_states

SCRIPT = """
import json, sys, torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

root, sizes = sys.argv[1], {}
shape = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
)
tokens = torch.randint(0, 32, (32, 8), generator=torch.Generator().manual_seed(0))
data = [{"input_ids": row, "labels": row} for row in tokens]
for rate in (1e-3, 1e-2):
    set_seed(0)
    model = LlamaForCausalLM(shape)
    arguments = TrainingArguments(
        output_dir=f"{root}/lr{rate}", learning_rate=rate, max_steps=20, per_device_train_batch_size=4,
        eval_strategy="steps", eval_steps=5, logging_steps=5, save_steps=10, report_to=[], disable_tqdm=True,
        use_cpu=True, include_num_input_tokens_seen="all",
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data[:8])
    trainer.train()
    sizes[f"lr{rate}"] = (model.num_parameters(), trainer.state.log_history)
open(f"{root}/truth.json", "w").write(json.dumps(sizes))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two real Trainer runs of a tiny language model, with evaluation every five steps."""
    pytest.importorskip("accelerate", reason="the Trainer needs accelerate")
    root = tmp_path_factory.mktemp("trainer")
    # A process of its own: the folder datasets/ of this repository hides the library that the Trainer looks for.
    run = [sys.executable, "-P", "-c", SCRIPT, root]
    subprocess.run(run, check=True, capture_output=True, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return root, json.loads((root / "truth.json").read_text())


def test_a_folder_of_real_trainer_runs_becomes_a_log_ready_for_a_fit(trained):
    root, truth = trained
    log = from_trainer_states(root)
    assert list(log.runs) == sorted(truth)
    assert log.output == "eval_loss"
    assert log.roles.goal == "min"
    for run, (_, history) in truth.items():
        expected = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
        assert log.points.loc[log.points["run"] == run, "eval_loss"].tolist() == expected
    assert log.roles.params == "n_params"
    assert log.configs["n_params"].tolist() == [size for size, _ in truth.values()]
    assert log.configs["peak_learning_rate"].is_monotonic_increasing


def test_tokens_seen_that_the_trainer_counted_are_the_axis(trained):
    log = from_trainer_states(trained[0])
    assert log.roles.axis == "tokens"
    assert log.points["tokens"].tolist()[:4] == [5 * 4 * 8 * i for i in range(1, 5)]
    assert any("num_input_tokens_seen" in note for note in log.notes)


def test_steps_are_the_axis_on_request_and_the_plan_is_the_horizon(trained):
    log = from_trainer_states(trained[0], axis="step")
    assert log.points["step"].tolist()[:4] == [5, 10, 15, 20]
    assert log.roles.horizon == "max_steps"
    assert set(log.configs["max_steps"]) == {20}


def test_further_settings_can_be_given_by_run_name(trained):
    more = {"lr0.001": {"optimizer": {"name": "adamw"}}, "lr0.01": {"optimizer": {"name": "muon"}}}
    log = from_trainer_states(trained[0], configs=more)
    assert log.configs["optimizer.name"].tolist() == ["adamw", "muon"]
    with pytest.raises(RunLogError, match="unknown run 'lr1'"):
        from_trainer_states(trained[0], configs={"lr1": {}})


def test_only_the_latest_checkpoint_of_a_run_is_read(trained):
    states = sorted((trained[0] / "lr0.01").glob("checkpoint-*/trainer_state.json"))
    assert len(states) == 2
    assert from_trainer_states(states).n_points == 4
    assert from_trainer_states(states[0]).n_points == 2


def test_a_damaged_state_names_the_file(tmp_path):
    (tmp_path / "trainer_state.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunLogError, match="not a Trainer state"):
        from_trainer_states(tmp_path)
    with pytest.raises(RunLogError, match=r"no trainer_state\.json below"):
        from_trainer_states(_empty(tmp_path))


def test_one_damaged_state_does_not_refuse_the_other_runs(tmp_path):
    for run, end in (("one", 3), ("two", 3), ("three", 2)):
        for step in range(1, end):
            history = [{"step": s, "eval_loss": 3.0 - 0.1 * s} for s in range(step + 2)]
            state = json.dumps({"global_step": step, "log_history": history, "max_steps": 8})
            cut = (run == "two" and step == 2) or run == "three"
            place = tmp_path / run / f"checkpoint-{step}" / "trainer_state.json"
            place.parent.mkdir(parents=True)
            place.write_text(state[: len(state) // 2] if cut else state, encoding="utf-8")
    log = from_trainer_states(tmp_path)
    assert [int(np.sum(log.codes == i)) for i in range(log.n_runs)] == [4, 3]
    notes = "\n".join(log.notes)
    assert "imported 2 of 3 runs" in notes
    assert "two/checkpoint-2/trainer_state.json' is not a Trainer state" in notes
    assert "three/checkpoint-1/trainer_state.json' is not a Trainer state" in notes


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_a_run_that_saved_its_state_alone_has_the_architecture_of_its_last_checkpoint(tmp_path):
    for step, width in ((5, 8), (10, 16)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"hidden_size": width}))
    history = [{"step": step, "eval_loss": 3.0 / step} for step in (5, 10)]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history, "global_step": 10}))
    assert from_trainer_states(tmp_path).configs.iloc[0].to_dict() == {"model.hidden_size": 16.0}


def test_a_diverged_loss_is_kept_as_a_mark(tmp_path):
    history = [{"step": s, "eval_loss": v} for s, v in ((10, 3.0), (20, 2.5), (30, float("nan")))]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history, "max_steps": 30}))
    log = from_trainer_states(tmp_path)
    assert log.points["diverged"].tolist() == [False, False, True]
