"""The notebook runs as it stands, and what is kept in it is what it gives.

When it should give something else: ``jupyter execute --inplace docs/notebooks/*.ipynb``.
"""

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "from-csv-to-d.ipynb"
CONTENT: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CELLS = [cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"]


def printed(cell: dict[str, Any]) -> str:
    """What a cell prints."""
    return "".join(
        "".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream"
    )


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text.replace(",", ""))]


def test_the_file() -> None:
    assert len(CELLS) == 10
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, 11))
    assert NOTEBOOK.stat().st_size < 100_000
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/tmp|/home|/root|/Users|[A-Z]:\\\\", text)
    kinds = [output["output_type"] for cell in CELLS for output in cell["outputs"]]
    assert "error" not in kinds
    assert kinds.count("display_data") == 2
    assert not any(output.get("name") == "stderr" for cell in CELLS for output in cell["outputs"])


def test_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in turn, in this process."""
    from matplotlib import pyplot as plt

    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with mpl.rc_context({"backend": "agg"}):
        for i, cell in enumerate(CELLS):
            capsys.readouterr()
            exec(compile("".join(cell["source"]), f"cell {i + 1}", "exec"), names)
            assert numbers(capsys.readouterr().out) == pytest.approx(
                numbers(printed(cell)), rel=0.02, abs=0.02
            )
        plt.close("all")
    fit = names["fit"]
    assert abs(fit.d_cm2_per_s - 0.02) < 3 * fit.d_stderr_cm2_per_s
    assert list(names["results"].index) == [
        "global", "slices", "gaussian-msd", "voigt-davg", "moment",
    ]  # fmt: skip
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == fit.to_dict()
    assert {path.name for path in tmp_path.iterdir()} == {"map.csv", "result.json"}


@pytest.mark.full
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:zmq|jupyter_client|nbclient|tornado|asyncio"
)
def test_in_a_kernel(tmp_path: Path) -> None:
    """As a person runs it, in a process of its own."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    ran = [cell for cell in notebook.cells if cell["cell_type"] == "code"]
    for cell, kept in zip(ran, CELLS, strict=True):
        kinds = [output["output_type"] for output in cell["outputs"]]
        assert kinds == [output["output_type"] for output in kept["outputs"]]
        expected = numbers(printed(kept))
        assert numbers(printed(cell)) == pytest.approx(expected, rel=0.02, abs=0.02)
