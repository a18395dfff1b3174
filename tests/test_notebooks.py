"""Every notebook runs from the first cell to the last on its small settings, without the data of others too."""

import os
import re
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="notebooks are executed by nbclient, of the dev extra")
nbformat = pytest.importorskip("nbformat", reason="notebooks are read by nbformat, of the dev extra")

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PREPARED = FOLDER.parent.parent / "shared" / "data"
WITH_DATA = [path for path in NOTEBOOKS if "PROBSCALE_DATA" in path.read_text("utf-8")]


def executed(path, data, work):
    """The notebook after a run on its small settings; prepared tables are looked for in `data`."""
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"PROBSCALE_SMOKE": "1", "PROBSCALE_DATA": str(data)}
    environment |= {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(work / "ipython"),
    }
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}})
    client.execute(env=environment)
    return notebook


def outputs(notebook):
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def complaints(notebook):
    """What kernels wrote to standard error, their own start-up lines apart."""
    said = [out.text for out in outputs(notebook) if out.output_type == "stream" and out.name == "stderr"]
    return [text for text in said if re.search(r"Warning|Error", text) and "IPKernelApp" not in text]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_with_what_a_checkout_has(path, tmp_path):
    notebook = executed(path, tmp_path / "absent", tmp_path)
    assert not complaints(notebook)
    assert any("image/png" in out.get("data", {}) for out in outputs(notebook))


@pytest.mark.slow
@pytest.mark.skipif(
    not PREPARED.is_dir(), reason="needs the prepared tables of public runs beside the checkout"
)
@pytest.mark.parametrize("path", WITH_DATA, ids=lambda path: path.stem)
def test_the_notebook_runs_on_public_data(path, tmp_path):
    assert not complaints(executed(path, PREPARED, tmp_path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?://)([^)#\s]+\.ipynb)", path.read_text("utf-8")):
        assert (FOLDER / target).exists(), target
