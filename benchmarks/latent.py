"""HMOGP-LV (`model="latent"`) on the zero-shot tasks of its papers, beside the default model.

    python benchmarks/latent.py [--seeds 1]

Are curves of combinations that nobody trained foretold better by a model that places the members of each task
level on hidden coordinates than by the default model, which reads numbers and names? Mostly not: the latent
model has the smaller error on one of three nanoGPT splits, the default on the other two, on language pairs
never seen and wherever a width or depth is left out. It is kept for comparison with the papers.

nanoGPT: three splits of 5 widths × 6 depths; `paper` are the figures of Schram et al. 2025 for HMOGP-LV.
Latent positions are at their maximum a posteriori and inference is exact. `linear` models the loss itself, as
the papers do; `log` models log(loss - floor). `order` is the order of levels with the larger evidence.
Bilingual translation: a fifth of the 30 language pairs is never seen. `cover` is the coverage of 95 %
intervals (nanoGPT) and of 90 % intervals (translation). Left out: all curves of one width (of 5) or one depth
(of 6), each in turn; means over the values, inner ones apart from the two ends. `additive` adds effects of
width, depth and step; its effect of a value never seen is zero. `ARD GP` reads width and depth as numbers
only; the default and the latent model also give every value an effect of its own, which the numbers of five
widths and six depths do not need: a smooth function of both foretells a value left out better, ours foretells
the largest width better.
"""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd
import tasks
from scoring import fit_ours, forecast_with, markdown, number, peer_scores, score, write_page
from tasks import Task

PAPER = {"Quad_d4r3": (0.03, 0.12), "Tri_d4": (0.02, 0.10), "T1": (0.04, 0.12)}
MODELS: dict[str, dict[str, Any]] = {
    "default": {},
    "latent, linear": {"model": "latent", "transform": "linear"},
    "latent, log": {"model": "latent"},
}


def row(task: Task, name: str, level: float) -> list[object]:
    """Scores of one model on one task."""
    surrogate, seconds = fit_ours(task, **MODELS[name])
    found = score(task, forecast_with(surrogate, task, level=level))["all"]
    orders = surrogate.report.experts[0].orders
    print(task.name, name, found, orders, flush=True)
    shown = [number(found[key]) for key in ("mse", "mae", "coverage90")]
    return [task.name, name, *shown, next(iter(orders), ""), number(seconds)]


def left_out_rows() -> list[list[object]]:
    """Mean scores with each width and each depth left out in turn, inner values and ends apart."""
    every = tasks.nanogpt("T1")
    shapes = pd.concat([every.train, every.test])[["n_embd", "n_layer"]]
    rows: list[list[object]] = []
    for level in shapes:
        values = sorted(int(v) for v in shapes[level].unique())
        parts = {"inner": values[1:-1], "smallest": values[:1], "largest": values[-1:]}
        found = {value: _scores_without(level, value) for value in values}
        for part, chosen in parts.items():
            for name in found[chosen[0]]:
                mean = pd.DataFrame([found[value][name] for value in chosen]).mean()
                shown = [number(mean.get(key)) for key in ("mse", "mae", "coverage90")]
                rows.append([level, f"{part} ({len(chosen)})", name, *shown])
    return rows


def _scores_without(level: str, value: int) -> dict[str, dict[str, float]]:
    """Scores of each contestant with one value of a level left out."""
    task = tasks.nanogpt_without(level, value)
    found = {name: scores["all"] for name, scores in peer_scores(task, ["additive", "ARD GP"]).items()}
    for name, options in MODELS.items():
        surrogate, _ = fit_ours(task, **options)
        found[name] = score(task, forecast_with(surrogate, task, level=0.95))["all"]
        print(task.name, name, found[name], flush=True)
    return found


def main() -> None:
    """Fits everything and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    chosen = parser.parse_args()
    rows: list[list[object]] = []
    for split, (mse, mae) in PAPER.items():
        rows.append([f"nanogpt/{split}", "paper", mse, mae, "", "", ""])
        rows += [row(tasks.nanogpt(split), name, 0.95) for name in MODELS]
    head = ["task", "model", "MSE", "MAE", "cover", "order", "fit s"]
    text = (__doc__ or "").split("\n\n", 2)[2].strip()
    translated = [
        row(tasks.bilingual(model, "bleu", seed), name, 0.9)
        for model in ("mBART50", "Transformer")
        for seed in range(chosen.seeds)
        for name in ("default", "latent, log")
    ]
    left_out = markdown(["left out", "values", "model", "MSE", "MAE", "cover"], left_out_rows())
    parts = [text, markdown(head, rows), left_out, markdown(head, translated)]
    write_page("latent", "Latent tasks (HMOGP-LV)", parts)


if __name__ == "__main__":
    main()
