"""The README's commands are commands: every line of its code blocks parses (CI runs its Python, too)."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from sparsecircuits.cli.main import COMMANDS

README = Path(__file__).parents[1] / "README.md"
LINES = re.findall(
    r"^(?:\.venv/bin/)?sparsecircuits ([^`\n]+)$", README.read_text(encoding="utf-8"), re.MULTILINE
)
PYTHON = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readme_shows_every_command():
    assert {shlex.split(line)[0] for line in LINES} == set(COMMANDS)


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_readme_parses(line: str):
    name, *words = shlex.split(line)
    module = COMMANDS[name].load(name)
    assert isinstance(tyro.cli(module.Options, args=words), module.Options)


def test_the_training_in_python_runs(tmp_path: Path):
    (code,) = [block for block in PYTHON if "RunConfig" in block]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "32"
    assert (tmp_path / "runs" / "short" / "result.json").is_file()


def test_paths_that_the_readme_links_to_exist():
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8"))
    assert len(links) >= 8
    assert [link for link in links if not (README.parent / link).exists()] == []
