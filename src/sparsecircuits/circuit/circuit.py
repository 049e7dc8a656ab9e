"""A circuit as data: kept nodes, the values that deleted ones are frozen to, and a calibration.

``with circuit.installed(model): model(tokens)`` runs the model with every node outside the circuit
frozen, at every token, to its stored value (mean ablation, Gao et al. 2025, §2.2, §A.5). A circuit
never changes; :meth:`Circuit.without` and friends return edited copies.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from sparsecircuits.circuit.edges import Edge, count_edges, edges_between
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import Node, SiteName, SparseGPT, intervene
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.layers import Linear


@dataclass(frozen=True, eq=False)
class Circuit:
    """What pruning returns, and validation and the viewer take.

    Attributes:
        task: name of the task that it does.
        nodes: the kept nodes.
        frozen: site name -> [width] the value that each deleted node there is held at.
        scale: positive factor on the logits, fitted on the training split.
        info: where it comes from and how well it does: model hash, target, losses, settings, seeds.

    Raises:
        ConfigError: a scale that is not a positive number.
        CheckpointError: a node whose site has no frozen values, or fewer nodes.
    """

    task: str
    nodes: frozenset[Node]
    frozen: Mapping[str, Tensor]
    scale: float = 1.0
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"a circuit's scale is a positive number, got {self.scale}")
        for node in self.nodes:
            self._require(node)

    def __len__(self) -> int:
        return len(self.nodes)

    def keep_masks(self) -> dict[str, Tensor]:
        """Site name -> [width] boolean: which nodes are kept."""
        masks = {name: torch.zeros(values.numel(), dtype=torch.bool) for name, values in self.frozen.items()}
        for node in self.nodes:
            masks[str(node.at)][node.index] = True
        return masks

    @contextmanager
    def installed(self, model: SparseGPT) -> Generator[None]:
        """Run ``model`` as this circuit: deleted nodes are held at their frozen values.

        Logits come out unscaled; multiply by ``scale``, or call :meth:`logits`.

        Raises:
            CheckpointError: a site of the model without frozen values, or of another width.
        """
        with freeze(model, self.keep_masks(), self.frozen):
            yield

    @contextmanager
    def removed(self, model: SparseGPT) -> Generator[None]:
        """Run ``model`` *without* this circuit: its nodes are frozen and all others live (Fig 32)."""
        with freeze(model, {name: ~keep for name, keep in self.keep_masks().items()}, self.frozen):
            yield

    @torch.no_grad()
    def logits(self, model: SparseGPT, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Calibrated logits of the circuit, as :meth:`SparseGPT.forward` gives them."""
        with self.installed(model):
            return self.scale * model(tokens, at)

    def edges(self, model: SparseGPT) -> list[Edge]:
        """Every nonzero weight between kept nodes."""
        return edges_between(model, self.nodes)

    def edge_count(self, model: SparseGPT) -> int:
        """How many edges the circuit has."""
        return count_edges(model, self.nodes)

    def without(self, nodes: Iterable[Node]) -> Self:
        """A copy that lacks ``nodes``."""
        return replace(self, nodes=self.nodes - frozenset(nodes))

    def keeping(self, nodes: Iterable[Node]) -> Self:
        """A copy with exactly ``nodes``."""
        return replace(self, nodes=frozenset(nodes))

    def with_frozen(self, node: Node, value: float) -> Self:
        """A copy without ``node``, which is held at ``value`` instead of its mean."""
        self._require(node)
        values = self.frozen[str(node.at)].clone()
        values[node.index] = value
        return replace(self, nodes=self.nodes - {node}, frozen={**self.frozen, str(node.at): values})

    def _require(self, node: Node) -> None:
        if str(node.at) not in self.frozen:
            raise CheckpointError(f"circuit for {self.task}: no frozen values for site {node.at}")
        width = self.frozen[str(node.at)].numel()
        if not 0 <= node.index < width:
            raise CheckpointError(f"circuit for {self.task}: {node} does not exist, its site has {width}")

    def describe(self) -> str:
        """A few lines for people: size by site, calibration, losses."""
        lines = [f"circuit for {self.task}: {len(self)} nodes, scale {self.scale:.3g}"]
        counts: dict[str, int] = {}
        for node in sorted(self.nodes):
            counts[str(node.at)] = counts.get(str(node.at), 0) + 1
        lines += [f"  {name}: {count}" for name, count in counts.items()]
        return "\n".join(lines)


@contextmanager
def freeze(
    model: SparseGPT, keep: Mapping[str, Tensor], frozen: Mapping[str, Tensor], *, sealed: bool = False
) -> Generator[None]:
    """Hold every node that is not kept at its frozen value, at every token.

    Args:
        keep: site name -> [width] boolean, for every site of the model.
        frozen: site name -> [width] values.
        sealed: nothing else changes a frozen node meanwhile. Then matrices that read few live nodes multiply
            those alone: the same up to rounding, and several times as fast for a small circuit.

    Raises:
        CheckpointError: a site without a mask or values, or of another width. A missing mean never
            turns into zero ablation.
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
        for name, linear in _readers(model) if sealed else ():
            if 2 * int(keep[name].sum()) < keep[name].numel():
                stack.enter_context(linear.reading(keep[name], frozen[name]))
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
