"""Puts the writers of stores in reach of the tests of this folder, and starts clusters for those that ask."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# Read when Ray is imported: no token in the home directory, no reports to its makers.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture
def importable(monkeypatch):
    """Lets workers, which are processes of their own, import the modules beside the tests."""
    places = [HERE, HERE.parent / "budget", HERE.parents[1] / "src", os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, filter(None, places))))
    monkeypatch.syspath_prepend(HERE.parent / "budget")


@pytest.fixture(scope="module")
def ray_cluster():
    """A small local Ray without dashboard, shut down with the module."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.MonkeyPatch.context() as patch:
        places = [HERE, HERE.parent / "budget", HERE.parents[1] / "src", os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, filter(None, places))))
        ray.init(
            num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False,
            configure_logging=False,
        )  # fmt: skip
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()
