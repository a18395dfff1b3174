"""The command on real training of small GPTs, killed at random moments and resumed."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(
    not (BENCHMARKS / "live_kills.py").is_file(), reason="needs the benchmarks of a checkout"
)


@pytest.fixture(scope="module")
def live():
    """The benchmark that kills, as a module; its runner counts every optimiser step on disk."""
    sys.path.append(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("live_kills", BENCHMARKS / "live_kills.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["live_kills"] = module
    spec.loader.exec_module(module)
    module.SHAPES, module.RATES, module.LONGEST_WAIT = [(16, 1)], [3e-3, 1e-2], 0.4
    return module


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_training_is_resumed_paid_once_and_ends_alike(live, workers, tmp_path):
    given = (6e9, workers, "halving")
    whole = live.spend(tmp_path / "whole", *given, kills=0)
    killed = live.spend(tmp_path / "killed", *given, kills=2, seed=1)
    assert killed.kills == 2
    assert killed.facts["runs"] == whole.facts["runs"]
    assert killed.facts["output"] == whole.facts["output"]
    assert killed.ledger == killed.checkpoints == whole.ledger == whole.checkpoints == whole.made
    # What came after a checkpoint is trained again; the runs themselves are not.
    assert whole.made <= killed.made < 2 * whole.made
    assert 0.9 * 6e9 < whole.ledger <= 6e9
