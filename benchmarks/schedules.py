"""Curves under a learning-rate schedule that a model size has not been trained with, schedule told or not.

    python benchmarks/schedules.py

Does it help to tell the surrogate which learning-rate schedule a run follows, where a model size has not been
trained under that schedule? Yes for cosine and for long constant runs; for the others it changes little, and
ends of short constant runs are foretold worse.

Multi-power-law curves: 3 sizes × 6 schedules (constant, cosine, WSD; 24,000 or 72,000 steps). Each run is
left out once and predicted from the other 17. "not told" hides what the schedule is behind column names
that mean nothing, so that it is a label like any other.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scoring
import sources

import probscale as ps

POINTS = 24
TOLD = ["lr_schedule", "min_lr_ratio", "decay_fraction"]
HIDDEN = {"lr_schedule": "form", "min_lr_ratio": "rest", "decay_fraction": "part"}


def curves() -> pd.DataFrame:
    """Thinned curves with the schedule as columns, without two-stage runs, which these cannot tell."""
    points = sources.read("multipowerlaw/multipowerlaw.parquet")
    points = points[points.schedule_kind != "wsdcon"]
    points = points.assign(
        N_params=points.params_nominal,
        lr_schedule=points.schedule_kind,
        min_lr_ratio=np.where(points.schedule_kind == "constant", np.nan, 0.1),
        decay_fraction=np.where(points.schedule_kind.str.startswith("wsd"), 4_000 / 24_000, np.nan),
    )
    kept = []
    for _, run in points.groupby("run_id", sort=False):
        wanted = np.linspace(run.step.min(), run.step.max(), POINTS)
        kept.append(run.iloc[np.unique(np.searchsorted(run.step, wanted).clip(0, len(run) - 1))])
    return pd.concat(kept, ignore_index=True)


def scored(points: pd.DataFrame, told: bool) -> pd.DataFrame:
    """One row per left-out run."""
    if not told:
        points = points.rename(columns=HIDDEN)
    config = TOLD if told else list(HIDDEN.values())
    roles = {
        "run": "run_id",
        "axis": "step",
        "output": "loss",
        "params": "N_params",
        "horizon": "total_steps",
        "config": config,
    }
    rows = []
    for name, run in points.groupby("run_id", sort=False):
        surrogate = ps.fit_surrogate(ps.RunLog.from_frame(points[points.run_id != name], **roles))
        asked = run.iloc[[0]][["N_params", "total_steps", *config]]
        curve = surrogate.predict(asked, run.step.to_numpy(dtype=float))
        lower, upper = curve.interval(0.9)
        loss = run.loss.to_numpy()
        error = np.abs(curve.mean[0] - loss)
        inside = (loss >= lower[0]) & (loss <= upper[0])
        rows.append((run.schedule.iloc[0], error.mean(), error[-1], inside.mean()))
    return pd.DataFrame(rows, columns=["schedule", "MAE", "final", "cover 90"])


def main() -> None:
    """Leave every run out, with and without its schedule told; write the page."""
    points = curves()
    means = {}
    for label, told in (("not told", False), ("told", True)):
        table = scored(points, told)
        means[label] = pd.concat(
            [table.groupby("schedule").mean(), table.drop(columns="schedule").mean().to_frame("all").T]
        )
        print(label, means[label].round(4).to_string(), flush=True)
    header = [
        "schedule",
        *(f"{column}, {label}" for column in ("MAE", "final", "cover 90") for label in means),
    ]
    body = [
        [
            str(name),
            *(f"{means[label].loc[name, c]:.4f}" for c in ("MAE", "final", "cover 90") for label in means),
        ]
        for name in means["told"].index
    ]
    page = [*__doc__.strip().split("\n\n")[2:], scoring.markdown(header, body)]
    scoring.write_page("schedules", "Curves under schedules that a size has not seen", page)


if __name__ == "__main__":
    main()
