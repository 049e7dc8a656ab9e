"""Checks on what a task draws, where its pairs are not a list: a few of every split, as text.

Each pair must be one; the splits share no prompt; the same seed draws the same pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.errors import Place, TaskError
from sparsecircuits.tasks.own.listed import check_pair
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.pairs import Task, TextPair

DRAWS = 64
"""Pairs of each split that are looked at."""


def check_draws(task: Task, problems: Problems) -> None:
    """Note what is wrong with a task's pairs, one mistake of each split."""
    drawn: dict[Split, list[TextPair]] = {}
    for split in SPLITS:
        try:
            drawn[split] = task.texts(split, DRAWS)
            again = task.texts(split, DRAWS)
        except TaskError as error:
            problems.add(Place(), str(error))
            return
        if drawn[split] != again:
            problems.add(Place(), f"{split}: the same seed draws other pairs; chance may come from rng alone")
            return
        for number, pair in enumerate(drawn[split], start=1):
            before = len(problems.found)
            check_pair(pair, task.same_last, pair.place or Place(number), problems)
            if len(problems.found) > before:
                break
    _check_leaks(drawn, problems)


def _check_leaks(drawn: Mapping[Split, list[TextPair]], problems: Problems) -> None:
    """No prompt is drawn for two splits."""
    first: dict[str, tuple[Split, Place]] = {}
    for split, pairs in drawn.items():
        for number, pair in enumerate(pairs, start=1):
            place = pair.place or Place(number)
            for prompt in (pair.left, pair.right):
                other, where = first.setdefault(prompt, (split, place))
                if other != split:
                    drawn_for = f"drawn for {split} here and for {other} in {where}"
                    problems.add(place, f"leakage: its prompt {prompt!r} is {drawn_for}; splits share none")
                    return
