"""The notebooks are as they were run, and run again: few steps, and a task that few steps teach."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.tasks.own.files import read_task

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
#: Which keyword began the line decides how it ends: learned in fewer than two hundred steps, and not from
#: the last token alone, for which a circuit needs no node.
EASY = r"""
about: a condition ends in a colon, an import does not
answer: "<<:\n|\n>>"
templates:
  - "$verb($noun2)\n<<if|import>> $noun"
  - "$noun2 = $noun3\n<<if|import>> $noun"
  - "$noun2.$verb()\n<<if|import>> $noun"
  - "import $noun2\n<<if|import>> $noun"
"""
#: Folders of a machine, as either kind of system writes them, and addresses in its memory.
OF_A_MACHINE = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|work|var|mnt|private|Users|content)/|\b[A-Z]:\\|\b0x[0-9a-f]{6,}"
)


def cells(path: Path, kind: str = "code") -> list[dict[str, Any]]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def texts(part: Any) -> Iterator[str]:
    """All that people read in a part of a notebook: not its pictures."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            if key != "image/png":
                yield from texts(value)
    elif isinstance(part, Sequence):
        for value in part:
            yield from texts(value)


def source(cell: Mapping[str, Any]) -> str:
    return "".join(cell["source"])


def test_there_is_a_notebook_of_bridges():
    assert [path.name for path in NOTEBOOKS] == ["bridges.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestKept:
    def test_is_a_notebook_of_format_4_whose_cells_have_ids_of_their_own(self, path: Path):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
        assert set(notebook) == {"cells", "metadata", "nbformat", "nbformat_minor"}
        assert {cell["cell_type"] for cell in notebook["cells"]} == {"code", "markdown"}
        assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
        assert path.stat().st_size < 600_000

    def test_was_run_once_from_top_to_bottom_without_errors_or_noise(self, path: Path):
        code = cells(path)
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        for cell in code:
            for output in cell["outputs"]:
                assert output["output_type"] in ("stream", "display_data", "execute_result"), source(cell)
                assert output.get("name", "stdout") == "stdout", output

    def test_shows_pictures_and_says_what_was_seen(self, path: Path):
        code = cells(path)
        pictures = [
            output for cell in code for output in cell["outputs"] if "image/png" in output.get("data", {})
        ]
        assert len(pictures) == 3
        said = "".join("".join(output["text"]) for output in code[-1]["outputs"])
        assert [line.partition(":")[0] for line in said.splitlines()] == [
            "Sparsity",
            "Bridge",
            "Transfer",
            "Steering",
        ]

    def test_says_nothing_of_the_machine_that_ran_it(self, path: Path):
        for text in texts(json.loads(path.read_text(encoding="utf-8"))):
            assert OF_A_MACHINE.search(text) is None, text

    def test_explains_every_cell_before_it(self, path: Path):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        kinds = [cell["cell_type"] for cell in notebook["cells"]]
        assert kinds[0] == "markdown"
        assert all(
            before == "markdown" for before, kind in zip(kinds, kinds[1:], strict=False) if kind == "code"
        )


@pytest.mark.parametrize("text", ["/home/me/runs", "see\n/tmp/x/", r"C:\runs", "<Picture at 0x7f00a1b2>"])
def test_what_is_of_a_machine_is_noticed(text: str):
    assert OF_A_MACHINE.search(text)


@pytest.mark.slow
def test_bridges_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "easy.yaml").write_text(EASY, encoding="utf-8")
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells(EXAMPLES / "bridges.ipynb")):
        text = source(cell)
        if number == 0:
            text = replaced(text, "STEPS", "180")
            text = replaced(text, "TASK", "TEST_TASK")
            names["TEST_TASK"] = read_task("easy.yaml")
        exec(compile(text, f"cell {number}", "exec"), names)
    assert names["load_run"](names["FOLDER"] / "bridged").result()["steps"] == 180
    assert names["pruned"].met
    share = names["carried"]["share"]
    assert share["own"]["estimate"] == pytest.approx(1, abs=0.2)
    assert capsys.readouterr().out.splitlines()[-1].startswith("Steering: ")


def replaced(text: str, name: str, value: str) -> str:
    """The cell with another value in its only assignment to ``name``."""
    text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    assert count == 1, f"the first cell assigns {name} {count} times"
    return text
