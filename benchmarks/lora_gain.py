"""What fine-tuning the language model is worth: level values left out, and sentences with a planted cause.

    python benchmarks/lora_gain.py [--only NAME ...] [--stamp TEXT]

The adapter is trained on the training part of each fold alone. Results are cached per fold.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scoring import RESULTS, markdown, number, write_page
from text_gain import scores
from text_tasks import Fold, folds

import probscale as ps
from probscale.errors import ConfigError

REAL = {"lcdb": 4, "marin_speedrun": 3, "modded_nanogpt": 5, "routed_lm": 1}
"""Folds of each data set, the first of those of text_gain.py."""

PLANTED = (16, 32, 64, 128)
"""Distinct descriptions in training."""

SEEDS, ASKED = 2, 60
KNOWN = ("0", "1")
VARIANTS = ("without", "bundled", "fine-tuned", "unchecked")

TEAMS = ["blue", "northern", "evening", "second", "harbour", "visiting", "old", "garden"]
CORPORA = [
    "news articles",
    "court records",
    "cooking recipes",
    "source code",
    "chat logs",
    "chemistry papers",
    "song lyrics",
    "travel guides",
]
NOTES = [
    "restarted once",
    "no incidents",
    "a node was replaced",
    "paused over night",
    "new cooling",
    "logs incomplete",
]
CAUSES = {"AdamW": 0.0, "Muon": -0.06, "SGD": 0.09, "Lion": 0.03, "Shampoo": -0.04}


def planted(count: int, seed: int) -> Fold:
    """Runs each described in a sentence of its own, of which one word moves the loss by some per cent."""
    generator = np.random.default_rng(seed)
    told: dict[str, str] = {}
    while len(told) < count + ASKED:
        cause = str(generator.choice(list(CAUSES)))
        parts = [str(generator.choice(words)) for words in (TEAMS, CORPORA, NOTES)]
        told[f"the {parts[0]} team trained on {parts[1]} with {cause}, {parts[2]}"] = cause
    size = 10 ** generator.uniform(7, 9, len(told))
    tokens = size * 10 ** generator.uniform(0.8, 1.6, len(told))
    effect = np.array([CAUSES[cause] for cause in told.values()])
    spread = effect + 0.01 * generator.standard_normal(len(told))
    loss = (1.7 + 400 * size**-0.34 + 410 * tokens**-0.28) * np.exp(spread)
    frame = pd.DataFrame({"run_id": [f"r{i}" for i in range(len(told))], "params": size, "tokens": tokens})
    frame = frame.assign(description=list(told), loss=loss)
    roles = {"run": "run_id", "axis": "tokens", "output": "loss", "params": "params"}
    nothing = frame.head(0).assign(order=[])
    return Fold(("new sentences",), frame[:count], nothing, frame[count:], roles, "description")


def measured(fold: Fold, variant: str, bundled: dict[str, Any] | None) -> dict[str, Any]:
    """Scores of a variant on a fold, and what the fine-tuning did."""
    if variant in ("without", "bundled"):
        return scores(fold, "without" if variant == "without" else "with")
    assert bundled is not None
    options: dict[str, Any] = {"choose_epochs": False, "epochs": 4} if variant == "unchecked" else {}
    log = ps.RunLog.from_frame(fold.train, **fold.roles)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        try:
            found = ps.fine_tune_embedder(log, folder=f"{folder}/adapter", seed=0, **options)
        except ConfigError as error:
            return bundled | {"refused": str(error)}
        told = {"record": dict(found.record), "cpu": time.process_time() - start}
        # An adapter of no epochs changes no vector.
        return (scores(fold, "with", found) if found.record["epochs"] else bundled) | told


def cached(name: str, fold: Fold, stamp: str) -> dict[str, Any]:
    """Scores of a fold, from the cache where they were made by the same version."""
    path = RESULTS / "text" / "lora.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    own = stored.setdefault(f"{name}/{stamp}", {})
    for variant in VARIANTS:
        if variant not in own:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                own[variant] = measured(fold, variant, own.get("bundled"))
            path.write_text(json.dumps(stored, indent=1) + "\n")
            print(f"  {name} {variant}: {own[variant]['mae']['0']:.5f}", flush=True)
    return own


def row(name: str, known: str, results: list[dict[str, Any]]) -> list[object]:
    """One line of a table: a task and a number of known runs."""
    mae = {v: float(np.mean([r[v]["mae"][known] for r in results])) for v in VARIANTS}
    records = [r["fine-tuned"].get("record") for r in results]
    told = [record for record in records if record]
    texts = f"{np.mean([record['texts'] for record in told]):.0f}" if told else "too few"
    epochs = " ".join(str(record["epochs"]) for record in told) or "–"
    ratios = [f"{mae[v] / mae['bundled']:.3f}" for v in VARIANTS[2:]]
    seconds = f"{np.mean([r['fine-tuned'].get('cpu', np.nan) for r in results]):.0f}" if told else "–"
    return [
        name,
        len(results),
        known,
        texts,
        *(number(mae[v]) for v in VARIANTS[:2]),
        *ratios,
        epochs,
        seconds,
    ]


def rows(names: list[str], stamp: str) -> Iterator[list[object]]:
    """Lines of the table of some data sets."""
    for name in names:
        drawn = enumerate(folds(name, REAL[name]))
        found = [cached(f"{name}/{i}", fold, stamp) for i, fold in drawn]
        yield from (row(name, known, found) for known in KNOWN)


def planted_rows(stamp: str) -> Iterator[list[object]]:
    """Lines of the table of planted causes."""
    for count in PLANTED:
        seeds = range(SEEDS)
        found = [cached(f"planted {count}/{s}", planted(count, s), stamp) for s in seeds]
        yield row(f"{count} sentences", "0", found)


READING = ""


def main() -> None:
    """Builds the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], choices=[*REAL, "planted"])
    parser.add_argument("--stamp", default="current", help="names a version of the model in the cache")
    chosen = parser.parse_args()
    head = ["task", "folds", "runs known", "texts", "MAE without", "MAE bundled"]
    head += ["fine-tuned / bundled", "unchecked / bundled", "epochs kept", "CPU seconds"]
    names = [name for name in REAL if name in (chosen.only or REAL)]
    parts = [markdown(head, rows(names, chosen.stamp))] if names else []
    if not chosen.only or "planted" in chosen.only:
        parts += ["## A planted cause", markdown(head, planted_rows(chosen.stamp))]
    if chosen.only:
        print("\n\n".join(parts))
        return
    about = (
        "Values of one level are left out; `fine_tune_embedder` sees the runs of the others, and "
        "`fit_surrogate` reads texts with what it returns. Without: no text. Bundled: the language model as "
        "it comes. Fine-tuned: eight epochs at most, as many as left-out training values choose. Unchecked: "
        "four epochs whatever they say (`choose_epochs=False`)."
    )
    write_page("lora", "What fine-tuning the language model is worth", [about, *parts, READING])


if __name__ == "__main__":
    main()
