"""Tasks as data: a template is one prompt with its differing places marked, ``<<left|right>>``.

``"$f(<<'|\\">>$w"`` with the answer ``"<<'|\\">>)\\n"`` is the pair ``show('name`` → ``')`` and
``show("name`` → ``")``. Slots such as ``$f`` are filled with words of the split's own pool
(:mod:`sparsecircuits.data.idioms.names`), the same on both sides, no word twice. In front of it stand some
*context* statements, equal on both sides, with other words, so that prompts are long enough to be unlike
anything in the corpus and a circuit must cope with what came before.

The three splits vary what surrounds the marks in the same ways (a call, a method, an attribute, a block or a
function around it, one argument or more), each in templates of its own. A circuit is chosen on ``train``:
nodes that only a surrounding of the other splits needs would be dropped there, so each kind occurs in all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from sparsecircuits.data.idioms.names import SLOT, SLOTS, SPLITS, Pool, Split
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.pairs import Form, Task, TextPair

Templates = Mapping[Split, Sequence[str]]

_MARK = re.compile(r"<<(.*?)\|(.*?)>>", re.DOTALL)

PLAIN_CONTEXTS: Templates = {
    "train": ("$a = $b + $c\n", "$f($a, $b)\n", "$a.$b = $c\n", "$a.$f()\n", "$a = $f($b)\n"),
    "validation": ("$a = $b - $c\n", "$f($a)\n", "$a.$b = $f($c)\n", "$a.$f($b, $c)\n", "$a = $f()\n"),
    "heldout": ("$a = $b * $c\n", "$f()\n", "$a = $b.$c\n", "$a = $b.$f($c)\n", "$a = $f($b, $c)\n"),
}
"""Statements that have nothing to do with any task: in each split an operator, a call, an attribute, a
method, and a call whose value is kept."""

BLOCKS: Templates = {
    "train": (
        "if $a:\n    $f()\n",
        "if $a == $b:\n    $a = $c\n",
        "if $a == $b:\n    $a.$f($c)\n",
        "for $x in $a:\n    $f($x)\n",
        "for $x in $a:\n    $a = $f($b, $x)\n",
        "while $a:\n    $a.$b = $c\n",
        "def $f($a):\n    $a.$g($b)\n",
    ),
    "validation": (
        "if $a:\n    $a.$f($b)\n",
        "if $a == $b:\n    $a = $f($c)\n",
        "for $x in $a:\n    $a.$b = $x\n",
        "while $a:\n    $f($a)\n",
        "def $f():\n    $a = $b\n",
    ),
    "heldout": (
        "if $a:\n    $a.$b = $c\n",
        "if $a == $b:\n    $f($a, $b)\n",
        "for $x in $a:\n    $b = $f($x)\n",
        "while $a:\n    $a.$f()\n",
        "def $f($a, $b):\n    $a = $c\n",
    ),
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
    contexts: Templates = PLAIN_CONTEXTS,
    context_counts: Sequence[int] = (1, 2),
    slots: Mapping[str, Pool] = SLOTS,
    same_last: bool = True,
) -> Task:
    """A task from templates.

    Args:
        name, about, form, same_last: as in :class:`Task`.
        answer: what follows each prompt, with its own marks and slots.
        templates: for every split the prompts; at least one holds a mark.
        contexts: for every split the statements that may stand in front.
        context_counts: how many of them, each equally likely.
        slots: which pool fills which slot.

    Raises:
        TaskError: a split without templates, a template without a mark, an unknown slot, or a pool too small.

    >>> task = template_task(
    ...     "quotes", "how was the string opened?", answer="<<'|\\">>)\\n", context_counts=(0,),
    ...     templates=dict.fromkeys(("train", "validation", "heldout"), ("print(<<'|\\">>hello",)),
    ... )
    >>> task.texts("train", 1)[0].right_answer
    '")\\n'
    """
    for split in SPLITS:
        if not templates.get(split):
            raise TaskError(f"task {name}: no templates for the split {split!r}")
        for template in templates[split]:
            if not _MARK.search(template):
                raise TaskError(
                    f"task {name}: template {template!r} marks no difference, as in <<left|right>>"
                )
            _check_slots(name, template + answer, slots, split)
        if any(context_counts):
            if not contexts.get(split):
                raise TaskError(f"task {name}: no contexts for the split {split!r}")
            for context in contexts[split]:
                _check_slots(name, context, slots, split)

    def generate(rng: random.Random, split: Split) -> TextPair:
        template = rng.choice(templates[split])
        taken: set[str] = set()
        values = _draw(rng, template + answer, slots, split, taken)
        context = ""
        for _ in range(rng.choice(context_counts)):
            line = rng.choice(contexts[split])
            context += fill(line, _draw(rng, line, slots, split, set(taken)))
        prompt, follows = context + fill(template, values), fill(answer, values)
        return TextPair(_side(prompt, 1), _side(prompt, 2), _side(follows, 1), _side(follows, 2), template)

    return Task(name, about, form, generate, same_last)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put the words into the slots."""
    return SLOT.sub(lambda match: values[match[1]], template)


def _side(marked: str, side: int) -> str:
    return _MARK.sub(lambda match: match[side], marked)


def _draw(
    rng: random.Random, template: str, slots: Mapping[str, Pool], split: Split, taken: set[str]
) -> dict[str, str]:
    """A word for every slot, none that is taken as long as the pool has others; marks all as taken."""
    values: dict[str, str] = {}
    for slot in dict.fromkeys(SLOT.findall(template)):
        pool = slots[slot][split]
        word = rng.choice(
            [word for word in pool if word not in taken] or [w for w in pool if w not in values.values()]
        )
        taken.add(word)
        values[slot] = word
    return values


def _check_slots(name: str, template: str, slots: Mapping[str, Pool], split: Split) -> None:
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
