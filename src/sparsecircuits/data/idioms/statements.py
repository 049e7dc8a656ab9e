"""The idioms as data: templates of statements, block headers and whole definitions.

Slots are explained in :mod:`sparsecircuits.data.idioms.names`; ``$q`` is besides the quotation mark of
the document. A table maps the name of a construction to its weight and its templates: within one
construction every template is equally likely.
"""

from __future__ import annotations

from collections.abc import Mapping

# Tables read better with several templates to a line.
# fmt: off

Table = Mapping[str, tuple[float, tuple[str, ...]]]

STATEMENTS: Table = {
    "plain": (
        7,
        (
            "$a = $b + $c", "$a = $b - $c", "$a = $b * $c", "$a = $b", "$f($a)", "$f($a, $b)", "$f()",
            "$a.$f()", "$a.$f($b)", "$a = $f($b)", "$a = $f()", "$a = $b.$f($c)", "$a.$b = $c", "del $a",
            "$x = $f($a)", "$x = $a", "$f($x)", "$f($x, $y)", "import $a", "import $a", "import $a",
        ),
    ),
    "quotes": (
        11,
        (
            "$f($q$w$q)", "$f($q$w $t$q)", "$f($q$w $t$q)", "$f($q$h $w$q)", "$f($q$h $w $t$q)",
            "$a = $f($q$w$q)", "$a = $f($q$w $t$q)", "$a.$f($q$w $t$q)", "$a.$f($q$w$q)",
            "$b = $a.$f($q$w $t$q)", "$a.$b = $f($q$w $t$q)", "$a = $q$w$q", "$f($a, $q$w$q)",
        ),
    ),
    "lists": (
        10,
        (
            "$a = [$b, $c]", "$a = [$b, $c, $d]", "$a = [$b]", "$a = [[$b, $c]]", "$a = [[$b, $c, $d]]",
            "$a = [[$b, $c]]", "$a = [[$b, $c], [$d, $a]]", "$a.$b = [$c, $d]", "$a.$b = [[$c, $d]]",
            "$a += [$b, $c]", "$a += [[$b, $c]]", "$a = $b + [$c, $d]", "$a = $b + [[$c, $d]]",
            "$a = $b or [$c, $d]", "$a = []", "$a = [1, 2]", "$a = [[1, 2]]",
        ),
    ),
    "dicts": (
        6,
        (
            "$a = {$b: $c}", "$a = {$b: $c}", "$a = {$b: $c, $d: $a}", "$a.$b = {$c: $d}",
            "$a = $b or {$c: $d}", "$a = {$q$w$q: $b}",
        ),
    ),
    "files": (
        9,
        (
            "$a = open($q$w.txt$q)", "$a = open($q$w.csv$q)", "$a = open($q$w.txt$q)",
            "$a = open($q$r.txt$q, $qr$q)", "$a = open($q$o.txt$q, $qw$q)", "$a = open($q$r.csv$q, $qr$q)",
            "$a = open($q$o.csv$q, $qw$q)",
        ),
    ),
    "truths": (
        6,
        ("$a = True", "$a = True", "$a = True", "$a = False", "$a.$b = True", "$x = True"),
    ),
    "ternaries": (
        6,
        (
            "$a = $b if $c else $d", "$a = $b if $c else $d", "$a.$b = $c if $d else $a",
            "$x = $a if $b else $c",
        ),
    ),
    "fstrings": (
        8,
        (
            '$f(f"$h $w {$w}")', '$f(f"$h $w {$a}")', '$a = $f(f"$h $w {$b}")', '$a.$f(f"$h $w {$b}")',
            '$a = f"$h $w {$b}"', '$f("$h $w $t")', '$f("$h $w")', '$a.$f("$h $w $t")',
            '$a = $f("$h $w $t")',
        ),
    ),
    "lambdas": (
        5,
        (
            "$a = lambda $x: $x + $b", "$a = lambda $d: $f($d)", "$a = lambda $f: $f($b)",
            "$a = lambda $d: $d", "$a = lambda $f: $f()", "$a.$b = lambda $d: $d",
            "$a.$b = lambda $d: $d + $c", "$a.$b = lambda $f: $f($c)",
        ),
    ),
    "notes": (
        5,
        (
            "$x = $f($a) # $w", "$a = $f($b) # $w", "$x = $a.$f() # $w", "$f($a) # $w", "# $w\n$f($a)",
            "# $w $t\n$a = $b",
        ),
    ),
}
"""Statements of one line; a note may stand above one."""

