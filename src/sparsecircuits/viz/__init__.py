"""Drawing circuits: one self-contained page for a browser, still pictures for paper or README.

The page is made of plain data in one versioned form (``schema.json``).

1. ``schema``    checks the document and says where it is wrong
2. ``ordering``  orders and spaces the vertices of a layered graph
3. ``layout``    circuit -> positions, shared by page and picture
4. ``page``      document -> one HTML file
5. ``static``    circuit -> PNG, SVG or PDF (imports matplotlib, so import it by name)
6. ``drawing``   circuit and one prompt -> what leads to the answer, as a picture
7. ``notebook``  the page in a cell: :func:`show`; ``widget``: a drawing there that hands the selection back,
   :class:`CircuitWidget`, which needs the extra ``notebook``

``style`` and ``pen`` give all still pictures of the project one look.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sparsecircuits.viz.page import render_page, write_page
from sparsecircuits.viz.schema import FORMAT, VERSION, PageError, check_document

if TYPE_CHECKING:
    from sparsecircuits.viz.notebook import PageView, show
    from sparsecircuits.viz.widget import CircuitWidget

__all__ = [
    "FORMAT",
    "VERSION",
    "CircuitWidget",
    "PageError",
    "PageView",
    "check_document",
    "render_page",
    "show",
    "write_page",
]

#: Imported when first used: they bring models and measuring with them, or an extra.
_LATER = {"PageView": "notebook", "show": "notebook", "CircuitWidget": "widget"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'sparsecircuits.viz' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sparsecircuits.viz.{_LATER[name]}"), name)
