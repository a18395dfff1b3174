"""Scores, cached peer results, our own forecast of a task, and Markdown tables."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from features import Array
from peers import PEERS, VERSION, Forecast
from tasks import Task

RESULTS = Path(__file__).resolve().parent / "results"
NOTES = "## Notes"
"""Heading of the part of a page that is written by hand and outlives the next run of its script."""
MADE = "Written by `benchmarks/"
Scores = dict[str, dict[str, float]]


def score(task: Task, forecast: Forecast) -> Scores:
    """MAE, RMSE, MSE and 90 % coverage of all test rows and of each value of the first level (up to 8)."""
    truth = task.test[task.output].to_numpy(float)
    groups = {"all": np.ones(len(truth), bool)}
    for level in task.roles["levels"][:1]:
        values = task.test[level].astype(str)
        if 1 < values.nunique() <= 8:
            groups |= {v: (values == v).to_numpy() for v in sorted(values.unique())}
    return {name: _score_rows(truth, forecast, rows) for name, rows in groups.items()}


def _score_rows(truth: Array, forecast: Forecast, rows: np.ndarray) -> dict[str, float]:
    error = forecast.mean[rows] - truth[rows]
    result = {"n": int(rows.sum()), "mae": float(np.abs(error).mean()), "mse": float((error**2).mean())}
    result["bias"] = float(error.mean())
    if rows.sum() >= 10:
        result["rank"] = float(pd.Series(forecast.mean[rows]).corr(pd.Series(truth[rows]), method="spearman"))
    if forecast.lower is not None and forecast.upper is not None:
        inside = (truth[rows] >= forecast.lower[rows]) & (truth[rows] <= forecast.upper[rows])
        result["coverage90"] = float(inside.mean())
        result["width90"] = float((forecast.upper[rows] - forecast.lower[rows]).mean())
    return result


def task_hash(task: Task) -> str:
    """Digest of both frames and the roles: a peer's result is reused only for the very same task."""
    digest = hashlib.sha256(json.dumps([task.roles, list(task.train)], default=str).encode())
    for frame in (task.train, task.test):
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def peer_scores(task: Task, names: Iterable[str] = tuple(PEERS), *, log: bool = True) -> dict[str, Scores]:
    """Scores of the peers that apply, from the cache in results/peers or computed now."""
    path = RESULTS / "peers" / (task.name.replace("/", "__") + ".json")
    key = f"{task_hash(task)}-v{VERSION}"
    stored = json.loads(path.read_text()) if path.exists() else {}
    entries: dict[str, Any] = stored.get("peers", {}) if stored.get("key") == key else {}
    for name in names:
        if name in entries:
            continue
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forecast = PEERS[name](task)
        seconds = round(time.perf_counter() - start, 2)
        entries[name] = None if forecast is None else {"seconds": seconds, "scores": score(task, forecast)}
        if log:
            mae = "does not apply" if forecast is None else f"{entries[name]['scores']['all']['mae']:.5f}"
            print(f"  {task.name} {name}: {mae} ({seconds} s)", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = {"train": len(task.train), "test": len(task.test), "features": task.features}
        text = json.dumps({"key": key, "task": task.name, **sizes, "peers": entries}, indent=1)
        path.write_text(text + "\n")
    return {n: entries[n]["scores"] for n in names if entries.get(n)}


def forecast_with(surrogate: Any, task: Task, level: float = 0.9) -> Forecast:
    """Our forecast of the test rows through the public contract: `predict(configs, at)`."""
    curves, order = predict_rows(surrogate, task)
    lower, upper = curves.interval(level)
    return Forecast(*(np.asarray(v)[order] for v in (curves.quantile(0.5), lower, upper)))


def predict_rows(surrogate: Any, task: Task) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """Posterior of the test runs and the (run, point) index of each test row in it."""
    run, axis = task.roles["run"], task.roles["axis"]
    outputs = task.roles["output"]
    drop = {axis, *([outputs] if isinstance(outputs, str) else outputs)}
    continues = task.test[run].isin(task.train[run]).all()
    configs = task.test.drop_duplicates(run)[[c for c in task.test if c not in drop]].reset_index(drop=True)
    row = task.test[run].map(dict(zip(configs[run], range(len(configs)), strict=True))).to_numpy()
    column = task.test.groupby(run, sort=False).cumcount().to_numpy()
    at = np.full((len(configs), column.max() + 1), np.nan)
    at[row, column] = task.test[axis].to_numpy(float)
    at = pd.DataFrame(at).ffill(axis=1).to_numpy()
    configs = configs if continues else configs.drop(columns=run)
    return surrogate.predict(configs, at), (row, column)


def log_densities(posterior: Any, place: tuple[np.ndarray, np.ndarray], truth: Array) -> Array:
    """Log density of each test row; `place` as `predict_rows` gives it."""
    table = np.full(posterior.shape, np.nan)
    table[place] = truth
    return posterior.log_density(table)[place]


def share_inside(posterior: Any, place: tuple[np.ndarray, np.ndarray], truth: Array, level: float) -> float:
    """Share of test rows within central intervals."""
    lower, upper = (edge[place] for edge in posterior.interval(level))
    return float(((truth >= lower) & (truth <= upper)).mean())


def fit_ours(task: Task, **options: Any) -> tuple[Any, float]:
    """Our surrogate of the training rows, and the seconds the fit took."""
    import probscale as ps

    nonfinite = task.train[task.output].notna()
    log = ps.RunLog.from_frame(task.train[nonfinite], **task.roles)
    start = time.perf_counter()
    surrogate = ps.fit_surrogate(log, **({"seed": 0} | options))
    return surrogate, time.perf_counter() - start


def our_scores(task: Task, **options: Any) -> tuple[Scores, float]:
    """Scores of our surrogate on a task and the fit's seconds."""
    surrogate, seconds = fit_ours(task, **options)
    return score(task, forecast_with(surrogate, task)), seconds


def have_surrogate() -> bool:
    """Whether the package already offers `fit_surrogate`."""
    try:
        import probscale as ps

        return callable(ps.fit_surrogate)
    except (ImportError, AttributeError):
        return False


def environment() -> str:
    """One line on machine and versions."""
    names = ("torch", "gpytorch", "scikit-learn", "lightgbm", "xgboost", "catboost")
    names += ("botorch", "numpy", "probscale-surrogates")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    cores = os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    machine = f"{_processor()}, {cores} cores, threads {threads}, Python {platform.python_version()}"
    return f"{machine}; {', '.join(found)}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers right-aligned."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(str(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def write_page(name: str, title: str, parts: Iterable[str]) -> Path:
    """Writes results/NAME.md and prints it; what the page says under `NOTES` is kept as it stands."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    made = f"{MADE}{Path(sys.argv[0]).name}`. Machine: {environment()}."
    kept = notes(path.read_text("utf-8")) if path.exists() else ""
    text = "\n\n".join([f"# {title}", *parts, *filter(None, [kept]), made]) + "\n"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def notes(page: str) -> str:
    """The part of a page that is written by hand: from the heading `NOTES` to the line on how it was made."""
    _, heading, rest = page.partition(f"\n{NOTES}\n")
    text, *_ = rest.partition("\n" + MADE)
    return f"{NOTES}\n{text}".strip() if heading else ""


def number(value: float | None) -> str:
    """Four significant digits, or a dash."""
    return "-" if value is None or not np.isfinite(value) else f"{value:.4g}"
