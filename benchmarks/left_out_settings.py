"""Settings that questions, or runs added after the fit, leave out: what intervals hold on simulated runs.

    python benchmarks/left_out_settings.py

Losses follow a law of size and tokens, and depend on a learning rate and an optimizer. All runs of the fit
tell both; then come runs that leave some out, of curves the first two fifths, and ends are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scoring import markdown, number, write_page

import probscale as ps

END, POINTS, PREFIX, ADDED, ASKED = 4e9, 12, 0.4, 20, 40
KEPT = {"finals": 60, "exact": 40, "grid": 60, "functional": 60}
"""Engines, finals standing for the exact one, and the runs of the fit."""

WITHOUT = (("lr",), ("lr", "optimizer"))
SEEDS = range(20, 28)
"""Of the table; seeds 0 to 13 were in view while the deviation of such runs was written."""


def family(seed: int, count: int, points: int) -> pd.DataFrame:
    """Points of runs, their exact ends beside them."""
    rng = np.random.default_rng(seed)
    floor, by_size, by_tokens = 1.8 + 0.3 * rng.random(), *(0.25 + 0.15 * rng.random(2))
    curvature, sgd = 0.02 + 0.04 * rng.random(), rng.normal(0, 0.05)
    configs = pd.DataFrame({"run": [f"r{i}" for i in range(count)]})
    configs["params"] = 10 ** rng.uniform(7, 8.3, count)
    configs["lr"] = np.exp(rng.uniform(np.log(3e-4), np.log(3e-2), count))
    configs["optimizer"] = rng.choice(["adam", "sgd"], count)
    rate = np.log(configs["lr"] / 3e-3) + 0.15 * np.log(configs["params"] / 5e7)
    own = curvature * rate**2 + sgd * (configs["optimizer"] == "sgd") + rng.normal(0, 0.01, count)
    own += floor + 1.2 * (configs["params"] / 3e7) ** -by_size
    at = np.geomspace(5e7, END, points) if points > 1 else np.array([END])
    curves = own.to_numpy()[:, None] + 1.2 * (at / 1e9) ** -by_tokens
    frame = configs.loc[configs.index.repeat(points)].reset_index(drop=True)
    frame = frame.assign(tokens=np.tile(at, count), end=np.repeat(curves[:, -1], points))
    return frame.assign(loss=(curves + rng.normal(0, 0.004, curves.shape)).ravel())


def log_of(frame: pd.DataFrame, without: Sequence[str] = ()) -> ps.RunLog:
    """Log of points, some settings not told."""
    frame = frame.drop(columns="end").assign(**dict.fromkeys(without, np.nan))
    roles = {"params": "params", "config": ["lr", "optimizer"]}
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", **roles)


def held(curves: ps.CurvePosterior, truth: np.ndarray) -> list[float]:
    """Shares in 90 % and 50 % intervals, and mean width of the former."""
    out = []
    for level in (0.9, 0.5):
        lower, upper = (bound[:, -1] for bound in curves.interval(level))
        out += [float(((lower <= truth) & (truth <= upper)).mean()), float((upper - lower).mean())]
    return [out[0], out[2], out[1]]


def one(engine: str, without: Sequence[str], seed: int) -> dict[str, list[float]]:
    """Shares of ends of one simulated log, by what is asked after what."""
    points = 1 if engine == "finals" else POINTS
    frame = family(seed, KEPT[engine] + ADDED + ASKED, points)
    number_of = frame["run"].str[1:].astype(int)
    known, asked = frame[number_of < KEPT[engine]], frame[number_of >= KEPT[engine] + ADDED]
    added = frame[(number_of >= KEPT[engine]) & (number_of < KEPT[engine] + ADDED)]
    first = added[added.groupby("run").cumcount() < max(1, PREFIX * points)]
    model = "auto" if engine == "finals" else engine
    fitted = ps.fit_surrogate(log_of(known), embedder=None, seed=0, model=model)
    told, untold = (fitted.condition(log_of(first, names)) for names in ((), without))
    new, own = (part.groupby("run", sort=False).first() for part in (asked, added))
    whole = new[["params", "lr", "optimizer"]].reset_index(drop=True)
    gaps, ends = whole.drop(columns=list(without)), new["end"].to_numpy()
    out = {}
    for name, surrogate in (("the fit", fitted), ("runs with all", told), ("runs without", untold)):
        out[f"new runs, all told | {name}"] = held(surrogate.predict(whole, [END]), ends)
        out[f"new runs, not told | {name}"] = held(surrogate.predict(gaps, [END]), ends)
        if points > 1 and surrogate is not fitted:
            named = [{"run": run} for run in own.index]
            out[f"the added runs | {name}"] = held(surrogate.predict(named, [END]), own["end"].to_numpy())
    return out


def main() -> None:
    """Write the page."""
    rows = []
    for engine in KEPT:
        for without in WITHOUT:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = [one(engine, without, seed) for seed in SEEDS]
            for key in sorted(found[0]):
                asked, after = key.split(" | ")
                means = np.mean([each[key] for each in found], axis=0)
                rows.append([engine, ", ".join(without), asked, after, *map(number, means)])
                print(*rows[-1], sep="\t", flush=True)
    head = ["engine", "left out", "ends of", "after", "in 90 %", "in 50 %", "width of 90 %"]
    about = (
        f"{len(SEEDS)} simulated logs a row, of which all runs of the fit tell everything. {ADDED} runs are "
        f"added; {ASKED} new ones are asked for, by questions that tell all or not, and the rest of those "
        "added where they are curves. After 'runs without', these left settings out. Ends are those without "
        "noise of measurement, intervals with it."
    )
    write_page("left_out_settings", "Settings that are left out", [about, markdown(head, rows)])


if __name__ == "__main__":
    main()
