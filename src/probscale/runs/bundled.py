"""The runs that come with the package: small GPTs trained on the standard library's sources."""

from __future__ import annotations

from pathlib import Path

from probscale.errors import RunLogError
from probscale.runs.log import RunLog
from probscale.runs.readers import read_runs

_PACKAGE = Path(__file__).resolve().parents[1]
_FILE = Path("stdlib_gpt") / "curves.csv.gz"
# A wheel carries the file inside the package; a checkout has it where it is made.
_HOMES = (_PACKAGE / "_data", _PACKAGE.parents[1] / "datasets")


def bundled_path() -> Path:
    """Where the bundled curves are.

    Raises:
        RunLogError: if the installation lacks them.
    """
    for home in _HOMES:
        if (home / _FILE).is_file():
            return home / _FILE
    raise RunLogError(
        f"the bundled runs are missing: no {str(_FILE)!r} in {' or '.join(str(home) for home in _HOMES)}; "
        "reinstall the package, or run `python datasets/stdlib_gpt/train.py collect` in a checkout",
        path=str(_FILE),
    )


def bundled_runs() -> RunLog:
    """Learning curves of small GPTs over width, depth, learning rate and batch size.

    Loss in nats per byte against tokens (one token is one byte), params without embeddings. The learning rate
    is constant after a short warm-up, so every prefix of a run is a finished, shorter run.

    Raises:
        RunLogError: if the installation lacks them.

    Source: `datasets/stdlib_gpt` of this project; its README says how they were made.
    """
    return read_runs(
        bundled_path(),
        run="run_id",
        axis="tokens",
        output="loss",
        params="N_params",
        config=("width", "depth", "learning_rate", "batch_size"),
        nonfinite="diverged",
    )
