"""A ``.py`` file as a task: it is run, and the one task that it makes is taken."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from pathlib import Path
from types import ModuleType

from sparsecircuits.errors import Place
from sparsecircuits.tasks.own.draws import check_draws
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.values import check_name
from sparsecircuits.tasks.pairs import Definition, Task


def read_code(path: Path, definition: Definition, problems: Problems) -> Task | None:
    """Run a file and take its task.

    Raises:
        TaskFileError: it cannot be run; the message names the line.
    """
    module = ModuleType(f"own_task_{path.stem}")
    module.__file__ = str(path)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        exec(compile(definition.text, str(path), "exec"), vars(module))
    except SyntaxError as error:
        problems.add(Place(None, error.lineno), f"not Python: {error.msg}")
        return None
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
        ]
        problems.add(Place(None, lines[-1] if lines else None), f"raised {type(error).__name__}: {error}")
        raise problems.error() from error
    finally:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
    tasks = {
        id(task): task for task in vars(module).values() if isinstance(task, Task) and task.suite == "yours"
    }
    if len(tasks) != 1:
        found = ", ".join(task.name for task in tasks.values())
        problems.add(
            Place(),
            f"several tasks ({found}); a file has one"
            if tasks
            else "no task: no @own_task() before a function",
        )
        return None
    (task,) = tasks.values()
    check_name(task.name, Place(), problems)
    check_draws(task, problems)
    return dataclasses.replace(task, definition=definition)
