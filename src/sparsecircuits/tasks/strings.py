"""Strings: which quotation mark is open, and whether the string is formatted."""

from __future__ import annotations

from sparsecircuits.tasks.template import crossed, template_task

SINGLE_DOUBLE_QUOTE = template_task(
    "single_double_quote",
    "a string in a call closes as it was opened: ') or \")",
    answer="<<'|\">>)\n",
    templates=crossed(
        (
            "$f(<<'|\">>$w",
            "$a = $f(<<'|\">>$w $t",
            "$a.$f(<<'|\">>$w $t",
            "$a.$b = $f(<<'|\">>$w",
            "$b = $a.$f(<<'|\">>$w",
        )
    ),
)

FSTRING_BRACE = template_task(
    "fstring_brace",
    'a brace follows in f"... but not in "...',
    form="one_against_all",
    answer='<< {$w}| $c>>")\n',
    templates=crossed(
        (
            '$f(<<f|>>"$h $w',
            '$a = $f(<<f|>>"$h $w',
            '$a.$b = $f(<<f|>>"$h $w',
            '$a.$f(<<f|>>"$h $w',
            '$b = $a.$f(<<f|>>"$h $w',
        )
    ),
)
