"""Tunes the tiny training, or continues where a killed driver left off; a script, so that it can be killed."""

import json
import sys
from pathlib import Path

import ray
import tuned
from ray import tune

from probscale.integrations import ProbscaleScheduler, ProbscaleSearch, TuneModel

SAMPLES = 8

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ray.init(num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
    if (folder / "experiment" / "tuner.pkl").exists():
        tuner = tune.Tuner.restore(str(folder / "experiment"), trainable=tuned.train, resume_unfinished=True)
    else:
        model = TuneModel(tuned.EPOCHS, time_attr="epochs", startup=3)
        space = {"rate": tune.loguniform(1e-3, 1.0), "decay": tune.loguniform(1e-5, 1e-1), "optimizer": "sgd"}
        options = {"metric": "loss", "mode": "min", "num_samples": SAMPLES, "reuse_actors": True}
        search, scheduler = ProbscaleSearch(model), ProbscaleScheduler(model)
        tuner = tune.Tuner(
            tuned.train,
            param_space={**space, "log": str(folder / "paid")},
            tune_config=tune.TuneConfig(search_alg=search, scheduler=scheduler, **options),
            run_config=tune.RunConfig(storage_path=str(folder), name="experiment", verbose=0),
        )
    results = tuner.fit()
    scheduler = tuner._local_tuner._tune_config.scheduler
    summary = {
        "trials": len(results),
        "loss": results.get_best_result().metrics["loss"],
        "errors": len(results.errors),
        "points": scheduler.model.log().n_points,
        "decisions": len(scheduler.decisions),
    }
    print(json.dumps(summary), flush=True)
