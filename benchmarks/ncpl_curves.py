"""All NCPL training curves: errors, coverage, prefixes and speed of the surrogate of whole curves.

    python benchmarks/ncpl_curves.py

Writes benchmarks/results/ncpl_curves.md. Test rows are the paper's in-distribution split, and the largest
size of each source held out of the training split.
"""

from __future__ import annotations

import os
import resource
import time

import numpy as np
import pandas as pd
import scoring
import sources
import tasks
from tasks import Task

import probscale as ps

PREFIXES = (0.2, 0.5)
DELTA = 0.01


def largest_out() -> Task:
    """Training runs of the largest size of each source, held out."""
    whole = tasks.curves("ncpl", "in_val")
    size = whole.train.N_params
    limit = np.where(whole.train.source == "steplaw", 3.7e8, 2.5e8)
    held = size >= limit
    cut = sources.ncpl().keep_out
    whole_runs = whole.train.run_id.map(cut.set_index("run_id").truncated)
    return Task("largest_out", whole.train[~held], whole.train[held & ~whole_runs.astype(bool)], whole.roles)


def predicted(surrogate: ps.CurveSurrogate, log: ps.RunLog, prefix: float = 0.0) -> pd.DataFrame:
    """One row per asked point: truth, mean and bounds, and the mean had nothing been seen.

    Points of the prefix are not asked.
    """
    known, at, truth = log.codes, log.points.tokens.to_numpy(), log.points.loss.to_numpy()
    horizon = log.configs.D_tokens.to_numpy()
    configs = log.configs.reset_index()
    before = surrogate
    if prefix:
        surrogate = surrogate.condition(log.truncate(fraction=prefix))
    rows = []
    for run in range(log.n_runs):
        where = np.flatnonzero(known == run)
        early = at[where] <= prefix * horizon[run]
        if prefix and (not early.any() or early.all()):
            continue
        where = where[~early] if prefix else where
        frame = configs.iloc[[run]] if prefix else log.configs.iloc[[run]]
        curve = surrogate.predict(frame, at[where])
        lower, upper = curve.interval(0.9)
        low, high = curve.interval(0.5)
        blind = before.predict(log.configs.iloc[[run]], at[where]).mean[0] if prefix else curve.mean[0]
        rows.append(
            pd.DataFrame(
                {
                    **{"source": log.configs.source.iloc[run], "run": run, "truth": truth[where]},
                    **{
                        "mean": curve.mean[0],
                        "blind": blind,
                        "final": np.arange(len(where)) == len(where) - 1,
                    },
                    **{"in90": (truth[where] >= lower[0]) & (truth[where] <= upper[0])},
                    **{"in50": (truth[where] >= low[0]) & (truth[where] <= high[0])},
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def summary(table: pd.DataFrame) -> list[str]:
    """Scores of one group of points."""
    error = (table["mean"] - table.truth).abs()
    huber = np.where(error < DELTA, error**2 / 2, DELTA * (error - DELTA / 2))
    finals = error[table.final].mean()
    cells = [f"{table.run.nunique()}", f"{len(table)}", f"{huber.mean():.6f}", f"{error.mean():.4f}"]
    cells += [f"{finals:.4f}", f"{table.in90.mean():.2f}", f"{table.in50.mean():.2f}"]
    blind = (table.blind - table.truth).abs()
    return [*cells, f"{blind.mean():.4f}", f"{blind[table.final].mean():.4f}"]


HEADER = ["split", "source", "runs", "points", "Huber(.01)", "MAE", "final MAE", "in 90 %", "in 50 %"]
HEADER += ["MAE unseen", "final unseen"]


def rows_of(label: str, table: pd.DataFrame) -> list[list[str]]:
    """One row for all points and one per source."""
    out = [[label, "all", *summary(table)]]
    return out + [[label, str(name), *summary(part)] for name, part in table.groupby("source")]


def main() -> None:
    """Fit, predict, write the page."""
    task = tasks.curves("ncpl", "in_val")
    log, test = (ps.RunLog.from_frame(part, **task.roles) for part in (task.train, task.test))
    start = time.perf_counter()
    surrogate = ps.fit_surrogate(log)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = rows_of("in_val", predicted(surrogate, test))
    print(scoring.markdown(HEADER, rows), seconds, flush=True)
    asked = test.configs.iloc[np.arange(1000) % test.n_runs]
    at = np.linspace(0.02, 1.0, 60) * asked.D_tokens.to_numpy()[:, None]
    start = time.perf_counter()
    surrogate.predict(asked, at).interval(0.9)
    many = time.perf_counter() - start
    one = test.select(list(test.runs[-1:])).truncate(fraction=0.2)
    start = time.perf_counter()
    surrogate.condition(one)
    conditioned = time.perf_counter() - start
    chosen = test.select(list(test.runs[::4]))
    prefixes = [f"prefix {share:.0%} seen" for share in PREFIXES]
    for label, share in zip(prefixes, PREFIXES, strict=True):
        after = predicted(surrogate, chosen, share)
        rows += rows_of(label, after)
    print(scoring.markdown(HEADER, rows), flush=True)
    out = largest_out()
    held = ps.RunLog.from_frame(out.test, **out.roles)
    smaller = ps.fit_surrogate(ps.RunLog.from_frame(out.train, **out.roles))
    rows += rows_of("largest size out", predicted(smaller, held.select(list(held.runs[::2]))))
    speed = (
        f"Fit of {log.n_points:,} points of {log.n_runs:,} runs: {seconds:.0f} s, {memory:.1f} GiB; "
        f"1,000 new curves of 60 points with intervals: {many:.1f} s; "
        f"a prefix of a new run: {conditioned:.2f} s (load average over 15 minutes "
        f"{os.getloadavg()[2]:.1f}). Unseen: errors at the same points had nothing been seen of the runs; a "
        "handful of StepLaw runs that spike again and again after the prefix hold most of what is left there."
    )
    page = [scoring.markdown(HEADER, rows), speed, f"```\n{surrogate.report}\n```", scoring.environment()]
    print(scoring.write_page("ncpl_curves", "Whole curves of the NCPL logs", page))


if __name__ == "__main__":
    main()
