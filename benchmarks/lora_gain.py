"""What fine-tuning the language model is worth: level values left out, and sentences with a planted cause.

    python benchmarks/lora_gain.py [--only TABLE] [--stamp TEXT]

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

REAL = {"lcdb": range(4), "marin_speedrun": range(3), "modded_nanogpt": range(5), "routed_lm": range(1)}
"""Folds of each data set, of those of text_gain.py."""

FRESH = {"lcdb": range(4, 7), "parameter_golf": range(3)}
"""Folds that were first looked at after every choice."""

PLANTED = (16, 32, 64, 128)
"""Distinct descriptions in training."""

MISLEADING = (32, 64)
"""Distinct descriptions that say nothing."""

SEEDS, ASKED = 2, 60
KNOWN = ("0", "1")
VARIANTS = ("without", "bundled", "fine-tuned", "chosen")

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


def planted(count: int, seed: int, share: float = 1.0) -> Fold:
    """Runs each described in a sentence of its own, of which one word moves the loss by some per cent.

    Without a share in the loss, runs vary as much and sentences say nothing of it.
    """
    generator = np.random.default_rng(seed)
    told: dict[str, str] = {}
    while len(told) < count + ASKED:
        cause = str(generator.choice(list(CAUSES)))
        parts = [str(generator.choice(words)) for words in (TEAMS, CORPORA, NOTES)]
        told[f"the {parts[0]} team trained on {parts[1]} with {cause}, {parts[2]}"] = cause
    size = 10 ** generator.uniform(7, 9, len(told))
    tokens = size * 10 ** generator.uniform(0.8, 1.6, len(told))
    effect = np.array([CAUSES[cause] for cause in told.values()])
    spread = share * effect + (0.01 if share else 0.05) * generator.standard_normal(len(told))
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
    options: dict[str, Any] = {"choose_epochs": True, "epochs": 8} if variant == "chosen" else {}
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


def cached(name: str, fold: Fold, stamp: str, variants: tuple[str, ...] = VARIANTS) -> dict[str, Any]:
    """Scores of a fold, from the cache where they were made by the same version."""
    path = RESULTS / "text" / "lora.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    own = stored.setdefault(f"{name}/{stamp}", {})
    for variant in variants:
        if variant not in own:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                own[variant] = measured(fold, variant, own.get("bundled"))
            path.write_text(json.dumps(stored, indent=1) + "\n")
            print(f"  {name} {variant}: {own[variant]['mae']['0']:.5f}", flush=True)
    return own


def row(name: str, known: str, results: list[dict[str, Any]]) -> list[object]:
    """One line of a table: a task and a number of known runs."""
    mae = {v: np.array([r[v]["mae"][known] for r in results]) for v in VARIANTS if v in results[0]}
    told = [r[v]["record"] for r in results for v in VARIANTS[2:] if "record" in r.get(v, {})]
    texts = f"{np.mean([record['texts'] for record in told]):.0f}" if told else "too few"
    compared: list[object] = []
    for variant in VARIANTS[2:]:
        if variant not in mae or not told:
            compared += ["–", "–"]
            continue
        compared += [
            f"{mae[variant].mean() / mae['bundled'].mean():.3f}",
            int((mae[variant] < mae["bundled"]).sum()),
        ]
    epochs = [str(r["chosen"]["record"]["epochs"]) for r in results if "record" in r.get("chosen", {})]
    plain = [number(float(mae[v].mean())) for v in VARIANTS[:2]]
    return [name, len(results), known, texts, *plain, *compared, " ".join(epochs) or "–"]


def rows(wanted: dict[str, range], stamp: str, variants: tuple[str, ...]) -> Iterator[list[object]]:
    """Lines of the table of some data sets."""
    for name, chosen in wanted.items():
        drawn = list(enumerate(folds(name, chosen.stop)))[chosen.start :]
        found = [cached(f"{name}/{i}", fold, stamp, variants) for i, fold in drawn]
        yield from (row(name, known, found) for known in KNOWN)


def planted_rows(stamp: str) -> Iterator[list[object]]:
    """Lines of the table of planted causes."""
    for count in PLANTED:
        found = [cached(f"planted {count}/{s}", planted(count, s), stamp) for s in range(SEEDS)]
        yield row(f"{count} sentences", "0", found)
    for count in MISLEADING:
        kinds = ("without", "bundled", "fine-tuned")
        found = [cached(f"noise {count}/{s}", planted(count, s, 0.0), stamp, kinds) for s in range(2 * SEEDS)]
        yield row(f"{count} sentences that say nothing", "0", found)


READING = (
    "Four epochs, the default, were better on lcdb and modded_nanogpt, and on marin_speedrun worse with no "
    "run of a value known and better with one. The number of epochs that kept-out training values choose is "
    "often zero: "
    "safer, and less of a gain. This choice was first made by log densities, which parameters found on texts "
    "that were trained on make far too low; it was changed to errors, and then dropped as the default, "
    "with the folds of this table in view. routed_lm has six routers, too few to learn from: it is "
    "refused."
)

SEEN = (
    "First looked at after four epochs and the learning rate were settled. That choice is off by default "
    "follows from both tables."
)

PLANT = (
    "Sentences about a team, a corpus, an optimizer and an incident; the optimizer alone moves the loss, "
    "by up to nine per cent. All test sentences are new. In the last rows nothing in a sentence matters, "
    "and runs vary by five per cent: what fine-tuning costs where there is nothing to find."
)


def main() -> None:
    """Builds the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["real", "fresh", "planted"], help="one of the tables; no page")
    parser.add_argument("--stamp", default="current", help="names a version of the model in the cache")
    chosen = parser.parse_args()
    head = ["task", "folds", "runs known", "texts", "MAE without", "MAE bundled"]
    head += ["tuned / bundled", "better folds", "with choice / bundled", "better folds", "epochs chosen"]
    tables: dict[str, Iterator[list[object]]] = {
        "real": rows(REAL, chosen.stamp, VARIANTS),
        "fresh": rows(FRESH, chosen.stamp, ("without", "bundled", "fine-tuned")),
        "planted": planted_rows(chosen.stamp),
    }
    if chosen.only:
        print(markdown(head, tables[chosen.only]))
        return
    about = (
        "Is it worth fine-tuning the bundled language model on one's own logs? With dozens of texts of which "
        "some word decides, yes; where texts say nothing it costs a few percent. "
        "Values of one level are left out; `fine_tune_embedder` sees the runs of the others, and "
        "`fit_surrogate` reads texts with what it returns. Without: no text. Bundled: the language model"
        " as it comes. Tuned: four epochs. With choice: eight at most, as many as kept-out training "
        "values choose (`choose_epochs=True`). Ratios of mean absolute errors; better folds: those with "
        "less error than the bundled model. Few folds, of which single ones weigh much."
    )
    parts = [
        about,
        markdown(head, tables["real"]),
        READING,
        "## Folds that no choice of the fine-tuning saw",
        SEEN,
    ]
    parts += [markdown(head, tables["fresh"]), "## A planted cause", PLANT, markdown(head, tables["planted"])]
    write_page("lora", "What fine-tuning the language model is worth", parts)


if __name__ == "__main__":
    main()
