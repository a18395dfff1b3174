"""Fits on random sub-logs of the public data: how many fail, and which warnings go unreported.

    python benchmarks/never_fails.py [--count 200] [--seed 0]

A sub-log keeps random runs of a random source, cuts some runs short, drops random points and
sometimes the levels or the params and horizon roles. A fit counts as failed if fitting, predicting new and
logged runs, or the interval raises, or a forecast is not finite or its interval is not ordered.
A warning counts as unreported if its text is not part of `surrogate.report`.
"""

from __future__ import annotations

import argparse
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import sources
import tasks
from scoring import markdown, write_page

Frame = tuple[pd.DataFrame, dict[str, Any]]


def _source(name: str, **options: Any) -> Callable[[], Frame]:
    def load() -> Frame:
        source = sources.SOURCES[name](**options)
        return source.frame, source.roles

    return load


def _task(make: Callable[[], tasks.Task]) -> Callable[[], Frame]:
    def load() -> Frame:
        task = make()
        return pd.concat([task.train, task.test], ignore_index=True), task.roles

    return load


POOL: dict[str, Callable[[], Frame]] = {
    **{n: _source(n) for n in sources.SOURCES if n != "stdlib_gpt"},
    "olmo_ladder two outputs": _source("olmo_ladder", output=["c4_en_loss", "pile_loss"]),
    "regmix two outputs": _source("regmix", output=["loss_pile_cc", "loss_github"]),
    "lcdb accuracy": _source("lcdb", metric="accuracy"),
    "nanogpt": _task(tasks.nanogpt),
    "bilingual bleu": _task(tasks.bilingual),
    "bilingual chrf": _task(lambda: tasks.bilingual("Transformer", "chrf")),
    "ncpl finals + unstable": _task(lambda: tasks.ncpl_finals(with_unstable=True)),
}


def sub_log(frame: pd.DataFrame, roles: dict[str, Any], rng: np.random.Generator) -> Frame:
    """A random part of a log, still a valid log."""
    run, axis = roles["run"], roles["axis"]
    runs = frame[run].unique()
    count = int(np.clip(np.exp(rng.uniform(np.log(3), np.log(150))), 2, len(runs)))
    part = frame[frame[run].isin(rng.permutation(runs)[:count])].sort_values([run, axis], kind="stable")
    points = int(np.exp(rng.uniform(0, np.log(60))))
    kept = []
    for _, rows in part.groupby(run, sort=False):
        end = len(rows) if rng.random() < 0.6 else int(rng.integers(1, len(rows) + 1))
        chosen = np.sort(rng.permutation(end)[:points])
        kept.append(rows.iloc[chosen])
    roles = dict(roles)
    if rng.random() < 0.2:
        roles["levels"] = ()
    if rng.random() < 0.2:
        roles |= {"params": None, "horizon": None}
    return pd.concat(kept, ignore_index=True), roles


def attempt(frame: pd.DataFrame, roles: dict[str, Any], seed: int) -> tuple[str | None, list[str]]:
    """Failure text (None if all went well) and unreported warnings of one sub-log."""
    import probscale as ps

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = ""
        try:
            log = ps.RunLog.from_frame(frame, **roles)
            surrogate = ps.fit_surrogate(log, seed=seed)
            report = str(surrogate.report)
            failure = _check(surrogate, frame, roles)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            failure = f"{type(error).__name__} ({where.name}): {error}"
    expected = ("ExtrapolationWarning",)
    unreported = {
        f"{w.category.__name__}: {w.message}"
        for w in caught
        if w.category.__name__ not in expected and str(w.message) not in report
    }
    return failure, sorted(unreported)


def _check(surrogate: Any, frame: pd.DataFrame, roles: dict[str, Any]) -> str | None:
    output = roles["output"]
    drop = {roles["axis"], *([output] if isinstance(output, str) else output)}
    configs = frame.drop_duplicates(roles["run"]).drop(columns=list(drop)).head(8)
    axis = frame[roles["axis"]].to_numpy(float)
    at = np.unique([axis.min(), np.median(axis), axis.max(), 2 * axis.max()])
    for asked in (configs, configs.drop(columns=roles["run"])):
        curves = surrogate.predict(asked.reset_index(drop=True), at)
        lower, upper = curves.interval(0.9)
        values = [np.asarray(v) for v in (curves.mean, curves.std, lower, upper)]
        if not all(np.isfinite(v).all() for v in values):
            return "forecast is not finite"
        if (values[2] > values[3]).any() or (values[1] < 0).any():
            return "interval is not ordered"
    return None


def main() -> None:
    """Tries `--count` sub-logs and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    names, loaded = list(POOL), {}
    rows: dict[str, list[float]] = {n: [0, 0, 0, 0.0] for n in names}
    problems: list[str] = []
    for index in range(chosen.count):
        rng = np.random.default_rng([chosen.seed, index])
        name = names[index % len(names)]
        if name not in loaded:
            loaded[name] = POOL[name]()
        frame, roles = sub_log(*loaded[name], rng)
        start = time.process_time()
        failure, unreported = attempt(frame, roles, index)
        seconds = time.process_time() - start
        counts = rows[name]
        rows[name] = [counts[0] + 1, counts[1] + (failure is not None), counts[2] + len(unreported), 0.0]
        rows[name][3] = max(counts[3], seconds)
        for text in [failure, *unreported]:
            if text:
                problems.append(
                    f"- {name} #{index} ({frame[roles['run']].nunique()} runs, {len(frame)} points): {text}"
                )
                print(problems[-1], flush=True)
        if index % 20 == 19:
            print(f"{index + 1} tried, {sum(r[1] for r in rows.values()):.0f} failed", flush=True)
    total = [sum(r[i] for r in rows.values()) for i in range(3)]
    table = [[n, *map(int, r[:3]), f"{r[3]:.1f}"] for n, r in rows.items()]
    table.append(["all", *map(int, total), ""])
    head = ["source", "fits tried", "failed", "unreported warnings", "slowest, CPU s"]
    parts = [markdown(head, table), "\n".join(problems) or "No failure and no unreported warning."]
    parts.append(
        "Warnings of unknown columns are those of queries: runs that are asked tell a column that is empty "
        "in all runs of the sub-log."
    )
    write_page("never_fails", "Fits on random sub-logs", parts)


if __name__ == "__main__":
    main()
