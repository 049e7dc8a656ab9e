"""Conditions: comparison or assignment, statement or expression, ``else`` or ``elif``."""

from __future__ import annotations

from sparsecircuits.tasks.template import BLOCKS, behind, template_task

IF_EQUALS = template_task(
    "if_equals",
    "a name is compared after if and else assigned: == or =",
    answer="<< ==| =>> $c<<:|>>\n",
    templates=behind(BLOCKS, "<<if|   >> $d"),
)

VAR_IF = template_task(
    "var_if",
    "if x == True ends in a colon, x = True does not",
    answer="<<:|>>\n",
    templates=behind(BLOCKS, "<<if $d ==|    $d =>> True"),
)

IF_TERNARY = template_task(
    "if_ternary",
    "if x ends in a colon as a statement and goes on with else in an expression",
    answer="<<:| else $d>>\n",
    templates={
        "train": (
            "<<$f($a)\nif|$a = $b if>> $c",
            "<<$a.$f()\nif|$a = $b if>> $c",
            "<<$a.$f($b)\nif|$a.$d = $b if>> $c",
            "for $x in $a:\n    $f($x)\n<<import $a\nif|$a = $b if>> $c",
            "if $a == $b:\n    $a = $d\n<<$f($b)\nif|$b = $a if>> $c",
        ),
        "validation": (
            "<<import $a\nif|$a = $b if>> $c",
            "while $a:\n    $f()\n<<$f($a)\nif|$a = $b if>> $c",
            "$f($a, $b)\n<<$a.$f($b)\nif|$b.$d = $a if>> $c",
        ),
        "heldout": (
            "<<$f($b)\nif|$a = $b if>> $c",
            "if $a:\n    $f($a)\n<<$b.$f()\nif|$a = $b if>> $c",
            "$a = $f($b)\n<<$b.$f($a)\nif|$a.$d = $b if>> $c",
        ),
    },
)

ELSE_ELIF = template_task(
    "else_elif",
    "else is followed by a colon, elif is not",
    form="one_against_all",
    answer="<<:| $c == $d:>>\n",
    same_last=False,
    templates={
        "train": (
            "if $a == $b:\n    $f($a)\n<<else|elif>>",
            "if $a:\n    $a = $f($b)\n<<else|elif>>",
            "if $a == True:\n    $a.$f()\n<<else|elif>>",
            "if $x == $y:\n    $a.$b = $c\n<<else|elif>>",
            "$f($b)\nif $a:\n    $a = $b\n<<else|elif>>",
        ),
        "validation": (
            "if $a == $b:\n    $a.$f($b)\n<<else|elif>>",
            "if $a:\n    $a.$b = $c\n<<else|elif>>",
            "if $a == True:\n    $b = $f($a)\n<<else|elif>>",
            "$a.$f()\nif $a == $b:\n    $f($c)\n<<else|elif>>",
        ),
        "heldout": (
            "if $a == $b:\n    $a = $c\n<<else|elif>>",
            "if $a:\n    $f($a, $b)\n<<else|elif>>",
            "if $a == True:\n    $a.$f($b)\n<<else|elif>>",
            "$c = $f()\nif $a:\n    $b = $f($a)\n<<else|elif>>",
        ),
    },
)
