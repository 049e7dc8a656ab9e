"""Holding nodes of a running model at fixed values: what a circuit does to the nodes that it lacks."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from sparsecircuits.circuit.edges import Ends
from sparsecircuits.circuit.wiring import Wires
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import SiteName, SparseGPT, intervene
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.layers import Linear


@contextmanager
def freeze(
    model: SparseGPT,
    keep: Mapping[str, Tensor],
    frozen: Mapping[str, Tensor],
    *,
    cut: Collection[Ends] = (),
    sealed: bool = False,
) -> Generator[None]:
    """Hold every node that is not kept at its frozen value, at every token.

    Args:
        keep: site name -> [width] boolean, for every site of the model; or how far each node is live
            (:meth:`Circuit.factors`): its value is ``frozen + keep * (x - frozen)``, differentiable in it.
        frozen: site name -> [width] values.
        cut: (source, target) of edges that carry their source's frozen value.
        sealed: nothing else changes a frozen node meanwhile. Then matrices that read few live nodes multiply
            those alone: the same up to rounding, and several times as fast for a small circuit. Not
            differentiable in edges.

    Raises:
        CheckpointError: a site without a mask or values, or of another width; a cut between nodes that the
            model does not have or sites that no weight joins. A missing mean never turns into zero ablation.
    """
    changes = {}
    for site in model.config.site_names():
        name, width = str(site), model.config.width(site.site)
        for what, table in (("mask", keep), ("frozen values", frozen)):
            require_vector(table, name, width, what)
        changes[name] = _Freeze(keep[name], frozen[name])
    unknown = set(keep) - set(changes)
    if unknown:
        raise CheckpointError(f"the model has no site {sorted(unknown)[0]}")
    with ExitStack() as stack:
        stack.enter_context(intervene(model, changes))
        if cut:
            wires = Wires.of(model, cut)
            stack.enter_context(wires.carrying(model, torch.zeros(len(cut)), frozen))
        for name, linear in _readers(model) if sealed else ():
            live = keep[name] != 0
            if 2 * int(live.sum()) < live.numel():
                stack.enter_context(linear.reading(live, frozen[name]))
        yield


def _readers(model: SparseGPT) -> Generator[tuple[str, Linear]]:
    """Sites whose nodes a dense matrix reads directly, with that matrix."""
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        reads = {
            "attn.act_in": block.attn.c_attn,
            "mlp.act_in": block.mlp.c_fc,
            "mlp.post_act": block.mlp.c_proj,
        }
        for site, linear in reads.items():
            if isinstance(linear, Linear):
                yield str(SiteName(layer, site)), linear


def require_vector(table: Mapping[str, Tensor], name: str, width: int, what: str) -> Tensor:
    """``table[name]``, if it is a vector of ``width`` entries; else :class:`CheckpointError`."""
    if name not in table:
        raise CheckpointError(f"no {what} for site {name}")
    if table[name].shape != (width,):
        raise CheckpointError(f"{what} of site {name}: shape {tuple(table[name].shape)}, expected ({width},)")
    return table[name]


class _Freeze:
    """``x`` where kept, the frozen value elsewhere: [batch, pos, width] to the same."""

    def __init__(self, keep: Tensor, frozen: Tensor) -> None:
        self.keep = keep.to(frozen.dtype)
        self.rest = frozen * (1 - self.keep)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.rest.to(x.device), x, self.keep.to(x.device))
