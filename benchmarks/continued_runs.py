"""What a spread of their own brings to continued runs: with it, and with that of new runs.

    python benchmarks/continued_runs.py [NAME ...]

Random runs are left out, the surrogate is fitted to the rest and shown their first 10, 20 and 50 %; the rest
of these runs is scored. At most 300 runs of each data set, two folds of at most 40 runs.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import sources
from scoring import markdown, number, write_page

import probscale as ps
from probscale.evaluate.calibration import PREFIX_POINTS, _cut, padded
from probscale.evaluate.regimes import folds_of, thinned_points, thinned_runs
from probscale.evaluate.scores import pooled, score_points
from probscale.surrogate.expert import Expert

NAMES = ("nmt_lc", "lcbench", "routed_lm", "stdlib_gpt")
MOST_RUNS = 300
ENGINES = {"nmt_lc": "exact"}
"""Of as many points the functional engine would be chosen, which has a spread of its own already."""


def scored(name: str) -> Iterator[pd.DataFrame]:
    """Scored points of all folds, both ways."""
    source = sources.SOURCES[name]()
    log = ps.RunLog.from_frame(source.frame, **source.roles)
    log = log.select(thinned_runs(np.ones(log.n_runs, dtype=bool), MOST_RUNS, np.random.default_rng(0)))
    for fold in folds_of(log, ("in-distribution", "prefix"), folds=2, seed=0):
        surrogate = ps.fit_surrogate(fold.train, embedder=None, seed=0, model=ENGINES.get(name, "auto"))
        for share in fold.prefixes:
            seen, rest = _cut(fold.test, share)
            if seen is None or rest is None:
                continue
            known = surrogate.condition(thinned_points(seen, PREFIX_POINTS))
            at, truth, _ = padded(rest)
            asked = rest.configs.reset_index(drop=True).assign(**{rest.roles.run: list(rest.runs)})
            for way, of in (("own", known), ("of new runs", _as_new(known))):
                points = score_points(of.predict(asked, at), truth, runs=rest.runs)
                yield points.assign(share=share, way=way)


def _as_new(surrogate: ps.CurveSurrogate) -> ps.CurveSurrogate:
    experts = {
        name: replace(expert, continued=None) if isinstance(expert, Expert) else expert
        for name, expert in surrogate.experts.items()
    }
    return replace(surrogate, experts=experts)


def main() -> None:
    """Builds the table."""
    warnings.simplefilter("ignore")
    rows = []
    for name in sys.argv[1:] or NAMES:
        table = pooled(pd.concat(scored(name)), ("share", "way"))
        for (share, way), row in table.sort_index(ascending=[True, False]).iterrows():
            cover = f"{100 * row['coverage_90']:.0f} ± {100 * row['coverage_90_se']:.0f}"
            line = [name, f"{100 * share:.0f} %", way, f"{100 * row['coverage_50']:.0f}", cover]
            rows.append([*line, *(number(row[key]) for key in ("nlpd", "crps", "interval_score"))])
        print(markdown(["data set"], rows[-6:]), flush=True)
    head = ["data set", "seen", "spread", "50 % holds", "90 % holds", "NLPD", "CRPS", "interval score"]
    note = (
        "Own: the spread learnt from logged runs whose rest is left out; of new runs: that of runs nobody "
        "has begun. The grid engine (here lcbench) has one of its own already: nothing changes there. So "
        "has the functional engine, which is chosen for as many points as nmt_lc has; here that takes the "
        "exact one. By the functional engine 90 % intervals of nmt_lc hold 91, 94 and 89 %, with an NLPD of"
        " 2.62, 2.162 and 1.697 and a CRPS of 5.031, 3.538 and 2.024. When the spread was introduced, "
        "intervals of nmt_lc held 87, 86 and 86 % with it and 82, 80 and 77 % without; perplexities above "
        "the start, a quarter of the points, were not counted then, and the spread of new runs has been "
        "mended since."
    )
    about = (
        "Is the rest of a run that has begun judged better with a spread learnt from logged runs whose rest"
        " was left out than with the spread of runs nobody has begun? A little on routed_lm, where log "
        "densities are higher by .04 to .07; nothing on nmt_lc, and a loss of up to .05 on stdlib_gpt. "
        "Intervals and log densities of runs seen to 10, 20 and 50 %, both ways:"
    )
    write_page("continued_runs", "Continued runs: a spread of their own", [about, markdown(head, rows), note])


if __name__ == "__main__":
    main()
