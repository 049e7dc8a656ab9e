"""Functions: a name after ``lambda`` or ``def``, and arguments with defaults or without."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

LAMBDA_FUNC = template_task(
    "lambda_func",
    "after the name comes : in a lambda and () in a def",
    answer="<<: $c|():>>\n",
    templates={
        "train": (
            "<<$a = lambda|@$a\ndef>> $f",
            "<<$a = lambda|$g()\ndef>> $d",
            "<<$a.$b = lambda|import $a\ndef>> $f",
            "<<$a.$b = lambda|$a.$g()\ndef>> $d",
            "for $x in $a:\n    $g($x)\n<<$b = lambda|@$b\ndef>> $f",
        ),
        "validation": (
            "<<$a = lambda|@$a\ndef>> $d",
            "<<$a.$b = lambda|$a.$g()\ndef>> $f",
            "if $a:\n    $f($b)\n<<$a = lambda|$g()\ndef>> $f",
        ),
        "heldout": (
            "<<$a = lambda|$g()\ndef>> $f",
            "<<$a.$b = lambda|import $a\ndef>> $d",
            "while $a:\n    $a.$g()\n<<$b = lambda|@$b\ndef>> $f",
        ),
    },
)

FINAL_KWARG = template_task(
    "final_kwarg",
    "the last argument has a default if those before it have: =None or ):",
    answer="<<=None|>>):\n",
    templates={
        "train": (
            "def $f($a<<=None, $b=None|, $b, $c>>, $d",
            "def $f(self, $a<<=None, $b=None|, $b, $c>>, $d",
            "def $f($w, $a<<=None, $b=None|, $b, $c>>, $d",
            "$t.$g($w)\ndef $f($a<<=None, $b=None|, $b, $c>>, $d",
            "for $x in $t:\n    $g($x)\ndef $f($a<<=None, $b=None|, $b, $c>>, $d",
            "@$w\ndef $t($a<<=None, $b=None|, $b, $c>>, $d",
            "class $k:\n    def $f(self, $a<<=None, $b=None|, $b, $c>>, $d",
        ),
        "validation": (
            "if $t:\n    $g()\ndef $f($w, $a<<=None, $b=None|, $b, $c>>, $d",
            "$w.$g()\nclass $k:\n    def $f(self, $a<<=None, $b=None|, $b, $c>>, $d",
            "@$w\ndef $f($a<<=None, $b=None|, $b, $c>>, $d",
        ),
        "heldout": (
            "while $w:\n    $w.$g()\ndef $f($a<<=None, $b=None|, $b, $c>>, $d",
            "@$w\ndef $f(self, $a<<=None, $b=None|, $b, $c>>, $d",
            "$t.$g()\ndef $f($w, $a<<=None, $b=None|, $b, $c>>, $d",
        ),
    },
)
