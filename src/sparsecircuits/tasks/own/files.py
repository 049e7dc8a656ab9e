"""From a task file to a :class:`Task`, or to everything that is wrong with it.

=============  =======================================================================
ending         what it is
=============  =======================================================================
``.jsonl``     a pair a row
``.yaml``      pairs or templates (``.yml`` too)
``.py``        a function that draws pairs, behind :func:`~.decorator.own_task`
=============  =======================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsecircuits.errors import Place
from sparsecircuits.tasks.own.code import read_code
from sparsecircuits.tasks.own.draws import check_draws
from sparsecircuits.tasks.own.jsonl import read_jsonl
from sparsecircuits.tasks.own.listed import read_pairs
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.source import Source, read_text
from sparsecircuits.tasks.own.templates import read_templates
from sparsecircuits.tasks.own.values import header_of
from sparsecircuits.tasks.own.yaml_file import read_yaml
from sparsecircuits.tasks.pairs import Definition, Task, listed_only

ENDINGS = (".jsonl", ".yaml", ".yml", ".py")


@dataclass(frozen=True)
class Reading:
    """What was found in a file."""

    task: Task | None
    """The task, without the rows that are wrong; None where nothing can be made of the file."""
    problems: Problems


def read_task(path: str | Path) -> Task:
    """The task that a file defines.

    Raises:
        TaskFileError: everything that is wrong with it, as far as no tokenizer is needed to tell.
    """
    reading = try_task(path)
    reading.problems.refuse()
    assert reading.task is not None
    return reading.task


def try_task(path: str | Path) -> Reading:
    """As :func:`read_task`, with what is wrong as a result.

    Raises:
        TaskFileError: the file is code that cannot be run.
    """
    path = Path(path)
    problems = Problems(str(path))
    if path.suffix.lower() not in ENDINGS:
        ends = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        problems.add(Place(), f"{ends}; a task file ends in {', '.join(ENDINGS)}")
        return Reading(None, problems)
    text = read_text(path, problems)
    if text is None:
        return Reading(None, problems)
    definition = Definition(str(path), text)
    if path.suffix.lower() == ".py":
        return Reading(read_code(path, definition, problems), problems)
    if not text.strip():
        problems.add(Place(1), "the file is empty")
        return Reading(None, problems)
    source = read_jsonl(text, problems) if path.suffix.lower() == ".jsonl" else read_yaml(text, problems)
    return Reading(_task(source, path.stem, definition, problems), problems)


def _task(source: Source, stem: str, definition: Definition, problems: Problems) -> Task | None:
    header = header_of(source.header, stem, problems)
    if source.pairs is None and source.templates is None:
        if not problems.found:
            problems.add(Place(1), "no pairs: a file has rows below 'pairs:' or below 'templates:'")
        return None
    fixed = generate = None
    if source.pairs is not None:
        if source.pairs or not problems.found:  # else what was wrong with every row is said already
            fixed = read_pairs(source.pairs, header, problems)
    else:
        generate = read_templates(source, problems)
    if not fixed and generate is None:
        return None
    task = Task(
        header.name,
        header.about,
        header.form,
        generate or listed_only,
        header.same_last,
        fixed=fixed,
        strict=True,
        definition=definition,
    )
    if generate is not None:
        check_draws(task, problems)
    return task
