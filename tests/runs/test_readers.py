import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from probscale.errors import RunLogError
from probscale.runs import RunLog, read_frame, read_runs
from strategies import ROLES, run_frames

# Random tables rise as often as they fall.
pytestmark = pytest.mark.filterwarnings("ignore::probscale.errors.GoalWarning")


def write(frame, path):
    match path.suffixes[0]:
        case ".parquet":
            frame.to_parquet(path)
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case _:
            frame.to_json(path, orient="records", lines=True, double_precision=15)
    return path


def frame():
    return pd.DataFrame(
        {
            "id": ["a", "a", "b"],
            "step": [1, 2, 1],
            "loss": [3.0, 2.5, 2.9],
            "lr": [0.1, 0.1, 3e-4],
            "tied": [True, True, False],
        }
    )


ROLE = {"run": "id", "axis": "step", "output": "loss"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz", ".tsv", ".jsonl", ".jsonl.gz", ".ndjson"])
def test_every_format_gives_the_log_of_the_frame(tmp_path, suffix):
    path = write(frame(), tmp_path / f"runs{suffix}")
    expected = RunLog.from_frame(frame(), **ROLE)
    assert read_runs(path, **ROLE).equals(expected)
    assert read_runs(str(path), **ROLE).equals(expected)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=run_frames())
def test_parquet_keeps_every_log(tmp_path, data):
    path = write(data.reset_index(drop=True), tmp_path / "runs.parquet")
    assert read_runs(path, **ROLES).equals(RunLog.from_frame(data, **ROLES))


def test_several_files_a_folder_and_a_pattern_are_one_table(tmp_path):
    write(frame().iloc[:2], tmp_path / "a.csv")
    write(frame().iloc[2:], tmp_path / "b.jsonl")
    (tmp_path / "README.md").write_text("not a log")
    expected = RunLog.from_frame(frame(), **ROLE)
    for source in (tmp_path, [tmp_path / "a.csv", tmp_path / "b.jsonl"], str(tmp_path / "[ab].*")):
        assert read_runs(source, **ROLE).equals(expected)


