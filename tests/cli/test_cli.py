"""The command line: files in, files out, and errors that a person can read."""

import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import probscale as ps
from probscale.cli import app, speech
from probscale.cli.demo import LEVELS, run_demo, verdict
from probscale.cli.speech import as_options
from probscale.cli.work import read_axis
from probscale.runs import split_by_scale
from probscale.runs.bundled import bundled_runs

ROLES = ["--run", "run", "--axis", "tokens", "--output", "loss", "--params", "params", "--horizon", "horizon"]
COMMANDS = (
    "demo",
    "describe",
    "fit",
    "predict",
    "check",
    "report",
    "frontier",
    "suggest",
    "plan",
    "allocate",
    "replay",
)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100", "NO_COLOR": "1"})


def fails_readably(result, *words):
    """One paragraph on standard error, exit code 2, no traceback."""
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    text = result.stderr.strip()
    assert text.startswith("Error: ")
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a log, configurations, and a surrogate fitted to the log by the command."""
    home = tmp_path_factory.mktemp("cli")
    log = ps.simulate_runs("law", n_runs=12, points=5, seed=1)
    log.to_frame().to_csv(home / "runs.csv", index=False)
    log.configs.reset_index(drop=True).head(5).to_csv(home / "configs.csv", index=False)
    result = run("fit", home / "runs.csv", *ROLES, "--embedder", "none", "-o", home / "s.safetensors")
    assert result.exit_code == 0, result.output
    assert "exact engine, 12 runs" in result.output
    return home


def test_help_of_every_command_has_an_example():
    assert run("--help").exit_code == 0
    for command in COMMANDS:
        result = run(command, "--help")
        assert result.exit_code == 0
        assert f"probscale {command}" in " ".join(result.output.replace("│", " ").split())


def test_commands_are_listed_in_the_order_in_which_they_are_needed():
    listed = [
        words[1]
        for words in (line.split() for line in run("--help").output.splitlines())
        if len(words) > 2 and words[0] == "│" and words[1] in COMMANDS
    ]
    assert listed == list(COMMANDS)


def test_help_is_instant():
    """Under a second of a fresh interpreter; processor time, so that other work on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "probscale", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"demo" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_version_is_the_package_s():
    assert run("--version").output.strip() == f"probscale {ps.__version__}"


def test_predict_writes_what_the_library_predicts(folder):
    out = folder / "forecast.csv"
    result = run("predict", folder / "s.safetensors", folder / "configs.csv", "--at", "1e9,4e9", "-o", out)
    assert result.exit_code == 0, result.output
    assert "10 forecasts of loss" in result.output
    table = pd.read_csv(out)
    configs = pd.read_csv(folder / "configs.csv")
    assert list(table.columns[:1]) == ["config"]
    assert set(configs) <= set(table)
    surrogate = ps.load_surrogate(folder / "s.safetensors")
    expected = surrogate.predict(configs, [1e9, 4e9]).to_frame()
    for name in ("tokens", "mean", "std", "lower", "upper"):
        np.testing.assert_allclose(table[name], expected[name], rtol=1e-10)


def test_predict_says_what_was_left_out(folder, tmp_path):
    surrogate = ps.load_surrogate(folder / "s.safetensors")
    asked = surrogate.log.configs.reset_index(drop=True)[:2].assign(params=[np.nan, 1e8])
    asked.to_csv(tmp_path / "asked.csv", index=False)
    ask = [
        "predict",
        folder / "s.safetensors",
        tmp_path / "asked.csv",
        "-o",
        tmp_path / "f.csv",
        "--at",
        "1e9",
    ]
    assert "averaged over params, not given in 1 of 2: every run of the log has them" in run(*ask).output
    ask[2] = folder / "configs.csv"
    assert "averaged over" not in run(*ask).output


def test_predict_says_how_far_it_goes_beyond_the_log(folder, tmp_path):
    log = ps.load_surrogate(folder / "s.safetensors").log
    largest = float(log.points[log.roles.axis].max())
    ask = ["predict", folder / "s.safetensors", folder / "configs.csv", "-o", tmp_path / "f.csv", "--at"]
    far = run(*ask, f"{largest},{3 * largest}").output
    assert f"beyond the log: {log.roles.axis} up to 3 times the largest of the log; read intervals" in far
    near = run(*ask, f"{largest}", "--interval", "0.995").output
    assert "beyond the log" not in near
    assert "99.5 % intervals, lower to upper" in near


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_predict_writes_other_formats(folder, suffix):
    out = folder / f"forecast{suffix}"
    result = run(
        "predict", folder / "s.safetensors", folder / "configs.csv", "--at", "1e8:1e9:3", "-o", out, "-q"
    )
    assert result.exit_code == 0, result.output
    assert result.output == ""
    table = pd.read_parquet(out) if suffix == ".parquet" else pd.read_json(out, lines=True)
    np.testing.assert_allclose(table["tokens"].head(3), np.geomspace(1e8, 1e9, 3))


