"""A slurm of one machine, as far as submitit asks: sbatch with arrays, srun, sacct and scancel."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel")


def install(folder):
    """Write the commands into a folder for the path; returns it."""
    folder.mkdir(parents=True)
    for name in COMMANDS:
        (folder / name).write_text(f'#!/bin/bash\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def sbatch(state, script):
    """Start a script at once, once per index of its array."""
    number = str(1 + sum(1 for _ in state.glob("*.sbatch")))
    text = Path(script).read_text()
    (state / f"{number}.sbatch").write_text(text)
    array = re.search(r"--array=0-(\d+)", text)
    for index in range(int(array[1]) + 1) if array else [None]:
        job = number if index is None else f"{number}_{index}"
        environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
        environment |= {"SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
        if index is not None:
            environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(index)}
        null = subprocess.DEVNULL
        process = subprocess.Popen(
            ["bash", script], env=environment, start_new_session=True, stdin=null, stdout=null, stderr=null
        )
        (state / f"{job}.pid").write_text(str(process.pid))
    print(f"Submitted batch job {number}")


def srun(state, *arguments):
    """Run the command after the options, its output where they say."""
    rest, files = list(arguments), {}
    while rest[0].startswith("--"):
        option = rest.pop(0)
        if option in ("--output", "--error"):
            number = os.environ["SLURM_JOB_ID"]
            index = os.environ.get("SLURM_ARRAY_TASK_ID", "")
            files[option] = rest.pop(0).replace("%j", number).replace("%t", "0")
            files[option] = files[option].replace("%A", number).replace("%a", index)
    with open(files["--output"], "a") as out, open(files["--error"], "a") as err:
        sys.exit(subprocess.call(rest, stdout=out, stderr=err))


def sacct(state, *arguments):
    """One line per job."""
    print("JobID|State|NodeList")
    for path in state.glob("*.pid"):
        stat = Path(f"/proc/{path.read_text()}/stat")
        alive = stat.exists() and stat.read_text().split(")")[1].split()[0] != "Z"
        over = "CANCELLED by 0" if path.with_suffix(".cancelled").exists() else "COMPLETED"
        print(f"{path.stem}|{'RUNNING' if alive else over}|here")


def scancel(state, job):
    """End a job with all its processes."""
    (state / f"{job}.cancelled").touch()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int((state / f"{job}.pid").read_text()), signal.SIGKILL)


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scancel": scancel}[sys.argv[2]](
        Path(sys.argv[1]), *sys.argv[3:]
    )
