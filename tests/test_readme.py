"""The README does what it says: its code runs, its commands exist, its links lead somewhere, its figures are those measured."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from probscale.cli import app
from probscale.runs.bundled import bundled_path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder laid out like a checkout, with a thinned copy of the bundled runs so that fits are quick."""
    home = tmp_path_factory.mktemp("readme")
    table = pd.read_csv(bundled_path())
    thin = table[(table["batch_size"] == 8) & (table.groupby("run_id").cumcount() % 4 == 3)]
    (home / "datasets" / "stdlib_gpt").mkdir(parents=True)
    thin.to_csv(home / "datasets" / "stdlib_gpt" / "curves.csv.gz", index=False)
    return home


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.split("\n")[2][:30])
def test_code_runs_and_prints(code, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "README.md", "exec"), {})
    assert said.getvalue().strip()
    assert "nan" not in said.getvalue().lower().split()


def test_uses_are_short():
    assert len(blocks("python")) == 3
    for code in blocks("python"):
        lines = [line for line in code.splitlines() if line.strip() and not line.startswith("import")]
        statements = [line for line in lines if not line.startswith(" ")]
        assert len(statements) <= 5


def shell_lines():
    return [
        line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()
    ]


def test_make_targets_exist():
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    named = {line.split()[1] for line in shell_lines() if line.startswith("make ")}
    named |= set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_commands_and_their_options_exist():
    root = get_command(app)
    lines = [shlex.split(line) for line in shell_lines() if line.startswith("probscale ")]
    assert lines
    for _, *words in lines:
        command = root if words[0].startswith("-") else root.commands[words[0]]
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


def test_every_shell_line_is_one_of_the_checked_kinds():
    kinds = ("make ", "probscale ", "source .venv/bin/activate", "printf ")
    assert all(line.startswith(kinds) for line in shell_lines())


def test_local_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_scripts_that_recompute_the_numbers_exist():
    scripts = re.findall(r"`(benchmarks/\w+\.py)`", README)
    assert scripts
    assert all((ROOT / script).exists() for script in scripts)


def test_figures_of_the_law_fit_are_those_measured():
    """The numbers table quotes benchmarks/results/laws.md."""
    table = (ROOT / "benchmarks" / "results" / "laws.md").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"alpha, beta \| ([\d.]+), ([\d.]+), ([\d.]+) ", README)
    for name, value in zip(("E", "alpha", "beta"), quoted, strict=True):
        (measured,) = re.findall(rf"^\| {name} \| ([\d.]+) \|", table, flags=re.MULTILINE)
        assert float(measured) == pytest.approx(float(value), rel=2e-4)
