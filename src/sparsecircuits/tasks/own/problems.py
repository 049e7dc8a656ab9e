"""Mistakes are collected, so that a user learns of all of them at once."""

from __future__ import annotations

from sparsecircuits.errors import Place, Problem, TaskFileError


class Problems:
    """What is wrong with one file.

    >>> problems = Problems("my.jsonl")
    >>> problems.add(Place(2), "left is empty")
    >>> problems.refuse()
    Traceback (most recent call last):
        ...
    sparsecircuits.errors.TaskFileError: my.jsonl: row 2: left is empty
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Problem] = []

    def add(self, place: Place, reason: str) -> None:
        """Note a mistake."""
        self.found.append(Problem(place, reason))

    @property
    def in_order(self) -> list[Problem]:
        """From the top of the file to its end, none twice."""
        return sorted(dict.fromkeys(self.found), key=lambda problem: _order(problem.place))

    def error(self) -> TaskFileError:
        """All of them as one error."""
        return TaskFileError(self.file, self.in_order)

    def refuse(self) -> None:
        """Raise what was found.

        Raises:
            TaskFileError: something was.
        """
        if self.found:
            raise self.error()


def _order(place: Place) -> tuple[int, int]:
    line = place.line or place.row or 0
    return line, place.row or 0
