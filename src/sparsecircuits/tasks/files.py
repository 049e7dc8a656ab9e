"""Opening files: with a ``with`` or without, for reading or for writing."""

from __future__ import annotations

from sparsecircuits.tasks.template import BLOCKS, behind, template_task

WITH_AS = template_task(
    "with_as",
    'with open(...) goes on with as, f = open(...) ends the line: ") or ")⏎',
    answer='")<< as $x:|>>\n',
    templates=behind(BLOCKS, '<<    with|$d =>> open("$w.txt'),
)

WITH_OPEN = template_task(
    "with_open",
    "the name of a file says whether it is read or written: r or w",
    answer='<<r|w>>") as $x:\n',
    templates={
        "train": (
            'with open("<<$r|$o>>.txt", "',
            '$a = open("<<$r|$o>>.csv", "',
            '$a.$b = open("<<$r|$o>>.txt", "',
            'if $a:\n    with open("<<$r|$o>>.csv", "',
            'def $f($a):\n    $b = open("<<$r|$o>>.txt", "',
        ),
        "validation": (
            'with open("<<$r|$o>>.csv", "',
            'for $x in $a:\n    $a.$b = open("<<$r|$o>>.txt", "',
            'def $f():\n    with open("<<$r|$o>>.txt", "',
        ),
        "heldout": (
            '$a = open("<<$r|$o>>.txt", "',
            'while $a:\n    with open("<<$r|$o>>.csv", "',
            'def $f($a, $b):\n    $a.$c = open("<<$r|$o>>.csv", "',
        ),
    },
)
