"""The drawing of one prompt: which node acts at which token, and what it passes on (Gao et al. 2025, Fig 4).

Tokens stand from left to right, the residual stream runs upward, and only what leads to the answer is shown.

1. ``spots``        what is drawn: something at a token, and hops between them
2. ``trace``        circuit and prompt -> every value, and what went into it
3. ``active_path``  back from the answer's logit: the hops that matter (:class:`ActivePath`)
4. ``place``        path -> where everything stands; ``pills`` and ``tracks`` are its parts
5. ``draw``         that -> SVG, PDF or PNG (imports matplotlib, so import it by name)
"""

from sparsecircuits.viz.drawing.active_path import ActivePath, Look, active_path
from sparsecircuits.viz.drawing.spots import Hop, Spot
from sparsecircuits.viz.drawing.trace import Trace

__all__ = ["ActivePath", "Hop", "Look", "Spot", "Trace", "active_path"]
