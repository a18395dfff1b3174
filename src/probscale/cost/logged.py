"""Costs read from logs: seconds per run with a law in model size, and tables of recorded costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probscale.cost.model import CostModel, column_values, positive
from probscale.errors import ConfigError


@dataclass(frozen=True, eq=False)
class SecondsCost(CostModel):
    """Wall-clock seconds: the logged rate of a known run, a law in model size for a new one.

    The law is rate = exp(intercept) · params^slope, fitted by least squares in logarithms over the runs. With
    a single size the slope cannot be seen and is 1, the value of a compute-bound device.

    Attributes:
        run: Column that names the run of a configuration, if it has one.
        params: Column of the model size; None if only known runs have a cost.
        rates: Seconds per unit of the axis, indexed by run.
        intercept: Logarithm of the rate at one parameter.
        slope: Exponent of the rate in model size.
        scatter: Standard deviation of the logarithm of the rates around the law; a typical relative error.
    """

    run: str
    params: str | None
    rates: pd.Series
    intercept: float
    slope: float
    scatter: float
    unit = "seconds"

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, *, run: str, axis: str, seconds: str, params: str | None = None
    ) -> SecondsCost:
        """Learn rates from a log in long format.

        Args:
            frame: One row per run and axis value, the axis rising within a run.
            run: Column of the run identifier.
            axis: Progress column.
            seconds: Seconds since the start of the run. Where they fall, the run was restarted and its clock
                reset: what was logged before is added.
            params: Model size, constant within a run.

        Raises:
            ConfigError: for a missing column, or when no run has a positive duration.
        """
        names = {"run": run, "axis": axis, "seconds": seconds} | ({"params": params} if params else {})
        table = pd.DataFrame({role: column_values(frame, name, role) for role, name in names.items()})
        table = table.dropna(subset=["run", "axis", "seconds"])
        codes, runs = pd.factorize(table["run"])
        clock = table["seconds"].to_numpy(dtype=np.float64)
        previous = table.groupby(codes)["seconds"].shift(1, fill_value=0.0).to_numpy(dtype=np.float64)
        steps = np.where(clock >= previous, clock - previous, clock)
        elapsed = np.bincount(codes, steps, minlength=len(runs))
        reached = np.zeros(len(runs))
        np.maximum.at(reached, codes, table["axis"].to_numpy(dtype=np.float64))
        usable = np.flatnonzero((elapsed > 0) & (reached > 0))
        if not usable.size:
            raise ConfigError(
                f"no run of the log has a positive duration in {seconds!r} and progress in {axis!r}; the "
                "first must hold seconds since the start of the run",
                column=seconds,
            )
        rates = pd.Series((elapsed / np.maximum(reached, 1e-300))[usable], index=runs[usable])
        if params is None:
            return cls.from_rates(rates, run=run)
        first = np.unique(codes, return_index=True)[1][usable]
        sizes = pd.Series(table["params"].to_numpy()[first], index=rates.index)
        return cls.from_rates(rates, sizes, run=run, params=params)

    @classmethod
    def from_rates(
        cls,
        rates: pd.Series | Mapping[Any, float],
        sizes: pd.Series | Mapping[Any, float] | None = None,
        *,
        run: str,
        params: str | None = None,
    ) -> SecondsCost:
        """Use known rates.

        Args:
            rates: Seconds per unit of the axis, by run.
            sizes: Model size by run; with `params`, the law for new configurations is fitted to both.
            run: Column that will name the run of a configuration.
            params: Column that will hold the model size.

        Raises:
            ConfigError: if a rate or a size is not positive.
        """
        table = pd.Series(rates, dtype=np.float64)
        positive(pd.DataFrame({"rate": table}), "rate", "seconds per unit of the axis")
        if sizes is None or params is None:
            return cls(run, None, table, float("nan"), float("nan"), float("nan"))
        matched = pd.DataFrame({params: pd.Series(sizes)}).reindex(table.index)
        x, y = np.log(positive(matched, params, "params")), np.log(table.to_numpy())
        varied = np.ptp(x) > 1e-9
        slope = float(np.cov(x, y, bias=True)[0, 1] / np.var(x)) if varied else 1.0
        residuals = y - slope * x
        freedom = len(y) - (2 if varied else 1)
        scatter = (
            float(np.sqrt(((residuals - residuals.mean()) ** 2).sum() / freedom)) if freedom > 0 else 0.0
        )
        return cls(run, params, table, float(residuals.mean()), slope, scatter)

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        known = pd.Series(np.nan, index=configs.index)
        if self.run in configs.columns:
            known = column_values(configs, self.run, "run").map(self.rates).astype(np.float64)
        rate, new = known.to_numpy(copy=True), known.isna().to_numpy()
        if new.any():
            rate[new] = self._predicted(configs.iloc[np.flatnonzero(new)])
        return rate[:, None] * at

    def _predicted(self, configs: pd.DataFrame) -> np.ndarray:
        if self.params is None:
            raise ConfigError(
                "the log has no seconds for these configurations, and no params to predict "
                f"them from; name a logged run in {self.run!r}, or build the cost with params="
            )
        return np.exp(self.intercept + self.slope * np.log(positive(configs, self.params, "params")))


@dataclass(frozen=True, eq=False)
class TableCost(CostModel):
    """Recorded cumulative costs, for replaying a log at the price that was paid.

    Between recorded points a cost is interpolated linearly, from zero at the start of the axis; beyond
    the last recorded point there is none.

    Attributes:
        run: Column that names the run of a configuration.
        table: Columns `axis` and `cost`, indexed by run, both rising within a run.
        unit: Unit of the costs.
    """

    run: str
    table: pd.DataFrame
    unit: str = "cost"

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, *, run: str, axis: str, cost: str, unit: str = "cost"
    ) -> TableCost:
        """Read costs from a log in long format.

        Args:
            frame: One row per run and axis value, the axis rising within a run.
            run: Column of the run identifier.
            axis: Progress column.
            cost: Cost of the run from its start to the axis value.
            unit: Unit of the costs.

        Raises:
            ConfigError: for a missing column or value, or a cost that falls within a run.
        """
        axis_values = positive(frame, axis, "axis", zero=True)
        costs = positive(frame, cost, "cost", zero=True)
        runs = column_values(frame, run, "run")
        table = pd.DataFrame({"axis": axis_values, "cost": costs}, index=pd.Index(runs, name=run))
        falls = (table.groupby(level=0, sort=False).diff() < 0).any(axis=1).to_numpy()
        if falls.any():
            row = int(np.flatnonzero(falls)[0])
            raise ConfigError(
                f"{axis} and {cost} must rise within a run; one falls at row {row} (run {runs.iloc[row]!r}); "
                "sort the frame, and record costs from the start of the run",
                row=row,
            )
        return cls(run, table, unit)

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        result = np.empty(at.shape)
        for row, (run, axis, cost) in enumerate(self._curves(configs)):
            if at[row].max(initial=0.0) > axis[-1]:
                raise ConfigError(
                    f"costs of run {run!r} are recorded up to {axis[-1]:g}, not to {at[row].max():g}; "
                    "ask for less, or use another cost model",
                    run=run,
                )
            result[row] = np.interp(at[row], axis, cost)
        return result

    def inverse(self, configs: pd.DataFrame, cost: np.ndarray) -> np.ndarray:  # noqa: D102
        result = np.empty(cost.shape)
        for row, (run, axis, recorded) in enumerate(self._curves(configs)):
            if cost[row].max(initial=0.0) > recorded[-1]:
                raise ConfigError(
                    f"run {run!r} has cost at most {recorded[-1]:g}, not {cost[row].max():g}; ask for less, "
                    "or use another cost model",
                    run=run,
                )
            first = np.r_[True, np.diff(recorded) > 0]
            result[row] = np.interp(cost[row], recorded[first], axis[first])
        return result

    def _curves(self, configs: pd.DataFrame) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Run, axis values and costs of each configuration, the start included."""
        groups = self.table.groupby(level=0, sort=False).indices
        axis, cost = self.table["axis"].to_numpy(), self.table["cost"].to_numpy()
        for row, run in enumerate(column_values(configs, self.run, "run")):
            if run not in groups:
                raise ConfigError(f"no cost is recorded for run {run!r} (configuration {row})", run=run)
            where = groups[run]
            yield run, np.r_[0.0, axis[where]], np.r_[0.0, cost[where]]
