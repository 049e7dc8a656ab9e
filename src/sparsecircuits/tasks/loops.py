"""Loops: what follows the variable, what is looped over, and how far the next line is indented."""

from __future__ import annotations

from sparsecircuits.tasks.surroundings import EVERYTHING
from sparsecircuits.tasks.template import crossed, template_task

FOR_WHILE = template_task(
    "for_while",
    "after the name comes in for a for loop and : for a while loop",
    answer="<< in $d:|:>>\n",
    templates=crossed(
        (
            "<<for|while>> $x",
            "$f($b)\n<<for|while>> $x",
            "$a = $b\n<<for|while>> $x",
            "$a.$f()\n<<for|while>> $x",
            "$b = $f($a)\n<<for|while>> $x",
        )
    ),
)

ENUMERATE_RANGE = template_task(
    "enumerate_range",
    "two loop variables go over enumerate, one over range",
    answer="<< enumerate| range>>($d):\n",
    surroundings=EVERYTHING.without(","),
    templates={
        "train": (
            "<<$f()\nfor $x, $y|$a = $b\nfor $x>> in",
            "<<$f($a)\nfor $x, $y|$a = $f($b)\nfor $x>> in",
            "<<import $a\nfor $x, $y|$a.$b = $c\nfor $x>> in",
            "if $a:\n    $f($b)\n<<$a = $c\nfor $x, $y|$a = $b + $c\nfor $x>> in",
            "def $f():\n    <<$g()\n    for $x, $y|$a = $b\n    for $x>> in",
        ),
        "validation": (
            "<<$f()\nfor $x, $y|$a = $f()\nfor $x>> in",
            "<<$a = $c\nfor $x, $y|$a = $b - $c\nfor $x>> in",
            "while $a:\n    $f($a)\n<<$g($b)\nfor $x, $y|$b.$a = $c\nfor $x>> in",
            "def $f():\n    <<$g()\n    for $x, $y|$a = $g()\n    for $x>> in",
        ),
        "heldout": (
            "<<$f($a)\nfor $x, $y|$a.$b = $c\nfor $x>> in",
            "<<$a = $b\nfor $x, $y|$a = $b * $c\nfor $x>> in",
            "if $a == $b:\n    $a = $c\n<<import $b\nfor $x, $y|$b = $f($c)\nfor $x>> in",
            "def $f():\n    <<$g($a)\n    for $x, $y|$b = $g($a)\n    for $x>> in",
        ),
    },
)
"""The comma between the variables is what counts, so there is no other: with one further up, small models
expect ``enumerate`` either way. The line in front makes up for the shorter loop."""

WHILE_RETURN_TRUE = template_task(
    "while_return_true",
    "while True ends in a colon, return True does not",
    answer="<<:|>>\n",
    templates={
        "train": (
            "def $f():\n    <<while|return>> True",
            "def $f($a):\n    <<while|return>> True",
            "def $f(self, $a):\n    <<while|return>> True",
            "def $f($a):\n    $a.$g($b)\n    <<while|return>> True",
            "@$a\ndef $f():\n    $g($b)\n    <<while|return>> True",
        ),
        "validation": (
            "def $f($a, $b):\n    <<while|return>> True",
            "def $f($a=None):\n    <<while|return>> True",
            "def $f():\n    $g($a)\n    <<while|return>> True",
            "@$a\ndef $f($b):\n    <<while|return>> True",
        ),
        "heldout": (
            "def $f(self):\n    <<while|return>> True",
            "def $f($a, $b=None):\n    <<while|return>> True",
            "def $f($a):\n    $a = $b\n    <<while|return>> True",
            "@$a\ndef $f($b):\n    $b.$g()\n    <<while|return>> True",
        ),
    },
)

INDENT_FOR = template_task(
    "indent_for",
    "the line after a for line is indented further, the line after a plain line is not",
    answer="<<        |    >>$f($x)\n",
    templates={
        "train": (
            "def $f():\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f($a):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f(self, $a):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f($a, $b):\n    <<for $x in $f($a):|$x = $a.$g($b)>> # $w\n",
            "def $f($a):\n    $g($b)\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
        ),
        "validation": (
            "def $f($b, $a):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f($a):\n    <<for $x in $f($a):|$x = $a.$g($b)>> # $w\n",
            "def $f():\n    $a.$g($b)\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
        ),
        "heldout": (
            "def $f(self):\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
            "def $f():\n    <<for $x in $f($a):|$x = $a.$g($b)>> # $w\n",
            "def $f($b, $a):\n    $b = $c\n    <<for $x in $a:|$x = $g($a)>> # $w\n",
        ),
    },
)
