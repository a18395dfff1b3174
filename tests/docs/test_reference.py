"""Every public name has a docstring and a place in the reference."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import probscale
from probscale import errors

API = Path(__file__).resolve().parents[2] / "docs" / "api"
TEXT = "\n".join(page.read_text("utf-8") for page in API.glob("*.md") if page.name != "cli.md")
WHOLE = set(re.findall(r"^\.\. automodule:: (\S+)\n   :members:$", TEXT, flags=re.MULTILINE))
NAMED = set(re.findall(r"^\.\. (?:autofunction|autoclass|py:data):: (\S+)$", TEXT, flags=re.MULTILINE))
PACKAGES = sorted(m.name for m in pkgutil.iter_modules(probscale.__path__, "probscale.") if m.ispkg)
INNER = {"probscale.cli", "probscale.model", "probscale.running"}
"""Packages that users do not import: the command line has its own page, the model is asked through surrogates."""


def public(package):
    return getattr(importlib.import_module(package), "__all__", [])


def test_the_public_names_of_probscale_are_listed():
    listed = {name.removeprefix("probscale.") for name in NAMED}
    modules = {name for name in probscale.__all__ if inspect.ismodule(getattr(probscale, name))}
    assert set(probscale.__all__) - modules <= listed
    assert {f"probscale.{name}" for name in modules} <= WHOLE


@pytest.mark.parametrize("package", [name for name in PACKAGES if name not in INNER])
def test_every_package_that_users_import_has_a_page_with_all_its_names(package):
    assert package in WHOLE
    left_out = re.search(rf"automodule:: {package}\n   :members:\n   :exclude-members: (.*)", TEXT)
    missing = set(left_out.group(1).split(", ")) if left_out else set()
    listed = {name.rpartition(".")[2] for name in NAMED}
    assert missing <= listed


@pytest.mark.parametrize("package", ["probscale", *PACKAGES])
def test_every_public_name_and_method_is_documented(package):
    for name in public(package):
        value = getattr(importlib.import_module(package), name)
        if inspect.isroutine(value) or inspect.isclass(value):
            assert inspect.getdoc(value), name
        if inspect.isclass(value) and value.__module__.startswith("probscale"):
            for method, inner in vars(value).items():
                plain = inspect.isfunction(inner) or isinstance(inner, (property, classmethod))
                if plain and not method.startswith("_"):
                    assert inspect.getdoc(getattr(value, method)), f"{name}.{method}"


def test_every_warning_is_explained():
    page = (API.parent / "errors.md").read_text("utf-8")
    warned = [
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Warning)
    ]
    assert warned
    assert [name for name in warned if f"`~probscale.errors.{name}`" not in page] == []


def test_names_in_the_reference_exist():
    for name in NAMED:
        full = name if name.startswith("probscale.") else f"probscale.{name}"
        module, _, attribute = full.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), full
