"""Shifted variants: the same question in surroundings where the paper predicts that a circuit fails.

A variant is a task of its own, called ``TASK:VARIANT``, with the candidates of its task; it is measured with
the scale that fits its task's ordinary training prompts. Where circuit and model fail on the same prompts,
the circuit explains the failure (Gao et al. 2025, §3.2, Figs 5 and 8).

| variant | shift |
|---|---|
| ``bracket_counting:distractor`` | a bracket is opened in a comment, and never closed (Fig 5) |
| ``bracket_counting:long`` | a list of many entries (Fig 8: attention is diluted) |
| ``single_double_quote:distractor`` | a string with the other mark was opened and closed before |
| ``single_double_quote:unmatched`` | the other mark stands in a comment, alone |
| ``set_or_string:distractor`` | another variable was set to the other kind |

Those of the tasks in plain English are in :mod:`sparsecircuits.tasks.story_variants`.
"""

from __future__ import annotations

import random

from sparsecircuits.data.idioms.names import LETTERS, NOUNS, Split
from sparsecircuits.tasks.brackets import BRACKET_COUNTING
from sparsecircuits.tasks.pairs import MIN_TOKENS, Task, TextPair
from sparsecircuits.tasks.story_variants import STORY_VARIANTS
from sparsecircuits.tasks.strings import SINGLE_DOUBLE_QUOTE
from sparsecircuits.tasks.template import crossed, template_task
from sparsecircuits.tasks.variables import SET_OR_STRING

BRACKETS_DISTRACTOR = template_task(
    f"{BRACKET_COUNTING.name}:distractor",
    "one or two lists are open, and another bracket in a comment",
    answer="<<]|]]>>\n",
    templates=crossed(
        (
            "# $t [$w\n$a = <<[|[[>>$b, $c",
            "# [$t\n$a.$b = <<[|[[>>$c, $d, $w",
            "# $w [$t\n$a += <<[|[[>>$b, $c",
            "# [$w\n$a = $b + <<[|[[>>$c, $d",
        )
    ),
)


def _long_list(rng: random.Random, split: Split, room: int) -> TextPair:
    """``x = [a, b, ...``, one line in front of it, with as many entries as there is room for."""
    names = NOUNS[split]
    target, first, second = rng.sample(names, 3)
    letter = rng.choice(LETTERS[split])
    front = rng.choice((f"{letter} = {first}\n", f"{first} = {letter}\n", f"{first} = {second}\n"))
    entries = [rng.choice(names)]
    while len(front) + len(target) + 4 + len(", ".join(entries)) < room or len(entries) < 7:
        entries.append(rng.choice(names))
    written = ", ".join(entries)
    return TextPair(
        f"{front}{target} = [{written}",
        f"{front}{target} = [[{written}",
        "]\n",
        "]]\n",
        f"{split}: $a = <<[|[[>>$b, $c, ...",
    )


BRACKETS_LONG = Task(
    f"{BRACKET_COUNTING.name}:long",
    "one or two lists are open, of many entries",
    "contrast",
    _long_list,
    min_tokens=MIN_TOKENS,
    suite="python",
)

QUOTES_DISTRACTOR = template_task(
    f"{SINGLE_DOUBLE_QUOTE.name}:distractor",
    "a string closes as it was opened, after one with the other mark",
    answer="<<'|\">>)\n",
    templates=crossed(
        (
            "$a = <<\"|'>>$t<<\"|'>>\n$f(<<'|\">>$w",
            "$f(<<\"|'>>$t<<\"|'>>)\n$a = $f(<<'|\">>$w",
            "$a.$g(<<\"|'>>$t<<\"|'>>)\n$a.$f(<<'|\">>$w $c",
            "$b = <<\"|'>>$t<<\"|'>>\n$a.$b = $f(<<'|\">>$w",
        )
    ),
)

QUOTES_UNMATCHED = template_task(
    f"{SINGLE_DOUBLE_QUOTE.name}:unmatched",
    "a string closes as it was opened, after the other mark in a comment",
    answer="<<'|\">>)\n",
    templates=crossed(
        (
            "# <<\"|'>>$t\n$f(<<'|\">>$w",
            "# $b <<\"|'>>$t\n$a = $f(<<'|\">>$w",
            "# <<\"|'>>$t\n$a.$f(<<'|\">>$w $c",
            "# $b <<\"|'>>$t\n$a.$b = $f(<<'|\">>$w",
        )
    ),
)

SETS_DISTRACTOR = template_task(
    f"{SET_OR_STRING.name}:distractor",
    "a variable was set to a set or a string, and another to the other kind",
    answer="<<.add(| += >>$d<<)|>>\n",
    templates={
        "train": (
            '<<$w = ""\n$c = set()|$w = set()\n$c = "">>\nfor $x in $b:\n    $c',
            '<<$w = ""\n$c = set()|$w = set()\n$c = "">>\nif $b:\n    $c',
            '<<$c = set()\n$w = ""|$c = ""\n$w = set()>>\nfor $x in $b.$d:\n    $c',
        ),
        "validation": (
            '<<$w = ""\n$c = set()|$w = set()\n$c = "">>\nfor $x in $f($b):\n    $c',
            '<<$c = set()\n$w = ""|$c = ""\n$w = set()>>\nfor $x in $b:\n    $c',
        ),
        "heldout": (
            '<<$w = ""\n$c = set()|$w = set()\n$c = "">>\nfor $x in $b.$d:\n    $c',
            '<<$c = set()\n$w = ""|$c = ""\n$w = set()>>\nfor $x in $f($b):\n    $c',
        ),
    },
)

VARIANTS: dict[str, Task] = {
    task.name: task
    for task in (
        BRACKETS_DISTRACTOR,
        BRACKETS_LONG,
        QUOTES_DISTRACTOR,
        QUOTES_UNMATCHED,
        SETS_DISTRACTOR,
        *STORY_VARIANTS.values(),
    )
}
"""Every variant of every suite by its full name."""


def variants_of(task: Task) -> list[Task]:
    """The shifted variants of a task, none for most."""
    return [variant for variant in VARIANTS.values() if variant.base == task.name]
