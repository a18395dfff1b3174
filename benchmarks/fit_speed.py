"""Fit time and peak memory on the NCPL finals: ours beside plain GPyTorch exact GPs, in one run.

    python benchmarks/fit_speed.py [--skip NAME ...]

Each contestant runs in a process of its own with the same training rows (split train). Ours runs
twice and the second run counts, so that embeddings come from the cache. `gpytorch` is
ScaleKernel(Matérn-5/2 ARD) with 100 Adam steps in float64 and GPyTorch's default settings;
`gpytorch_cholesky` is the same with dense Cholesky at every size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STEPS = 100
NAMES = ["gpytorch", "gpytorch_cholesky", "ours"]


def run_ours() -> dict[str, float]:
    """Fit, then predict 10,000 configurations at their horizon."""
    import tasks
    from scoring import fit_ours

    task = tasks.ncpl_finals("in_val")
    surrogate, seconds = fit_ours(task)
    drop = [task.roles["run"], task.output, task.roles["axis"]]
    rows = task.test.sample(10_000, replace=True, random_state=0)
    start = time.perf_counter()
    curves = surrogate.predict(
        rows.drop(columns=drop).reset_index(drop=True), rows[["tokens"]].to_numpy(float)
    )
    curves.interval(0.9)
    return {"fit": seconds, "predict 10k": time.perf_counter() - start, "n": len(task.train)}


def run_gpytorch(*, cholesky: bool) -> dict[str, float]:
    """Plain exact GP: standardised features, zero-effort settings."""
    import gpytorch
    import tasks
    import torch
    from features import features_of, target_of

    task = tasks.ncpl_finals("in_val")
    features, target = features_of(task), target_of(task)
    x, y = torch.as_tensor(features.train), torch.as_tensor(target.values)
    y = (y - y.mean()) / y.std()

    class Plain(gpytorch.models.ExactGP):
        def __init__(self) -> None:
            super().__init__(x, y, gpytorch.likelihoods.GaussianLikelihood())
            self.mean_module = gpytorch.means.ConstantMean()
            kernel = gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=x.shape[1])
            self.covar_module = gpytorch.kernels.ScaleKernel(kernel)

        def forward(self, inputs: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(inputs), self.covar_module(inputs)
            )

    model = Plain().double().train()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    start = time.perf_counter()
    with gpytorch.settings.max_cholesky_size(10_000 if cholesky else 800):
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = -objective(model(x), y)
            loss.backward()
            optimizer.step()
    return {"fit": time.perf_counter() - start, "n": len(y), "features": x.shape[1]}


def contestant(name: str) -> dict[str, float]:
    """Runs one contestant in this process; adds its peak memory in GiB."""
    result = run_ours() if name == "ours" else run_gpytorch(cholesky=name.endswith("cholesky"))
    result["peak GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return result


def measure(name: str) -> dict[str, float] | None:
    """Runs one contestant in a new process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Runs everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--skip", nargs="*", default=[])
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(contestant(chosen.only)))
        return
    from scoring import have_surrogate, markdown, number, write_page

    names = [n for n in NAMES if n not in chosen.skip and (n != "ours" or have_surrogate())]
    if "ours" in names:
        measure("ours")
    found = {name: result for name in names if (result := measure(name)) is not None}
    ours = found.get("ours", {}).get("fit", np.nan)
    keys = ["n", "fit", "peak GiB", "predict 10k"]
    rows = [[n, *(number(r.get(k)) for k in keys), number(r["fit"] / ours)] for n, r in found.items()]
    table = markdown(["contestant", "runs", "fit s", "peak GiB", "predict 10,000 s", "fit time / ours"], rows)
    write_page("fit_speed", "Fit of the NCPL finals", [table, (__doc__ or "").split("\n\n", 2)[2].strip()])


if __name__ == "__main__":
    main()
