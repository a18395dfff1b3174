"""Zero-shot hierarchical tasks: nanoGPT shapes never seen, and language pairs never seen.

python benchmarks/nanogpt_zero_shot.py [--peers-only] [--seeds 3]
"""

from __future__ import annotations

import argparse
import itertools
import traceback

import numpy as np
import pandas as pd
import sources
import tasks
from peers import PEERS as PEER_MODELS
from scoring import (
    fit_ours,
    forecast_with,
    have_surrogate,
    markdown,
    number,
    our_scores,
    peer_scores,
    score,
    write_page,
)
from tasks import Task

from probscale.evaluate.replay.active import DRAWS, law_errors
from probscale.evaluate.replay.active_tasks import nanogpt_task
from probscale.surrogate.options import FitOptions

LAW_BOUNDS = {"Quad_d4r3": 0.15, "Tri_d4": 0.08, "T1": 0.05}
"""Most area between the law of the posterior and that of all 30 measured curves."""

NANOGPT = {"Quad_d4r3": 0.0050, "Tri_d4": 0.0074, "T1": 0.0026, "Quad_d4r4": None}
PEERS = ["additive", "additive, shared", "robust law", "LightGBM", "ARD GP", "law + GP", "ARD GP + linear"]

ENDS = (
    "One score for each pair, its last: a tenth to half of the pairs unseen in turn; our MAE over that of "
    "two additive effects. What a language brings in either place is shared: without, on 80 other draws "
    "of such finals and of scores at 50,000 sentences (BLEU), means were .89 and 1.07 (mBART50), .57 and "
    ".49 (Transformer) where they are .76, .84, .55 and .38 with it. Judged on these draws and left: "
    "preferring the multiplying scale unless another is better by .1 in the log density of left-out "
    "scores (.73, .87, .49, .38), and the average of all three scales (.86, .83, .50, .41). What wins by "
    "luck with 15 to 27 scores stays: some draws lie above one."
)


def nanogpt_rows(*, ours: bool) -> list[list[object]]:
    """MSE, MAE and 95 % coverage on the paper's splits."""
    rows: list[list[object]] = []
    for split, bound in NANOGPT.items():
        task = tasks.nanogpt(split)
        if ours:
            rows.append(_our_row(task, split, bound))
        for name, scores in peer_scores(task, PEERS).items():
            found = scores["all"]
            rows.append([split, name, number(found["mse"]), number(found["mae"]), "-", "", ""])
    return rows


def _our_row(task: Task, split: str, bound: float | None) -> list[object]:
    try:
        surrogate, seconds = fit_ours(task)
        found = score(task, forecast_with(surrogate, task, level=0.95))["all"]
    except Exception:
        traceback.print_exc()
        return [split, "ours", "failed", "", "", "", ""]
    met = "" if bound is None else f"<= {bound}: {'yes' if found['mse'] <= bound else 'no'}"
    return [
        split,
        "ours",
        number(found["mse"]),
        number(found["mae"]),
        number(found["coverage90"]),
        met,
        number(seconds),
    ]


def law_rows() -> list[list[object]]:
    """Law of the frontier from the measured cells and the posterior of the unseen ones, against the truth."""
    game = nanogpt_task(sources.data_root() / "schram/nanogpt_large.parquet")
    shapes = game.configs[["n_embd", "n_layer"]]
    rows: list[list[object]] = []
    for (split, bound), means in itertools.product(LAW_BOUNDS.items(), ((), ("plane",), ("law",))):
        task = tasks.nanogpt(split)
        surrogate, _ = fit_ours(task, options=FitOptions(means=means))
        known = pd.MultiIndex.from_frame(task.train[["n_embd", "n_layer"]].drop_duplicates())
        seen = pd.MultiIndex.from_frame(shapes).isin(known)
        everything = pd.concat([task.train, task.test]).drop_duplicates(["n_embd", "n_layer"])
        configs = shapes.merge(everything, how="left")[[*shapes, "n_params_nonemb"]]
        draws = surrogate.predict(configs, game.at[0]).latent().sample(DRAWS, seed=0)
        found = law_errors(game, np.where(seen[:, None], game.truth, draws))
        inside = found["slope_lower"] <= game.law[0] <= found["slope_upper"]
        rows.append(
            [
                split,
                means[0] if means else "default",
                number(found["abc"]),
                number(found["abc_log"]),
                f"<= {bound}: {'yes' if found['abc'] <= bound else 'no'}",
                number(found["frmse"]),
                f"{found['slope']:.5f} ({found['slope_lower']:.5f} to {found['slope_upper']:.5f})",
                "yes" if inside else "no",
            ]
        )
    return rows


