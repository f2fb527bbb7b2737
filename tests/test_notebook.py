"""The notebook in docs/: every cell runs, in their order."""

import pathlib

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_demo_runs():
    nbclient = pytest.importorskip("nbclient", reason="requirements/dev.txt")
    nbformat = pytest.importorskip("nbformat", reason="requirements/dev.txt")
    notebook = nbformat.read(PROJECT / "docs" / "demo.ipynb", as_version=4)
    resources = {"metadata": {"path": str(PROJECT)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    kinds = {kind for out in outputs for kind in out.get("data", ())}
    assert "image/png" in kinds
    text = "".join(out.get("text", "") for out in outputs)
    assert "labels equal in 100.000 % of pixels" in text
