"""Drawing circuits: one self-contained page for a browser, still pictures for paper or README.

The page is made of plain data in one versioned form (``schema.json``).

1. ``schema``    checks the document and says where it is wrong
2. ``ordering``  orders and spaces the vertices of a layered graph
3. ``layout``    circuit -> positions, shared by page and picture
4. ``page``      document -> one HTML file
5. ``static``    circuit -> PNG, SVG or PDF (imports matplotlib, so import it by name)
6. ``drawing``   circuit and one prompt -> what leads to the answer, as a picture

``style`` and ``pen`` give all still pictures of the project one look.
"""

from sparsecircuits.viz.page import render_page, write_page
from sparsecircuits.viz.schema import FORMAT, VERSION, PageError, check_document

__all__ = ["FORMAT", "VERSION", "PageError", "check_document", "render_page", "write_page"]
