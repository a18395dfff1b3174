"""What was tried for the model of finals, judged on training rows only.

    python benchmarks/model_choices.py

The largest sizes of each training set are left out and predicted from the rest, then the next largest from
what lies below them; the test rows of the acceptance tables are never read. MAE and 90 % coverage per variant
of how the law is fitted, and the geometric mean of each variant's MAE relative to the choice.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import tasks
from scoring import markdown, number, our_scores, write_page
from tasks import Task

from probscale.model import kernels, means
from probscale.surrogate import fitting

NAMES = ("misfitting", "olmo_ladder", "routed_lm", "datablations", "nanochat", "gadre_overtraining")
NAMES += ("scaling_with_vocab", "chinchilla_epoch")
DEPTH = 3
GAP = 0.2
"""Sizes closer than this, in e-folds, belong to one class."""


@dataclass(frozen=True)
class Variant:
    """How the law and the kernel are fitted."""

    name: str
    floor_share: float = fitting.FINALS_FLOOR_SHARE
    prior: means.LawPrior = means.FINALS_PRIOR
    joint: bool = False
    most_additive: int = kernels.MOST_ADDITIVE


EARLIER = means.LawPrior(-0.2, 1.0, 0.8, 0.35, 0.6, 0.3)
VARIANTS = (
    Variant("chosen"),
    Variant("law fitted jointly with the kernel", joint=True),
    Variant("narrower priors", prior=EARLIER),
    Variant("floor of transform .3", floor_share=0.3),
    Variant("floor of transform .3, narrower priors, joint", 0.3, EARLIER, joint=True),
    Variant("no main effects", most_additive=-1),
)


def nested(task: Task) -> Iterator[Task]:
    """Training rows of a task, their largest classes of sizes held out in turn."""
    size = np.log(task.train[task.roles["params"]].to_numpy(float))
    distinct = np.unique(size)
    starts = distinct[np.append(True, np.diff(distinct) > GAP)]
    group = np.searchsorted(starts, size, side="right")
    for step in range(DEPTH):
        held, left = group == group.max() - step, group < group.max() - step
        if held.sum() < 2 or left.sum() < 8 or len(np.unique(group[left])) < 2:
            continue
        train, test = (task.train[mask].reset_index(drop=True) for mask in (left, held))
        yield replace(task, name=f"{task.name.split('/')[1]}, fold {step + 1}", train=train, test=test)


@contextmanager
def applied(variant: Variant) -> Iterator[None]:
    """The library with a variant's settings."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(means, "FINALS_PRIOR", variant.prior))
        stack.enter_context(mock.patch.object(fitting, "FINALS_FLOOR_SHARE", variant.floor_share))
        stack.enter_context(mock.patch.object(kernels, "MOST_ADDITIVE", variant.most_additive))
        if variant.joint:
            stack.enter_context(mock.patch.object(fitting, "held", return_value=nullcontext()))
        yield


def main() -> None:
    """Builds the table."""
    warnings.simplefilter("ignore")
    rows: list[list[object]] = []
    errors: list[list[float]] = []
    for task in (fold for name in NAMES for fold in nested(tasks.finals(name))):
        cells: list[object] = [task.name, f"{len(task.train)} / {len(task.test)}"]
        errors.append([])
        for variant in VARIANTS:
            with applied(variant):
                scores, _ = our_scores(task)
            errors[-1].append(scores["all"]["mae"])
            cells.append(f"{number(scores['all']['mae'])} ({number(scores['all'].get('coverage90'))})")
        rows.append(cells)
    logs = np.log(np.array(errors))
    rows.append(
        ["MAE / chosen, geometric mean", "", *(f"{v:.3f}" for v in np.exp((logs.T - logs[:, 0]).mean(1)))]
    )
    head = ["data set", "train / held out", *(variant.name for variant in VARIANTS)]
    write_page(
        "model_choices",
        "How the law is fitted, judged inside the training rows: MAE (90 % coverage)",
        [markdown(head, rows)],
    )


if __name__ == "__main__":
    main()
