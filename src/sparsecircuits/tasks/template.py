"""Tasks as data: a template is one prompt with its differing places marked, ``<<left|right>>``.

``"$f(<<'|\\">>$w"`` with the answer ``"<<'|\\">>)\\n"`` is the pair ``show('name`` → ``')`` and
``show("name`` → ``")``. Slots such as ``$f`` are filled with words of the split's own pool
(:mod:`sparsecircuits.data.idioms.names`), the same on both sides, no word twice. Around it stand lines of
*surroundings* (:mod:`~sparsecircuits.tasks.surroundings`), equal on both sides, with other words: a prompt
is real-looking code of any length up to the model's context, and a circuit must cope with what came before.

The three splits vary what surrounds the marks in the same ways (a call, a method, an attribute, a block or a
function around it, one argument or more), each in templates of its own. A circuit is chosen on ``train``:
nodes that only a surrounding of the other splits needs would be dropped there, so each kind occurs in all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from sparsecircuits.data.idioms.names import SLOT, SLOTS, SPLITS, Pool, Split
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.pairs import MIN_TOKENS, Form, Line, Task, TextPair
from sparsecircuits.tasks.surroundings import (
    EVERYTHING,
    FUNCTIONS,
    IFS,
    LOOPS,
    Surroundings,
    Templates,
    draw_words,
    fill,
)

MARK = re.compile(r"<<(.*?)\|(.*?)>>", re.DOTALL)
"""A place that differs: what the left prompt has there, and the right."""

BLOCKS: Templates = {
    "train": (
        *IFS["train"],
        "if $a == $b:\n    $a.$f($c)\n",
        LOOPS["train"][0],
        "for $x in $a:\n    $a = $f($b, $x)\n",
        LOOPS["train"][1],
        *FUNCTIONS["train"],
    ),
    "validation": (*IFS["validation"], *LOOPS["validation"], *FUNCTIONS["validation"]),
    "heldout": (*IFS["heldout"], *LOOPS["heldout"], *FUNCTIONS["heldout"]),
}
"""Blocks of one statement; what follows may stand in them or behind them."""


#: Lines that a statement may stand under, or none.
OPENERS = (
    "",
    "if $a:\n    ",
    "if $a == $b:\n    ",
    "for $x in $a:\n    ",
    "while $a:\n    ",
    "def $f($a):\n    ",
    "def $f():\n    ",
    "def $f($a, $b):\n    ",
)


def crossed(statements: Sequence[str], openers: Sequence[str] = OPENERS) -> Templates:
    """Every statement under every opener, dealt out so that the splits share no combination.

    Of four neighbours in the table two go to ``train``, one to ``validation`` and one to ``heldout``. A
    circuit chosen on ``train`` has met each opener and each statement, but never the two together as they
    are in another split: it must get by in new surroundings, not with words that it was never tried on.

    Raises:
        TaskError: fewer than four statements, so that an opener would be missing in a split.

    >>> statements = ("a <<1|2>>", "b <<1|2>>", "c <<1|2>>", "d <<1|2>>")
    >>> crossed(statements, openers=("", "if $a:\\n    "))["heldout"]
    ('d <<1|2>>', 'if $a:\\n    c <<1|2>>')
    """
    if len(statements) < 4:
        raise TaskError(f"{len(statements)} statements to cross with openers; at least four are needed")
    dealt: dict[Split, list[str]] = {split: [] for split in SPLITS}
    turns: tuple[Split, ...] = ("train", "train", "validation", "heldout")
    for row, opener in enumerate(openers):
        indented = "\n    " if opener else "\n"
        for column, statement in enumerate(statements):
            dealt[turns[(row + column) % 4]].append(opener + statement.replace("\n", indented))
    return {split: tuple(texts) for split, texts in dealt.items()}


def behind(surroundings: Templates, prompt: str) -> Templates:
    """The prompt behind each of the surroundings, split by split.

    >>> behind({"train": ("if $a:\\n",)}, "    <<for|while>> $x")
    {'train': ('if $a:\\n    <<for|while>> $x',)}
    """
    return {split: tuple(text + prompt for text in texts) for split, texts in surroundings.items()}


def template_task(
    name: str,
    about: str,
    *,
    answer: str,
    templates: Templates,
    form: Form = "contrast",
    surroundings: Surroundings | None = EVERYTHING,
    slots: Mapping[str, Pool] = SLOTS,
    same_last: bool = True,
    min_tokens: int = MIN_TOKENS,
    suite: str = "python",
) -> Task:
    """A task from templates.

    Args:
        name, about, form, same_last, min_tokens, suite: as in :class:`Task`.
        answer: what follows each prompt, with its own marks and slots.
        templates: for every split the prompts; at least one place of each is marked.
        surroundings: the lines that stand in front, or around; None: nothing does.
        slots: which pool fills which slot.

    Raises:
        TaskError: a split without templates, a template without a mark, an unknown slot, or a pool too small.

    >>> task = template_task(
    ...     "quotes", "how was the string opened?", answer="<<'|\\">>)\\n", surroundings=None,
    ...     templates=dict.fromkeys(("train", "validation", "heldout"), ("print(<<'|\\">>hello",)),
    ... )
    >>> task.texts("train", 1)[0].right_answer
    '")\\n'
    """
    for split in SPLITS:
        if not templates.get(split):
            raise TaskError(f"task {name}: no templates for the split {split!r}")
        for template in templates[split]:
            if not MARK.search(template):
                raise TaskError(
                    f"task {name}: template {template!r} marks no difference, as in <<left|right>>"
                )
            check_slots(name, template + answer, slots, split)
        for line in surroundings.lines[split] if surroundings else ():
            check_slots(name, line, slots, split)

    words = {split: {slot: pool[split] for slot, pool in slots.items()} for split in SPLITS}

    def generate(rng: random.Random, split: Split, room: int) -> TextPair:
        template = rng.choice(templates[split])
        values = draw_words(rng, template + answer, words[split])
        prompt, follows = fill(template, values), fill(answer, values)
        if surroundings:
            prompt = surroundings.put(rng, split, prompt, room, slots, frozenset(values.values()))
        left, right = side_of(prompt, 1), side_of(prompt, 2)
        answers = side_of(follows, 1), side_of(follows, 2)
        return TextPair(left, right, *answers, template, words=frozenset(values.values()))

    return Task(name, about, form, generate, same_last, min_tokens, suite, line=_line_of(surroundings, slots))


def _line_of(surroundings: Surroundings | None, slots: Mapping[str, Pool]) -> Line | None:
    """A way to draw one statement of the surroundings."""
    if surroundings is None:
        return None
    statements = {split: surroundings.statements(split) for split in SPLITS}

    def line(rng: random.Random, split: Split, taken: frozenset[str]) -> str:
        text = rng.choice(statements[split])
        free = {
            slot: [w for w in pool[split] if w not in taken] or pool[split] for slot, pool in slots.items()
        }
        return fill(text, draw_words(rng, text, free))

    return line


def side_of(marked: str, side: Literal[1, 2]) -> str:
    """The left text of a marked one, or the right.

    >>> side_of("<<for|while>> x", 2)
    'while x'
    """
    return MARK.sub(lambda match: match[side], marked)


def check_slots(name: str, template: str, slots: Mapping[str, Pool], split: Split) -> None:
    """Refuse a template with a slot that does not exist, or with more slots than there are words."""
    needed: dict[tuple[str, ...], set[str]] = {}
    for slot in SLOT.findall(template):
        if slot not in slots:
            raise TaskError(
                f"task {name}: unknown slot ${slot} in {template!r}; known: {' '.join(sorted(slots))}"
            )
        needed.setdefault(tuple(slots[slot][split]), set()).add(slot)
    for pool, used in needed.items():
        if len(used) > len(pool):
            raise TaskError(
                f"task {name}: {template!r} needs {len(used)} different words of the pool {pool} ({split})"
            )
