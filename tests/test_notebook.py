"""The notebook in docs/, run as it is opened: the kernel starts in its folder."""

import json
import pathlib

import pytest

NOTEBOOK = pathlib.Path(__file__).resolve().parents[1] / "docs" / "demo.ipynb"


def text_of(outputs):
    """Returns what outputs print or show as text."""
    shown = [out.get("data", {}).get("text/plain", "") for out in outputs]
    return "".join("".join(out.get("text", "")) for out in outputs) + "".join(
        "".join(text) for text in shown
    )


def kinds_of(outputs):
    """Returns the types of the outputs that are no text, such as {'image/png'}."""
    return {kind for out in outputs for kind in out.get("data", ())} - {"text/plain"}


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_stores_its_outputs():
    cells = code_cells(json.loads(NOTEBOOK.read_text()))
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    outputs = [out for cell in cells for out in cell["outputs"]]
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert "image/png" in kinds_of(outputs)
    text = text_of(outputs)
    assert "weights: randomly initialised" in text
    assert "equal labels: 100.00% of the pixels" in text
    assert not [out for out in outputs if out.get("name") == "stderr"]
    assert len(NOTEBOOK.read_bytes()) < 200_000


@pytest.mark.slow
def test_the_notebook_runs_from_its_own_folder():
    nbclient = pytest.importorskip("nbclient", reason="requirements/dev.txt")
    nbformat = pytest.importorskip("nbformat", reason="requirements/dev.txt")
    pytest.importorskip("onnxruntime", reason="requirements/export.txt")
    stored = json.loads(NOTEBOOK.read_text())
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
        assert kinds_of(cell["outputs"]) >= kinds_of(before["outputs"])
        assert not before["outputs"] or cell["outputs"], cell["source"]
    outputs = [out for cell in code_cells(notebook) for out in cell["outputs"]]
    assert "equal labels: 100.00% of the pixels" in text_of(outputs)