def test_axis_values_from_a_column():
    frame = pd.DataFrame({"lr": [1.0, 2.0], "D": [3, 4]})
    values, column = read_axis("D", frame)
    assert column == "D"
    np.testing.assert_array_equal(values, [[3.0], [4.0]])
    np.testing.assert_array_equal(read_axis("5, 6", frame)[0], [[5.0, 6.0], [5.0, 6.0]])


def test_chunks_change_nothing(folder, monkeypatch):
    arguments = ["predict", folder / "s.safetensors", folder / "configs.csv", "--at", "horizon", "-q", "-o"]
    assert run(*arguments, folder / "whole.csv").exit_code == 0
    monkeypatch.setattr("probscale.cli.work.CHUNK", 2)
    assert run(*arguments, folder / "parts.csv").exit_code == 0
    whole, parts = (pd.read_csv(folder / name) for name in ("whole.csv", "parts.csv"))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-10)


def test_unknown_columns_are_a_note_not_a_failure(folder):
    configs = pd.read_csv(folder / "configs.csv").assign(colour="red")
    configs.to_csv(folder / "coloured.csv", index=False)
    result = run(
        "predict", folder / "s.safetensors", folder / "coloured.csv", "--at", "1e9", "-o", folder / "x.csv"
    )
    assert result.exit_code == 0
    assert "Note: " in result.stderr
    assert "colour" in result.stderr


def test_describe_says_what_is_in_the_log(folder):
    result = run("describe", folder / "runs.csv", *ROLES)
    assert result.exit_code == 0
    assert "12 runs, 60 points" in result.output


def test_describe_guesses_the_roles_that_are_left_out_and_says_them_as_options(tmp_path):
    rows = [(f"r{i}", epoch, 100 - 50 / epoch - i, 10.0**-i) for i in range(4) for epoch in range(1, 8)]
    frame = pd.DataFrame(rows, columns=["name", "epoch", "val acc", "lr"])
    frame.loc[27, "val acc"] = np.nan
    frame.to_csv(tmp_path / "search.csv", index=False)
    guessed = run("describe", tmp_path / "search.csv")
    *_, line = guessed.output.strip().splitlines()
    assert "4 runs, 28 points" in guessed.output
    assert "diverged runs: 1 (r3)" in guessed.output
    before, _, options = line.partition(": ")
    assert before == "guessed from the names of columns"
    assert options == "--run name --axis epoch --output 'val acc' --goal max --nonfinite diverged"
    told = run("describe", tmp_path / "search.csv", *shlex.split(options))
    assert told.output.strip() == guessed.output.strip().removesuffix(f"\n{line}")
    given = run("describe", tmp_path / "search.csv", "--run", "name", "--axis", "epoch", "--output", "lr")
    assert "guessed" not in given.output
    frame.drop(columns="name").to_csv(tmp_path / "pool.csv", index=False)
    fails_readably(run("describe", tmp_path / "pool.csv"), "epoch, val acc, lr", "name it with --run")


def test_describe_says_that_a_derived_axis_is_no_column(tmp_path):
    rows = [(f"r{i}", 10 * step, 8, 128, 3 - 0.1 * step) for i in range(4) for step in range(1, 5)]
    frame = pd.DataFrame(rows, columns=["run_id", "step", "batch_size", "seq_len", "eval/loss"])
    frame.to_csv(tmp_path / "runs.csv", index=False)
    result = run("describe", tmp_path / "runs.csv")
    assert result.exit_code == 0
    assert "axis tokens: 1.024e+04 to 4.096e+04" in result.output
    assert "no column of the file: name one with --axis" in result.output


def test_describe_tells_rows_without_an_evaluation_from_divergence_and_finds_the_column_of_the_axis(tmp_path):
    rows = [
        (f"r{i}", 10 * s, None if s % 2 else 3 - 0.1 * s, 10.0**-i) for i in range(4) for s in range(1, 10)
    ]
    frame = pd.DataFrame(rows, columns=["Name", "tokens_seen", "eval/loss", "lr"])
    frame.to_csv(tmp_path / "export.csv", index=False)
    guessed = run("describe", tmp_path / "export.csv").output
    *_, line = guessed.strip().splitlines()
    options = line.partition(": ")[2]
    assert options == "--run Name --axis tokens_seen --output eval/loss --nonfinite drop"
    assert "16 points" in guessed
    assert "diverged" not in guessed.replace(line, "")
    refused = run("describe", tmp_path / "export.csv", *shlex.split(options.partition(" --nonfinite")[0]))
    fails_readably(refused, "--nonfinite drop to drop them, where nothing was measured there")


