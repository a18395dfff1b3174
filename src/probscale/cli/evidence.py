"""What commands know: a log to fit, or a fitted surrogate, and tables of configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from probscale.cli.options import RoleOptions
from probscale.cli.speech import working
from probscale.cli.work import embedder_of, read_log
from probscale.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from probscale.surrogate import CurveSurrogate

SUFFIX = ".safetensors"


def surrogate_of(
    known: Sequence[str], roles: RoleOptions, *, embedder: str, seed: int, quiet: bool
) -> CurveSurrogate:
    """Surrogate of a file that `fit` wrote, or fitted to the runs of a log.

    Raises:
        ConfigError: if a log comes without its roles, or a surrogate among other files.
    """
    if is_surrogate(known):
        from probscale.surrogate import load_surrogate

        return load_surrogate(known[0], embedder=embedder_of(embedder))
    missing = [f"--{name}" for name in ("run", "axis", "output") if getattr(roles, name) is None]
    if missing:
        raise ConfigError(f"a log needs its roles; give {', '.join(missing)}, or a surrogate ({SUFFIX})")
    log = read_log(known, roles.arguments())
    with working(f"fitting {log.n_runs:,} runs, {log.n_points:,} points", quiet=quiet):
        from probscale.surrogate import fit_surrogate

        return fit_surrogate(log, embedder=embedder_of(embedder), seed=seed)


def is_surrogate(known: Sequence[str]) -> bool:
    """Whether files are one surrogate.

    Raises:
        ConfigError: for a surrogate among other files.
    """
    kinds = [_is_saved(Path(name)) for name in known]
    if any(kinds) and len(kinds) > 1:
        raise ConfigError("a surrogate holds its own log; give it alone")
    return any(kinds)


def _is_saved(path: Path) -> bool:
    """Whether a file is a surrogate, by its name or, for one named otherwise, by how it begins."""
    if path.suffix.lower() == SUFFIX or not path.is_file():
        return path.suffix.lower() == SUFFIX
    with path.open("rb") as file:
        start = file.read(9)
    # safetensors: the length of a header, which is JSON.
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def warm_surrogate(path: Path | None, embedder: str) -> CurveSurrogate | None:
    """Surrogate of earlier runs, if a file is named."""
    if path is None:
        return None
    from probscale.surrogate import load_surrogate

    return load_surrogate(path, embedder=embedder_of(embedder))


def read_table(path: str) -> pd.DataFrame:
    """Configurations of a file, one a row."""
    from probscale.runs import read_frame

    return read_frame(path)
