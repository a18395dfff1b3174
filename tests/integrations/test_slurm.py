"""Jobs of slurm: options reach sbatch, calls together are one array, jobs left behind are cancelled."""

import functools
import importlib
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.integrations import SlurmExecutor

pytest.importorskip("submitit", reason="needs the extra slurm")
trainers = importlib.import_module("trainers")
small_slurm = importlib.import_module("small_slurm")
pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A slurm of one machine; its folder holds a copy of each script and the number of each process."""
    folder = small_slurm.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def gone(pid):
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or ") Z" in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return False


def test_options_reach_sbatch_and_calls_together_are_one_array(slurm, tmp_path):
    options = {"account": "lab", "array_parallelism": 2}
    wanted = {"partition": "big", "time": 90, "gpus": 2, "cpus": 4, "memory": 16, "name": "lr sweep"}
    with SlurmExecutor(tmp_path / "shared", **wanted, options=options) as executor:
        assert list(executor.map(trainers.square, range(3))) == [0, 1, 4]
    (script,) = slurm.glob("*.sbatch")
    text = script.read_text()
    flags = ["partition=big", "time=90", "gpus-per-node=2", "cpus-per-task=4", "mem=16GB", "account=lab"]
    for flag in [*flags, "array=0-2%2"]:
        assert f"#SBATCH --{flag}" in text
    assert not list((tmp_path / "shared").glob("submitted-*"))


def test_an_allocation_runs_on_slurm_and_a_failed_job_is_tried_again(slurm, tmp_path):
    pool = [config for config in trainers.POOL if config["kind"] in ("good", "raises once", "dies once")]
    result = ps.allocate(
        pool,
        functools.partial(trainers.runner, str(tmp_path)),
        **{"total": 3e3, "cost": trainers.COST, "axis": "tokens", "strategy": "uniform"},
        executor=functools.partial(SlurmExecutor, tmp_path / "shared", refresh=0.5, grace=1),
        ledger=tmp_path / "a.jsonl",
    )
    assert (result.runs.status == "trained").all()
    assert result.spent == pytest.approx(3e3)
    assert result.lost > 0


def test_a_job_that_is_cancelled_on_the_cluster_fails_in_its_future(slurm, tmp_path):
    with SlurmExecutor(tmp_path / "shared", refresh=0.2) as executor:
        future = executor.submit(trainers.hang)
        while not future.running():
            time.sleep(0.02)
        pid = int((slurm / "1.pid").read_text())
        assert future.cancel()
        assert gone(pid)
        assert future.cancelled()


LEFT = """
import sys, time, trainers
from probscale.integrations import SlurmExecutor
executor = SlurmExecutor(sys.argv[1])
future = executor.submit(trainers.hang)
while not future.running():
    time.sleep(0.02)
print("running", flush=True)
time.sleep(60)
"""


def test_jobs_of_a_killed_driver_are_cancelled_by_the_next_and_those_of_a_living_one_are_not(slurm, tmp_path):
    command = [sys.executable, "-c", LEFT, str(tmp_path / "shared")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout.readline() == "running\n"
        pid = int((slurm / "1.pid").read_text())
        SlurmExecutor(tmp_path / "shared").shutdown()
        assert Path(f"/proc/{pid}").exists()
        driver.send_signal(signal.SIGKILL)
    SlurmExecutor(tmp_path / "shared").shutdown()
    assert gone(pid)
    assert not list((tmp_path / "shared").glob("submitted-*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster": "pbs"}, "accepted are 'slurm', 'local'"),
        ({"time": 0}, "whole minutes"),
        ({"workers": 0}, "at least 1"),
        ({"options": {"colour": "red"}}, "Unknown argument 'colour'"),
        ({"cpus": 1.5}, "cpus_per_task"),
    ],
)
def test_what_is_not_accepted_is_refused(slurm, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        SlurmExecutor(tmp_path, **options)


def test_without_slurm_it_says_where_to_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match='cluster="local"'):
        SlurmExecutor(tmp_path)


DEAF = """
import time
print("up", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(60)
"""


def test_a_local_job_that_swallowed_its_interrupt_is_interrupted_again(tmp_path, monkeypatch):
    monkeypatch.setattr("probscale.integrations.slurm.PATIENCE", 0.5)
    executor = SlurmExecutor(tmp_path, cluster="local")
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == b"up\n"
        job.send_signal(signal.SIGINT)
        executor.ended(types.SimpleNamespace(job_id="1", _process=job))
        executor.shutdown()
        assert job.returncode is not None
