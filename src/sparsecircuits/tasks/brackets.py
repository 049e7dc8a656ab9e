"""Brackets: how many lists are open, and whether a list or a dict is."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

BRACKET_COUNTING = template_task(
    "bracket_counting",
    "one or two lists are open: ] or ]] ends the line",
    answer="<<]|]]>>\n",
    templates={
        "train": ("$a = <<[|[[>>$b, $c", "$a = <<[|[[>>$b, $c, $d"),
        "validation": ("$a.$b = <<[|[[>>$c, $d",),
        "heldout": ("$a += <<[|[[>>$b, $c", "$a = $b + <<[|[[>>$c, $d"),
    },
)

BRACKET_BRACE = template_task(
    "bracket_brace",
    "after the first entry comes : in a dict and , in a list",
    answer="<<: $d}|, $d]>>\n",
    templates={
        "train": ("$a = <<{|[>>$b", "$a = $b or <<{|[>>$c"),
        "validation": ("$a.$b = <<{|[>>$c",),
        "heldout": ("$a = $b.$c or <<{|[>>$w", "def $f():\n    return <<{|[>>$b"),
    },
)
