"""`probscale check` on public data sets: do intervals hold what they promise, regime by regime?

    python benchmarks/calibration.py [--only NAME ...] [--most-runs N] [--folds N] [--stamp TEXT] [--cached]

Random runs, the largest sizes, the rest of begun runs (10, 20, 50 % seen), unseen level values: refits with
these left out, on at most 300 runs of each data set. Results are cached per data set.
"""

from __future__ import annotations

import argparse
import json
import traceback
import warnings
from typing import Any

import numpy as np
import sources
from scoring import RESULTS, markdown, number, write_page

import probscale as ps
from probscale.evaluate import check

NAMES = [
    *("stdlib_gpt", "ncpl", "nmt_lc", "lcbench", "lcdb", "misfitting", "routed_lm", "nanochat"),
    *("scaling_with_vocab", "olmo_ladder", "porian_isoflop", "gadre_overtraining", "regmix", "datablations"),
]


def checked(name: str, *, most_runs: int, folds: int, stamp: str, cached: bool) -> dict[str, Any]:
    """Report of a data set, from the cache where it was made with the same settings.

    With `cached`, by whatever version of the model it was made.
    """
    path = RESULTS / "calibration" / f"{name}.json"
    key = f"{most_runs}-{folds}-{stamp}"
    stored = json.loads(path.read_text()) if path.exists() else {}
    if stored and (cached or stored.get("key") == key):
        return stored
    source = sources.SOURCES[name]()
    log = ps.RunLog.from_frame(source.frame, **source.roles)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = check(log, seed=0, folds=folds, most_runs=most_runs)
    print(f"{name} ({report.seconds:.0f} s)\n{report}\n", flush=True)
    result = {"key": key, **report.to_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def rows(name: str, report: dict[str, Any]) -> list[list[object]]:
    """Lines of the table of one data set."""
    out = []
    for regime, row in report["regimes"].items():
        error = row["coverage_90_se"]
        shown = f" ± {100 * error:.0f}" if error is not None else ""
        ratio = row.get("ratio")
        plain = f"{ratio:.2f} ({row['baseline']})" if ratio else "-"
        line: list[object] = [name, regime, f"{row['runs']} / {row['points']}", number(row["mae"]), plain]
        line += [f"{100 * row['coverage_50']:.0f}", f"{100 * row['coverage_90']:.0f}{shown}"]
        line += [f"{row['widen']:.2f}", number(row["crps"]), number(row["nlpd"] or np.nan)]
        out.append([*line, report["key"].split("-", 2)[-1]])
    return out


def summary(reports: dict[str, dict[str, Any]]) -> list[list[object]]:
    """Per regime: how many data sets are covered, and the mean coverage."""
    regimes = dict.fromkeys(regime for report in reports.values() for regime in report["regimes"])
    out: list[list[object]] = []
    for regime in regimes:
        held = [r["regimes"][regime] for r in reports.values() if regime in r["regimes"]]
        ninety = np.array([row["coverage_90"] for row in held])
        fifty = np.array([row["coverage_50"] for row in held])
        inside = int(((ninety >= 0.82) & (ninety <= 0.97)).sum())
        better = sum(1 for row in held if (row.get("ratio") or np.inf) <= 1)
        line: list[object] = [regime, len(held), f"{inside} of {len(held)}"]
        out.append([*line, f"{ninety.mean():.2f}", f"{fifty.mean():.2f}", f"{better} of {len(held)}"])
    return out


def main() -> None:
    """Builds the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--most-runs", type=int, default=300)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--stamp", default="current", help="names a version of the model in the cache")
    parser.add_argument("--cached", action="store_true", help="only data sets checked before")
    chosen = parser.parse_args()
    reports = {}
    for name in chosen.only or NAMES:
        if chosen.cached and not (RESULTS / "calibration" / f"{name}.json").exists():
            continue
        try:
            settings = {"most_runs": chosen.most_runs, "folds": chosen.folds, "stamp": chosen.stamp}
            reports[name] = checked(name, **settings, cached=chosen.cached)
        except Exception:
            traceback.print_exc()
    head = ["data set", "regime", "runs / points", "MAE", "ratio to best plain", "50 %", "90 %", "widen by"]
    head += ["CRPS", "NLPD", "version"]
    short = ["regime", "data sets", "90 % within 82-97", "mean 90 %", "mean 50 %", "better than plain"]
    write_page(
        "calibration" if not chosen.only else "calibration_part",
        "Calibration per regime",
        [
            "What `probscale check` finds: parts of each log are left out, the surrogate is refitted, and "
            "the 90 % intervals of what was left out are counted. ± is one standard error over runs (over "
            "level values where at least five were held out).",
            markdown(short, summary(reports)),
            markdown(head, [line for name, report in reports.items() for line in rows(name, report)]),
            "The last column names the version of the model by its commit.",
            f"At most {chosen.most_runs} runs of each data set, drawn by seed; {chosen.folds} refits a "
            "regime; at most 40 runs and 25 points a run are scored in each. Plain methods: boosted trees "
            "and Chinchilla's law for new runs, the last value and a power law of the run's own for begun.",
            LOTS,
            BEYOND,
        ],
    )


LOTS = (
    "Runs have had one order since the rows before these were made, so that other runs are left out: rows "
    "of the two tables are not of the same runs (regmix has no larger size among its 300 now). On the same "
    "runs of stdlib_gpt, before and after curves teach by more runs of fewer points (8c18256, 025a116): MAE "
    ".0365 and .0328 in-distribution, .0309 and .0284 with 20 % seen (90 % intervals hold 77 and 84 %), "
    ".0592 and .0348 for larger sizes."
)

BEYOND = (
    "Larger scale: errors of a size are one bias, and a row holds one or two sizes. Drawn from the joint "
    "posteriors themselves, coverage is .9 on the mean and yet within .82-.97 in .21 (nanochat), .28 "
    "(olmo_ladder), .5 to .65 (misfitting, scaling_with_vocab, stdlib_gpt, ncpl) or .8 to .9 of draws "
    "(routed_lm, gadre_overtraining, porian_isoflop, datablations, whose exceptions are drawn run by "
    "run): of eleven rows 6.5 would lie there if every claim were true. Rows less covered than nineteen "
    "of twenty draws: datablations, whose sizes from 4.25 billion on are foretold .24 too high (4.25 "
    "billion by .05 without the three runs of 3.9 billion, which lead the law astray), and, just, "
    "nanochat. Curves of the functional engine have had wider claims beyond the sizes since coverage and "
    "CRPS of larger scales were .82 and .0502 (ncpl), .30 and .1537 (nanochat), .96 and .0450 "
    "(misfitting). In the exact engine walk-"
    "forward folds inside training rows hold .82 in 90 % intervals (19 folds of misfitting, nanochat, "
    "scaling_with_vocab and stdlib_gpt) and .96 where the law is true by construction (44 simulated "
    "folds); a factor that suits the first is 1.3 and costs 2 % of CRPS, on the second .9. Exceptions of "
    "a tenth, three times as wide, about a core of .9 raise log densities by .03 in both and leave CRPS "
    "as it is: left for now."
)


if __name__ == "__main__":
    main()
