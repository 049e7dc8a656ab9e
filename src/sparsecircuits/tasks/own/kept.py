"""``RUN/tasks``: the definitions of the tasks of a user's own that a run has circuits for.

A circuit says what its task is called; its page, and a later pruning, need the task itself. So its file is
copied here, under the task's name. Code is copied too, to be read: it is never run from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsecircuits.errors import Place, Problem, TaskFileError
from sparsecircuits.files import write_atomic
from sparsecircuits.tasks.own.files import ENDINGS, read_task
from sparsecircuits.tasks.pairs import Task

FOLDER = "tasks"
VERSION = "task_sha256"
"""Where a circuit's ``info`` says of which version of a task it is."""


def version_of(task: Task) -> dict[str, str]:
    """What a circuit's ``info`` is to say of its task; nothing of a built-in one."""
    return {} if task.definition is None else {VERSION: task.definition.sha256}


def is_of(info: Mapping[str, Any], task: Task) -> bool:
    """Whether a circuit with this ``info`` was cut out for this very version of the task."""
    return info.get(VERSION) == version_of(task).get(VERSION)


def keep_task(task: Task, run_folder: Path) -> None:
    """Copy a task's definition into a run's folder, in place of an older one; built-in tasks have none."""
    if task.definition is None:
        return
    ending = Path(task.definition.file).suffix.lower().replace(".yml", ".yaml")
    path = run_folder / FOLDER / f"{task.name}{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, task.definition.text.encode())
    for other in ENDINGS:
        if other != ending:
            path.with_suffix(other).unlink(missing_ok=True)


def kept_files(run_folder: Path | None) -> dict[str, Path]:
    """The files in a run's folder by the names of their tasks."""
    if run_folder is None:
        return {}
    paths = sorted((run_folder / FOLDER).glob("*"))
    return {path.stem: path for path in paths if path.suffix in ENDINGS}


def read_kept(path: Path) -> Task:
    """The task that a kept file defines.

    Raises:
        TaskFileError: it is code, or it was damaged.
    """
    if path.suffix == ".py":
        reason = (
            f"the task {path.stem!r} is code, and code in a run's folder is not run; "
            "name the file that it was copied from instead"
        )
        raise TaskFileError(str(path), [Problem(Place(), reason)])
    return read_task(path)
