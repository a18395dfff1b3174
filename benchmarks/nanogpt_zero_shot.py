"""Zero-shot hierarchical tasks: nanoGPT shapes never seen, and language pairs never seen.

python benchmarks/nanogpt_zero_shot.py [--peers-only] [--seeds 3]
"""

from __future__ import annotations

import argparse
import traceback

import numpy as np
import tasks
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

NANOGPT = {"Quad_d4r3": 0.0050, "Tri_d4": 0.0074, "T1": 0.0026, "Quad_d4r4": None}
PEERS = ["additive", "additive, shared", "robust law", "LightGBM", "ARD GP", "law + GP", "ARD GP + linear"]


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


def main() -> None:
    """Builds both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    ours = have_surrogate() and not chosen.peers_only
    first = markdown(
        ["split", "predictor", "MSE", "MAE", "cover 95", "bound", "fit s"], nanogpt_rows(ours=ours)
    )
    second = markdown(
        ["task", "predictor", "MAE", "ratio to additive", "cover 90"], bilingual_rows(chosen.seeds, ours=ours)
    )
    note = f"Unseen language pairs: a fifth of the 30 pairs, {chosen.seeds} seeds."
    write_page("nanogpt_zero_shot", "Zero-shot curves of unseen cells", [first, note, second])


if __name__ == "__main__":
    main()
