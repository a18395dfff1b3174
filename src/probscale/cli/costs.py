"""Costs as given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probscale.cli.options import Params
from probscale.errors import ConfigError

if TYPE_CHECKING:
    from probscale.cost import CostModel


_PANEL = "Cost of training (by default 6 · params FLOPs per unit of the axis)"


def _cost(text: str) -> Any:
    return typer.Option(help=text, rich_help_panel=_PANEL, show_default=False)


@dataclass(frozen=True, kw_only=True)
class CostOptions:
    """Cost options; without any, 6 · params FLOPs per unit of the axis.

    Attributes:
        params: Column of the model size.
        rate: Column or number of cost per unit of the axis.
        axis_tokens: Tokens per unit of the axis, for FLOPs.
        seconds: Column of the log with seconds.
        flops_per_second: Rate of a device.
        device_hour: Price of a device-hour.
        devices: Devices of a run.
        unit: Name of the unit.
    """

    params: Params = None
    rate: Annotated[
        str | None, _cost("Column (or number) of cost per unit of the axis; 1 counts the axis itself.")
    ] = None
    axis_tokens: Annotated[
        str | None,
        _cost("Tokens in a unit of the axis, a column or number, where the axis counts steps."),
    ] = None
    seconds: Annotated[str | None, _cost("Column of the log with seconds since the start of the run.")] = None
    flops_per_second: Annotated[
        str | None, _cost("FLOPs a device reaches in a second, a column or number.")
    ] = None
    device_hour: Annotated[str | None, _cost("Price of a device for an hour, a column or number.")] = None
    devices: Annotated[str | None, _cost("Devices of a run, a column or number.")] = None
    unit: Annotated[str | None, _cost('Name of the unit of costs; "FLOPs" lets strategies use laws.')] = None

    def model(self, log: Sequence[str] = (), *, run: str | None = None, axis: str | None = None) -> CostModel:
        """The cost model.

        Args:
            log: Files of the log, for logged seconds.
            run: Column that names the run.
            axis: Column of the progress axis.

        Raises:
            ConfigError: for options that do not go together, or a cost without what it needs.
        """
        self.check()
        from probscale.cost import FlopsCost, MoneyCost, RateCost, ThroughputCost

        if self.rate is not None:
            rate = _quantity(self.rate)
            counted = axis if rate == 1.0 and axis is not None else "cost"
            return RateCost(rate, self.params, self.unit or counted)
        if self.seconds is not None:
            cost = self._logged(log, run, axis)
        else:
            if self.params is None:
                raise ConfigError(
                    "costs are 6 · params FLOPs unless another is given, and there is no --params; name the "
                    "column of the model size, or the cost per unit of the axis with --rate (1 for the axis "
                    "itself)"
                )
            tokens = 1.0 if self.axis_tokens is None else _quantity(self.axis_tokens)
            cost = FlopsCost(params=self.params, tokens_per_axis=tokens)
            if self.flops_per_second is not None:
                cost = ThroughputCost(cost, _quantity(self.flops_per_second))
        if self.device_hour is not None:
            devices = 1.0 if self.devices is None else _quantity(self.devices)
            cost = MoneyCost(cost, _quantity(self.device_hour), devices, self.unit or "money")
        return cost

    def _logged(self, log: Sequence[str], run: str | None, axis: str | None) -> CostModel:
        from probscale.cli.evidence import is_surrogate
        from probscale.cost import SecondsCost
        from probscale.runs import read_frame

        if not log or is_surrogate(log) or run is None or axis is None:
            raise ConfigError("--seconds reads the seconds of a log; give the log itself, with its roles")
        return SecondsCost.from_frame(
            read_frame(list(log)), run=run, axis=axis, seconds=str(self.seconds), params=self.params
        )

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            ConfigError: then.
        """
        given = [name for name in ("rate", "seconds", "flops_per_second") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{_flag(given[0])} and {_flag(given[1])} are two costs; give one of them")
        if self.device_hour is not None and given[:1] not in (["seconds"], ["flops_per_second"]):
            raise ConfigError("--device-hour prices seconds; give --seconds or --flops-per-second too")
        if self.devices is not None and self.device_hour is None:
            raise ConfigError("--devices multiplies the price of a device-hour; give --device-hour too")
        if self.axis_tokens is not None and (self.rate is not None or self.seconds is not None):
            raise ConfigError("--axis-tokens is for costs in FLOPs; leave it out, or --rate and --seconds")


@dataclass(frozen=True, kw_only=True)
class PlannedCosts(CostOptions):
    """Cost options where no log is at hand that could hold seconds."""

    seconds: str | None = field(default=None, init=False)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _quantity(text: str) -> str | float:
    """A number if it is one, else a column."""
    try:
        return float(text)
    except ValueError:
        return text
