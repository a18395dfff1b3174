"""Writes a small MLflow store with the real library: python mlflow_store.py ADDRESS."""

import os
import sys

LOSSES = (3.0, 1.5, 1.0, 0.75, 0.6)


def write(address: str) -> None:
    """Two experiments, three runs, one of them diverging, and a deleted run."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow

    mlflow.set_tracking_uri(address)
    for experiment, rate, name in (("dense", 1e-3, "a"), ("dense", 3e-3, "b"), ("sparse", 1e-3, "a")):
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=name):
            mlflow.set_tag("corpus", f"corpus of {name}")
            mlflow.log_params(
                {"lr": rate, "opt/name": "adamw", "batch_size": 8, "seq_len": 128, "max_steps": 50}
            )
            for i, loss in enumerate(LOSSES, start=1):
                value = float("nan") if name == "b" and i == 5 else loss
                mlflow.log_metrics({"val/loss": value, "acc": i / 5}, step=10 * i)
    with mlflow.start_run(run_name="deleted") as run:
        mlflow.log_metric("val/loss", 9.0, step=1)
    mlflow.delete_run(run.info.run_id)


if __name__ == "__main__":
    write(sys.argv[1])
