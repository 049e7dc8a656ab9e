"""A task as a function: for pairs that no template can write.

>>> from sparsecircuits.tasks import TextPair, own_task
>>> @own_task(about="the bracket that was opened is closed")
... def closing(rng, split):
...     name = rng.choice({"train": "abc", "validation": "de", "heldout": "fg"}[split])
...     return TextPair(f"x = [{name}", f"x = ({name}", "]", ")")
>>> closing.name, closing.texts("train", 1)[0].left_answer
('closing', ']')
"""

from __future__ import annotations

import dataclasses
import inspect
import random
import traceback
from collections.abc import Callable

from sparsecircuits.data.idioms.names import Split
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.pairs import Form, Task, TextPair

#: ``function(rng, split)`` or ``function(rng, split, room)``: a pair, of about ``room`` characters a prompt.
Function = Callable[..., TextPair]


def own_task(
    name: str | None = None, *, about: str | None = None, form: Form = "contrast", same_last: bool = True
) -> Callable[[Function], Task]:
    """Turn the function below into a task.

    The function takes ``rng`` (a :class:`random.Random`, its only source of chance) and ``split``, and if it
    likes ``room``, about how many characters a prompt should have. It returns a :class:`TextPair`, with other
    words or templates for each split.

    Args:
        name: None: the function's.
        about: None: the first line of the function's docstring.
        form, same_last: as in :class:`Task`.

    Raises:
        TaskError: the function takes other arguments.
    """
    if callable(name):
        raise TaskError("@own_task needs brackets: @own_task()")

    def made(function: Function) -> Task:
        called = name or function.__name__
        taken = len(inspect.signature(function).parameters)
        if taken not in (2, 3):
            raise TaskError(f"task {called}: its function takes (rng, split) or (rng, split, room)")
        said = about or (inspect.getdoc(function) or "").partition("\n")[0]

        def generate(rng: random.Random, split: Split, room: int) -> TextPair:
            return _asked(function, called, (rng, split, room)[:taken])

        return Task(called, said, form, generate, same_last, strict=True)

    return made


def _asked(function: Function, called: str, arguments: tuple[object, ...]) -> TextPair:
    """What a user's function returns, if that is a pair."""
    try:
        pair = function(*arguments)
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        what = f"{type(error).__name__}: {error}"
        raise TaskError(f"task {called}: its function raised {what} (line {line})") from error
    if not isinstance(pair, TextPair):
        raise TaskError(f"task {called}: its function returned {pair!r:.60}; it returns a TextPair")
    return dataclasses.replace(pair, template=pair.template or called)
