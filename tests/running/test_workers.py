"""Workers: increments side by side, and what becomes of those that hang or die."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing

import pytest

from probscale.running import Increment, Workers, process_workers


def jobs(count):
    return [Increment(f"r{n}", {"n": n}, 1.0, None) for n in range(count)]


def square(config, until, state):
    return [(until, config["n"] ** 2)], {"pid": os.getpid()}


def found(runner, executor, timeout=None, count=5):
    with closing(Workers(runner, executor, timeout)) as workers:
        return {outcome.run: outcome for outcome in workers.outcomes(jobs(count))}


@pytest.mark.parametrize(
    "executor", [None, functools.partial(ThreadPoolExecutor, 2), functools.partial(process_workers, 2)]
)
def test_all_ways_of_running_give_the_same(executor):
    outcomes = found(square, executor)
    assert {run: outcome.points for run, outcome in outcomes.items()} == {
        f"r{n}": [(1.0, float(n * n))] for n in range(5)
    }
    here = {outcome.state["pid"] == os.getpid() for outcome in outcomes.values()}
    assert here == {not isinstance(executor, functools.partial) or executor.func is ThreadPoolExecutor}


def test_an_executor_of_the_caller_stays_open():
    with ThreadPoolExecutor(2) as executor:
        found(square, executor)
        assert executor.submit(int, "3").result() == 3


def dying(config, until, state):
    if config["n"] == 2:
        os._exit(3)
    return square(config, until, state)


def test_a_dead_worker_is_replaced():
    with closing(Workers(dying, functools.partial(ProcessPoolExecutor, 1), None)) as workers:
        first = {o.run: o for o in workers.outcomes(jobs(3))}
        assert first["r2"].problem == "lost"
        assert "the worker died" in first["r2"].message
        again = [o for o in workers.outcomes([Increment("r1", {"n": 1}, 1.0, None)])]
    assert [o.problem for o in again] == [""]


def sleeping(config, until, state):
    if config["n"] == 1:
        time.sleep(60)
    return square(config, until, state)


def test_a_hanging_process_is_given_up_and_ended():
    """Without an end to the worker, closing the interpreter would wait for it."""
    start = time.monotonic()
    workers = Workers(sleeping, functools.partial(process_workers, 2), 1.0)
    outcomes = {outcome.run: outcome for outcome in workers.outcomes(jobs(4))}
    processes = list(workers.processes)
    assert outcomes["r1"].problem == "timeout"
    assert [outcomes[f"r{n}"].problem for n in (0, 2, 3)] == ["", "", ""]
    workers.close()
    assert processes
    for process in processes:
        process.join(10)
        # The pool's own thread may have reaped it and not yet written that down.
        while process.is_alive() and time.monotonic() - start < 10:
            time.sleep(0.01)
        assert not process.is_alive()
    assert time.monotonic() - start < 20


def test_a_hang_in_this_process_is_left_behind():
    release = threading.Event()

    def waits(config, until, state):
        if config["n"] == 0:
            release.wait(20)
        return square(config, until, state)

    outcomes = found(waits, None, timeout=0.3, count=2)
    release.set()
    assert [outcomes[run].problem for run in ("r0", "r1")] == ["timeout", ""]


def test_one_lock_keeps_two_increments_apart(tmp_path):
    """Two processes asked for the same run: the second waits for the first."""
    runs = [Increment(n, {"path": str(tmp_path / "log")}, 1.0, None, tmp_path / "lock") for n in range(3)]
    with closing(Workers(marking, functools.partial(process_workers, 2), None)) as workers:
        assert [outcome.problem for outcome in workers.outcomes(runs)] == ["", "", ""]
    assert (tmp_path / "log").read_text() == "<>" * 3


def marking(config, until, state):
    for mark in "<>":
        with open(config["path"], "a") as file:
            file.write(mark)
        time.sleep(0.05)
    return [(until, 1.0)], None


DRIVER = """
import functools, sys
from contextlib import closing
from probscale.running import Increment, Workers, computing_workers, process_workers
from runner import train, wait
jobs = [Increment(n, {"n": n}, 1.0, None) for n in range(2)]
print("begun", flush=True)
try:
    if sys.argv[1] == "computing":
        with computing_workers(2, int) as pool:
            list(pool.map(wait, range(4)))
    else:
        with closing(Workers(train, functools.partial(process_workers, 2, "spawn"), None)) as workers:
            for outcome in workers.outcomes(jobs):
                pass
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(130)
"""

RUNNER = """
import time
from pathlib import Path

def wait(number):
    Path(f"at-{number}").touch()
    time.sleep(60)

def train(config, until, state):
    Path(f"at-{config['n']}").touch()
    if config["n"] == 0:
        return [(until, 1.0)], None
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path("heard").touch()
        raise
"""


@pytest.mark.parametrize("kind", ["computing", "training"])
@pytest.mark.parametrize("early", [True, False], ids=["while workers start", "while they work"])
def test_ctrl_c_ends_driver_and_workers_without_a_traceback(kind, early, tmp_path):
    (tmp_path / "runner.py").write_text(RUNNER)
    (tmp_path / "driver.py").write_text(f"if __name__ == '__main__':\n{textwrap.indent(DRIVER, '    ')}")
    command = [sys.executable, "driver.py", kind]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "begun\n"
        time.sleep(0.3)
        until = time.monotonic() + 60
        while not early and not (tmp_path / "at-1").exists() and time.monotonic() < until:
            time.sleep(0.05)
        began = time.monotonic()
        os.killpg(driver.pid, signal.SIGINT)
        # The pipe ends once no worker holds it.
        assert driver.communicate(timeout=60)[0] == "stopped\n"
        assert time.monotonic() - began < 20
    assert driver.returncode == 130
    if not early:
        assert (tmp_path / "heard").exists() == (kind == "training")
