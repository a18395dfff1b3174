"""Executors of every kind: calls, failures, hangs and deaths mean the same to a future and to an allocation."""

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Executor, wait
from pathlib import Path

import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError, MissingExtraError
from probscale.integrations import EXECUTORS, executor_named
from probscale.ledger import read_ledger

trainers = importlib.import_module("trainers")
pytestmark = pytest.mark.usefixtures("importable")


def maker(name, folder, request, **options):
    """The function that makes an executor, on this machine."""
    if name == "ray":
        pytest.importorskip("ray", reason="needs the extra ray")
        request.getfixturevalue("ray_cluster")
    if name == "slurm":
        pytest.importorskip("submitit", reason="needs the extra slurm")
        options = {"folder": folder / "slurm", "cluster": "local"} | options
    return executor_named(name, workers=2, **options)


@pytest.fixture(params=["ray", "slurm"])
def executor(request, tmp_path):
    made = maker(request.param, tmp_path, request)()
    yield made
    made.shutdown(cancel_futures=True)


def test_a_remote_executor_is_an_executor(executor):
    assert isinstance(executor, Executor)
    assert list(executor.map(trainers.square, range(3))) == [0, 1, 4]
    assert "disk gone" in str(executor.submit(trainers.fail).exception())


def test_a_worker_that_dies_costs_its_own_call_only(executor):
    dead, good = executor.submit(trainers.die), executor.submit(trainers.square, 3)
    assert dead.exception() is not None
    assert good.result() == 9


def test_cancelling_ends_calls_that_queue_and_calls_that_run(executor):
    futures = [executor.submit(trainers.hang) for _ in range(3)]
    while sum(future.running() for future in futures) < 2:
        time.sleep(0.02)
    assert not futures[2].running()
    assert all(future.cancel() for future in futures)
    assert all(future.cancelled() and future.done() for future in futures)
    with pytest.raises(CancelledError):
        futures[0].result()
    assert executor.submit(trainers.square, 2).result(timeout=20) == 4


@pytest.mark.parametrize(("cpus", "at_a_time"), [(1.0, 2), (2.0, 1)])
def test_calls_that_take_more_processors_run_fewer_at_a_time(cpus, at_a_time, request, tmp_path):
    """On a cluster of two processors."""
    with maker("ray", tmp_path, request, cpus=cpus)() as executor:
        futures = [executor.submit(trainers.hang) for _ in range(3)]
        end = time.monotonic() + 20
        while sum(future.running() for future in futures) < at_a_time and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.5)
        assert sum(future.running() for future in futures) == at_a_time
        assert all(future.cancel() for future in futures)


JOINS = """
import sys
import ray
from probscale.integrations import RayExecutor

with RayExecutor(1, address=sys.argv[1]) as executor:
    print(executor.submit(pow, 2, 5).result(), ray.get_runtime_context().get_node_id())
"""


