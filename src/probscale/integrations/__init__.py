"""Bridges to the tools people use already: experiment logs in, surrogates out.

Every import gives a `RunLog` ready for `fit_surrogate`; its notes say what was inferred and what was left
out. Libraries beyond the core dependencies are optional extras, imported when first needed.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Choice": "logged",
    "LoggedRun": "logged",
    "assemble": "logged",
    "ImportSummary": "summary",
    "from_trainer_states": "hf_trainer",
    "read_trainer_states": "hf_trainer",
    "from_lightning_csv": "lightning",
    "read_lightning_csv": "lightning",
    "from_table": "tables",
    "read_table": "tables",
    "from_wandb": "wandb",
    "from_wandb_offline": "wandb",
    "from_wandb_export": "wandb",
    "read_wandb_offline": "wandb",
    "from_mlflow": "mlflow",
    "read_mlflow": "mlflow",
    "from_tensorboard": "tensorboard",
    "read_tensorboard": "tensorboard",
    "ProbscaleRegressor": "sklearn",
    "ProbscalePruner": "optuna",
    "ProbscaleSampler": "optuna",
    "TrialModel": "optuna",
    "from_optuna": "optuna_study",
    "read_optuna": "optuna_study",
    "EXECUTORS": "executors",
    "executor_named": "executors",
    "RayExecutor": "ray",
    "from_tune": "ray_results",
    "read_tune": "ray_results",
    "TuneModel": "ray_model",
    "ProbscaleSearch": "ray_search",
    "ProbscaleScheduler": "ray_scheduler",
    "SlurmExecutor": "slurm",
}

__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'probscale.integrations' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"probscale.integrations.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
