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

LEVELS = (
    "Rows of unseen levels ask for few values, whose runs share one shift: their coverage is near zero or "
    "one by luck, and so is which peer comes closest. How far such intervals can be trusted was judged on 95 "
    "folds of at most 150 runs (loss_to_loss, routed_lm and regmix without the reported values; "
    "gadre_overtraining, porian_isoflop, nmt_lc, NCPL's sources and optimizers, lcdb's learners) with one, "
    "two, three, five or all other values known. Before, 90 % intervals covered .86 on the mean and 50 % "
    "intervals .55; now .90 and .60, the log density is better by .02 nats and the CRPS worse by 2 %. Beside "
    "a lone value the forecast is that of this value (MAE .98 of what it was; on porian_isoflop, whose two "
    "values make these folds another draw of the reported row, .83). A prior scale of at least .025 and no "
    "narrowing by how well known values are foretold help most where two values agree by accident "
    "(gadre_overtraining, a third corpus: .24 to .74), and cost values that are alike: with two optimizers "
    "known, intervals are 1.5 times as wide. With a scale of at least .05, CRPS was 6 % worse on folds of "
    "two or more known values in place of 4 %. Offsets beside a lone value have since come "
    "to be counted from that value, part of whose level had been taken for an offset: porian_isoflop .28 in "
    "place of .27, regmix .06 in place of .13; over twelve folds of lone values (loss_to_loss, "
    "porian_isoflop, NCPL) the log density is .25 nats better than before, on the mean. "
    "The reported rows of loss_to_loss, nmt_lc and routed_lm were held against their training rows, "
    "each value left out once (200 runs teach, 60 are asked): over five values of loss_to_loss our MAE "
    "is .86 of that of the best single peer (ARD GP; against the best on each value .30 to 3.6), over "
    "five of nmt_lc's finals .96 (boosted trees), over three of routed_lm 1.16 (extra trees; .85 of law "
    "+ boosting). 50 % intervals hold .20, .46 and .83, 90 % ones .80, 1 and 1: too wide only for "
    "routed_lm, where two or three values teach."
)

