"""Where the algebra runs: processes and observations stay with the CPU, factors live on the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from probscale.errors import ConfigError

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)

KINDS = ("cpu", "cuda")
"""Kinds of devices that compute in float64."""

SMALL = 800
"""Points up to which one thread beats two (198 points: a fit takes 1.8 s against 4.8 s)."""


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name, present and able to compute in float64.

    Raises:
        ConfigError: for a name that is not a device, a kind that is not supported, or an absent device.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device is {name!r}, which PyTorch does not know; use 'cpu', 'cuda' or 'cuda:0'",
            device=str(name),
        ) from error
    if device.type not in KINDS:
        raise ConfigError(
            f"device is {str(name)!r}; fits need real memory and double precision: use 'cpu', 'cuda' or "
            "'cuda:0'",
            device=str(name),
        )
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type == "cuda" and (device.index or 0) >= present:
        raise ConfigError(
            f"device is {str(name)!r}, but this PyTorch finds {present} CUDA device(s); use 'cpu', or "
            "install a PyTorch built for CUDA on a machine that has one",
            device=str(name),
        )
    return device


def copied_to(module: ModuleT, device: torch.device) -> ModuleT:
    """The module itself where it already is, else a copy on the device."""
    first = next(module.parameters())
    return module if first.device == device else copy.deepcopy(module).to(device)


@contextmanager
def threads_for(points: int) -> Iterator[None]:
    """One thread for small factorisations, where handing work around costs more than the work itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if points <= SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
