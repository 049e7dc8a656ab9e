"""Conditions: comparison or assignment, statement or expression, ``else`` or ``elif``."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

IF_EQUALS = template_task(
    "if_equals",
    "a name is compared after if and else assigned: == or =",
    answer="<< ==| =>> $c<<:|>>\n",
    context_counts=(0, 1),
    templates={
        "train": (
            "if $a:\n    $f()\n<<if|   >> $d",
            "for $x in $a:\n    $f($x)\n<<if|   >> $d",
            "if $a == $b:\n    $a = $c\n<<if|   >> $d",
        ),
        "validation": ("while $a:\n    $f($a)\n<<if|   >> $d",),
        "heldout": ("if $a == $b:\n    $f()\n<<if|   >> $d", "for $b in $a:\n    $f($b)\n<<if|   >> $d"),
    },
)

VAR_IF = template_task(
    "var_if",
    "if x == True ends in a colon, x = True does not",
    answer="<<:|>>\n",
    context_counts=(0, 1),
    templates={
        "train": (
            "if $a:\n    $f()\n<<if $d ==|    $d =>> True",
            "for $x in $a:\n    $f($x)\n<<if $d ==|    $d =>> True",
            "if $a == $b:\n    $a = $c\n<<if $d ==|    $d =>> True",
        ),
        "validation": ("while $a:\n    $f($a)\n<<if $d ==|    $d =>> True",),
        "heldout": (
            "if $a == $b:\n    $f()\n<<if $d ==|    $d =>> True",
            "for $b in $a:\n    $f($b)\n<<if $d ==|    $d =>> True",
        ),
    },
)

IF_TERNARY = template_task(
    "if_ternary",
    "if x ends in a colon as a statement and goes on with else in an expression",
    answer="<<:| else $d>>\n",
    templates={
        "train": ("<<$f($a)\nif|$a = $b if>> $c", "<<$a.$f()\nif|$a = $b if>> $c"),
        "validation": ("<<import $a\nif|$a = $b if>> $c",),
        "heldout": ("<<$f($b)\nif|$a = $b if>> $c", "<<$a.$f($b)\nif|$a.$d = $b if>> $c"),
    },
)

ELSE_ELIF = template_task(
    "else_elif",
    "else is followed by a colon, elif is not",
    form="one_against_all",
    answer="<<:| $c == $d:>>\n",
    same_last=False,
    context_counts=(0, 1),
    templates={
        "train": ("if $a == $b:\n    $f($a)\n<<else|elif>>", "if $a:\n    $f($b)\n<<else|elif>>"),
        "validation": ("if $a == $b:\n    $f()\n<<else|elif>>",),
        "heldout": ("if $a == $b:\n    $a = $c\n<<else|elif>>", "if $a == True:\n    $f($a)\n<<else|elif>>"),
    },
)