TRIED = (
    "nanochat, random runs: eight functions of progress blur the first tenth of a run, which trees read "
    "off the absolute step. Up to twenty functions where they leave little and configurations foretell "
    "the ninth score, scores whose noise has no floor in the way there, and effects of steps that many "
    "runs share lower MAE by a third on runs left out of the training rows (.0126 to .0081). "
    "Everywhere, twenty functions raise that of nmt_lc by 2 to 20 %; the three together lower it on "
    "small draws of NCPL and raise that of StepLaw's validation split by 8 %. A clock that counts "
    "absolute steps at first: MAE 6 % lower with eight functions, 16 % higher with more. nanochat, "
    "largest size: the next size differs in depth too. With 56.6 million parameters left out of the "
    "training rows, ends are foretold 5 % (of loss above the floor) too low, on the reported rows 6 % too"
    " high, each with claims of 1 to 2 %, and the MAE was .214. Offsets that the runs of a size share, "
    "where folds find claims too sure, bring .177, CRPS .163 to .128 and claims of 4 to 5 %; coverage, "
    ".60 to .64, is still low. Of seven folds inside training rows (nanochat, three of misfitting, "
    "routed_lm, two of StepLaw) offsets come on in two, misfitting without its three and its four largest"
    " sizes: MAE .063 to .053 and .034 to .028, log density better by .17 and .18 nats; the others stay "
    "as they were, that of nanochat overconfident, since two sizes had foretold the third. Always on, "
    "under a like prior, offsets bring one fold of StepLaw from .029 to .053. Errors are larger on the "
    "way than at the end, since shifts of the end swell there along the first function: capping what new "
    "sizes and lengths shift brings .175 without offsets, but costs the NCPL curves of the largest size 7"
    " % of their Huber loss, and no training fold tells the two apart. Nor do these help: the ends of the"
    " finals engine (.124 beside .140, on the fold .127 beside .124), a law as the level of curves (folds"
    " from 10 % better to 16 % worse), offsets of new sizes alone (wider everywhere, errors as before), "
    "the largest factor of the folds, the law alone beyond the largest size, and the other clock. "
    "Nothing above widens what follows from few sizes: the law of the ends may now break as that of finals "
    "may, and a tenth of new runs beyond the sizes strays three times as far. On 23 sets of larger sizes, "
    "longer runs or both inside training rows (nanochat, misfitting, StepLaw, Marin, stdlib_gpt) log "
    "densities rise from .87 to 1.2, CRPS falls by 1 %, and 90 % intervals hold .87 in place of .80; "
    "breaks learnt on the sizes that each log can leave out, mostly one, do a little worse than fixed ones. "
    "The reported coverage of nanochat was .67, that of NCPL .96. "
    "Lengths that no run had: a baseline that goes on linearly in the length, by shares of the way, foretold "
    "the first twentieth of longer or shorter runs of nanochat and misfitting two to ten times worse than "
    "trees, which read the axis value. Such runs are now drawn to the nearest known length at the same axis "
    "value. On 20 sets inside training rows (longer, shorter, of more compute, some of them larger) MAE is "
    ".80 of what it was (nanochat .68, misfitting .80, Marin .83, StepLaw .88), CRPS .81, log density better "
    "by .22 nats, and 90 % intervals hold .89 in place of .84; nanochat's reported row had been .177 with "
    "coverage .74. Doubt where both accounts differ: coverage .90, CRPS and density as without: left. "
    "Sizes: a shift of the end travels along the first function (1 to 2 in the middle of the way), while "
    "what larger sizes' ends are off by is mostly .6 to 1 there. Flat, capped, or along the course that "
    "sizes have among training runs: MAE 1.02, 1.02, 1.03 over nine sets of larger sizes: left. The law of "
    "the ends held at its robust fit, and offsets fitted with the kernel, foretell nanochat's fold the same. "
    "Forecasts of the exact engine, fitted to ten points a run, averaged half and half with these and "
    "measured again: 18 sets of larger sizes inside training rows have .87 of the CRPS (misfitting .82,"
    " StepLaw .74, simulated logs .85, but nanochat without its largest size 1.14 to 1.29), four with a"
    " lone size .98 (MAE 1.18). On runs left out within the sizes that engine alone has .54 "
    "(misfitting), .62 and .87 (simulated), 1.03 (StepLaw) and 1.10 (nanochat) of the MAE, the mean of "
    "both .66 to .93: it suits logs of some 200 runs, beyond the sizes or not, for nearly twice the "
    "seconds of a fit. Shares learnt on runs left out, or on those of the largest size, have nanochat at 1.3 "
    "to 1.6. The law of the ends held at its robust fit: ends .93, CRPS .99. Half of the way of larger "
    "runs as that of the largest size with the gain of the end fading as a law with an added size term "
    "says (loss ratio to the power 1; runs with planned ends, three sizes or more): over 20 sets MAE "
    ".90, CRPS .93 (misfitting .91 in MAE, StepLaw .88, simulated .98 and .60, nanochat 1.05); all of "
    "it CRPS .92, with the faster fading of a lone size 1.02; without planned ends CRPS .97 to 1.34."
    " When it was tried, on reported rows, the MAE of all points of StepLaw's largest size falls by "
    "a quarter (Huber .000241 to .000177), but its 50 % intervals hold .73 to .78 in place of .54; "
    "thinned NCPL rises from .0189 to .0198, and nanochat has .144 to .146 in place of .150, with "
    "coverage .82, or .75 where doubt is that of the mean of both accounts. Larger runs are drawn so"
    " since then, with doubt as it was (the table above is "
    "after it); the exact engine beside this one was left. "
    "Beginnings of larger sizes: one early point of a size had made it count as observed, so that "
    "intervals narrowed where least was known. With 5 % (20 %) of six runs of nanochat's largest "
    "training size in the log, log densities of six other runs of that size had been -8.5 (-16) and 90 "
    "% intervals held .29 (.22); with nothing seen 0 and .75. Now that sizes count once a run of theirs "
    "is half way to its planned end, and the course may drift ahead by .3 of what their ends gain, it "
    "is -.7 (-.7) and .37 (.37). What follows the beginnings themselves has -4.8 (.3) in place of -6.5 "
    "(.6), coverage .15 (.76) in place of .12 (.79): still far too sure, since depth changes with that "
    "size and a beginning misleads about the end. On misfitting (functional engine, its two largest "
    "training sizes) log densities are the same, CRPS 1.01, coverage .93 before and .96 now. On "
    "StepLaw, beginnings of its largest training size shown to a fit: density higher by .00 to .04, "
    "CRPS as before; on Marin no change. Exact engine, beginnings shown to a fit: of misfitting's "
    "largest training size 90 % intervals hold .15 of what follows 20 %, of the next .99, of "
    "olmo_ladder's and stdlib_gpt's all, of gemstones' .35 and .65; the spread of sizes beyond in place "
    "of that of begun runs changes ten sets by -.15 to .33 nats, .03 on the mean: left. "
    "lcbench: "
    "complete grids of many runs go to the functional engine; its intervals had covered .75 because the "
    "one cell that is the whole log was left out to judge them. Cells of more than a thirtieth of the "
    "runs are now left out in parts (a twentieth when these were measured): coverage of runs left out "
    ".76 to .90 (lcbench), .68 to .82 (nmt_lc), .99 to .93 (nanochat)."
)

