"""Final losses of the NCPL logs: in-distribution, larger models, and with diverged runs added.

    python benchmarks/ncpl_finals.py [--peers-only]

Every task is fitted on training runs only; `largest_out` and `steplaw_out` hold out the largest
training size, so that no figure here uses runs beyond the training split except in_val's own test runs.
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Iterable

import tasks
from scoring import Scores, have_surrogate, markdown, number, our_scores, peer_scores, write_page

PEERS = ["robust law", "LightGBM", "law + HistGB", "ARD GP", "law + GP", "ARD GP + linear"]
SPLITS = [("in_val", False), ("largest_out", False), ("steplaw_out", False), ("in_val", True)]
BOUNDS = {
    ("in_val", "marin"): ("MAE <= .0150", 0.0150),
    ("in_val", "steplaw"): ("MAE <= .0090", 0.0090),
    ("largest_out", "steplaw"): ("MAE <= .0125", 0.0125),
    ("steplaw_out", "steplaw"): ("MAE <= .0125", 0.0125),
}


def rows_of(label: str, scores: Scores, name: str, seconds: float | None = None) -> Iterable[list[object]]:
    """One table line per source."""
    for source in ("marin", "steplaw"):
        found = scores.get(source)
        if found is None and len(scores) == 1 and source == "steplaw":
            found = scores["all"]
        if found is None:
            continue
        bound = BOUNDS.get((label, source), ("", None))
        ok = "" if bound[1] is None else ("yes" if found["mae"] <= bound[1] else "no")
        cells = [number(found.get(k)) for k in ("mae", "bias", "rank", "coverage90", "width90")]
        yield [label, source, name, found["n"], *cells, bound[0], ok, number(seconds)]


def main() -> None:
    """Builds the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-only", action="store_true")
    ours = have_surrogate() and not parser.parse_args().peers_only
    rows: list[list[object]] = []
    for split, unstable in SPLITS:
        task = tasks.ncpl_finals(split, with_unstable=unstable)
        label = split + ("+unstable" if unstable else "")
        if ours:
            try:
                scores, seconds = our_scores(task)
                rows += rows_of(label, scores, "ours", seconds)
            except Exception:
                traceback.print_exc()
                rows.append([label, "", "ours", "failed"])
        for name, scores in peer_scores(task, PEERS).items():
            rows += rows_of(label, scores, name)
    head = ["task", "source", "predictor", "n", "MAE", "bias", "rank corr.", "cover 90", "width 90"]
    note = (
        "`+unstable` adds the 186 diverged StepLaw runs to the training rows: the bound there is 1.2 x our "
        "own in_val MAE on StepLaw. Intervals should cover .86-.96. Seconds depend on what else ran."
    )
    order = (
        "Parameters are fitted on 450 of these runs, drawn by lot. The lot once went by the order of the "
        "rows: in five orders StepLaw's largest size had MAE .0119 to .0134, and intervals covered .86 to "
        ".94 of it; with three seeds .0123 to .0124 and .91 to .92. Now runs have one order, by what they "
        "are, and rows in any order give this table. Drawn evenly along that order, one run from each of 450"
        " stretches, in place of all by lot, forecasts of a fifth of the training runs depended on the seed "
        "as much as before (four seeds: log density 3.39 to 3.46 either way, MAE .0082 and .0083), so that "
        "was left."
    )
    refined = (
        "Since then parameters go on, for ten iterations, on up to two thirds of these runs, drawn by "
        "another lot, and runs that taught nothing judge the spread where there are 200 of them. Of that "
        "fifth, four seeds: MAE .0077 to .0079 (before .0080 to .0084), log density 3.46 to 3.51 (3.40 to"
        " 3.46), 90 % intervals hold .89 to .92 (.89 to .90). Where the first lot is part of the second, "
        "or judges may have been in the first, log density is 3.38 to 3.50; a first lot of 1,000 has "
        "errors as small for 1.7 times the time. With 80 judges intervals of StepLaw's largest size held "
        ".98, with all .93: chance."
    )
    parts = [markdown([*head, "bound", "met", "fit s"], rows), note, order, refined]
    write_page("ncpl_finals", "NCPL final losses", parts)


if __name__ == "__main__":
    main()