def test_lists_of_columns_may_repeat_or_be_joined(folder):
    joined = run("describe", folder / "runs.csv", *ROLES[:6], "--config", "params,horizon")
    repeated = run("describe", folder / "runs.csv", *ROLES[:6], "--config", "params", "--config", "horizon")
    assert joined.exit_code == 0
    assert joined.output == repeated.output


def test_errors_are_one_paragraph(folder, tmp_path):
    fails_readably(run("describe", tmp_path / "none.csv", *ROLES), "no file", "none.csv")
    fails_readably(run("describe", folder / "runs.csv", *ROLES[:5], "bleu"), "bleu")
    fails_readably(
        run("fit", folder / "runs.csv", *ROLES, "--embedder", "no/such model", "-q"), "no/such model"
    )
    surrogate, configs = folder / "s.safetensors", folder / "configs.csv"
    fails_readably(run("predict", surrogate, configs, "--at", "soon"), "'soon'", "1e9,2e9")
    fails_readably(run("predict", surrogate, configs, "--at", "-1"), "-1")
    fails_readably(
        run("predict", surrogate, configs, "--at", "1e9", "-o", tmp_path / "f.xlsx"), "f.xlsx", ".csv"
    )
    fails_readably(run("predict", configs, configs, "--at", "1e9"), "configs.csv")
    fails_readably(run("predict", tmp_path / "gone", configs, "--at", "1e9"), "gone")


def test_an_axis_that_falls_is_named_with_its_row(tmp_path):
    frame = pd.DataFrame({"run": ["a", "a"], "tokens": [2.0, 1.0], "loss": [3.0, 2.0]})
    frame.to_csv(tmp_path / "bad.csv", index=False)
    fails_readably(run("describe", tmp_path / "bad.csv", *ROLES[:6]), "tokens", "'a'", "row 1")


def test_debug_raises_what_went_wrong(tmp_path):
    result = run("describe", tmp_path / "none.csv", *ROLES, "--debug")
    assert isinstance(result.exception, ps.errors.RunLogError)


def test_a_fault_of_our_own_is_one_line_too(folder, monkeypatch):
    monkeypatch.setattr("probscale.cli.work.read_log", lambda *_: 1 / 0)
    result = run("describe", folder / "runs.csv", *ROLES)
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError" in result.stderr
    assert "--debug" in result.stderr


def test_bundled_runs_are_what_the_data_set_says():
    log = bundled_runs()
    assert log.n_runs >= 30
    assert log.configs["N_params"].min() < 20_000
    assert log.configs["N_params"].max() > 1_000_000
    counts = np.bincount(log.codes)
    assert counts.min() >= 30
    shape = (
        log.configs["depth"] * (12 * log.configs["width"] ** 2 + 2 * log.configs["width"])
        + log.configs["width"]
    )
    assert (shape == log.configs["N_params"]).all()


