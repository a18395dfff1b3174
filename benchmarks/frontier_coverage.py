"""Calibration of the frontier's law on simulated families whose frontier is known.

python benchmarks/frontier_coverage.py [--families 40] [--runs 60]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from scoring import markdown, write_page

import probscale as ps
from probscale.errors import ExtrapolationWarning
from probscale.theory.law_family import LawFamily

COMPUTE = np.geomspace(1e17, 1e21, 12)
COST = ps.FlopsCost(params="params")


def tuned_pool(family: LawFamily) -> pd.DataFrame:
    """Twenty sizes at every compute, each planned to its end with the best learning rate and batch."""
    params, compute = (part.ravel() for part in np.meshgrid(np.geomspace(2e7, 2e9, 20), COMPUTE))
    tokens = compute / (6 * params)
    return pd.DataFrame(
        {
            "params": params,
            "horizon": tokens,
            "learning_rate": family.best_rate(params, tokens),
            "batch_tokens": family.best_batch(tokens),
            "schedule": "wsd",
            "seed": 0,
        }
    )[lambda f: f["horizon"].between(2 * f["params"], 200 * f["params"])]


def measured(seed: int, runs: int) -> dict[str, float]:
    """Errors and standard scores of one family's law."""
    log = ps.simulate_runs("law", n_runs=runs, points=8, seed=seed)
    family = log.truth
    assert isinstance(family, LawFamily)
    start = time.process_time()
    surrogate = ps.fit_surrogate(log, embedder=None, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        found = ps.fit_frontier(surrogate, tuned_pool(family), compute=COMPUTE, cost=COST, seed=0)
    truth = family.frontier(COMPUTE)
    slope = float(np.polyfit(np.log(COMPUTE), np.log(truth), 1)[0])
    lower, upper = found.law.interval(0.9)["slope"]
    low, high = found.law.interval(0.9)["exponent"]
    inside = np.stack(found.loss.interval(0.9))
    return {
        "slope": slope,
        "mean": found.law.mean["slope"],
        "std": found.law.std["slope"],
        "covered": float(lower <= slope <= upper),
        "exponent covered": float(low <= family.exponents().loss <= high),
        "frontier covered": float(np.mean((inside[0] <= truth) & (truth <= inside[1]))),
        "frmse": found.frmse(truth),
        "seconds": time.process_time() - start,
    }


def main() -> None:
    """Runs all families and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=40)
    parser.add_argument("--runs", type=int, default=60)
    chosen = parser.parse_args()
    table = pd.DataFrame([measured(seed, chosen.runs) for seed in range(chosen.families)])
    z = (table["mean"] - table["slope"]) / table["std"]
    rows = [
        ["90 % interval of the slope covers the truth", f"{table['covered'].mean():.3f}"],
        ["90 % interval of the exponent covers the truth", f"{table['exponent covered'].mean():.3f}"],
        ["90 % interval of the frontier covers the truth", f"{table['frontier covered'].mean():.3f}"],
        ["standard score of the slope: mean, sd", f"{z.mean():.2f}, {z.std():.2f}"],
        [
            "root mean square error of the slope",
            f"{np.sqrt(((table['mean'] - table['slope']) ** 2).mean()):.5f}",
        ],
        ["median frontier error, of ln(loss)", f"{table['frmse'].median():.4f}"],
        ["processor seconds per family", f"{table['seconds'].mean():.1f}"],
    ]
    note = f"{chosen.families} families of {chosen.runs} runs, 8 points each; compute 1e17 to 1e21."
    write_page(
        "frontier_coverage", "Frontier of simulated families", [note, markdown(["measure", "value"], rows)]
    )


if __name__ == "__main__":
    main()
