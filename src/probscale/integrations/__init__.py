"""Bridges to the tools people use already: experiment logs in, surrogates out.

Every import gives a `RunLog` ready for `fit_surrogate`; its notes say what was inferred and what was left
out. Libraries beyond the core dependencies are optional extras, imported when first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probscale.lazy import deferred

if TYPE_CHECKING:
    from probscale.integrations.executors import EXECUTORS, executor_named
    from probscale.integrations.hf_trainer import from_trainer_states, read_trainer_states
    from probscale.integrations.lightning import from_lightning_csv, read_lightning_csv
    from probscale.integrations.logged import Choice, LoggedRun, assemble
    from probscale.integrations.mlflow import from_mlflow, read_mlflow
    from probscale.integrations.optuna import ProbscalePruner, ProbscaleSampler, TrialModel
    from probscale.integrations.optuna_study import from_optuna, read_optuna
    from probscale.integrations.ray import RayExecutor
    from probscale.integrations.ray_model import TuneModel
    from probscale.integrations.ray_results import from_tune, read_tune
    from probscale.integrations.ray_scheduler import ProbscaleScheduler
    from probscale.integrations.ray_search import ProbscaleSearch
    from probscale.integrations.sklearn import ProbscaleRegressor
    from probscale.integrations.slurm import SlurmExecutor
    from probscale.integrations.summary import ImportSummary
    from probscale.integrations.tables import from_table, read_table
    from probscale.integrations.tensorboard import from_tensorboard, read_tensorboard
    from probscale.integrations.wandb import (
        from_wandb,
        from_wandb_export,
        from_wandb_offline,
        read_wandb_offline,
    )

# Resolved on first use: each needs a library of its own.
_HOME = {
    "Choice": ".logged",
    "LoggedRun": ".logged",
    "assemble": ".logged",
    "ImportSummary": ".summary",
    "from_trainer_states": ".hf_trainer",
    "read_trainer_states": ".hf_trainer",
    "from_lightning_csv": ".lightning",
    "read_lightning_csv": ".lightning",
    "from_table": ".tables",
    "read_table": ".tables",
    "from_wandb": ".wandb",
    "from_wandb_offline": ".wandb",
    "from_wandb_export": ".wandb",
    "read_wandb_offline": ".wandb",
    "from_mlflow": ".mlflow",
    "read_mlflow": ".mlflow",
    "from_tensorboard": ".tensorboard",
    "read_tensorboard": ".tensorboard",
    "ProbscaleRegressor": ".sklearn",
    "ProbscalePruner": ".optuna",
    "ProbscaleSampler": ".optuna",
    "TrialModel": ".optuna",
    "from_optuna": ".optuna_study",
    "read_optuna": ".optuna_study",
    "EXECUTORS": ".executors",
    "executor_named": ".executors",
    "RayExecutor": ".ray",
    "from_tune": ".ray_results",
    "read_tune": ".ray_results",
    "TuneModel": ".ray_model",
    "ProbscaleSearch": ".ray_search",
    "ProbscaleScheduler": ".ray_scheduler",
    "SlurmExecutor": ".slurm",
}

__all__ = [
    "EXECUTORS",
    "Choice",
    "ImportSummary",
    "LoggedRun",
    "ProbscalePruner",
    "ProbscaleRegressor",
    "ProbscaleSampler",
    "ProbscaleScheduler",
    "ProbscaleSearch",
    "RayExecutor",
    "SlurmExecutor",
    "TrialModel",
    "TuneModel",
    "assemble",
    "executor_named",
    "from_lightning_csv",
    "from_mlflow",
    "from_optuna",
    "from_table",
    "from_tensorboard",
    "from_trainer_states",
    "from_tune",
    "from_wandb",
    "from_wandb_export",
    "from_wandb_offline",
    "read_lightning_csv",
    "read_mlflow",
    "read_optuna",
    "read_table",
    "read_tensorboard",
    "read_trainer_states",
    "read_tune",
    "read_wandb_offline",
]

__getattr__, __dir__ = deferred(__name__, _HOME)
