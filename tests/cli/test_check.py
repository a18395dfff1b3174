"""`probscale check`: the tables it writes and the words it says."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

import probscale as ps
from probscale.cli import app
from probscale.cli.check import _table
from probscale.evaluate import check

ROLES = ["--run", "run", "--axis", "tokens", "--output", "loss", "--params", "params", "--horizon", "horizon"]


READ = {"run": "run", "axis": "tokens", "output": "loss", "params": "params", "horizon": "horizon"}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("check") / "runs.csv"
    ps.simulate_runs("law", n_runs=10, points=5, seed=1).to_frame().to_csv(path, index=False)
    return path


def test_check_writes_what_it_says(runs, tmp_path):
    asked = [
        "--regimes",
        "in-distribution,larger scale",
        "--folds",
        "1",
        "--embedder",
        "none",
        "-o",
        tmp_path,
    ]
    result = run("check", runs, *ROLES, *asked)
    assert result.exit_code == 0, result.output
    assert "in-distribution: 90 % intervals hold" in result.output
    table = pd.read_csv(tmp_path / "check.csv")
    assert list(table["regime"]) == ["in-distribution", "larger scale"]
    points = pd.read_csv(tmp_path / "check_points.csv")
    assert points["regime"].value_counts().to_dict() == table.set_index("regime")["points"].to_dict()
    stored = json.loads((tmp_path / "check.json").read_text())
    assert set(stored["verdicts"]) == set(table["regime"])
    for verdict in stored["verdicts"].values():
        assert verdict in result.output
    for picture in ("check_reliability.png", "check_curves.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
        assert picture in result.output
    assert (tmp_path / "check.md").read_text().strip() in result.output


def test_an_unknown_regime_is_refused_readably(runs, tmp_path):
    result = run("check", runs, *ROLES, "--regimes", "bigger", "--embedder", "none", "-o", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: unknown regime 'bigger'; accepted are auto, in-distribution")
    assert not (tmp_path / "check.csv").exists()


def test_a_terminal_shows_the_table_in_columns_that_fit_it(runs):
    report = check(ps.read_runs(runs, **READ), regimes=["in-distribution"], embedder=None, folds=1)
    assert _table(report, None) == report.to_markdown()
    lines = _table(report, 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].split()[:2] == ["regime", "runs"]
    assert sum(line.strip().startswith("in-distribution") for line in lines) > 1
