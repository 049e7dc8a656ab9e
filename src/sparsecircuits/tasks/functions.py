"""Functions: a name after ``lambda`` or ``def``, and arguments with defaults or without."""

from __future__ import annotations

from sparsecircuits.tasks.template import template_task

LAMBDA_FUNC = template_task(
    "lambda_func",
    "after the name comes : in a lambda and () in a def",
    answer="<<: $c|():>>\n",
    templates={
        "train": ("<<$a = lambda|@$a\ndef>> $f", "<<$a = lambda|@$a\ndef>> $d"),
        "validation": ("<<$a = lambda|$g()\ndef>> $f",),
        "heldout": ("<<$a.$b = lambda|import $a\ndef>> $f", "<<$a.$b = lambda|$a.$g()\ndef>> $f"),
    },
)

FINAL_KWARG = template_task(
    "final_kwarg",
    "the last argument has a default if those before it have: =None or ):",
    answer="<<=None|>>):\n",
    templates={
        "train": ("def $f($a<<=None, $b=None|, $b, $c>>, $d",),
        "validation": ("def $f(self, $a<<=None, $b=None|, $b, $c>>, $d",),
        "heldout": ("def $f($w, $a<<=None, $b=None|, $b, $c>>, $d",),
    },
)
