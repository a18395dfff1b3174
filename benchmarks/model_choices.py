"""What was tried for the model of finals, judged on training rows only.

    python benchmarks/model_choices.py

The largest sizes of each training set are left out once more and predicted from the rest; the test rows of
the acceptance tables are never read. MAE and 90 % coverage per variant of the priors of extrapolation.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import tasks
from scoring import markdown, number, our_scores, write_page
from tasks import Task

from probscale.model import kernels, means
from probscale.surrogate import fitting

NAMES = ("misfitting", "olmo_ladder", "routed_lm", "datablations", "nanochat", "gadre_overtraining")


@dataclass(frozen=True)
class Variant:
    """Priors of the law and the kernel."""

    name: str
    floor_share: float = 0.3
    floor: tuple[float, float] = (-0.2, 1.0)
    exponent_std: float = 0.6
    most_additive: int = 8


VARIANTS = (
    Variant("chosen"),
    Variant("floor of transform 0", floor_share=0.0, floor=(0.4, 1.2)),
    Variant("floor of transform .6", floor_share=0.6, floor=(-0.85, 1.0)),
    Variant("exponents sd .3", exponent_std=0.3),
    Variant("no main effects", most_additive=-1),
)


def nested(task: Task) -> Task | None:
    """Training rows of a task, their largest sizes held out; None if too few are left."""
    sizes = task.train[task.roles["params"]]
    distinct = np.sort(sizes.unique())
    held = sizes >= distinct[-1] * (0.7 if len(distinct) > 2 else 0.99)
    if (~held).sum() < 8 or held.sum() < 2:
        return None
    train, test = (task.train[mask].reset_index(drop=True) for mask in (~held, held))
    return replace(task, name=f"{task.name}, once more", train=train, test=test)


@contextmanager
def applied(variant: Variant) -> Iterator[None]:
    """The library with a variant's priors."""
    declare = means.CurveMean.declare

    def changed(self: means.CurveMean, name: str, mean: float, std: float) -> None:
        if name == "floor":
            mean, std = variant.floor
        if name.endswith("exponent"):
            std = variant.exponent_std
        declare(self, name, mean, std)

    with (
        mock.patch.object(means.CurveMean, "declare", changed),
        mock.patch.object(fitting, "FLOOR_SHARE", variant.floor_share),
        mock.patch.object(kernels, "MOST_ADDITIVE", variant.most_additive),
    ):
        yield


def main() -> None:
    """Builds the table."""
    warnings.simplefilter("ignore")
    rows = []
    for task in filter(None, (nested(tasks.finals(name)) for name in NAMES)):
        cells: list[object] = [task.name, f"{len(task.train)} / {len(task.test)}"]
        for variant in VARIANTS:
            with applied(variant):
                scores, _ = our_scores(task)
            cells.append(f"{number(scores['all']['mae'])} ({number(scores['all'].get('coverage90'))})")
        rows.append(cells)
    head = ["data set", "train / held out", *(variant.name for variant in VARIANTS)]
    write_page(
        "model_choices",
        "Priors of extrapolation, judged inside the training rows: MAE (90 % coverage)",
        [markdown(head, rows)],
    )


if __name__ == "__main__":
    main()
