"""A list of templates: every row is a prompt with its differences marked, and stands for many pairs.

The steps:

1. each row is read on its own: a prompt with a mark ``<<left|right>>``, an answer with one (the row's, or the
   file's ``answer:``), and slots that have words;
2. rows are compared: no template twice, two different answers in the file;
3. each row goes to its split, the one it names or the one it is dealt (:mod:`.splits`); each split has one;
4. a pair is drawn: a template of the split, a word of the split for each slot, lines around it where the file
   asks for them (:mod:`.around`), and of each mark the left text for one prompt, the right for the other.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sparsecircuits.data.idioms.names import SPLITS, Pool, Split
from sparsecircuits.errors import Place
from sparsecircuits.tasks.own.around import Around, read_around
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.slots import check_slots, drawn, filled, read_pools, slots_in
from sparsecircuits.tasks.own.source import Located, Row, Source
from sparsecircuits.tasks.own.splits import turns
from sparsecircuits.tasks.own.values import prompt_of, split_of, text_of
from sparsecircuits.tasks.pairs import Generate, TextPair
from sparsecircuits.tasks.template import MARK, side_of


class Template(NamedTuple):
    """A row that can be used."""

    prompt: str
    answer: str
    split: Split
    place: Place


def read_templates(source: Source, problems: Problems) -> Generate | None:
    """What draws pairs from a file's templates, or None where there is a problem."""
    before = len(problems.found)
    pools = read_pools(source.header.get("slots"), problems)
    around = read_around(source.header.get("surroundings"), pools, problems)
    rows = source.templates or []
    if not rows and not problems.found:
        problems.add(Place(1), "no templates: each row has a prompt with a mark, <<left|right>>")
    _check_named(rows, problems)
    shared = source.header.get("answer")
    dealer = turns()
    templates = [
        template for row in rows if (template := _template(row, shared, next(dealer), pools, problems))
    ]
    _check_together(rows, shared, templates, problems)
    if len(problems.found) > before or not rows:
        return None
    by_split: dict[Split, list[Template]] = {
        split: [t for t in templates if t.split == split] for split in SPLITS
    }
    return _generator(by_split, pools, around)


def _generator(
    templates: Mapping[Split, Sequence[Template]], pools: Mapping[str, Pool], around: Around | None
) -> Generate:
    def generate(rng: random.Random, split: Split, room: int) -> TextPair:
        chosen = rng.choice(templates[split])
        words = drawn(rng, slots_in(chosen.prompt + chosen.answer), pools, split)
        prompt, answer = filled(chosen.prompt, words), filled(chosen.answer, words)
        taken = frozenset(words.values())
        if around is not None:
            prompt = around.lines.put(rng, split, prompt, room, around.slots, taken)
        return TextPair(
            side_of(prompt, 1),
            side_of(prompt, 2),
            side_of(answer, 1),
            side_of(answer, 2),
            chosen.prompt,
            words=taken,
            place=chosen.place,
        )

    return generate


def _template(
    row: Row, shared: Located | None, turn: Split, pools: Mapping[str, Pool], problems: Problems
) -> Template | None:
    """One row, or None and what is wrong with it."""
    place, data = row.place, row.data
    prompt = answer = None
    if "prompt" in data:
        prompt = prompt_of(Located(data["prompt"], place), "prompt", problems)
    else:
        problems.add(place, "missing 'prompt'; a template has a prompt and an answer")
    if "answer" in data:
        answer = text_of(Located(data["answer"], place), "answer", problems)
    elif shared is not None:
        answer = text_of(shared, "answer", problems)
    else:
        problems.add(place, "missing 'answer', in the row or for all rows at the file's left margin")
    split = data.get("split", turn)
    if not split_of(split, place, problems) or prompt is None or answer is None:
        return None
    marked = [
        _check_marks(text, key, place, problems) for text, key in ((prompt, "prompt"), (answer, "answer"))
    ]
    with_words = check_slots(prompt + answer, pools, (split,), place, problems)
    return Template(prompt, answer, split, place) if all(marked) and with_words else None


def _check_marks(text: str, key: str, place: Place, problems: Problems) -> bool:
    """Whether the two sides of a text differ."""
    if not MARK.search(text):
        problems.add(place, f"{key} {text!r} marks no difference, as in <<left|right>>")
        return False
    if side_of(text, 1) == side_of(text, 2):
        both = side_of(text, 1)
        problems.add(place, f"equal {key}s: both sides of {text!r} are {both!r}")
        return False
    if key == "answer" and not (side_of(text, 1) and side_of(text, 2)):
        problems.add(place, f"the {'right' if side_of(text, 1) else 'left'} answer of {text!r} is empty")
        return False
    return True


def _check_named(rows: Sequence[Row], problems: Problems) -> None:
    """Every row names its split, or none does."""
    named = [row for row in rows if "split" in row.data]
    for row in rows:
        if named and "split" not in row.data:
            problems.add(
                row.place, f"no split, but {named[0].place} has one; give every row a split, or none"
            )


def _check_together(
    rows: Sequence[Row], shared: Located | None, templates: Sequence[Template], problems: Problems
) -> None:
    """No template twice, two answers at least, and templates for every split."""
    first: dict[str, Template] = {}
    for template in templates:
        other = first.setdefault(template.prompt, template)
        if other is template:
            continue
        if other.split != template.split:
            splits = f"in {template.split} here and in {other.split} in {other.place}"
            problems.add(template.place, f"leakage: the same template is {splits}; splits share none")
        else:
            problems.add(template.place, f"the same template as {other.place}")
    written = [row.data.get("answer", shared and shared.value) for row in rows]
    labels = {side_of(text, side) for text in written if isinstance(text, str) for side in (1, 2)}
    if len(labels) == 1:
        problems.add(
            rows[0].place,
            f"all one label: {labels.pop()!r} is the only right answer of this row and of all others; "
            "a task needs two",
        )
    if len(templates) == len(rows) > 0:
        lacking = [split for split in SPLITS if split not in {template.split for template in templates}]
        if lacking:
            reason = f"too few templates: up to this last row there is none for {' and '.join(lacking)}"
            problems.add(rows[-1].place, f"{reason}; each of three splits needs its own")