def test_demo_counts_hits_and_draws(tmp_path, capsys):
    """The demo on the smallest two thirds of the bundled runs, four sizes held out."""
    log = bundled_runs()
    some = log.select(log.configs["batch_size"] == 8).truncate(fraction=0.5)
    some = some.select(np.arange(some.n_runs) % 2 == 0)
    run_demo(some, tmp_path / "demo", 2, seed=0, quiet=True)
    said = capsys.readouterr().out
    table = pd.read_csv(tmp_path / "demo" / "demo.csv")
    held = split_by_scale(some, hold_out=2).test
    assert len(table) == held.n_points
    np.testing.assert_allclose(table["true"], held.points["loss"])
    inside = ((table["lower_90"] <= table["true"]) & (table["true"] <= table["upper_90"])).sum()
    assert f"90 % intervals: {inside:,} of {len(table):,} true points inside" in said
    assert verdict(table) in said
    width = [(table[f"upper_{v:.0f}"] - table[f"lower_{v:.0f}"]) for v in np.multiply(LEVELS, 100)]
    assert (width[0] < width[1]).all()
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_demo_command_covers_the_largest_models(tmp_path):
    result = run("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "demo.csv")
    inside = (table["lower_90"] <= table["true"]) & (table["true"] <= table["upper_90"])
    assert 0.75 <= inside.mean() <= 1.0
    assert Path(tmp_path / "demo.png").exists()


def test_several_outputs_are_fitted_and_asked_by_name(tmp_path):
    log = ps.simulate_runs("law", n_runs=10, points=3, seed=1)
    frame = log.to_frame().drop(columns="diverged").assign(score=lambda table: 1.2 - 0.2 * table["loss"])
    frame.to_csv(tmp_path / "runs.csv", index=False)
    log.configs.reset_index(drop=True).head(2).to_csv(tmp_path / "configs.csv", index=False)
    roles = ["--run", "run", "--axis", "tokens", "--output", "loss,score", "--params", "params"]
    described = run("describe", tmp_path / "runs.csv", *roles)
    assert "output score" in described.output
    fitted = run(
        *("fit", tmp_path / "runs.csv", *roles, "--goal", "loss=min,score=max", "--embedder", "none"),
        *("-o", tmp_path / "s"),
    )
    assert "score of all runs" in fitted.output
    ask = ["predict", tmp_path / "s", tmp_path / "configs.csv", "--at", "1e9", "-o", tmp_path / "f.csv"]
    assert "forecasts of score" in run(*ask, "--output", "score").output
    loaded = ps.load_surrogate(tmp_path / "s")
    expected = loaded.predict(log.configs.reset_index(drop=True).head(2), [1e9], output="score")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "f.csv")["mean"], expected.mean[:, 0], rtol=1e-9)
    fails_readably(run(*ask, "--output", "bleu"), "no output 'bleu'", "loss, score")
    fails_readably(run("describe", tmp_path / "runs.csv", *roles, "--goal", "low"), 'goal must be "min"')


@pytest.mark.parametrize(
    ("typed", "offered"), [("probscale f", {"fit", "frontier"}), ("probscale re", {"replay", "report"})]
)
def test_a_shell_completes_the_names_of_commands(typed, offered):
    asked = {"_PROBSCALE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], prog_name="probscale", env=asked)
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "--no-files")]
)
def test_a_completion_script_can_be_shown_for_a_shell(shell, word):
    # By itself typer asks the process tree for the shell, and a test may run below none.
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code = "from probscale.cli import main; import sys; sys.argv[0] = 'probscale'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--show-completion", shell],
        capture_output=True,
        text=True,
        check=False,
        env=named,
    )
    assert done.returncode == 0, done.stderr
    assert "_PROBSCALE_COMPLETE" in done.stdout
    assert word in done.stdout


