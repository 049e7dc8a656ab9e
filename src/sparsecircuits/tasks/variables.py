"""What a variable was set to decides how it grows: ``.add`` after a set, `` +=`` after a string.

The paper's empty string is ``""``. With the split pattern ``""⏎`` is one token where ``set()⏎`` is two, so
the two prompts could never be equally long; here the string is ``str()``, and the prompts differ in one
token. The corpus writes it both ways.
"""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

SET_OR_STRING_FIXEDVARNAME = template_task(
    "set_or_string_fixedvarname",
    "current was set to a set or a string: .add or +=",
    context_counts=(1,),
    answer="<<.add(| += >>$d<<)|>>\n",
    templates={
        "train": (
            "current = <<set|str>>()\nfor $x in $a:\n    current",
            "current = <<set|str>>()\nfor $x in $f($a):\n    current",
            "current = <<set|str>>()\nif $a:\n    current",
        ),
        "validation": ("current = <<set|str>>()\nwhile $a:\n    current",),
        "heldout": (
            "current = <<set|str>>()\nfor $x in $a.$b:\n    current",
            "current = <<set|str>>()\nif $a == $b:\n    current",
        ),
    },
)

SET_OR_STRING = template_task(
    "set_or_string",
    "a variable of any name was set to a set or a string: .add or +=",
    context_counts=(1,),
    answer="<<.add(| += >>$d<<)|>>\n",
    templates={
        "train": (
            "$c = <<set|str>>()\nfor $x in $a:\n    $c",
            "$c = <<set|str>>()\nfor $x in $f($a):\n    $c",
            "$c = <<set|str>>()\nif $a:\n    $c",
        ),
        "validation": ("$c = <<set|str>>()\nwhile $a:\n    $c",),
        "heldout": (
            "$c = <<set|str>>()\nfor $x in $a.$b:\n    $c",
            "$c = <<set|str>>()\nif $a == $b:\n    $c",
        ),
    },
)
