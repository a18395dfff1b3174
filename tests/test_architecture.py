"""The shape of the code: layers, sizes, names, and imports that change nothing."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import probscale

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "probscale"
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 400
MOST_FUNCTION_LINES = 50
BANNED = {"utils", "util", "misc", "helpers", "common", "core", "base"}

CONTRACT = {
    "RunLog", "read_runs", "fit_surrogate", "load_surrogate", "CurveSurrogate", "CurvePosterior", "FlopsCost",
    "fit_law", "theory", "simulate_runs",
}  # fmt: skip
"""Names of the public contract that exist; the list grows with the package."""


def python(code, **options):
    """Output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def functions(tree):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(node):
    """Lines of a function without its docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 0
    text = first.end_lineno - first.lineno + 1 if documented and isinstance(first.value.value, str) else 0
    return node.end_lineno - node.lineno + 1 - text


def test_import_contracts_hold():
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    long = {f.name: code_lines(f) for f in functions(ast.parse(text)) if code_lines(f) > MOST_FUNCTION_LINES}
    assert not long


def test_no_module_is_a_junk_drawer():
    assert not [str(path) for path in FILES if {path.stem.strip("_"), path.parent.name} & BANNED]


def test_the_public_contract_is_there():
    assert set(probscale.__all__) >= CONTRACT
    for name in probscale.__all__:
        assert getattr(probscale, name) is not None
    assert set(probscale.__all__) <= set(dir(probscale))


LAZY = ("probscale", "probscale.budget", "probscale.design", "probscale.integrations", "probscale.plot")


@pytest.mark.parametrize("package", LAZY)
def test_packages_that_import_on_first_use_show_their_public_names_alone(package):
    module = importlib.import_module(package)
    assert dir(module) == sorted(module.__all__)
    with pytest.raises(AttributeError, match=rf"{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_are_told_where_every_lazy_name_comes_from(package):
    tree = ast.parse(Path(importlib.import_module(package).__file__ or "").read_text("utf-8"))
    told = {
        n.asname or n.name for line in ast.walk(tree) if isinstance(line, ast.ImportFrom) for n in line.names
    }
    assert {name for name in importlib.import_module(package).__all__ if not name.startswith("_")} <= told


def test_public_names_mean_the_same_whatever_was_imported_before():
    """A module named like a function of its package would take the function's place once imported."""
    code = """
import importlib, pkgutil, types
import probscale
public = ["probscale", *(m.name for m in pkgutil.iter_modules(probscale.__path__, "probscale.") if m.ispkg)]
for package in public:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass
for package in public:
    home = importlib.import_module(package)
    for name in getattr(home, "__all__", ()):
        if isinstance(getattr(home, name), types.ModuleType) and package != "probscale":
            print(package, name)
print(*(type(getattr(probscale, name)).__name__ for name in ("allocate", "suggest", "plan_budget")))
"""
    assert python(code) == "function function function"


LIGHT = ("runs", "cost", "laws", "running", "errors", "cli")


def test_light_modules_import_no_torch():
    """`import probscale` alone reads no tables either; logs, costs, laws and the command line need no tensors."""
    found = python(f"""
import importlib, sys
import probscale
print("probscale:", *{{"numpy", "pandas", "scipy", "torch"}} & set(sys.modules))
for name in {LIGHT}:
    importlib.import_module(f"probscale.{{name}}")
    print(f"{{name}}:", *{{"torch", "gpytorch", "botorch", "transformers", "matplotlib"}} & set(sys.modules))
""")
    assert found.splitlines() == [f"{name}:" for name in ("probscale", *LIGHT)]


def test_importing_changes_no_global_setting():
    code = """
import random
import numpy as np, torch, gpytorch
def state():
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(), random.getstate(),
            np.random.get_state()[1].tolist(), np.geterr(),
            gpytorch.settings.max_cholesky_size.value(), gpytorch.settings.fast_computations.solves.on())
before = state()
import probscale, probscale.surrogate, probscale.theory, probscale.encode.encoder, probscale.laws, probscale.cost
print(before == state())
"""
    assert python(code) == "True"


FIT = """
import numpy as np
import probscale as ps
log = ps.simulate_runs("law", n_runs=14, points=6, seed=3)
surrogate = ps.fit_surrogate(log, embedder=None, seed=0)
curves = surrogate.predict(log.configs.head(4), np.geomspace(1e8, 1e10, 3))
print([v.hex() for v in [*curves.mean.ravel(), *curves.std.ravel()]])
"""


def test_botorch_before_or_after_leaves_predictions_alone():
    before = python("import botorch\n" + FIT)
    after = python(FIT.replace("curves =", "import botorch\ncurves ="))
    values = [np.array([float.fromhex(v) for v in ast.literal_eval(text)]) for text in (before, after)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def test_one_constraint_for_every_dependency():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {Requirement(line).name: Requirement(line) for line in lines if not line.startswith("#")}
    assert len(pins) == len([line for line in lines if not line.startswith("#")])
    for text in wanted:
        requirement = Requirement(text)
        pin = pins[canonicalize_name(requirement.name)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert requirement.specifier.contains(exact.version)
