"""Opening files: with a ``with`` or without, for reading or for writing."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

WITH_AS = template_task(
    "with_as",
    'with open(...) goes on with as, f = open(...) ends the line: ") or ")⏎',
    answer='")<< as $x:|>>\n',
    context_counts=(0, 1),
    templates={
        "train": (
            'if $a:\n    $f()\n<<    with|$d =>> open("$w.txt',
            'for $x in $a:\n    $f($x)\n<<    with|$d =>> open("$w.txt',
            'if $a == $b:\n    $a = $c\n<<    with|$d =>> open("$w.txt',
        ),
        "validation": ('while $a:\n    $f($a)\n<<    with|$d =>> open("$w.csv',),
        "heldout": (
            'if $a == $b:\n    $f()\n<<    with|$d =>> open("$w.txt',
            'for $b in $a:\n    $f($b)\n<<    with|$d =>> open("$w.csv',
        ),
    },
)

WITH_OPEN = template_task(
    "with_open",
    "the name of a file says whether it is read or written: r or w",
    answer='<<r|w>>") as $x:\n',
    templates={
        "train": ('with open("<<$r|$o>>.txt", "', 'with open("<<$r|$o>>.csv", "'),
        "validation": ('$a = open("<<$r|$o>>.txt", "',),
        "heldout": ('$a.$b = open("<<$r|$o>>.txt", "', 'if $a:\n    with open("<<$r|$o>>.txt", "'),
    },
)
