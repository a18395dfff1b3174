"""The ledger: nothing appended is lost, nothing torn is hidden, one driver at a time."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from probscale.errors import BudgetError
from probscale.ledger import Ledger, read_ledger


def test_events_come_back_in_order_and_equal(tmp_path):
    events = [{"event": "a", "x": 1.5}, {"event": "b", "points": [[1.0, float("inf")], [2.0, -3.25]]}]
    with Ledger(tmp_path / "l.jsonl", settings={"seed": 1}) as ledger:
        for event in events:
            ledger.append(event)
        assert ledger.events() == events
    assert list(read_ledger(tmp_path / "l.jsonl").events) == events
    assert read_ledger(tmp_path / "l.jsonl").settings == {"seed": 1}


def test_not_a_number_and_numpy_values_survive_as_strict_json(tmp_path):
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append({"x": np.float64("nan"), "v": np.array([1, 2]), "n": np.int64(3), "b": np.bool_(True)})
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    (event,) = read_ledger(path).events
    assert math.isnan(event["x"])
    assert (event["v"], event["n"], event["b"]) == ([1, 2], 3, True)


@pytest.mark.parametrize("cut", range(1, 22))
def test_a_torn_last_line_is_set_aside_and_reported_at_every_length(tmp_path, cut):
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append({"event": "kept"})
        ledger.append({"event": "the torn one"})
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    complete = cut == 1
    with Ledger(path) as ledger:
        names = [event["event"] for event in ledger.events()]
        assert names == (["kept", "the torn one"] if complete else ["kept", "torn"])
        ledger.append({"event": "next"})
    if not complete:
        torn = content[:-cut].split(b"\n")[-1]
        assert (tmp_path / "l.jsonl.torn").read_bytes() == torn + b"\n"
        assert read_ledger(path).events[1]["text"] == torn.decode()
    assert read_ledger(path).events[-1] == {"event": "next"}
    assert read_ledger(path).torn == ""


@pytest.mark.parametrize("length", [0, 1, 10, 30])
def test_a_header_cut_short_is_written_again(tmp_path, length):
    path = tmp_path / "l.jsonl"
    Ledger(path, settings={"seed": 0}).close()
    path.write_bytes(path.read_bytes()[:length])
    with Ledger(path, settings={"seed": 0}) as ledger:
        assert ledger.events() == []
        assert ledger.settings == {"seed": 0}


def test_damage_before_the_last_line_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append({"event": "a"})
        ledger.append({"event": "b"})
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-3], lines[2]]) + "\n")
    with pytest.raises(BudgetError, match="line 2") as caught:
        Ledger(path)
    assert caught.value.line == 2


def test_a_ledger_that_an_editor_of_windows_has_saved_goes_on(tmp_path):
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.append({"event": "a", "text": "ü"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    with Ledger(path) as ledger:
        ledger.append({"event": "b"})
    assert [event["event"] for event in read_ledger(path).events] == ["a", "b"]


@pytest.mark.parametrize("blank", [b"\n", b"\n\n\n", b"  ", b"\r\n\n  "])
def test_blank_lines_at_the_end_of_a_ledger_carry_nothing(tmp_path, blank):
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append({"n": 1})
    path.write_bytes(path.read_bytes() + blank)
    with Ledger(path) as ledger:
        ledger.append({"n": 2})
    record = read_ledger(path)
    assert record.events == ({"n": 1}, {"n": 2})
    assert record.torn == ""


def test_a_file_that_is_no_ledger_is_not_overwritten(tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(BudgetError, match="not a ledger"):
        Ledger(path)
    assert path.read_text() == '{"a": 1}\n'


def test_other_settings_are_refused_and_the_difference_named(tmp_path):
    path = tmp_path / "l.jsonl"
    Ledger(path, settings={"seed": 0, "total": 1.0}).close()
    with pytest.raises(BudgetError, match="seed: 0 there, 1 now") as caught:
        Ledger(path, settings={"seed": 1, "total": 1.0})
    assert caught.value.changed == ["seed"]
    Ledger(path, settings={"total": 1.0, "seed": 0}).close()
    Ledger(path).close()


def test_values_that_are_not_json_are_refused(tmp_path):
    with Ledger(tmp_path / "l.jsonl") as ledger:
        with pytest.raises(BudgetError, match="JSON"):
            ledger.append({"x": object()})
        assert ledger.events() == []
    with pytest.raises(BudgetError, match="closed"):
        ledger.append({"x": 1})


DRIVER = """
import sys, time
from probscale.ledger import Ledger
ledger = Ledger(sys.argv[1])
print("open", flush=True)
n = len(ledger.events())
while True:
    ledger.append({"n": n})
    print(n, flush=True)
    n += 1
"""


def test_one_process_at_a_time_and_a_killed_one_frees_the_lock(tmp_path):
    path = tmp_path / "l.jsonl"
    acknowledged = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "open\n"
        with pytest.raises(BudgetError, match="another loop"):
            Ledger(path)
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]
        process.wait()
        process.stdout.close()
    with Ledger(path) as ledger:
        numbers = [event["n"] for event in ledger.events() if "n" in event]
    assert set(acknowledged) <= set(numbers)
    assert len(numbers) == len(set(numbers))


def test_two_ledgers_of_one_process_do_not_share_a_file(tmp_path):
    with Ledger(tmp_path / "l.jsonl"), pytest.raises(BudgetError, match="another loop"):
        Ledger(tmp_path / "l.jsonl")
    Ledger(tmp_path / "l.jsonl").close()


def test_reading_a_ledger_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(BudgetError, match="no ledger"):
        read_ledger(tmp_path / "none.jsonl")


def test_importing_the_ledger_needs_neither_torch_nor_pandas():
    code = "import probscale.ledger, sys; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_place_where_no_ledger_can_be_says_why(tmp_path):
    with pytest.raises(BudgetError, match="it is a folder"):
        Ledger(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BudgetError, match="no ledger can be kept"):
        Ledger(tmp_path / "file" / "l.jsonl")


FULL = """
import resource, signal, sys
from probscale.errors import BudgetError
from probscale.ledger import Ledger
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
with Ledger(sys.argv[1]) as ledger:
    for number in range(100):
        try:
            ledger.append({"event": "number", "number": number})
        except BudgetError as error:
            print(number, error)
            break
"""


def test_a_full_disk_stops_the_loop_and_what_was_written_stays(tmp_path):
    path = tmp_path / "l.jsonl"
    said = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    number, _, message = said.stdout.partition(" ")
    assert "could not be written in full" in message
    with Ledger(path) as ledger:
        kept = [event["number"] for event in ledger.events() if event["event"] == "number"]
        assert kept == list(range(int(number)))
        ledger.append({"event": "next"})
    assert read_ledger(path).events[-1] == {"event": "next"}
