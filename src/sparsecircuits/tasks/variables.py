"""What a variable was set to decides how it grows: ``.add`` after ``set()``, `` +=`` after ``""``.

With the split pattern ``""⏎`` is one token where ``set()⏎`` is two. So a statement before it, about other
names, is one token longer on the side of the string. What it is necessarily goes along with the side, but
the same kind of statement is the longer one in one template and the shorter one in another, and both kinds
are among the contexts, equal on both sides: which statements were seen does not tell the side.
"""

from __future__ import annotations

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.tasks.surroundings import Templates
from sparsecircuits.tasks.template import template_task

_SURROUNDED: Templates = {
    "train": (
        '<<$f()|$f($a)>>\n$c = <<set()|"">>\nfor $x in $b:\n    $c',
        '<<$f($a)|$a.$f($b)>>\n$c = <<set()|"">>\nfor $x in $a:\n    $c',
        '<<$a.$f($b)|$a = $b.$d>>\n$c = <<set()|"">>\nfor $x in $f($a):\n    $c',
        '<<$a = $b.$d|$a = $b + $d>>\n$c = <<set()|"">>\nfor $x in $b.$d:\n    $c',
        '<<$a = $b + $d|$a = $b + $d.$w>>\n$c = <<set()|"">>\nif $b:\n    $c',
    ),
    "validation": (
        '<<$f()|import $a>>\n$c = <<set()|"">>\nfor $x in $a:\n    $c',
        '<<import $a|$a.$f($b)>>\n$c = <<set()|"">>\nfor $x in $f($b):\n    $c',
        '<<$a.$f($b)|$a.$b = $d>>\n$c = <<set()|"">>\nfor $x in $a.$b:\n    $c',
    ),
    "heldout": (
        '<<$a.$f()|$a = $f()>>\n$c = <<set()|"">>\nfor $x in $a:\n    $c',
        '<<$a = $f()|$a = $f($b)>>\n$c = <<set()|"">>\nfor $x in $b.$d:\n    $c',
        '<<$a = $f($b)|$f()\n$a = $b>>\n$c = <<set()|"">>\nfor $x in $f($a):\n    $c',
    ),
}

SET_OR_STRING_FIXEDVARNAME = template_task(
    "set_or_string_fixedvarname",
    "current was set to a set or a string: .add or +=",
    answer="<<.add(| += >>$d<<)|>>\n",
    templates={
        split: tuple(template.replace("$c", "current") for template in _SURROUNDED[split]) for split in SPLITS
    },
)

SET_OR_STRING = template_task(
    "set_or_string",
    "a variable of any name was set to a set or a string: .add or +=",
    answer="<<.add(| += >>$d<<)|>>\n",
    templates=_SURROUNDED,
)
