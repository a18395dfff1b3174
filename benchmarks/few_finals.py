"""Forecasts from the finals of few runs, and from few points of curves: how much their intervals hold.

    python benchmarks/few_finals.py [--seeds 2]

Training rows of eleven logs (the reported largest sizes are gone), thinned to 45 runs. A few of them
teach, drawn from all or from the cheaper half; the rest is asked. The same fits are judged with the spread
that left-out runs and priors tell, and as the Gaussian process states it. So are ends of new runs, from
fewer than twenty points of two to four curves.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import tasks
from scoring import fit_ours, log_densities, markdown, predict_rows, share_inside, write_page
from tasks import Task

from probscale.model.posterior import Tail

NAMES = ["gadre_overtraining", "nanochat", "olmo_ladder", "stdlib_gpt", "chinchilla_epoch"]
NAMES += ["scaling_with_vocab", "datablations", "loss_to_loss", "misfitting", "routed_lm", "porian_isoflop"]
COUNTS, POOL, DRAW = (4, 8, 14, 20, 30), 45, 21
CURVES = ["stdlib_gpt", "misfitting", "olmo_ladder", "nanochat", "routed_lm", "scaling_with_vocab"]
SHAPES, ASKED = ((3, 6, 0.5), (3, 6, 1.0), (4, 4, 0.3), (2, 8, 0.5)), 12
Scores = dict[str, float]


def cuts(name: str, seed: int) -> Iterator[tuple[int, Task]]:
    """Few runs that teach and the others, by number of runs."""
    task = tasks.finals(name, "largest")
    run, axis, params = (task.roles[role] for role in ("run", "axis", "params"))
    cost = task.train[params].astype(float) * task.train[axis].astype(float)
    order = task.train.assign(_cost=cost).sort_values(["_cost", run], kind="stable").drop(columns="_cost")
    draw = np.random.default_rng([DRAW, seed])
    kept = np.sort(draw.choice(len(order), min(POOL, len(order)), replace=False))
    pool = order.iloc[kept].reset_index(drop=True)
    for candidates in (len(pool), len(pool) // 2):
        turn = draw.permutation(candidates)
        for count in COUNTS:
            if count + 2 <= candidates:
                taught = pool.index.isin(turn[:count])
                learn, asked = (pool[mask].reset_index(drop=True) for mask in (taught, ~taught))
                yield count, replace(task, train=learn, test=asked)


def beginnings(name: str, seed: int) -> Iterator[tuple[str, Task]]:
    """A few points of a few curves that teach, and the ends of others."""
    task = tasks.curves(name, "largest")
    run, axis = task.roles["run"], task.roles["axis"]
    frame = task.train.sort_values(axis, kind="stable")
    counts = frame[run].value_counts()
    names = np.array(sorted(counts.index[counts >= 10]))
    ends = frame.groupby(run).tail(1)
    for runs, points, share in SHAPES:
        turn = np.random.default_rng([DRAW, seed, runs, points]).permutation(names)
        parts = [_spaced(frame[frame[run] == each], axis, points, share) for each in turn[:runs]]
        if len(turn) >= runs + 2 and min(map(len, parts)) >= 3:
            learn = pd.concat(parts, ignore_index=True)
            asked = ends[ends[run].isin(turn[runs : runs + ASKED])].reset_index(drop=True)
            label = f"{runs} curves, {points} points, {100 * share:.0f} % of the axis"
            yield label, replace(task, train=learn, test=asked)


def _spaced(curve: pd.DataFrame, axis: str, points: int, share: float) -> pd.DataFrame:
    """Points of the first share of a curve, evenly spaced in the logarithm of the axis."""
    begun = curve[(curve[axis] > 0) & (curve[axis] <= share * curve[axis].max() * (1 + 1e-9))]
    if not len(begun):
        return begun
    at = np.log(begun[axis].to_numpy(float))
    wanted = np.linspace(at[0], at[-1], points)
    return begun.iloc[np.unique(np.abs(at[:, None] - wanted).argmin(axis=0))]


def judged(task: Task) -> tuple[Scores, Scores]:
    """Scores of one fit as its Gaussian process states it, and with its spread."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        surrogate, _ = fit_ours(task, embedder=None)
        plain = {name: replace(expert, tail=Tail()) for name, expert in surrogate.experts.items()}
        return _scores(replace(surrogate, experts=plain), task), _scores(surrogate, task)


