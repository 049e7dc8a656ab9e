"""Brackets: how many lists are open, and whether a list or a dict is."""

from __future__ import annotations

from sparsecircuits.tasks.template import crossed, template_task

BRACKET_COUNTING = template_task(
    "bracket_counting",
    "one or two lists are open: ] or ]] ends the line",
    answer="<<]|]]>>\n",
    templates=crossed(
        (
            "$a = <<[|[[>>$b, $c",
            "$a.$b = <<[|[[>>$c, $d, $w",
            "$a += <<[|[[>>$b, $c",
            "$a = $b + <<[|[[>>$c, $d",
            "$a = <<[|[[>>$b, $c, $d",
        )
    ),
)

BRACKET_BRACE = template_task(
    "bracket_brace",
    "after the first entry comes : in a dict and , in a list",
    answer="<<: $d}|, $d]>>\n",
    templates=crossed(
        (
            "$a = <<{|[>>$b",
            "$a.$b = <<{|[>>$c",
            "$a = $b or <<{|[>>$c",
            "$a = $b.$c or <<{|[>>$w",
            "$b = <<{|[>>$a",
        )
    ),
)
