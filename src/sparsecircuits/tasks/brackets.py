"""Brackets: how many lists are open, and whether a list or a dict is."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

BRACKET_COUNTING = template_task(
    "bracket_counting",
    "one or two lists are open: ] or ]] ends the line",
    answer="<<]|]]>>\n",
    context_counts=(1,),
    templates={
        "train": (
            "$a = <<[|[[>>$b, $c",
            "$a.$b = <<[|[[>>$c, $d, $w",
            "$a += <<[|[[>>$b, $c",
            "$a = $b + <<[|[[>>$c, $d",
            "if $a:\n    $b = <<[|[[>>$c, $d, $w",
            "def $f():\n    return <<[|[[>>$a, $b",
        ),
        "validation": (
            "$a = <<[|[[>>$b, $c, $d",
            "$a.$b += <<[|[[>>$c, $d",
            "for $x in $a:\n    $b = $c + <<[|[[>>$d, $w",
            "def $f($a):\n    return <<[|[[>>$a, $b",
        ),
        "heldout": (
            "$a.$b = <<[|[[>>$c, $d",
            "$a += <<[|[[>>$b, $c, $d",
            "while $a:\n    $b = <<[|[[>>$c, $d",
            "def $f($a, $b):\n    $c = $a + <<[|[[>>$b, $d",
        ),
    },
)

BRACKET_BRACE = template_task(
    "bracket_brace",
    "after the first entry comes : in a dict and , in a list",
    answer="<<: $d}|, $d]>>\n",
    templates={
        "train": (
            "$a = <<{|[>>$b",
            "$a.$b = <<{|[>>$c",
            "$a = $b or <<{|[>>$c",
            "if $a:\n    $b = <<{|[>>$c",
            "def $f($a):\n    return <<{|[>>$b",
        ),
        "validation": (
            "$a = $b.$c or <<{|[>>$w",
            "for $x in $a:\n    $a.$b = <<{|[>>$c",
            "def $f():\n    return <<{|[>>$b",
        ),
        "heldout": (
            "$a.$b = $c or <<{|[>>$w",
            "while $a:\n    $b = <<{|[>>$c",
            "def $f($a, $b):\n    return <<{|[>>$c",
        ),
    },
)