def _scores(surrogate: Any, task: Task) -> Scores:
    posterior, place = predict_rows(surrogate, task)
    truth = task.test[task.output].to_numpy(float)
    found = {f"{100 * level:.0f} %": share_inside(posterior, place, truth, level) for level in (0.5, 0.9)}
    found["density"] = float(log_densities(posterior, place, truth).clip(-50).mean())
    return found | {"mae": float(np.abs(posterior.mean[place] - truth).mean())}


def main() -> None:
    """Fit, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    seeds = range(parser.parse_args().seeds)
    records = []
    for name in NAMES:
        for seed in seeds:
            for count, cut in cuts(name, seed):
                pair = judged(cut)
                print(name, seed, count, pair, flush=True)
                records.append((name, count, pair))
    curves = []
    for name in CURVES:
        for seed in range(3 * len(seeds)):
            for label, cut in beginnings(name, seed):
                curves.append((name, label, judged(cut)))
                print(name, seed, label, curves[-1][2], flush=True)
    tables = [_table(records, 1, "runs that teach"), _table(records, 0, "data set")]
    few = [_table(curves, 1, "what teaches"), _table(curves, 0, "data set")]
    write_page("few_finals", "Finals of few runs", [NOTE, *tables, CURVE_NOTE, *few])


def _table(records: list[Any], key: int, header: str) -> str:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for record in records:
        groups[record[key]].append(record[2])
    rows = []
    for value in groups if key == 0 else sorted(groups):
        stated, ours = (pd.DataFrame([pair[i] for pair in groups[value]]).mean() for i in (0, 1))
        cells = [f"{stated[c]:.2f}" for c in ("50 %", "90 %", "density")]
        cells += [f"{ours[c]:.2f}" for c in ("50 %", "90 %", "density")]
        rows.append([value, len(groups[value]), *cells, f"{ours.mae / stated.mae:.2f}"])
    columns = ["50 % as stated", "90 % as stated", "log density as stated", "50 %", "90 %", "log density"]
    return markdown([header, "cuts", *columns, "MAE of the mean / as stated"], rows)


NOTE = (
    "Training rows of eleven logs without their largest sizes, 45 runs each; some teach, drawn from "
    "all or from the cheaper half, the rest is asked. As stated: what the Gaussian process says at "
    "its most probable parameters, which was the forecast of logs of fewer than 20 finals: priors "
    "and left-out runs decided the spread of longer logs only. Now they do of all. Chosen on other "
    "draws of the same rows (180 cuts; coverage of 90 % intervals and log density with 4, 8, 14, 20 "
    "and 30 runs): as stated .59 .72 .77 .79 .76 and -4.4 .0 .2 .7 1.1; parameters counting for up "
    "to .6 of the log scale and few runs for three over their number .84 .96 .96 .94 .90 and -.4 .6 "
    ".9 .4 .8 (on a part of the draws), too wide in the middle (50 % intervals hold .75 and more); "
    "up to .45 and nothing for few runs .76 .92 .90 .92 .90 and -.8 .9 1.2 1.2 1.8; taken: .45 and "
    "one over their number. Shares and widths of wide runs of one in four and four times in place of "
    "one in eleven and 2.6 times: density .3 better with four runs, the same with more, and 3 % more "
    "error of the mean, which the exponential of a wide forecast raises."
)

CURVE_NOTE = (
    "Ends of new runs from fewer than twenty points of curves, likewise. Before the same rule was taken "
    "for them, other draws of these logs (with their largest sizes; 135 cuts) had .79 in 90 % intervals "
    "and a log density of -.74 as stated, .91 and .02 with it, .89 and -.05 with 1.4 times the stated "
    "spread and one run in twenty twice as wide. Where runs of a sweep are alike (nanochat, OLMo ladder) "
    "forecasts as stated were better by .3 nats."
)


if __name__ == "__main__":
    main()
