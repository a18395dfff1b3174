"""Fit time and peak memory against the number of points, up to a million.

    python benchmarks/growth.py [--points 100000 300000 1000000]

Simulated families (laws with configuration effects) of runs of 50 points each. Every size runs in a process
of its own: the log is built from a frame and checked, fitted without text with default settings, and asked
for 100 new curves. Seconds are of the processor; the exponent is the slope of log fit seconds in log points.
The functional engine learns from at most 3,000 runs and sees 40 points of each: fit time stops growing.
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

POINTS_PER_RUN = 50
ASKED = 100


def measure_here(points: int) -> dict[str, float | str]:
    """Builds, fits and asks in this process."""
    import probscale as ps

    log = ps.simulate_runs("law", n_runs=points // POINTS_PER_RUN, points=POINTS_PER_RUN, tasks=1, seed=0)
    frame, roles = log.to_frame().drop(columns="diverged"), log.roles.arguments()
    del log
    times = [time.process_time()]
    log = ps.RunLog.from_frame(frame, **roles)
    times.append(time.process_time())
    surrogate = ps.fit_surrogate(log, embedder=None)
    times.append(time.process_time())
    curves = surrogate.predict(log.configs.head(ASKED).reset_index(drop=True), np.geomspace(1e9, 1e10, 20))
    curves.interval(0.9)
    times.append(time.process_time())
    log_s, fit_s, predict_s = np.diff(times)
    engines = {entry.engine for entry in surrogate.report.experts}
    return {
        "points": float(len(frame)),
        "log s": float(log_s),
        "fit s": float(fit_s),
        "predict s": float(predict_s),
        "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "engine": ", ".join(sorted(engines)),
    }


def measure(points: int) -> dict[str, float | str]:
    """The same in a new process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--only", str(points)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measures all sizes and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, nargs="*", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--only", type=int)
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(measure_here(chosen.only)))
        return
    from scoring import markdown, number, write_page

    found = []
    for points in chosen.points:
        found.append(measure(points))
        print(found[-1], flush=True)
    keys = ["points", "log s", "fit s", "predict s", "peak GiB"]
    rows = [[*(number(float(f[k])) for k in keys), f["engine"]] for f in found]
    whole = [np.log([float(f["points"]) for f in found]), np.log([float(f["fit s"]) for f in found])]
    slope = float(np.polyfit(*whole, 1)[0]) if len(found) > 1 else float("nan")
    text = (__doc__ or "").split("\n\n", 2)[2].strip()
    table = markdown([*keys, "engine"], rows)
    write_page("growth", "Growth of fit time", [text, table, f"Growth exponent of fit time: {slope:.2f}."])


if __name__ == "__main__":
    main()