def bilingual_rows(seeds: int, *, ours: bool) -> list[list[object]]:
    """MAE averaged over seeds, each with its own unseen pairs; ratio to the better additive baseline."""
    rows: list[list[object]] = []
    for model, metric in (
        ("mBART50", "bleu"),
        ("Transformer", "bleu"),
        ("mBART50", "chrf"),
        ("Transformer", "chrf"),
    ):
        found: dict[str, list[float]] = {}
        cover: list[float] = []
        for seed in range(seeds):
            task = tasks.bilingual(model, metric, seed)
            for name, scores in peer_scores(task, PEERS).items():
                found.setdefault(name, []).append(scores["all"]["mae"])
            if ours:
                try:
                    scores, _ = our_scores(task)
                    found.setdefault("ours", []).append(scores["all"]["mae"])
                    cover.append(scores["all"]["coverage90"])
                except Exception:
                    traceback.print_exc()
                    found.setdefault("ours", []).append(np.nan)
        base = min(np.mean(found[n]) for n in ("additive", "additive, shared"))
        for name, values in sorted(found.items(), key=lambda item: float(np.mean(item[1]))):
            shown = number(float(np.mean(cover))) if name == "ours" and cover else "-"
            rows.append(
                [
                    f"{model} {metric}",
                    name,
                    number(float(np.mean(values))),
                    f"{np.mean(values) / base:.2f}",
                    shown,
                ]
            )
    return rows


def ends_rows(draws: int) -> list[list[object]]:
    """One score for each pair: MAE over that of two additive effects, a tenth to half of the pairs unseen."""
    rows: list[list[object]] = []
    for model, metric in itertools.product(("mBART50", "Transformer"), ("bleu", "chrf")):
        ratios, cover = [], []
        for seed in range(draws):
            task = tasks.bilingual(model, metric, seed, fraction=0.1 + 0.1 * (seed % 5), ends=True)
            ours, base = our_scores(task)[0]["all"], PEER_MODELS["additive"](task)
            assert base is not None
            ratios.append(ours["mae"] / score(task, base)["all"]["mae"])
            cover.append(ours["coverage90"])
        worse = sum(ratio > 1 for ratio in ratios)
        means = [
            f"{value:.2f}" for value in (np.mean(ratios), np.median(ratios), np.max(ratios), np.mean(cover))
        ]
        rows.append([f"{model} {metric}", *means[:3], f"{worse} of {draws}", means[3]])
    return rows


def main() -> None:
    """Builds the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=20)
    chosen = parser.parse_args()
    ours = have_surrogate() and not chosen.peers_only
    first = markdown(
        ["split", "predictor", "MSE", "MAE", "cover 95", "bound", "fit s"], nanogpt_rows(ours=ours)
    )
    second = markdown(
        ["task", "predictor", "MAE", "ratio to additive", "cover 90"], bilingual_rows(chosen.seeds, ours=ours)
    )
    header = [
        "split",
        "mean function",
        "AbC",
        "AbC of ln(loss)",
        "bound",
        "fRMSE",
        "slope (95 %)",
        "truth inside",
    ]
    law = markdown(header, law_rows() if ours else [])
    reading = (
        "Law of the frontier, over 1e18 to 1e20 FLOPs, from the measured cells and 256 posterior draws of "
        "the unseen ones; AbC: area between its losses and those of the law of all 30 measured curves, over "
        "1e15 to 1e20 in ln(compute). The default mean of a grid of curves is a plane at first, from which "
        "the law takes over along the axis; beside it each of the two alone. Other draws change AbC by some "
        ".01. T1 hides 1600 × 48 alone, and its AbC is that one run's: forecast to end .30 % too high, with "
        "a standard deviation of .50 %, it alone is the frontier from 6e19 FLOPs on and turns the line's "
        "slope by .0004. Nine tenths of the area lie below 1e18, where the line is only extended (.0066 "
        "above it). No centre changes that: 4,000 draws give .061, the line through the median frontier "
        ".062, median curves .062, draws without calibrated spread .062. Six other large shapes hidden "
        "alone: .009 to .048, with ends .3 to 1.1 % off. The bounds are held against the area in loss; that "
        "of ln(loss), as published areas are, "
        "is about a quarter of it and within them in all splits."
    )
    note = f"Unseen language pairs: a fifth of the 30 pairs, {chosen.seeds} seeds."
    header = ["task", "mean", "median", "worst", "above one", "cover 90"]
    ends = markdown(header, ends_rows(chosen.draws) if ours else [])
    blocks = [first, reading, law, note, second, ENDS, ends]
    write_page("nanogpt_zero_shot", "Zero-shot curves of unseen cells", blocks)


if __name__ == "__main__":
    main()
