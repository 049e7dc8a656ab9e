"""docs/own_tasks.md: its files are tasks, its commands parse, and its messages are ours."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import tyro
import yaml

from sparsecircuits.cli.main import COMMANDS
from sparsecircuits.examples import example_folder
from sparsecircuits.tasks.own import check_fit, try_task
from sparsecircuits.train import load_run

DOC = (Path(__file__).parents[3] / "docs" / "own_tasks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml|json|python)\n(.*?)^```", DOC, re.MULTILINE | re.DOTALL)
FILES = [
    ("jsonl" if kind == "json" else kind[:2] if kind == "python" else kind, text) for kind, text in BLOCKS
]
COMMANDS_SHOWN = re.findall(r"^\$ sparsecircuits (.+)$", DOC, re.MULTILINE)


@pytest.mark.parametrize(("ending", "text"), [(e, t) for e, t in FILES if not t.startswith("slots:")])
def test_its_files_pass_the_check_with_the_bundled_run(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"shown.{ending}"
    path.write_text(text)
    reading = try_task(path)
    assert reading.task is not None
    run = load_run(example_folder())
    checked = check_fit(reading.task, run.tokenizer(), run.config.model.n_ctx, reading.problems)
    assert checked.last_token == 0.5
    assert len(text.splitlines()) <= 20


def test_its_slots_are_pools(tmp_path: Path) -> None:
    (slots,) = (text for _, text in FILES if text.startswith("slots:"))
    task = {"templates": [f"<<a|b>> $fruit $color {n}" for n in range(3)], "answer": "<<x|y>>"}
    path = tmp_path / "shown.yaml"
    path.write_text(slots + yaml.safe_dump(task))
    assert try_task(path).problems.found == []


@pytest.mark.parametrize("line", COMMANDS_SHOWN)
def test_a_command_parses(line: str) -> None:
    name, *words = shlex.split(line)
    module = COMMANDS[name].load(name)
    assert isinstance(tyro.cli(module.Options, args=words), module.Options)


def test_its_messages_are_ours() -> None:
    """Each message of the table, or its beginning, is expected by a test of the refusals."""
    table = DOC.partition("## What is refused")[2]
    here = Path(__file__).parent
    tests = "".join((here / f"test_{name}.py").read_text() for name in ("refusals", "templates"))
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    cells = [row.replace("\\|", "¦").split("|")[2] for row in rows]
    messages = [text.replace("¦", "|") for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) >= 25
    known = re.sub(r"\s+", " ", tests).replace('" f"', "").replace('" "', "")
    beginnings = [re.split(r" ?'|\.\.\.|;|:", text)[0] for text in messages]
    assert [text for text in beginnings if text not in known] == []