def test_an_executor_joins_the_cluster_at_an_address_and_leaves_it_running(request, tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    address = request.getfixturevalue("ray_cluster")
    # Elsewhere than in the folder in which Ray looks for clusters by itself.
    environment = {n: v for n, v in os.environ.items() if n != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(tmp_path)}
    options = {"env": environment, "capture_output": True, "text": True, "timeout": 60}
    told = subprocess.run([sys.executable, "-c", JOINS, address], check=False, **options)
    assert told.stdout.split() == ["32", ray.get_runtime_context().get_node_id()], told.stderr
    assert ray.get(ray.remote(trainers.square).remote(4)) == 16


def test_shutting_down_waits_for_calls_and_then_takes_no_more(request, tmp_path):
    executor = maker("slurm", tmp_path, request)()
    future = executor.submit(trainers.square, 5)
    executor.shutdown()
    assert future.result(timeout=0) == 25
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(trainers.square, 5)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_allocation_survives_runs_that_raise_hang_diverge_and_die(name, request, tmp_path):
    result = ps.allocate(
        trainers.POOL,
        functools.partial(trainers.runner, str(tmp_path)),
        **{"total": 1e4, "cost": trainers.COST, "axis": "tokens", "strategy": "uniform"},
        # A job of the queue starts Python anew, which takes seconds on a busy machine.
        timeout=3.0 if name == "ray" else 8.0,
        executor=maker(name, tmp_path, request),
        ledger=tmp_path / "a.jsonl",
    )
    status = dict(zip(trainers.KINDS, result.runs.status, strict=True))
    assert status["good"] == status["raises once"] == status["dies once"] == "trained"
    assert status["diverges"] == "diverged"
    assert status["hangs"] == "failed"
    assert "timeout" in result.runs.problem[trainers.KINDS.index("hangs")]
    failed = [e for e in read_ledger(result.ledger).events if e["event"] == "failed"]
    problems = {(trainers.KINDS[event["run"]], event["problem"]) for event in failed}
    assert problems == {("raises once", "raised"), ("dies once", "raised"), ("hangs", "timeout")}
    assert result.spent <= 1e4


@pytest.mark.parametrize("name", ["threads", "processes", "ray", "slurm"])
def test_every_executor_buys_the_same(name, request, tmp_path):
    results = []
    for place, executor in [("none", None), (name, maker(name, tmp_path, request))]:
        results.append(
            ps.allocate(
                [{**config, "kind": "good"} for config in trainers.POOL[:3]],
                functools.partial(trainers.runner, str(tmp_path)),
                **{"total": 3e3, "cost": trainers.COST, "axis": "tokens", "strategy": "halving"},
                executor=executor,
                ledger=tmp_path / f"{place}.jsonl",
            )
        )
    assert results[0].best == results[1].best
    assert results[0].spent == results[1].spent
    assert results[0].log.equals(results[1].log)


@pytest.mark.parametrize("name", ["ray", pytest.param("slurm", marks=pytest.mark.slow)])
def test_active_learning_runs_its_batches_on_it(name, request, tmp_path):
    rows = [
        {"id": f"r{size:g}", "N": size, "tokens": at, "loss": loss}
        for size in (1e6, 2e6, 4e6)
        for at, loss in trainers.scaled({"N": size}, 3e9, None)[0]
    ]
    log = ps.RunLog.from_frame(pd.DataFrame(rows), run="id", axis="tokens", output="loss", params="N")
    loop = ps.ActiveLoop(
        log,
        pd.DataFrame({"N": [1.5e6, 3e6, 6e6]}),
        trainers.scaled,
        **{"cost": ps.FlopsCost(params="N"), "budget": 8e16, "batch": 2, "embedder": None},
        depths=[1e9, 3e9],
        growth=3.0,
        executor=maker(name, tmp_path, request),
        ledger=tmp_path / "loop.jsonl",
    )
    learnt = loop.run()
    assert learnt.n_runs > log.n_runs
    events = read_ledger(tmp_path / "loop.jsonl").events
    assert [event for event in events if event["event"] == "done"]
    assert not [event for event in events if event["event"] == "failed"]


@pytest.mark.parametrize("name", ["ray", pytest.param("slurm", marks=pytest.mark.slow)])
def test_a_driver_killed_in_its_work_resumes_and_pays_nothing_twice(name, request, tmp_path):
    maker(name, tmp_path, request)
    environment = dict(os.environ)
    if name == "ray":
        environment["RAY_ADDRESS"] = request.getfixturevalue("ray_cluster")
    for place in ("whole", "killed"):
        (tmp_path / place).mkdir()

    def start(place, executor, pause):
        command = [sys.executable, str(Path(__file__).with_name("driver.py")), str(tmp_path / place)]
        out = open(tmp_path / f"{place}.out", "w")  # noqa: SIM115
        with out:
            return subprocess.Popen(
                [*command, executor, pause], stdout=out, stderr=subprocess.STDOUT, env=environment
            )

    whole = start("whole", "none", "0")
    driver = start("killed", name, "0.1")
    work = tmp_path / "killed"
    while driver.poll() is None and not any(work.glob("work-*")):
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert start("killed", name, "0.001").wait() == 0, (tmp_path / "killed.out").read_text()
    assert whole.wait() == 0
    expected = json.loads((tmp_path / "whole.out").read_text())
    assert json.loads((tmp_path / "killed.out").read_text().splitlines()[-1]) == expected
    assert importlib.import_module("toy").paid(work) == expected["spent"]
    events = read_ledger(work / "alloc.jsonl").events
    assert sum(event["cost"] for event in events if event["event"] == "done") == expected["spent"]


def test_an_unknown_name_or_option_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'slurm'"):
        executor_named("slrum")
    with pytest.raises(ConfigError, match="it takes workers"):
        executor_named("processes", partition="gpu")
    with pytest.raises(ConfigError, match="workers is 0; give at least 1"):
        executor_named("threads", workers=0)
    with pytest.raises(ConfigError, match="needs a folder"):
        executor_named("slurm")
    with pytest.raises(ConfigError, match="does not take partition"):
        executor_named("ray", partition="gpu")
    assert set(EXECUTORS) == {"processes", "threads", "ray", "slurm"}


def test_plain_names_need_no_extra():
    with executor_named("threads")() as executor:
        assert executor.submit(pow, 2, 3).result() == 8
    with executor_named("processes", workers=1)() as executor:
        done, _ = wait([executor.submit(pow, 2, 3)], timeout=30)
        assert {future.result() for future in done} == {8}


MISSING = """
import sys
import probscale.integrations as bridges
from probscale.errors import MissingExtraError
for name, module in (("ray", "ray"), ("slurm", "submitit")):
    sys.modules[module] = None
    for ask in (
        lambda: bridges.executor_named(name, folder="x") if name == "slurm" else bridges.executor_named(name),
        bridges.RayExecutor if name == "ray" else lambda: bridges.SlurmExecutor("x"),
        lambda: bridges.ProbscaleSearch(bridges.TuneModel(8)) if name == "ray" else bridges.SlurmExecutor("x"),
        lambda: bridges.ProbscaleScheduler(bridges.TuneModel(8)) if name == "ray" else bridges.SlurmExecutor("x"),
    ):
        try:
            ask()
        except MissingExtraError as error:
            assert error.extra == name, error
        else:
            raise SystemExit(f"{name} was not missed")
"""


def test_an_extra_that_is_absent_is_named():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert issubclass(MissingExtraError, ImportError)
