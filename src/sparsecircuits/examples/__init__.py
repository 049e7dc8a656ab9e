"""The runs that come with the package, so that there is something to look at before anything is trained.

Each is a run folder like any other, without its corpus, checkpoints and metrics; its README.md says how it
was made. Commands call them by the names of :data:`EXAMPLES`, and none of them writes into one.

>>> from sparsecircuits import load_circuit, load_run
>>> run = load_run(example_folder())
>>> load_circuit(run.circuits / "single_double_quote").edge_count(run.model()) > 0
True
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: The one that is meant where no other is named: of the preset ``demo``, with some of its circuits.
EXAMPLE = "example"
EXAMPLES: Mapping[str, str] = {EXAMPLE: "demo", "example-small": "small"}
"""What commands call a bundled run -> the preset that it is of; its folder is called so too."""


def example_folder(name: str = EXAMPLE) -> Path:
    """The folder of a bundled run: a sparse model of small Python programs."""
    return Path(__file__).parent / EXAMPLES[name]


def example_name(folder: str | Path) -> str | None:
    """What commands call the bundled run in a folder, however it is spelled; None if there is none."""
    found = Path(folder).resolve()
    return next((name for name in EXAMPLES if example_folder(name).resolve() == found), None)
