"""How Sphinx builds these pages: `make docs`, offline, no warning tolerated."""

import os
import shutil
import sys
from pathlib import Path

import probscale

HERE = Path(__file__).resolve().parent

# Sphinx reads below docs/ only; notebooks and measured tables live beside it.
for name, home, pattern in (("notebooks", "notebooks", "*.ipynb"), ("results", "benchmarks/results", "*.md")):
    shutil.rmtree(HERE / name, ignore_errors=True)
    (HERE / name).mkdir()
    for found in sorted((HERE.parent / home).glob(pattern)):
        shutil.copy(found, HERE / name)

project = "probscale"
author = "The probscale developers"
project_copyright = "The probscale developers, Apache-2.0"
release = version = probscale.__version__

sys.path.insert(0, str(HERE))
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb", "mathml"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
root_doc = "index"
language = "en-GB"

# Docstrings: Google style, plain backticks around names.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
toc_object_entries_show_parents = "hide"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Notebooks are kept without outputs; PROBSCALE_NOTEBOOKS=1 runs them while building.
nb_execution_mode = "force" if os.environ.get("PROBSCALE_NOTEBOOKS") == "1" else "off"
nb_execution_timeout = 600
nb_execution_raise_on_error = True

# A return type that two modules have is printed, not linked.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"probscale {release}"
html_static_path: list[str] = []
html_show_sphinx = False
# Formulas become MathML: no script, no network.
html_math_renderer = "mathml"


def write_command_pages() -> None:
    """Help of every command as one page."""
    import typer
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from probscale.cli import app

    command = get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command, info_name="probscale"), name="probscale"
    )
    (HERE / "api" / "cli.md").write_text(text.replace("# `probscale`", "# Command line", 1), encoding="utf-8")


write_command_pages()