def test_nested_json_becomes_dotted_columns(tmp_path):
    rows = [
        {"id": "a", "step": i, "loss": 3.0 / i, "optimizer": {"name": "adamw", "lr": 0.1}} for i in (1, 2)
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    log = read_runs(tmp_path / "runs.jsonl", **ROLE)
    assert log.roles.config == ("optimizer.name", "optimizer.lr")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".jsonl.gz"])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(tmp_path, suffix):
    path = write(frame(), tmp_path / f"runs{suffix}")
    opener = gzip.open if suffix.endswith(".gz") else open
    with opener(path, "rb") as file:
        content = file.read()
    with opener(path, "wb") as file:
        file.write(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read_runs(path, **ROLE).equals(RunLog.from_frame(frame(), **ROLE))


def test_json_lines_without_a_number_are_missing_values(tmp_path):
    (tmp_path / "runs.jsonl").write_text(
        '{"id": "a", "step": 1, "loss": 2}\n{"id": "a", "step": 2, "loss": NaN}\n'
    )
    log = read_runs(tmp_path / "runs.jsonl", **ROLE, nonfinite="diverged")
    assert np.isnan(log.points["loss"].iloc[1])


CUT = "id,step,loss\na,1,3.125\na,2,2.875\nb,1,3.25e0\nb,2,2.9"


@pytest.mark.parametrize("text", [CUT, CUT + "\n", CUT[:-4], CUT[:-4].replace(",", "\t")])
def test_a_last_number_that_was_cut_short_is_refused(text, tmp_path):
    path = tmp_path / ("runs.tsv" if "\t" in text else "runs.csv")
    path.write_text(text)
    if text.endswith("\n"):
        assert read_frame(path)["loss"].iloc[-1] == 2.9
        return
    with pytest.raises(
        RunLogError, match=r"last line of .* seems to be cut short: .* Remove the line, or end it"
    ):
        read_frame(path)


@pytest.mark.parametrize(
    "text",
    [
        "id,step,loss\na,1,3.125\na,2,2.875\nb,1,3.25\nb,2,2.9071",
        "id,loss,step\na,3.125,100\na,2.875,200\nb,3.25,300\nb,2.9071,5",
        "id,step,loss\na,1,3.1\na,2,2.8",
        'id,step,loss,text\na,1,3.125,"x.y"\na,2,2.875,"x.y"\nb,1,3.25,"x.y"\nb,2,2.9,"."',
    ],
)
def test_a_whole_last_line_needs_no_line_break(text, tmp_path):
    (tmp_path / "runs.csv").write_text(text)
    assert len(read_frame(tmp_path / "runs.csv")) == text.count("\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, r"no file '.*absent.csv'; the working folder is"),
        ("no*.csv", None, "no file matches"),
        ("runs.xlsx", b"", r"cannot read 'runs.xlsx': unknown suffix; accepted are .parquet"),
        ("runs.parquet.gz", b"", "unknown suffix"),
        ("runs.csv", b"", "runs.csv' is empty; a log has a line of column names"),
        ("runs.parquet", b"PAR1", "cannot read .*runs.parquet"),
        ("runs.jsonl", b"\n", "runs.jsonl' is empty; a log has an object with columns on each line"),
        ("runs.csv", "id,Läufe\na,1\n".encode("latin-1"), r"runs.csv' is not UTF-8 text .* save it as UTF-8"),
        ("runs.csv", "id,step\na,1\n".encode("utf-16"), "runs.csv' is not UTF-8 text"),
        ("runs.jsonl", '{"id": "ü"}\n'.encode("latin-1"), "runs.jsonl' is not UTF-8 text"),
        (
            "runs.csv",
            b'id,step,loss\na,"1,000",3\na,"20,000",2\n',
            r"step must be numbers; run 'a' has '1,000'.*without separators",
        ),
        ("runs.csv", b'id,step,loss\na,1,3\na,2,"2,5"\n', r"has '2,5'.*\(row 1\).*with a decimal point"),
        ("runs.csv", b"id,step,loss\na,1,3\na,2,crash\n", r"run 'a' has 'crash'.*\(row 1\); correct it"),
        ("runs.jsonl", b'{"id": 1}\n{"id"', r"line 2 of .* is not JSON .* killed writer"),
        ("runs.jsonl", b"[1]", "line 1 of .* is list, not an object"),
        (
            "loop.jsonl",
            b'{"schema": "probscale.ledger", "version": 1}\n{"event": "decision", "orders": [{"run": 1}]}\n',
            r"loop.jsonl' is a ledger, .* not a table of points; run the same call again",
        ),
        (
            "runs.csv.gz",
            gzip.compress(b"id,step\n1,2\n", mtime=0),
            r"no column 'loss' \(given as output\); columns are: id, step",
        ),
    ],
)
def test_a_file_that_is_no_log_is_refused_by_name(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunLogError, match=message):
        read_runs(path, **ROLE)


def test_an_empty_folder_or_list_is_refused(tmp_path):
    with pytest.raises(RunLogError, match="holds no run log"):
        read_frame(tmp_path)
    with pytest.raises(RunLogError, match="list of paths is empty"):
        read_frame([])


@pytest.mark.parametrize("text", ["run;step;loss\na;1;3\n", "run;step;loss\na;1;2,5\n", "run\tstep\na\t1\n"])
def test_columns_separated_otherwise_than_the_name_says_are_named(tmp_path, text):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(RunLogError, match=r"are separated by '(;|\\t)', not by ','"):
        read_runs(tmp_path / "runs.csv", run="run", axis="step", output="loss")


def test_a_named_index_of_a_parquet_file_is_a_column_like_any_other(tmp_path):
    frame().set_index(["id", "step"]).to_parquet(tmp_path / "runs.parquet")
    assert read_runs(tmp_path / "runs.parquet", **ROLE).equals(RunLog.from_frame(frame(), **ROLE))
