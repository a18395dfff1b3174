"""What text is worth: values of a level left out, with and without a language model.

    python benchmarks/text_gain.py [--only NAME ...] [--folds N] [--stamp TEXT] [--variants NAME ...]

Each fold leaves values of one level out (an optimizer, a corpus, a learner, a record), fits on at most 200
points of the others and foretells runs of the left-out values; then 1, 5 and 20 of their runs become known by
`condition`. Results are cached per fold.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from scoring import RESULTS, markdown, number, predict_rows, write_page
from tasks import Task
from text_tasks import TABLES, Fold, folds

import probscale as ps
from probscale.encode.text import config_sentences

KNOWN = (0, 1, 5, 20)
VARIANTS = ("without", "with", "configuration")
WHOLE = "configuration"
"""Column that holds the sentence of the whole configuration in the variant of this name."""


def told(frame: pd.DataFrame, fold: Fold) -> pd.DataFrame:
    """The frame with the sentence of each whole configuration in a column of its own."""
    roles = fold.roles
    out = {roles["run"], roles["output"], roles["axis"], "order"}
    fields = [c for c in frame if c not in out]
    return frame.assign(**{WHOLE: config_sentences(frame[fields])})


def scores(fold: Fold, variant: str) -> dict[str, Any]:
    """MAE and coverage of a fold for each number of known runs."""
    train, known, asked = fold.train, fold.known, fold.asked
    if variant == WHOLE:
        train, known, asked = (told(frame, fold) for frame in (train, known, asked))
    roles = dict(fold.roles)
    start = time.perf_counter()
    log = ps.RunLog.from_frame(train, **roles)
    surrogate = ps.fit_surrogate(log, embedder=None if variant == "without" else "default", seed=0)
    out: dict[str, Any] = {"seconds": time.perf_counter() - start, "mae": {}, "coverage": {}}
    task = Task("", train, asked.drop(columns="order", errors="ignore"), roles)
    truth = asked[roles["output"]].to_numpy(float)
    for k in KNOWN:
        more = known[known.order < k].drop(columns="order")
        given = surrogate.condition(ps.RunLog.from_frame(more, **roles)) if len(more) else surrogate
        curves, order = predict_rows(given, task)
        lower, upper = (np.asarray(v)[order] for v in curves.interval(0.9))
        error = np.abs(np.asarray(curves.quantile(0.5))[order] - truth)
        out["mae"][str(k)] = float(error.mean())
        out["coverage"][str(k)] = float(((truth >= lower) & (truth <= upper)).mean())
    return out


def cached(name: str, number_of: int, fold: Fold, variant: str, stamp: str) -> dict[str, Any]:
    """Scores of a fold, from the cache where it was made by the same version."""
    slug = name.replace(" ", "_").replace(",", "").replace("→", "to")
    path = RESULTS / "text" / f"{slug}.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    key = f"{number_of}/{variant}/{stamp}"
    if key not in stored:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored[key] = scores(fold, variant) | {"values": list(fold.values)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(stored, indent=1) + "\n")
        shown = " ".join(f"{v:.5f}" for v in stored[key]["mae"].values())
        seconds = stored[key]["seconds"]
        print(f"  {name} {fold.values[0]} {variant}: {shown} ({seconds:.0f} s)", flush=True)
    return stored[key]


def lines(name: str, results: list[dict[str, dict[str, Any]]], variants: list[str]) -> list[list[object]]:
    """Rows of the table of a data set: one per number of known runs."""
    out: list[list[object]] = []
    for k in map(str, KNOWN):
        mae = {v: float(np.mean([r[v]["mae"][k] for r in results])) for v in variants}
        row: list[object] = [name, len(results), k, number(mae["without"])]
        for variant in variants[1:]:
            better = sum(r[variant]["mae"][k] <= r["without"]["mae"][k] for r in results)
            row += [number(mae[variant]), f"{mae[variant] / mae['without']:.3f}", better]
        cover = [np.mean([r[v]["coverage"][k] for r in results]) for v in variants[:2]]
        out.append([*row, *(f"{c:.2f}" for c in cover)])
    return out


def main() -> None:
    """Builds the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--folds", type=int, default=8)
    parser.add_argument("--stamp", default="current", help="names a version of the model in the cache")
    parser.add_argument("--variants", nargs="*", default=["without", "with"], choices=VARIANTS)
    chosen = parser.parse_args()
    table: list[list[object]] = []
    for name in chosen.only or TABLES:
        results = [
            {v: cached(name, i, fold, v, chosen.stamp) for v in chosen.variants}
            for i, fold in enumerate(folds(name, chosen.folds))
        ]
        table += lines(name, results, chosen.variants)
    head = ["data set", "folds", "runs known", "MAE without"]
    for variant in chosen.variants[1:]:
        head += [f"MAE {variant}", "ratio", "better folds"]
    head += ["cover 90 without", "cover 90 with"]
    write_page(
        "text_gain" if not chosen.only else "text_gain_part",
        "What text is worth: unseen level values with and without a language model",
        [
            "Values of one level are left out of training; MAE over their runs, averaged over folds, with k "
            "of their runs known. With: the bundled language model reads the values of levels, labels and "
            "descriptions. Without: `embedder=None`; equality of labels alone.",
            markdown(head, table),
            f"At most 200 training points a fold. Version of the model: {chosen.stamp}.",
        ],
    )


if __name__ == "__main__":
    main()
