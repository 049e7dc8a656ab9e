"""Strings: which quotation mark is open, and whether the string is formatted."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

SINGLE_DOUBLE_QUOTE = template_task(
    "single_double_quote",
    "a string in a call closes as it was opened: ') or \")",
    answer="<<'|\">>)\n",
    templates={
        "train": (
            "$f(<<'|\">>$w",
            "$a = $f(<<'|\">>$w $t",
            "$a.$f(<<'|\">>$w $t",
            "$a.$b = $f(<<'|\">>$w",
            "if $a:\n    $f(<<'|\">>$w $t",
            "def $f($a):\n    $a.$g(<<'|\">>$w",
        ),
        "validation": (
            "$a = $f(<<'|\">>$w",
            "$a.$b = $f(<<'|\">>$w $t",
            "for $x in $a:\n    $f(<<'|\">>$w $t",
            "def $f():\n    $a.$g(<<'|\">>$w",
        ),
        "heldout": (
            "$a.$f(<<'|\">>$w",
            "$b = $a.$f(<<'|\">>$w $t",
            "while $a:\n    $b = $f(<<'|\">>$w",
            "def $f($a, $b):\n    $g(<<'|\">>$w $t",
        ),
    },
)

FSTRING_BRACE = template_task(
    "fstring_brace",
    'a brace follows in f"... but not in "...',
    form="one_against_all",
    answer='<< {$w}| $c>>")\n',
    templates={
        "train": (
            '$f(<<f|>>"$h $w',
            '$a = $f(<<f|>>"$h $w',
            '$a.$b = $f(<<f|>>"$h $w',
            '$a.$f(<<f|>>"$h $w',
            'if $a:\n    $f(<<f|>>"$h $w',
            'def $f($a):\n    $b = $a.$g(<<f|>>"$h $w',
        ),
        "validation": (
            '$b = $a.$f(<<f|>>"$h $w',
            'for $x in $a:\n    $f(<<f|>>"$h $w',
            'def $f():\n    $a = $g(<<f|>>"$h $w',
        ),
        "heldout": (
            '$a.$b = $c.$f(<<f|>>"$h $w',
            'while $a:\n    $a.$f(<<f|>>"$h $w',
            'def $f($a, $b):\n    $g(<<f|>>"$h $w',
        ),
    },
)
