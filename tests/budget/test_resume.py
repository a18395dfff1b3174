"""An allocation killed at random moments: nothing is paid twice, nothing is lost, the result is the same."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probscale.errors import BudgetError
from probscale.ledger import read_ledger

TOY = Path(__file__).parent / "toy.py"
spec = importlib.util.spec_from_file_location("probscale_toy", TOY)
toy = importlib.util.module_from_spec(spec)
sys.modules["probscale_toy"] = toy
spec.loader.exec_module(toy)


def killed_run(folder, strategy, pause, processes, kills, seed):
    """Start, SIGKILL at random, start again; the last start finishes."""
    chance = random.Random(seed)
    out, err = folder / "out", folder / "err"
    command = [sys.executable, str(TOY), str(folder), strategy, str(pause), str(processes)]
    done = 0
    while True:
        with open(out, "w") as shown, open(err, "w") as trouble:
            process = subprocess.Popen(command, stdout=shown, stderr=trouble)
        ledger = folder / "alloc.jsonl"
        if done < kills:
            # Wait for the first new line of the ledger, so that kills fall into the work and not into imports.
            before = ledger.stat().st_size if ledger.exists() else 0
            while process.poll() is None and (ledger.stat().st_size if ledger.exists() else 0) <= before:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.15))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.returncode == -signal.SIGKILL:
            done += 1
            continue
        assert process.returncode == 0, err.read_text()
        return json.loads(out.read_text()), done


@pytest.mark.parametrize(("processes", "kills"), [(0, 4), (2, 3)])
def test_killed_at_random_pays_nothing_twice_and_finds_the_same(tmp_path, processes, kills):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = toy.run(tmp_path / "whole", strategy="halving")
    outcome, done = killed_run(tmp_path / "killed", "halving", 0.02, processes, kills, seed=processes)
    assert done >= 2
    assert outcome["spent"] == whole.spent == toy.paid(tmp_path / "whole") == toy.paid(tmp_path / "killed")
    assert (outcome["best"], outcome["output"]) == (whole.best.config, whole.best.output)
    events = read_ledger(tmp_path / "killed" / "alloc.jsonl").events
    assert sum(event["cost"] for event in events if event["event"] == "done") == outcome["spent"]
    finished = [(event["decision"], event["run"]) for event in events if event["event"] == "done"]
    assert len(finished) == len(set(finished))


@pytest.mark.parametrize("cut", [1, 3, 6, 10, 17, 25])
def test_resuming_after_any_event_gives_the_same_result(tmp_path, cut):
    whole = toy.run(tmp_path)
    path = tmp_path / "alloc.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
    again = toy.run(tmp_path)
    assert again.spent == whole.spent == toy.paid(tmp_path)
    assert again.best == whole.best
    assert again.log.equals(whole.log)
    assert read_ledger(path).torn == ""


def test_a_finished_allocation_is_read_and_not_paid_again(tmp_path):
    first = toy.run(tmp_path)
    size = (tmp_path / "alloc.jsonl").stat().st_size
    again = toy.run(tmp_path)
    assert again.best == first.best
    assert again.spent == first.spent == toy.paid(tmp_path)
    assert (tmp_path / "alloc.jsonl").stat().st_size == size


def test_a_smaller_budget_does_not_resume_the_same_ledger(tmp_path):
    toy.run(tmp_path)
    with pytest.raises(BudgetError, match="was given 2400 already"):
        toy.run(tmp_path, total=0.5 * toy.TOTAL)


def test_the_surrogate_strategy_resumes_too(tmp_path):
    whole = toy.run(tmp_path, strategy="surrogate")
    path = tmp_path / "alloc.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: len(lines) // 2]))
    again = toy.run(tmp_path, strategy="surrogate")
    assert (again.best, again.spent) == (whole.best, whole.spent)
    assert again.spent == toy.paid(tmp_path)
