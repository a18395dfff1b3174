"""Configurations as differentiable inputs of fixed width, and from there the rows that the model sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from probscale.encode.annealing import FORMS
from probscale.encode.fields import NumericField, to_numbers
from probscale.errors import ConfigError, ShapeError
from probscale.model.means import Rows
from probscale.surrogate.expert import Expert
from probscale.surrogate.query import read_at

Array = NDArray[np.float64]


class PointEncoder:
    """Inputs of candidates and their rows at fixed axis values.

    An input holds the continuous coordinates, the label columns, the run code where curves have one, how the
    learning rate goes where configurations tell it, and the logarithms of model size and horizon where no
    coordinate carries them.

    Args:
        expert: Fitted model whose rows are made.
        at: Axis values shared by all candidates, or "horizon" for the planned end of each.

    Raises:
        ConfigError: if `at` is not accepted.
    """

    def __init__(self, expert: Expert, at: ArrayLike | Literal["horizon"]) -> None:
        self._expert = expert
        self._encoder = expert.encoder
        self._roles = expert.encoder.roles
        self.at: Tensor | Literal["horizon"] = self._axis_values(at)
        position = len(self._encoder.features.names)
        self._annealing = self._encoder.annealing if self._encoder.axis.fraction else None
        self._texts = len(self._encoder.continuous) - position - 1 - int(self._encoder.axis.fraction)
        self._fields: dict[str, tuple[int, float, float]] = {}
        place = 0
        for item in self._encoder.features.numeric:
            if item.name in (self._roles.params, self._roles.horizon) and item.scale == "log":
                self._fields[item.name] = (place, item.centre, item.spread)
            place += len(item.names)
        self._extra: list[str] = [
            name for name in (self._roles.params, self._needed_horizon()) if name not in (None, *self._fields)
        ]

    @property
    def outputs(self) -> int:
        """Number of axis values."""
        return 1 if isinstance(self.at, str) else len(self.at)

    @property
    def width(self) -> int:
        """Number of columns of inputs."""
        schedule = 0 if self._annealing is None else 3
        return self._described + int(self._encoder.axis.curves) + schedule + len(self._extra)

    @property
    def _described(self) -> int:
        """Columns that continuous coordinates and labels take."""
        labels = sum(1 + len(item.text) for item in self._encoder.labels)
        return len(self._encoder.features.names) + self._texts + labels

    def encode(self, configs: pd.DataFrame, codes: Array) -> Tensor:
        """Inputs of configurations with run codes, (configs, d)."""
        continuous, labels = self._encoder.encode_configs(configs)
        columns = [continuous, labels]
        if self._encoder.axis.curves:
            columns.append(codes[:, None])
        if self._annealing is not None:
            columns.append(self._annealing.forms(configs))
        for name in (self._roles.params, self._needed_horizon()):
            if name is not None:
                values = self._required(configs, name)
                if name in self._extra:
                    columns.append(np.log(values)[:, None])
        return torch.from_numpy(np.ascontiguousarray(np.concatenate(columns, axis=1)))

    def rows(self, x: Tensor) -> tuple[Rows, Tensor]:
        """Rows of inputs, (… × q × outputs), q-major, and which belong to new runs.

        Raises:
            ShapeError: if inputs have another width.
        """
        self.check(x)
        flat = x.reshape(-1, x.shape[-1])
        inner = len(self._encoder.features.names) + self._texts
        at = self._at(flat)
        count, outputs = at.shape
        flat = flat[:, None, :].expand(count, outputs, -1).reshape(count * outputs, -1)
        at = at.reshape(-1)
        progress = torch.log((at + self._encoder.axis.offset).clamp_min(1e-300))
        columns = [
            flat[:, :inner],
            ((progress - self._encoder.axis.centre) / self._encoder.axis.spread)[:, None],
        ]
        end = self._described + int(self._encoder.axis.curves)
        if self._encoder.axis.fraction:
            forms = None if self._annealing is None else flat[:, end : end + 3]
            columns.append(_warped(at / torch.exp(self._log("horizon", flat)), forms)[:, None])
        columns.append(flat[:, inner:end])
        size = self._log("params", flat) if self._roles.params else torch.zeros(len(flat), dtype=flat.dtype)
        if self._expert.siblings is not None:
            # No run: what was measured of other outputs enters through what runs have in common.
            place = float(self._expert.siblings.index)
            columns.append(
                torch.stack([torch.ones_like(at), torch.zeros_like(at), torch.full_like(at, place)], dim=1)
            )
        new = flat[:, end - 1] == 0 if self._encoder.axis.curves else torch.zeros(len(flat), dtype=torch.bool)
        return Rows(torch.cat(columns, dim=1), size, progress), new.to(flat.dtype)

    def check(self, x: Tensor) -> None:
        """Refuse inputs of another shape.

        Raises:
            ShapeError: if inputs are not (…, q, width).
        """
        if x.dim() < 2 or x.shape[-1] != self.width:
            raise ShapeError(
                f"inputs have shape {tuple(x.shape)}; configurations here have {self.width} columns, so they "
                f"must be (…, q, {self.width}). Make inputs with encode(pool), and ranges with bounds(pool)",
                shape=tuple(x.shape),
            )

    @property
    def numbers(self) -> dict[int, NumericField]:
        """Columns of inputs that can move on their own, with the fields they belong to."""
        labels, place, out = {item.name for item in self._encoder.features.categorical}, 0, {}
        for item in self._encoder.features.numeric:
            if item.name not in labels:
                out[place] = item
            place += len(item.names)
        return out

    def spread(self, rows: Rows) -> Tensor:
        """Calibrated factor on the standard deviation of each row."""
        plain = Rows(rows.x.detach(), rows.size.detach(), rows.progress.detach())
        scale = self._expert.tail_at(plain, (len(rows) // self.outputs, self.outputs)).scale
        wide = np.broadcast_to(np.asarray(scale), (len(rows) // self.outputs, self.outputs))
        return torch.from_numpy(np.array(wide).reshape(-1))

    def _axis_values(self, at: ArrayLike | Literal["horizon"]) -> Tensor | Literal["horizon"]:
        if isinstance(at, str):
            if at != "horizon" or self._roles.horizon is None:
                raise ConfigError(
                    f"at is {at!r}; pass axis values, or 'horizon' for a log with a horizon role", at=at
                )
            return "horizon"
        return torch.from_numpy(read_at(np.atleast_1d(np.asarray(at)), 1, self._roles.axis)[0])

    def _needed_horizon(self) -> str | None:
        needed = self._encoder.axis.fraction or isinstance(self.at, str)
        return self._roles.horizon if needed else None

    def _at(self, flat: Tensor) -> Tensor:
        if isinstance(self.at, str):
            return torch.exp(self._log("horizon", flat))[:, None]
        return self.at[None, :].expand(len(flat), -1)

    def _log(self, role: Literal["params", "horizon"], flat: Tensor) -> Tensor:
        """Logarithm of model size or horizon of inputs."""
        name = self._roles.params if role == "params" else self._roles.horizon
        if name in self._fields:
            place, centre, spread = self._fields[name]
            return centre + spread * flat[:, place]
        return flat[:, flat.shape[1] - len(self._extra) + self._extra.index(str(name))]

    def _required(self, configs: pd.DataFrame, name: str) -> Array:
        values = to_numbers(configs[name]) if name in configs else np.full(len(configs), np.nan)
        missing = np.flatnonzero(~np.isfinite(values))
        if missing.size:
            raise ConfigError(
                f"row {missing[0]} has no {name!r}, needed here for every candidate; fill it in",
                column=name,
                row=int(missing[0]),
            )
        return values


def _warped(fraction: Tensor, forms: Tensor | None) -> Tensor:
    """Share of the horizon and `annealing.bend` as in `Encoder.place`, in torch.

    The derivative stays finite at the end, where a root starts.
    """
    f = fraction.clamp(0.0, 1.0)
    left = 1 - f
    if forms is not None:
        code, floor, decay = forms.unbind(dim=1)
        stable = ((1 - f) / decay.clamp_min(1e-3)).clamp(0.0, 1.0)
        shapes = {"linear": 1 - f, "cosine": 0.5 * (1 + torch.cos(torch.pi * f)), "stable": stable}
        left = torch.where(code == FORMS.index("constant"), torch.ones_like(f), left)
        for name, shape in shapes.items():
            left = torch.where(code == FORMS.index(name), floor + (1 - floor) * shape, left)
    return 1.5 * f + 1.5 * (1 - left.clamp_min(1e-16).sqrt())
