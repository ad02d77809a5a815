"""The notebooks of the docs run from the first cell to the last, outside the repository."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import declutch

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["quick-tour", "your-own-model-and-data"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_outputs_tell_nothing_of_the_machine_that_made_them(path: Path) -> None:
    # In the letters of a picture anything may be found.
    text = re.sub(r'"image/png": ".*"', "", path.read_text(encoding="utf-8"))
    assert not re.search(r"/(?:home|root|tmp|work|Users|usr|opt)/", text)
    assert '"stderr"' not in text  # progress bars and warnings
    assert '"error"' not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_links_lead_somewhere(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (path.parent / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.stem))
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # The kernel is a process of its own, and must not find another declutch than this one.
    monkeypatch.setenv("PYTHONPATH", str(Path(declutch.__file__).parents[1]))
    shutil.copy(path, tmp_path)
    notebook = nbformat.read(tmp_path / path.name, as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
