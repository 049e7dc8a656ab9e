"""What every measuring script writes: figures with their goals as JSON, and as tables in a page."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

Sense = Literal["min", "max"]
"""Whether a figure is to be at most, or at least, its goal."""

END = "<!-- end of figures -->"


def begin(script: str) -> str:
    """The marker behind which a script writes into a page, up to :data:`END`."""
    return f"<!-- figures: written by {script} -->"


def figure(name: str, value: float, goal: float | None, sense: Sense) -> dict[str, Any]:
    """One row of ``figures``."""
    return {"name": name, "value": value, "goal": goal, "sense": sense}


def met(value: float, goal: float | None, sense: Sense) -> bool:
    """Whether a figure reaches its goal; without one it does."""
    return goal is None or (value >= goal if sense == "max" else value <= goal)


def commit() -> str:
    """The commit that is measured."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def machine() -> str:
    """Where it was measured, in a line."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, no GPU used, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def save(path: Path, command: str, figures: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Write ``docs/results/TOPIC.json``, and return what is in it."""
    result = {"command": command, "commit": commit(), "machine": machine(), "figures": list(figures), **more}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def fill(page: str, script: str, block: str) -> str:
    """The page with ``block`` between the script's two markers.

    Raises:
        ValueError: a page without its first marker, or with two, or without an end behind it.
    """
    first = begin(script)
    before, found, rest = page.partition(first)
    _, end, after = rest.partition(END)
    if not (found and end) or page.count(first) != 1:
        raise ValueError(f"needed in the page: {first}, once, and behind it {END}")
    return f"{before}{first}\n\n{block.strip()}\n\n{END}{after}"


def source(result: dict[str, Any]) -> str:
    """Where a page's figures are from: command, commit, machine."""
    return f"`{result['command']}` at commit `{result['commit'][:7]}`. Machine: {result['machine']}."


def goals(figures: Sequence[dict[str, Any]]) -> str:
    """All figures beside their goals; what is short of its goal in bold."""
    lines = [["what", "figure", "goal"]]
    for row in figures:
        value = number(row["value"])
        reached = met(row["value"], row["goal"], row["sense"])
        lines.append([row["name"], value if reached else f"**{value}**", goal_of(row)])
    return markdown(lines)


def short(result: dict[str, Any]) -> str:
    """The figures that are short of their goals, as a list."""
    missed = [
        f"- {row['name']} ({number(row['value'])}, goal {goal_of(row)})"
        for row in result["figures"]
        if not met(row["value"], row["goal"], row["sense"])
    ]
    judged = sum(row["goal"] is not None for row in result["figures"])
    if not missed:
        return f"All {judged} figures with a goal reach it."
    return f"Short of its goal, {len(missed)} of {judged}:\n\n" + "\n".join(missed)


def markdown(lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table, its first line the heading; the first ``words`` columns to the left, the rest to the right."""
    head, *body = lines
    assert all(len(cells) == len(head) for cells in body), "a row has other columns than the heading"
    ruled = [head, [*["---"] * words, *["---:"] * (len(head) - words)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ruled)


def goal_of(row: dict[str, Any]) -> str:
    """A figure's goal as it is written in tables."""
    return "" if row["goal"] is None else f"{'≥' if row['sense'] == 'max' else '≤'} {row['goal']:g}"


def number(value: float) -> str:
    """Three digits that count.

    >>> number(1234.5), number(12.345), number(2.5e-07)
    ('1,234', '12.3', '2.5e-07')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
