"""Runners by name: from files and modules, and through other processes."""

import functools
import pickle
import sys
from contextlib import closing

import pytest

from probscale.errors import BudgetError
from probscale.running import Increment, Workers, named_runner, process_workers

SCRIPT = """
from beside import SLOPE

class Work:
    @staticmethod
    def step(config, until, state):
        return [(until, SLOPE * config["n"])], None

runner = Work.step
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("SLOPE = 2.0\n")
    (tmp_path / "trainer_of_a_test.py").write_text(SCRIPT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("beside", "trainer_of_a_test"):
        sys.modules.pop(name, None)


def test_a_file_and_its_neighbours_are_found(folder):
    runner = named_runner(f"{folder}/trainer_of_a_test.py:runner")
    assert runner({"n": 3}, 4.0, None) == ([(4.0, 6.0)], None)
    nested = named_runner(f"{folder}/trainer_of_a_test.py:Work.step")
    assert nested({"n": 3}, 4.0, None) == ([(4.0, 6.0)], None)


def test_a_module_of_the_working_folder_is_found(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert named_runner("trainer_of_a_test:runner")({"n": 1}, 1.0, None) == ([(1.0, 2.0)], None)


def test_it_travels_as_text(folder):
    runner = named_runner(f"{folder}/trainer_of_a_test.py:runner")
    again = pickle.loads(pickle.dumps(runner))
    assert again == runner
    assert b"SLOPE" not in pickle.dumps(runner)
    with closing(Workers(runner, functools.partial(process_workers, 1), None)) as workers:
        (outcome,) = workers.outcomes([Increment(0, {"n": 5}, 1.0, None)])
    assert outcome.points == [(1.0, 10.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runner", "module:function or file.py:function"),
        ("nowhere.py:runner", "no file 'nowhere.py'"),
        ("no_such_module_here:runner", "no module 'no_such_module_here'"),
        ("{folder}/trainer_of_a_test.py:walk", "no 'walk', named as the runner; it has Work, runner"),
        ("{folder}/trainer_of_a_test.py:number", "of .* is an? int"),
        ("{folder}/broken.py:runner", "ZeroDivisionError: division by zero"),
        ("{folder}/needy.py:runner", "install what it needs"),
    ],
)
def test_refusals_say_what_is_missing(folder, text, message):
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "needy.py").write_text("import no_such_library\n")
    with pytest.raises(BudgetError, match=message):
        named_runner(text.format(folder=folder))
