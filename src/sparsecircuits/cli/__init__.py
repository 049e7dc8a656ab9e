"""The command line: commands parse their options, call one function and say where the result is.

``main`` is the entry point. Each command is a module of its name with two things in it: ``Options``,
a config whose docstring and field docstrings are the command's help, and ``run(options)``, which
returns the exit code (or ``None`` for 0). Results go to stdout, progress and errors to stderr.
"""

from sparsecircuits.cli.main import main

__all__ = ["main"]
