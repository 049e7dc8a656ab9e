"""What a word on the command line means: a built-in task, a file of a user's, or a task that a run keeps."""

from __future__ import annotations

import os
from pathlib import Path

from sparsecircuits.errors import TaskError, near_misses
from sparsecircuits.tasks.own.files import ENDINGS, read_task
from sparsecircuits.tasks.own.kept import kept_files, read_kept
from sparsecircuits.tasks.pairs import Task


def resolve_task(word: str, folder: Path | None = None) -> Task:
    """The task that a user means.

    Args:
        word: the name of a built-in task or variant; a path, which has an ending or a ``/``; or the name of a
            task in ``RUN/tasks``.
        folder: the run's; None: no run is there to keep tasks.

    Raises:
        TaskFileError: the file has mistakes, or is not there.
        TaskError: no task of that name; the message names the closest.
    """
    if is_path(word):
        return read_task(word)
    return named_task(word, folder)


def named_task(name: str, folder: Path | None = None) -> Task:
    """The built-in or kept task of that name: what a saved circuit's task is looked up with.

    Raises:
        TaskFileError: what is kept is code, or was damaged.
        TaskError: no task of that name; the message names the closest.
    """
    from sparsecircuits.tasks import built_in_tasks

    known, kept = built_in_tasks(), kept_files(folder)
    if name in known:
        return known[name]
    if name in kept:
        return read_kept(kept[name])
    there = [name + ending for ending in ENDINGS if Path(name + ending).is_file()]
    hint = f"to use the file, write {there[0]}" if there else near_misses(name, (*known, *kept))
    raise TaskError(f"unknown task {name!r}; {hint}")


def is_path(word: str) -> bool:
    """Whether a word is a file's path and not a task's name.

    >>> is_path("mine.yaml"), is_path("tasks/mine.yaml"), is_path("var_swap"), is_path("var_swap:long")
    (True, True, False, False)
    """
    return any(sign in word for sign in (".", "/", os.sep))