def test_scores_fitted_as_losses_are_pointed_out_in_the_words_of_the_command_line(tmp_path):
    rows = [(r, s, 0.1 * s + 0.01 * i, 0.1 * i) for i, r in enumerate("abc") for s in (1, 2, 3)]
    pd.DataFrame(rows, columns=["run", "step", "accuracy", "lr"]).to_csv(tmp_path / "a.csv", index=False)
    roles = ["--run", "run", "--axis", "step", "--output", "accuracy"]
    assert "give --goal max" in run("describe", tmp_path / "a.csv", *roles).stderr
    gap = tmp_path / "nan.csv"
    gap.write_text("run,step,accuracy\na,1,0.5\na,2,\n")
    fails_readably(run("describe", gap, *roles), "--nonfinite diverged")


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("fit", "-o", "s.safetensors"),
        ("predict", "-o", "f.csv"),
        ("check", "-o", "folder"),
        ("demo", "--out", "folder"),
        ("report", "-o", "r.html"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_refused_before_any_work(
    command, option, name, folder, tmp_path, monkeypatch
):
    (tmp_path / "taken").write_text("a file")
    log, surrogate, configs = folder / "runs.csv", folder / "s.safetensors", folder / "configs.csv"
    asked = {
        "fit": [log, *ROLES],
        "predict": [surrogate, configs, "--at", "1e9"],
        "check": [log, *ROLES],
        "demo": [],
        "report": [surrogate],
    }[command]
    for module in (
        "probscale.cli.work.read_log",
        "probscale.runs.read_frame",
        "probscale.cli.check.read_log",
    ):
        monkeypatch.setattr(module, lambda *_: 1 / 0)
    result = run(command, *asked, option, tmp_path / "taken" / name)
    fails_readably(result, "taken", "is a file")


def test_a_folder_is_no_place_for_a_table(folder, tmp_path):
    (tmp_path / "f.csv").mkdir()
    asked = (folder / "s.safetensors", folder / "configs.csv", "--at", "1e9", "-o", tmp_path / "f.csv")
    fails_readably(run("predict", *asked), "f.csv", "is a folder")


def test_axis_values_that_are_no_numbers_are_named_with_their_row(folder, tmp_path):
    configs = pd.DataFrame({"params": [1e6, 4e6], "end": ["1e9", "soon"], "gap": [1e9, np.nan]})
    configs.to_csv(tmp_path / "c.csv", index=False)
    surrogate = folder / "s.safetensors"
    fails_readably(run("predict", surrogate, tmp_path / "c.csv", "--at", "end"), "'end'", "row 1", "'soon'")
    fails_readably(run("predict", surrogate, tmp_path / "c.csv", "--at", "gap"), "'gap'", "row 1", "no value")
    configs.iloc[:0].to_csv(tmp_path / "none.csv", index=False)
    fails_readably(run("predict", surrogate, tmp_path / "none.csv", "--at", "1e9"), "none.csv", "no rows")
    wide = run("predict", surrogate, tmp_path / "c.csv", "--at", "1e9", "--interval", "90")
    fails_readably(wide, "--interval is 90")


def test_a_closed_pipe_and_a_stop_by_hand_are_no_errors_of_the_user(folder, tmp_path, monkeypatch):
    asked = ("describe", folder / "runs.csv", *ROLES)
    monkeypatch.setattr("probscale.cli.work.read_log", raising(BrokenPipeError(32, "Broken pipe")))
    closed = run(*asked)
    assert (closed.exit_code, closed.stderr) == (1, "")
    monkeypatch.setattr("probscale.cli.work.read_log", raising(KeyboardInterrupt()))
    stopped = run(*asked)
    assert (stopped.exit_code, stopped.stderr) == (130, "Stopped\n")


def test_a_stop_says_where_the_same_command_goes_on(tmp_path, monkeypatch):
    store = tmp_path / "games.jsonl"
    store.write_text("")
    monkeypatch.setattr("probscale.cli.replay.run_replay", raising(KeyboardInterrupt()))
    stopped = run("replay", "budget", tmp_path / "runs.csv", "--store", store)
    assert stopped.exit_code == 130
    assert stopped.stderr == f"Stopped; the same command goes on from {store}\n"


def test_reasons_of_the_operating_system_come_with_the_file_and_without_a_number(folder, monkeypatch):
    denied = PermissionError(13, "Permission denied", "/srv/runs.csv")
    monkeypatch.setattr("probscale.cli.work.read_log", raising(denied))
    result = run("describe", folder / "runs.csv", *ROLES)
    fails_readably(result, "'/srv/runs.csv'", "Permission denied")
    assert "Errno" not in result.stderr


def test_messages_speak_of_options_not_of_arguments():
    options = ("goal", "max_cost", "budget", "params", "nonfinite", "axis", "config")
    for words, spoken in {
        'pass nonfinite="drop" to drop them': "pass --nonfinite drop to drop them",
        "raise max_cost= or budget=": "raise --max-cost or --budget",
        "leave out params=": "leave out --params",
        "axis='tokens' is an index level": "--axis 'tokens' is an index level",
        "name config= if some": "name --config if some",
        "such as goal={'loss': \"min\", ...}, or one": "such as --goal loss=min,..., or one",
        "cost=FlopsCost(params='N') and seed=3 stay": "cost=FlopsCost(params='N') and seed=3 stay",
    }.items():
        assert as_options(words, options) == spoken


def raising(error):
    def raise_it(*_args, **_options):
        raise error

    return raise_it


@pytest.mark.parametrize(("term", "shown"), [("xterm", True), ("dumb", False)])
def test_a_bar_moves_only_where_the_terminal_can_erase_it(term, shown, monkeypatch):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert speech._bar().disable is not shown


def test_what_a_user_gave_is_never_written_over(folder, tmp_path):
    log, configs = tmp_path / "runs.csv", tmp_path / "configs.csv"
    for path in (log, configs):
        path.write_bytes((folder / path.name).read_bytes())
    before = log.read_bytes(), configs.read_bytes()
    refused = run("fit", log, *ROLES, "--embedder", "none", "-o", tmp_path / "x" / ".." / "runs.csv")
    fails_readably(refused, "--out", "runs.csv", "is read")
    fails_readably(run("predict", folder / "s.safetensors", configs, "--at", "1e9", "-o", configs), "is read")
    twice = ["-o", tmp_path / "f.csv", "--json", tmp_path / "f.csv"]
    fails_readably(run("frontier", folder / "s.safetensors", *twice), "--json", "which --out writes")
    assert (log.read_bytes(), configs.read_bytes()) == before
