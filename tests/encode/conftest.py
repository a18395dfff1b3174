import runpy
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Folders of tiny saved models by name: bert, gpt2, llama, byt5."""
    builders = runpy.run_path(str(Path(__file__).with_name("tiny_models.py")))
    root = tmp_path_factory.mktemp("models")
    return {name: builders[f"save_{name}"](root / name) for name in ("bert", "gpt2", "llama", "byt5")}
