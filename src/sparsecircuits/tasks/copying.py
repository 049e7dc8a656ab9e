"""Copying: the next name is one that stands further up."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

VAR_SWAP = template_task(
    "var_swap",
    "in x, y = y, the other variable follows",
    answer=" <<$u|$v>>\n",
    templates={
        "train": (
            "<<$u, $v = $v|$v, $u = $u>>,",
            "$f($a)\n<<$u, $v = $v|$v, $u = $u>>,",
            "$a.$b = $c\n<<$u, $v = $v|$v, $u = $u>>,",
            "if $a:\n    $f($b)\n<<$u, $v = $v|$v, $u = $u>>,",
            "for $x in $a:\n    $a.$f($x)\n<<$u, $v = $v|$v, $u = $u>>,",
        ),
        "validation": (
            "$a = $b\n<<$u, $v = $v|$v, $u = $u>>,",
            "$a.$f($b)\n<<$u, $v = $v|$v, $u = $u>>,",
            "while $a:\n    $f()\n<<$u, $v = $v|$v, $u = $u>>,",
        ),
        "heldout": (
            "$a.$f()\n<<$u, $v = $v|$v, $u = $u>>,",
            "$a = $f($b, $c)\n<<$u, $v = $v|$v, $u = $u>>,",
            "if $a == $b:\n    $a = $c\n<<$u, $v = $v|$v, $u = $u>>,",
        ),
    },
)

CLASS_INIT = template_task(
    "class_init",
    "in a run of self.x = x the attribute's own name is copied",
    answer=" <<$m|$n>>\n",
    templates={
        "train": (
            "class $k:\n    def __init__(self, $m, $n):\n        self.<<$m|$n>> =",
            "class $k:\n    def $f(self, $m, $n, $l):\n        self.<<$m|$n>> =",
            "class $k:\n    def __init__(self, $m, $l, $n):\n        self.<<$m|$n>> =",
            "class $k:\n    def __init__(self, $l, $m, $n):\n        self.$l = $l\n        self.<<$m|$n>> =",
            "class $k:\n    def $f(self, $m, $l, $n):\n        self.$l = $l\n        self.<<$m|$n>> =",
        ),
        "validation": (
            "class $k:\n    def $f(self, $m, $n):\n        self.<<$m|$n>> =",
            "class $k:\n    def __init__(self, $l, $m, $n):\n        self.<<$m|$n>> =",
            "class $k:\n    def __init__(self, $m, $n, $l):\n        self.$l = $l\n        self.<<$m|$n>> =",
        ),
        "heldout": (
            "class $k:\n    def __init__(self, $m, $n, $l):\n        self.<<$m|$n>> =",
            "class $k:\n    def $f(self, $m, $l, $n):\n        self.<<$m|$n>> =",
            "class $k:\n    def $f(self, $l, $m, $n):\n        self.$l = $l\n        self.<<$m|$n>> =",
        ),
    },
)