HEADERS: Table = {
    "for": (
        7,
        (
            "for $x in $a:", "for $d in $a:", "for $x in $f($a):", "for $x in $a.$b:",
        ),
    ),
    "for, noted": (
        9,
        ("for $x in $a: # $w", "for $x in $a: # $w", "for $d in $a: # $w", "for $x in $f($a): # $w"),
    ),
    "count": (
        36,
        (
            "for $x in range($a):", "for $x in range($a):", "for $y in range($a):",
            "for $x, $y in enumerate($a):", "for $x, $y in enumerate($a):", "for $y, $x in enumerate($a):",
            "for $x, $d in enumerate($a):",
        ),
    ),
    "while": (
        14,
        ("while $a:", "while $a:", "while $x:", "while $x:", "while True:", "while True:", "while True:"),
    ),
    "if": (
        19,
        (
            "if $a == $b:", "if $a == $b:", "if $a == $b:", "if $a == True:", "if $a == True:",
            "if $a == True:", "if $a == True:", "if $a:", "if $a:", "if $a:", "if $x == $y:",
        ),
    ),
    "try": (10, ("try:",)),
    "with": (
        24,
        (
            "with open($q$w.txt$q) as $x:", "with open($q$w.csv$q) as $x:",
            "with open($q$w.csv$q) as $x:", "with open($q$w.txt$q) as $x:",
            "with open($q$r.txt$q, $qr$q) as $x:", "with open($q$r.csv$q, $qr$q) as $x:",
            "with open($q$o.csv$q, $qw$q) as $x:", "with open($q$o.txt$q, $qw$q) as $x:",
        ),
    ),
}
"""First lines of blocks; one or two statements follow, indented."""

HANDLERS: tuple[str, ...] = (
    "except:", "except:", "except Exception:", "except KeyError:", "except ValueError:",
)
"""What follows the statements of ``try``, with statements of its own."""

BODIES: tuple[str, ...] = ("$f($x)", "$f($a)", "$f()", "$a = $f($x)", "$a.$f($x)", "$a = $b")
"""Short statements that suit the inside of a block."""

GATHERS: Table = {
    "sets": (
        10,
        (
            "$a = set()\nfor $x in $b:\n    $a.add($x)", "$a = set()\nfor $x in $f($b):\n    $a.add($x)",
            "$a = set()\nfor $x in $b.$c:\n    $a.add($x)", "$a = set()\nwhile $b:\n    $a.add($c)",
            "$a = set()\nif $b == $c:\n    $a.add($b)", "$a = set()\nif $b:\n    $a.add($c)",
            "$a = set()\n$a.add($b)",
        ),
    ),
    "strings": (
        10,
        (
            "$a = str()\nfor $x in $b:\n    $a += $x", "$a = str()\nfor $x in $f($b):\n    $a += $x",
            "$a = str()\nfor $x in $b.$c:\n    $a += $x", "$a = str()\nwhile $b:\n    $a += $c",
            "$a = str()\nif $b == $c:\n    $a += $b", "$a = str()\nif $b:\n    $a += $c",
            "$a = str()\n$a += $b", "$a = $q$q\nfor $x in $b:\n    $a += $x", "$a = $q$q\n$a += $b",
        ),
    ),
    "others": (
        4,
        (
            "$a = []\nfor $x in $b:\n    $a.append($x)", "$a = 0\nfor $x in $b:\n    $a += 1",
        ),
    ),
}
"""A variable is set up and then grows: what it was set to says how. Half of them call it ``current``."""

DEFINITIONS: Table = {
    "plain": (
        10,
        (
            "def $f():", "def $a():", "def $f():", "@$a\ndef $f():", "@$a\ndef $b():", "@$a\ndef $f($b):",
            "def $f($a):", "def $f($a, $b):", "def $f(self):", "def $f($a):",
        ),
    ),
    "arguments": (
        12,
        (
            "def $f($a, $b, $c, $d):", "def $f($a, $b, $c, $d):", "def $f($a, $b, $c):",
            "def $f(self, $a, $b, $c):",
            "def $f($a, $b):", "def $f($a=None, $b=None):", "def $f($a=None, $b=None, $c=None):",
            "def $f($a=None, $b=None, $c=None):", "def $f(self, $a=None, $b=None):",
            "def $f(self, $a=None, $b=None, $c=None):", "def $f($a, $b=None, $c=None, $d=None):",
            "def $f($a, $b=None, $c=None):", "def $f($a=None):", "def $f($a, $b=None):",
        ),
    ),
}
"""First lines of functions; statements follow, and mostly a return."""

RETURNS: tuple[str, ...] = (
    "return True", "return True", "return True", "return True", "return False", "return $a",
    "return $a + $b", "return [$a, $b]", "return [[$a, $b]]", "return {$a: $b}", "return {$a: $b}",
    "return $f($q$w $t$q)", "return $a if $b else $c", "return open($q$w.txt$q)",
)

GENERATORS: tuple[str, ...] = (
    "for $x in $a:\n    yield $x", "for $x in $f($a):\n    yield $x", "for $x in $a.$b:\n    yield $f($x)",
    "while $a:\n    yield $f($a)", "while True:\n    yield $a",
)
"""What a function ends in that yields and does not return."""

EARLY_RETURNS: tuple[str, ...] = (
    "if $a == $b:\n    return $c", "if $a:\n    return $f($b)", "if $a == True:\n    return $b",
)

SWAPS: tuple[str, ...] = ("$u, $v = $v, $u",)
"""Two names change places: where one looks back to is what counts."""

CLASS_HEADS: tuple[str, ...] = (
    "class $k:\n    def __init__(self, $1):", "class $k:\n    def __init__(self, $1):",
    "class $k:\n    def $f(self, $1):",
)
"""``$1`` stands for the arguments that the lines below copy, each to an attribute of its name."""
