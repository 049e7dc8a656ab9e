"""The run that comes with the package, so that there is a circuit to look at before anything is trained.

It is a run folder like any other, without its corpus, checkpoints and metrics; its README.md says how it was
made. Commands call it ``example``, and none of them writes into it.

>>> from sparsecircuits import load_circuit, load_run
>>> run = load_run(example_folder())
>>> load_circuit(run.circuits / "single_double_quote").edge_count(run.model()) > 0
True
"""

from __future__ import annotations

from pathlib import Path

#: What commands call it.
EXAMPLE = "example"


def example_folder() -> Path:
    """The folder of the bundled run: a sparse model of small Python programs, and some of its circuits."""
    return Path(__file__).parent / "python"


def is_example(folder: str | Path) -> bool:
    """Whether a folder is that of the bundled run, whatever it is called."""
    return Path(folder).resolve() == example_folder().resolve()
