import subprocess
import sys

SCRIPT = """
import sys
for name in ("wandb", "optuna", "tensorboard", "mlflow", "polars", "ray"):
    sys.modules[name] = None
from pathlib import Path
import probscale.integrations as bridges
from probscale.errors import MissingExtraError

folder = Path(sys.argv[1])
(folder / "events.out.tfevents.1").write_bytes(b"")
asks = {
    "wandb": lambda: bridges.from_wandb("entity/project"),
    "optuna": lambda: bridges.ProbscaleSampler(),
    "tensorboard": lambda: bridges.from_tensorboard(folder),
    "mlflow": lambda: bridges.from_mlflow("http://localhost:1"),
}
for extra, ask in asks.items():
    try:
        ask()
    except MissingExtraError as error:
        assert error.extra == extra
        assert f"probscale-surrogates[{extra}]" in str(error)
    else:
        raise SystemExit(f"{extra} was not missed")
"""


def test_each_bridge_names_the_extra_it_misses_and_imports_without_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
