"""Runners that workers of any kind can import: good, failing, hanging, diverging and dying ones."""

import math
import os
import time
from pathlib import Path

from probscale.cost import FlopsCost

COST = FlopsCost(params="N", per_param_token=1.0)
KINDS = ("good", "raises once", "diverges", "hangs", "dies once")
POOL = [{"kind": kind, "N": 10.0 + i, "lr": 0.1 * (1 + i % 3)} for i, kind in enumerate(KINDS)]


def curve(config, at):
    return 1.0 + abs(math.log(config["lr"] / 0.2)) + 3.0 / config["N"] ** 0.5 + 5.0 * at**-0.5


def first_time(folder, config):
    path = Path(folder) / config["kind"]
    new = not path.exists()
    path.touch()
    return new


def runner(folder, config, until, state):
    kind = config["kind"]
    value = curve(config, until)
    if kind == "raises once" and first_time(folder, config):
        raise OSError("disk gone")
    if kind == "diverges":
        value = math.nan
    if kind == "hangs":
        time.sleep(60)
    if kind == "dies once" and first_time(folder, config):
        os._exit(3)
    return [(until, value)], {"at": until, "pid": os.getpid()}


def square(value):
    return value**2


def fail():
    raise OSError("disk gone")


def die():
    os._exit(3)


def hang():
    time.sleep(60)


TOKENS = [1e8, 3e8, 1e9, 3e9]


def scaled(config, until, state):
    """A run of known law that reports at fixed places."""
    begun = 0.0 if state is None else state["tokens"]
    places = [at for at in TOKENS if begun * 1.001 < at <= until * 1.001]
    return [(at, 1.7 + 300 * config["N"] ** -0.35 + 1200 * at**-0.35) for at in places], {"tokens": until}
