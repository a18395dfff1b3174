"""Hugging Face Trainer: `trainer_state.json` files to a run log, without any dependency."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from safetensors import SafetensorError, safe_open

from probscale.errors import RunLogError
from probscale.integrations.flatten import as_number
from probscale.integrations.logged import Choice, LoggedRun, assemble
from probscale.integrations.paths import Source, found_files, run_names
from probscale.runs import RunLog
from probscale.runs.schema import listed

STATE = "trainer_state.json"
_PLANNED = ("max_steps", "num_train_epochs", "train_batch_size")


def from_trainer_states(
    paths: Source | Iterable[Source],
    *,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    **choice: Unpack[Choice],
) -> RunLog:
    """Runs of the Hugging Face Trainer.

    Args:
        paths: `trainer_state.json` files, or folders searched for them. Of several checkpoints of a run the
            latest, which holds the whole history, is read; where a kill left that one damaged, the one before
            it, and a run without any other is left out. `log.notes` names both.
        configs: Further settings of each run, by its folder name: the state file does not hold the training
            arguments.
        **choice: Metric, axis and roles; see `Choice`.

    Returns:
        A log whose settings are the plan (steps, epochs, batch size), the peak learning rate, the
        architecture from a `config.json` beside the weights, and the model size from their safetensors
        header.

    Raises:
        RunLogError: if no state is found, or none is readable.
    """
    runs = read_trainer_states(paths, configs)
    return assemble(runs, source="Trainer states", **choice)[0]


def read_trainer_states(
    paths: Source | Iterable[Source], configs: Mapping[str, Mapping[str, Any]] | None = None
) -> list[LoggedRun]:
    """The runs behind `trainer_state.json` files; see `from_trainer_states`."""
    latest: dict[Path, tuple[float, Path, dict[str, Any]]] = {}
    damaged: dict[Path, list[RunLogError]] = {}
    for file in found_files(paths, STATE):
        folder = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
        try:
            state = _read(file)
        except RunLogError as error:
            damaged.setdefault(folder, []).append(error)
            continue
        step = float(state.get("global_step") or 0)
        if folder not in latest or step >= latest[folder][0]:
            latest[folder] = (step, file, state)
    if not latest:
        raise next(iter(damaged.values()))[0]
    names = run_names([*latest, *(folder for folder in damaged if folder not in latest)])
    lost = {folder: "; ".join(map(str, errors)) for folder, errors in damaged.items()}
    unknown = [name for name in configs or {} if name not in names.values()]
    if unknown:
        raise RunLogError(
            f"configs names an unknown run {unknown[0]!r}; runs are: {listed(list(names.values()))}",
            run=unknown[0],
        )
    read = [
        replace(
            _run(names[folder], folder, file, state, (configs or {}).get(names[folder], {})),
            warning=lost.get(folder),
        )
        for folder, (_, file, state) in latest.items()
    ]
    left_out = [LoggedRun(names[f], {}, [], warning=lost[f]) for f in damaged if f not in latest]
    return read + left_out


def _read(file: Path) -> dict[str, Any]:
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        history = state["log_history"]
    except (ValueError, KeyError, TypeError) as error:
        raise RunLogError(
            f"{str(file)!r} is not a Trainer state ({error}); it should be JSON with a log_history",
            path=str(file),
        ) from error
    if not isinstance(history, list):
        raise RunLogError(f"log_history of {str(file)!r} is not a list", path=str(file))
    return state


def _run(name: str, folder: Path, file: Path, state: dict[str, Any], more: Mapping[str, Any]) -> LoggedRun:
    rows = [
        {key: number for key, value in entry.items() if (number := as_number(value)) is not None}
        for entry in state["log_history"]
    ]
    rates = [row["learning_rate"] for row in rows if math.isfinite(row.get("learning_rate", math.nan))]
    config: dict[str, Any] = {key: state[key] for key in _PLANNED if state.get(key)}
    if rates:
        config["peak_learning_rate"] = max(rates)
    for place in dict.fromkeys((file.parent, folder, *_checkpoints(folder))):
        config |= {
            f"model.{key}": value
            for key, value in _architecture(place).items()
            if f"model.{key}" not in config
        }
        if "n_params" not in config and (size := model_size(place)) is not None:
            config["n_params"] = size
    config |= more
    if any(key in more for key in ("per_device_train_batch_size", "global_batch_size", "batch_size")):
        config.pop("train_batch_size", None)
    return LoggedRun(name, config, rows)


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run, the latest first: they hold what a folder with the last state alone does not."""
    numbered = [(path.name.removeprefix("checkpoint-"), path) for path in folder.glob("checkpoint-*")]
    found = [(int(number), path) for number, path in numbered if number.isdigit()]
    return [path for _, path in sorted(found, reverse=True)][:1]


def _architecture(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    skip = {"architectures", "id2label", "label2id", "transformers_version", "task_specific_params"}
    return {k: v for k, v in content.items() if k not in skip} if isinstance(content, dict) else {}


def model_size(folder: str | PathLike[str]) -> int | None:
    """Number of parameters in the safetensors files of a checkpoint, from their headers; None without any."""
    total = 0
    for file in sorted(Path(folder).glob("model*.safetensors")):
        try:
            with safe_open(file, framework="np") as weights:
                total += sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
        except (SafetensorError, OSError):
            return None
    return total or None
