"""What ``docs/truth.md`` shows can be typed, its imports are there, and its table names every test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import tyro

from sparsecircuits.cli.main import COMMANDS
from sparsecircuits.validate.catalogue import KINDS, VERDICTS

DOC = (Path(__file__).parents[2] / "docs" / "truth.md").read_text(encoding="utf-8")


def test_its_commands_parse() -> None:
    lines = re.findall(r"^sparsecircuits (.+)$", DOC, re.MULTILINE)
    assert len(lines) >= 3
    for line in lines:
        name, *words = shlex.split(line)
        tyro.cli(COMMANDS[name].load(name).Options, args=words, config=(tyro.conf.FlagCreatePairsOff,))


def test_its_imports_are_there() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    imports = [line for line in code.splitlines() if line.startswith("from ")]
    assert len(imports) >= 6
    exec("\n".join(imports), {})  # noqa: S102


def test_its_table_names_every_test_and_its_verdicts_theirs() -> None:
    named = dict(re.findall(r"^\| (T\d+) ([^|]+?) \|", DOC.partition("## Figures")[0], re.MULTILINE))
    assert set(named) == set(KINDS)
    for verdict, needed in VERDICTS.items():
        assert f"**{verdict}** ({', '.join(needed)})" in DOC
