"""Loops: what follows the variable, what is looped over, and how far the next line is indented."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

FOR_WHILE = template_task(
    "for_while",
    "after the name comes in for a for loop and : for a while loop",
    answer="<< in $d:|:>>\n",
    templates={
        "train": ("<<for|while>> $x", "def $f($a):\n    <<for|while>> $x"),
        "validation": ("if $a:\n    <<for|while>> $x",),
        "heldout": ("if $a == $b:\n    <<for|while>> $x", "def $f():\n    <<for|while>> $x"),
    },
)

ENUMERATE_RANGE = template_task(
    "enumerate_range",
    "two loop variables go over enumerate, one over range",
    answer="<< enumerate| range>>($d):\n",
    context_counts=(0, 1),
    templates={
        "train": ("$f($a)\n<<for $x, $y|$g()\nfor $x>> in", "$a = $f()\n<<for $x, $y|$g()\nfor $x>> in"),
        "validation": ("$a.$f()\n<<for $x, $y|$g()\nfor $x>> in",),
        "heldout": (
            "$a.$f($b)\n<<for $x, $y|$g()\nfor $x>> in",
            "$a = $b.$f($c)\n<<for $x, $y|$g()\nfor $x>> in",
        ),
    },
)

WHILE_RETURN_TRUE = template_task(
    "while_return_true",
    "while True ends in a colon, return True does not",
    answer="<<:|>>\n",
    context_counts=(1,),
    templates={
        "train": ("def $f():\n    <<while|return>> True", "def $f($a):\n    <<while|return>> True"),
        "validation": ("def $f($a, $b):\n    <<while|return>> True",),
        "heldout": (
            "def $f(self):\n    <<while|return>> True",
            "def $f($a=None):\n    <<while|return>> True",
        ),
    },
)

INDENT_FOR = template_task(
    "indent_for",
    "the line after a for line is indented further, the line after a plain line is not",
    answer="<<        |    >>$f($x)\n",
    context_counts=(0, 1),
    templates={
        "train": (
            "def $f($a):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f():\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
        ),
        "validation": ("def $f($b, $a):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",),
        "heldout": (
            "def $f(self):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f($b, $c, $a):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
        ),
    },
)
