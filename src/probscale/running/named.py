"""Runners named by text: `module:function`, or `file.py:function`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from probscale.errors import BudgetError
from probscale.running.increment import Runner


@dataclass(frozen=True)
class NamedRunner:
    """A runner that every worker looks up by its name, so that it travels to other processes as text.

    Attributes:
        place: Module, or absolute path of a Python file.
        function: Name in it, dots allowed.
    """

    place: str
    function: str

    def __call__(self, config: dict[str, Any], until: float, state: Any) -> tuple[Sequence[Any], Any]:
        """Call the runner."""
        return self.found(config, until, state)

    @cached_property
    def found(self) -> Runner:
        """The function.

        Raises:
            BudgetError: if it cannot be found or is none.
        """
        value: Any = _module(self.place)
        for name in self.function.split("."):
            if not hasattr(value, name):
                own = getattr(value, "__name__", None)
                known = [
                    item for item, part in vars(value).items() if getattr(part, "__module__", None) == own
                ]
                raise BudgetError(
                    f"{self.place!r} has no {name!r}, named as the runner; it has {', '.join(known[:12])}",
                    runner=self.function,
                )
            value = getattr(value, name)
        if not callable(value):
            raise BudgetError(
                f"{self.function!r} of {self.place!r} is a {type(value).__name__}; name a function "
                "runner(config, until, state)",
                runner=self.function,
            )
        return cast(Runner, value)

    def __getstate__(self) -> dict[str, str]:
        return {"place": self.place, "function": self.function}


def named_runner(text: str) -> NamedRunner:
    """The runner that a text names.

    Args:
        text: `module:function`, the working folder included in the search; or `file.py:function`, whose
            folder is.

    Raises:
        BudgetError: if there is no such file, module or function.
    """
    place, _, function = text.rpartition(":")
    if not place or not function:
        raise BudgetError(
            f"the runner {text!r} is not understood; name a function as module:function or file.py:function",
            runner=text,
        )
    if place.endswith(".py"):
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise BudgetError(f"there is no file {place!r}, named by the runner {text!r}", runner=text)
        place = str(path)
    runner = NamedRunner(place, function)
    _ = runner.found
    return runner


def _module(place: str) -> ModuleType:
    """A module by name or path."""
    file = Path(place) if place.endswith(".py") else None
    folder = str(file.parent) if file else os.getcwd()
    if folder not in sys.path:
        # A script finds the modules beside it.
        sys.path.append(folder)
    try:
        return importlib.import_module(place) if file is None else _loaded(file)
    except ModuleNotFoundError as error:
        if error.name != place:
            raise BudgetError(f"importing {place!r} failed: {error}; install what it needs") from error
        raise BudgetError(
            f"there is no module {place!r}; give a file as path/to/file.py:function, or install the module"
        ) from None
    except Exception as error:
        raise BudgetError(f"importing {place!r} failed: {type(error).__name__}: {error}") from error


def _loaded(file: Path) -> ModuleType:
    known = sys.modules.get(file.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == file:
        return known
    # A name of its own where another module has the stem.
    name = file.stem if known is None else f"{file.stem}_{abs(hash(str(file))):x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
