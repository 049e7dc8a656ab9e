"""The live viewer: a small server for one's own machine. Needs the extra ``app`` (starlette, uvicorn).

:mod:`guard` stands before every request, :mod:`library` is the table of what may be looked at,
:mod:`workbench` asks models, :mod:`documents` makes pages, :mod:`prunings` runs ``sparsecircuits prune``,
:mod:`app` puts them together and :mod:`serve` answers.
"""