SUBSET = (
    "Exact engine, logs of more than 450 points: parameters of curves were fitted on up to 37 runs of "
    "twelve points. Now all runs take part with twelve to six points each, or as many as there is room "
    "for with six. On 61 folds inside training rows of ten logs of 39 to 178 runs (misfitting, routed_lm "
    "and stdlib_gpt; lots of nanochat, StepLaw, Marin, both together, nmt_lc, lcdb and lcbench; two or "
    "three draws each; without text; where runs are of uneven lengths, the first draw left room in the "
    "450) the CRPS is .94 of what it was (standard error .023; 37 folds better), the MAE .95, for 1.1 "
    "times the seconds; 90 % intervals hold .91, as before. Runs left out .94 (28 folds), begun runs .94 "
    "(18), largest sizes 1.00 (9), unseen levels .87 (6). NCPL .84, nmt_lc .87, Marin .88, StepLaw .90, "
    "routed_lm .91, misfitting .96, lcdb .97, nanochat .98, stdlib_gpt 1.00, lcbench 1.07; single folds "
    ".53 to 1.75 (nmt_lc both), since fits end in one of several optima, and the lot says in which: 80 "
    "iterations in place of 30 mostly end in the same one (.99 on 22 folds, 1.3 times the seconds). Log "
    "densities are better by .06 on the median of runs left out and worse by .03 on that of begun runs. "
    "Where the mean of a fold moves by more than .6 nats (three folds, two up, Marin's begun runs by 23), "
    "a spike in a run that is asked does it: one point of loss 7.1 where 3.4 to 3.5 is foretold, 270 to "
    "9,000 nats below the rest under either choice, more or fewer of them by the spread between runs and "
    "the noise that a lot happens to give. That is no kernel mode and no noise that is too small for the "
    "other points; where no point counts more than 15 nats below the median of its fold (second and third "
    "draws), StepLaw gains .2 and no log loses more than .06. Tried on parts of these folds and left: "
    "four points at least 1.00 of six (1.1 on misfitting's largest size), eight .99 (22 folds), half of "
    "the points in runs of twelve and half in runs of three 1.01; more than twelve points of few runs, "
    "olmo_ladder .88, but gemstones 1.18 and scaling_with_vocab 1.18 (1.7 without its largest size); ten "
    "iterations more on 1,000 points, .97 of the CRPS without them on 40 folds (beyond the sizes 1.02, "
    "with the former lot 1.10) for 1.3 times the seconds: parameters of losses of curves are not refined."
)

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
            LEVELS,
            TRIED,
            SUBSET,
        ],
    )


if __name__ == "__main__":
    main()
