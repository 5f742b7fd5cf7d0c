"""The notebook runs from top to bottom in a real kernel, whose loop is running all the while."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from unittest.mock import ANY

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from ..programs import ROOT, environment

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


class ThisPython(KernelManager):
    """A kernel of the Python that runs the tests, whatever kernels are installed on this machine."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", self.connection_file]
        return [*command, *(extra_arguments or [])]


def read() -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    return notebook


def outputs_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.filterwarnings("default")  # what Jupyter's own machinery warns of is not ours
def test_the_notebook_runs_and_says_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**environment(), "IPYTHONDIR": str(tmp_path / "ipython")})
    notebook = read()
    NotebookClient(
        notebook, timeout=60, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    said = [
        "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.outputs
    ]
    begins = "Offline model: no API key is set, so I go by simple rules. I use word_count for this."
    gave = "Offline model: word_count gave:"
    [card, shown] = [html for output in outputs_of(notebook) if (html := output.get("data", {}).get("text/html"))]
    assert "Whose flag is this?" in card
    assert '<img src="data:image/png;base64,' in card
    assert "May send_mail run with this input?" in shown
    assert "See you at noon" in shown
    assert said == [
        f"{begins}\n[word_count: 6]\n{gave} 6",
        "end_turn ['word_count']\n",
        ANY,
        f"'{begins}\\n\\n{gave} 4'",
        "earlier True\ncurrent False\n",
        ANY,
        "['sent']\n",
        "{'text': 'one two three'}\n",
    ]


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in read().cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
