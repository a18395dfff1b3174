"""Learning rates that configurations tell: how far a run has annealed at a share of its horizon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.columns import known_columns, numbers_of, plain_name

Array = NDArray[np.float64]

KINDS = {
    "constant": "constant",
    "none": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "linear_decay": "linear",
    "polynomial": "linear",
    "cosine": "cosine",
    "cosine_annealing": "cosine",
    "cosine_with_min_lr": "cosine",
    "cosine_with_warmup": "cosine",
    "wsd": "stable",
    "wsdld": "stable",
    "warmup_stable_decay": "stable",
    "warmup_stable_warmdown": "stable",
    "trapezoid": "stable",
    "trapezoidal": "stable",
}
"""Names of schedules by the form of their decay; "stable" stays at its peak until the decay begins."""

FORMS = ("constant", "linear", "cosine", "stable")
_SCHEDULE = ("lr_schedule", "lr_scheduler", "lr_scheduler_type", "schedule", "schedule_kind", "scheduler")
_FLOOR = ("min_lr_ratio", "final_lr_ratio", "lr_min_ratio", "min_lr_rate")
_DECAY = (
    "decay_fraction",
    "decay_ratio",
    "cooldown_fraction",
    "cooldown_ratio",
    "warmdown_ratio",
    "cooldown_frac",
)
STABLE_DECAY = 0.2
"""Share of a run over which a stable schedule decays where the configuration does not say."""


@dataclass(frozen=True)
class Annealing:
    """Columns from which the learning rate of a run can be read.

    Attributes:
        schedule: Column that names the schedule; None: all are stable until they decay.
        floor: Column with the last learning rate as a share of the peak; None: it decays to zero.
        decay: Column with the share of the run over which a stable schedule decays.
    """

    schedule: str | None
    floor: str | None = None
    decay: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(name for name in (self.schedule, self.floor, self.decay) if name is not None)

    def forms(self, configs: pd.DataFrame) -> Array:
        """Place of the kind in `FORMS` (-1 where not known), floor and decay of each run, (runs, 3)."""
        kinds = _kinds(configs, self.schedule)
        code = np.array([FORMS.index(kind) if kind else -1.0 for kind in kinds])
        floor = np.clip(_numbers(configs, self.floor, 0.0), 0.0, 1.0)
        decay = np.clip(_numbers(configs, self.decay, STABLE_DECAY), 1e-3, 1.0)
        return np.stack([code, floor, decay], axis=1)


def rates(forms: Array, share: Array) -> Array:
    """Learning rate as a share of its peak, (points,); NaN where it is not known.

    Args:
        forms: Kind, floor and decay of the run of each point, (points, 3); see `Annealing.forms`.
        share: Share of the horizon, (points,).
    """
    code, floor, decay = forms.T
    f = np.clip(share, 0.0, 1.0)
    shapes = (np.ones_like(f), 1 - f, 0.5 * (1 + np.cos(np.pi * f)), np.clip((1 - f) / decay, 0.0, 1.0))
    out = np.full(len(f), np.nan)
    for place, shape in enumerate(shapes):
        out = np.where(code == place, floor + (1 - floor) * shape if place else shape, out)
    return out


def bend(forms: Array | None, share: Array) -> Array:
    """How far curves have bent down with the learning rate, (points,): zero at the peak, one at zero.

    Where the schedule is not known it decays over the whole run. Beyond the horizon nothing bends further.

    Args:
        forms: See `rates`; None: no schedule is known.
        share: Share of the horizon, (points,).
    """
    left = 1 - np.clip(share, 0.0, 1.0)
    if forms is not None:
        known = rates(forms, share)
        left = np.where(np.isfinite(known), known, left)
    return 1 - np.sqrt(left)


def find_annealing(configs: pd.DataFrame, names: Iterable[str]) -> Annealing | None:
    """The columns of a table of configurations; None where no schedule is told that is known.

    A table that names no schedule but says over which share of each run the rate decays tells a stable one.

    Args:
        configs: One row per run.
        names: Columns to look at.
    """
    schedule, floor, decay = known_columns(names, _SCHEDULE, _FLOOR, _DECAY)
    known = decay is not None if schedule is None else (_kinds(configs, schedule) != "").any()
    if not known:
        return None
    return Annealing(schedule, floor, decay)


def _kinds(configs: pd.DataFrame, name: str | None) -> NDArray[np.str_]:
    if name is None:
        return np.full(len(configs), "stable", dtype="<U16")
    if name not in configs:
        return np.full(len(configs), "", dtype="<U16")
    # "none" is a schedule by that name, None one that was not given: a file may hold either.
    known = configs[name].notna()
    return np.array(
        [KINDS.get(plain_name(str(v)), "") if k else "" for v, k in zip(configs[name], known, strict=True)],
        dtype="<U16",
    )


def _numbers(configs: pd.DataFrame, name: str | None, otherwise: float) -> Array:
    values = numbers_of(configs, name)
    return np.where(np.isfinite(values), values, otherwise)
