"""What ``surroundings:`` may say: which lines stand around a template's own.

| value | lines |
|---|---|
| ``false``, or nothing | none: a prompt is what its template says |
| ``python`` | the code around the prompts of the built-in tasks |
| ``stories`` | the sentences around those in plain English |
| a list of lines | these, dealt to the splits |
| a list for each split | these |
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparsecircuits.data.idioms.names import SLOTS, SPLITS, Pool, Split
from sparsecircuits.data.stories.lexicon import STORY_SLOTS
from sparsecircuits.errors import Place, near_misses
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.slots import SLOT, check_slots, slots_in
from sparsecircuits.tasks.own.source import Located
from sparsecircuits.tasks.own.splits import turns
from sparsecircuits.tasks.own.values import split_of, texts_of
from sparsecircuits.tasks.stories import OF_ALL_KINDS
from sparsecircuits.tasks.surroundings import EVERYTHING, Surroundings

KINDS = ("python", "stories")


class Around(NamedTuple):
    """Lines, and the pools of their one-letter slots."""

    lines: Surroundings
    slots: Mapping[str, Pool]


def read_around(located: Located | None, pools: Mapping[str, Pool], problems: Problems) -> Around | None:
    """The surroundings that a file asks for; None: none, or what is wrong with them."""
    if located is None or located.value is False:
        return None
    value, place = located
    if value is True or value == "python":
        return Around(EVERYTHING, SLOTS)
    if value == "stories":
        return Around(OF_ALL_KINDS, STORY_SLOTS)
    if isinstance(value, str) or value is None:
        known = near_misses(str(value), (*KINDS, "false"))
        problems.add(place, f"surroundings is {value!r}; {known}")
        return None
    lines = (
        _by_split(value, place, problems) if isinstance(value, Mapping) else _dealt(value, place, problems)
    )
    return _lettered(lines, pools, place, problems) if lines is not None else None


def _dealt(value: object, place: Place, problems: Problems) -> dict[Split, list[str]] | None:
    texts = texts_of(value, place, "surroundings", problems)
    if len(texts) < len(SPLITS):
        if texts:
            problems.add(
                place, f"surroundings has {len(texts)} lines; each of three splits needs lines of its own"
            )
        return None
    lines: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for text, split in zip(texts, turns(), strict=False):
        lines[split].append(text)
    return lines


def _by_split(value: Mapping[Any, object], place: Place, problems: Problems) -> dict[Split, list[str]] | None:
    known = [split_of(split, place, problems) for split in value]
    missing = [split for split in SPLITS if split not in value]
    if missing:
        problems.add(place, f"surroundings has no lines for {' and '.join(missing)}")
    if missing or not all(known):
        return None
    lines: dict[Split, list[str]] = {
        split: texts_of(value[split], place, f"surroundings: {split}", problems) for split in SPLITS
    }
    return lines if all(lines.values()) else None


def _lettered(
    lines: Mapping[Split, list[str]], pools: Mapping[str, Pool], place: Place, problems: Problems
) -> Around | None:
    """The lines with their slots called by letters, as :class:`Surroundings` has them."""
    names: dict[str, str] = {}
    fine = True
    for split, texts in lines.items():
        for text in texts:
            fine &= check_slots(text, pools, (split,), place, problems)
            names |= slots_in(text)
        if not any(text.rstrip("\n").count("\n") == 0 for text in texts):
            problems.add(place, f"surroundings: {split} has no statement of one line")
            fine = False
        if any("$$" in text for text in texts):
            problems.add(place, f"surroundings: {split}: '$$' cannot stand there")
            fine = False
    if len(names) > len(string.ascii_lowercase):
        problems.add(place, f"surroundings: {len(names)} different slots; 26 are allowed")
        fine = False
    if not fine:
        return None
    letters = dict(zip(names, string.ascii_lowercase, strict=False))

    def lettered(text: str) -> str:
        line = SLOT.sub(
            lambda match: "$" + letters[(match[1] or match[3]) + (match[2] or match[4] or "")], text
        )
        return line if line.endswith("\n") else line + "\n"

    table: dict[Split, Sequence[str]] = {split: tuple(map(lettered, texts)) for split, texts in lines.items()}
    return Around(Surroundings(table), {letters[slot]: pools[pool] for slot, pool in names.items()})
