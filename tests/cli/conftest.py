"""Running commands for real, on small inputs."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from probscale.cli import app

ROLES = ("--run", "run", "--axis", "tokens", "--output", "loss", "--params", "params")


def loss_of(params, tokens, lr):
    return 1.7 + 300 * params**-0.35 + 1200 * tokens**-0.35 + 0.05 * np.log(lr / 3e-3) ** 2


def run_command(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100", "NO_COLOR": "1"})


def check_refused(result, *words):
    """One paragraph on standard error, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.strip().splitlines() if not line.startswith("Note: ")]
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="session")
def invoke():
    return run_command


@pytest.fixture(scope="session")
def refused():
    return check_refused


@pytest.fixture(scope="session")
def roles():
    return ROLES


@pytest.fixture(scope="session")
def true_loss():
    return loss_of


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with a log, a pool with FLOPs per token, and a surrogate of the log."""
    folder = tmp_path_factory.mktemp("home")
    runs = [
        (f"r{i}", p, lr)
        for i, (p, lr) in enumerate((p, lr) for p in (1e6, 4e6, 1.6e7) for lr in (1e-3, 6e-3))
    ]
    rows = [
        (run, p, lr, at, loss_of(p, at, lr), 1e-12 * p * at)
        for run, p, lr in runs
        for at in np.geomspace(1e8, 4e9, 6)
    ]
    frame = pd.DataFrame(rows, columns=["run", "params", "lr", "tokens", "loss", "seconds"])
    frame.to_csv(folder / "runs.csv", index=False)
    pool = pd.DataFrame({"params": [2e6, 8e6, 3.2e7, 3.2e7], "lr": [3e-3, 3e-3, 3e-3, 1e-3]})
    pool.assign(per_token=6 * pool["params"]).to_csv(folder / "pool.csv", index=False)
    fit = ["fit", folder / "runs.csv", *ROLES, "--config", "lr", "--embedder", "none", "-q"]
    done = run_command(*fit, "-o", folder / "s.safetensors")
    assert done.exit_code == 0, done.output
    return folder
