"""Curves and finals of 18 public data sets, beside every peer.

    python benchmarks/general_curves.py [--peers-only] [--only TEXT ...] [--cached]

Random runs, the largest size and unseen level values, as fits each data set; continuations of observed
prefixes where runs are long. Logs beyond 600 training runs, 120 test runs or 30 points a run are thinned by
seed, for us and the peers alike: the table names the counts. Results are cached per task, so that an
interrupted table continues.
"""

from __future__ import annotations

import argparse
import json
import traceback
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import tasks
from peers import VERSION
from scoring import RESULTS, markdown, number, our_scores, peer_scores, task_hash, write_page
from tasks import Task

MOST_TRAIN, MOST_TEST, MOST_POINTS = 600, 120, 30
MOST_PERPLEXITY = 1e3
"""Points of diverged translation models are left out: one of 1e13 would decide every mean."""

PEER_NAMES = ["robust law", "HistGB", "law + HistGB", "extra trees", "ARD GP", "law + GP"]
PEER_NAMES += ["additive", "additive, shared", "last value", "curve power law"]


CURVES = {
    "random": [
        *("ncpl", "nanochat", "gemstones", "misfitting", "olmo_ladder", "routed_lm", "scaling_with_vocab"),
        *("nmt_lc", "lcdb", "lcbench", "stdlib_gpt"),
    ],
    "largest": [
        *("ncpl", "nanochat", "gemstones", "misfitting", "olmo_ladder", "routed_lm", "scaling_with_vocab"),
        "stdlib_gpt",
    ],
    "level": ["routed_lm", "nmt_lc", "lcdb"],
    "prefix": ["ncpl", "nanochat", "nmt_lc", "lcbench", "stdlib_gpt"],
}
FINALS = {
    "random": [
        *("datablations", "porian_isoflop", "gadre_overtraining", "chinchilla_epoch", "loss_to_loss"),
        *("scan_tabpfn", "regmix", "nmt_lc"),
    ],
    "level": ["porian_isoflop", "gadre_overtraining", "loss_to_loss", "regmix", "nmt_lc"],
}


def all_tasks() -> list[tuple[str, str, str]]:
    """Kind, data set and split of every row, quick ones first."""
    rows = [("finals", name, split) for split, names in FINALS.items() for name in names]
    return rows + [("curves", name, split) for split, names in CURVES.items() for name in names]


def thinned(task: Task, seed: int = 0) -> Task:
    """The task with at most so many runs, and points a run."""
    run = task.roles["run"]
    continues = set(task.test[run]) & set(task.train[run])
    generator = np.random.default_rng(seed)
    test = _runs(task.test, run, MOST_TEST, generator)
    kept = continues & set(test[run])
    own = task.train[run].isin(kept)
    others = _runs(task.train[~task.train[run].isin(continues)], run, MOST_TRAIN, generator)
    train = pd.concat([others, task.train[own]]) if own.any() else others
    return replace(task, train=_points(train, run), test=_points(test, run))


def _runs(frame: pd.DataFrame, run: str, most: int, generator: np.random.Generator) -> pd.DataFrame:
    names = frame[run].unique()
    if len(names) <= most:
        return frame
    return frame[frame[run].isin(names[np.sort(generator.permutation(len(names))[:most])])]


def _points(frame: pd.DataFrame, run: str) -> pd.DataFrame:
    position = frame.groupby(run, sort=False).cumcount()
    count = frame.groupby(run, sort=False)[run].transform("size")
    share = (position * (MOST_POINTS - 1) / (count - 1).clip(lower=1)).to_numpy()
    keep = (count <= MOST_POINTS) | (np.floor(share) != np.floor(share - (MOST_POINTS - 1) / (count - 1)))
    return frame[keep | (position == count - 1)].reset_index(drop=True)


def made(kind: str, name: str, split: str) -> Task:
    """A task of the table, thinned."""
    task = (tasks.curves if kind == "curves" else tasks.finals)(name, split)
    if (kind, name) == ("curves", "nmt_lc"):
        train, test = (f[f.perplexity <= MOST_PERPLEXITY] for f in (task.train, task.test))
        task = replace(task, train=train.reset_index(drop=True), test=test.reset_index(drop=True))
    return replace(thinned(task), name=f"general/{task.name}")


def cached_version(task: Task) -> str | None:
    """Version of the model whose results of a task are there, the peers' beside them; None without them."""
    name = task.name.replace("/", "__") + ".json"
    paths = [RESULTS / folder / name for folder in ("peers", "ours")]
    if not all(path.exists() for path in paths):
        return None
    theirs, mine = (json.loads(path.read_text()).get("key", "") for path in paths)
    digest, _, version = mine.partition("-")
    return version if (digest, theirs) == (task_hash(task), f"{task_hash(task)}-v{VERSION}") else None


def ours(task: Task, stamp: str) -> dict[str, Any]:
    """Our scores, from the cache where task and stamp are the same."""
    path = RESULTS / "ours" / (task.name.replace("/", "__") + ".json")
    key = f"{task_hash(task)}-{stamp}"
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored.get("key") == key:
        return stored
    scores, seconds = our_scores(task)
    result = {"key": key, "seconds": seconds, **scores["all"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"  {task.name} ours: {result['mae']:.5f}, cover {result.get('coverage90')} ({seconds:.0f} s)")
    return result


def row(
    kind: str, name: str, split: str, *, stamp: str | None, cached: bool = False
) -> dict[str, Any] | None:
    """One line of the table; with `cached`, of whatever version is there, or None."""
    task = made(kind, name, split)
    if cached and (stamp := cached_version(task)) is None:
        return None
    peers = {n: s["all"]["mae"] for n, s in peer_scores(task, PEER_NAMES).items()}
    run = task.roles["run"]
    line: dict[str, Any] = {
        "name": name,
        "task": f"{kind}, {split}",
        "size": f"{task.train[run].nunique()} / {task.test[run].nunique()} runs, {len(task.test)} points",
        "peers": peers,
        "best": min(peers, key=lambda n: peers[n]),
        "version": stamp,
    }
    if stamp is not None:
        try:
            line["ours"] = ours(task, stamp)
        except Exception:
            traceback.print_exc()
    return line


def cells(line: dict[str, Any]) -> list[object]:
    """Cells of a line."""
    peers, best, mine = line["peers"], line["best"], line.get("ours")
    out: list[object] = [line["name"], line["task"], line["size"]]
    out += [number(peers[best]), best]
    if mine is None:
        return [*out, "failed", "-", "-", "-", line["version"]]
    return [
        *out,
        number(mine["mae"]),
        f"{mine['mae'] / peers[best]:.2f}",
        number(mine.get("coverage90")),
        f"{mine['seconds']:.0f}",
        line["version"],
    ]


def by_data_set(lines: list[dict[str, Any]]) -> list[tuple[str, int, float, float, float]]:
    """Name, tasks, geometric mean ratio, worst ratio and mean coverage of each data set."""
    rows = []
    for name in dict.fromkeys(line["name"] for line in lines):
        mine = [line for line in lines if line["name"] == name and "ours" in line]
        if not mine:
            continue
        ratios = [line["ours"]["mae"] / line["peers"][line["best"]] for line in mine]
        cover = [line["ours"].get("coverage90", np.nan) for line in mine]
        rows.append(
            (name, len(mine), float(np.exp(np.mean(np.log(ratios)))), max(ratios), float(np.mean(cover)))
        )
    return rows


def headline(lines: list[dict[str, Any]], summary: list[tuple[str, int, float, float, float]]) -> str:
    """What the table says, by task and by data set."""
    good = [line for line in lines if "ours" in line]
    ratios = np.array([line["ours"]["mae"] / line["peers"][line["best"]] for line in good])
    cover = np.array([line["ours"].get("coverage90", np.nan) for line in good])
    means, covers = (np.array([row[i] for row in summary]) for i in (2, 4))
    absent = len(all_tasks()) - len(good)
    return " ".join(
        [
            f"{len(good)} tasks on {len(summary)} data sets: within 5 % of the best peer on "
            f"{(ratios <= 1.05).sum()}, worse than 1.15 × on {(ratios > 1.15).sum()}; "
            f"90 % coverage within .82-.97 on {((cover >= 0.82) & (cover <= 0.97)).sum()}.",
            f"Over the tasks of a data set: within 5 % on {(means <= 1.05).sum()} of {len(summary)}, worse "
            f"than 1.15 × on {(means > 1.15).sum()}; coverage within .82-.97 on "
            f"{((covers >= 0.82) & (covers <= 0.97)).sum()}.",
            *([f"{absent} of the {len(all_tasks())} tasks have not been run."] if absent else []),
            "The last column names the version of the model by its commit; seconds are those of a shared "
            "machine, some of them under heavy load.",
        ]
    )


def main() -> None:
    """Builds the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="rows whose kind/name/split holds one of these")
    parser.add_argument("--peers-only", action="store_true")
    parser.add_argument("--cached", action="store_true", help="only rows that are there, of any version")
    parser.add_argument("--stamp", default="current", help="names a version of the model in the cache")
    chosen = parser.parse_args()
    wanted = [t for t in all_tasks() if not chosen.only or any(o in "/".join(t) for o in chosen.only)]
    stamp = None if chosen.peers_only else chosen.stamp
    found = [row(*task, stamp=stamp, cached=chosen.cached) for task in wanted]
    lines = [line for line in found if line is not None]
    if chosen.peers_only:
        return
    head = ["data set", "task", "train / test", "best peer", "which", "ours", "ratio", "cover 90", "fit s"]
    head.append("version")
    summary = by_data_set(lines)
    sets = [
        [name, n, f"{mean:.3f}", f"{worst:.2f}", f"{cover:.2f}"] for name, n, mean, worst, cover in summary
    ]
    write_page(
        "general_curves" if not chosen.only else "general_curves_part",
        "Curves and finals of public data sets: MAE beside the best of ten peers",
        [
            headline(lines, summary),
            markdown(head, [cells(line) for line in lines]),
            markdown(["data set", "tasks", "mean ratio", "worst ratio", "mean coverage"], sets),
            f"Peers: {', '.join(PEER_NAMES)}; the best of those that apply, chosen on the test rows, so that "
            "the ratio favours the peers. Logs beyond "
            f"{MOST_TRAIN} training runs, {MOST_TEST} test runs or {MOST_POINTS} points a run are thinned by "
            "seed for all alike. Ratio: our MAE over that of the best peer.",
        ],
    )


if __name__ == "__main__":
    main()
