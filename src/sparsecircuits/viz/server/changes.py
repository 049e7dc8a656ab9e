"""What a visitor does to a node: freeze it at its mean, hold it at a value, or scale it.

Changes stack: those of one site are made in the order given, on top of what freezes the circuit's other
nodes. Everything goes through :func:`sparsecircuits.model.intervene`, around the project's one forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SparseGPT, intervene

Kind = Literal["ablate", "clamp", "scale"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Changes at once.
MOST_CHANGES = 64
_FIELDS = {"node", "kind", "value", "position"}


@dataclass(frozen=True)
class Change:
    """One node, changed.

    Attributes:
        node: any of the model's, in the circuit or not.
        kind: ``ablate`` holds it at its mean, ``clamp`` at ``value``, ``scale`` multiplies its distance from
            its mean by ``value``.
        value: of ``clamp`` and ``scale``.
        position: the token at which it is changed, from 0; None: all. Behind a prompt's end nothing is.
    """

    node: Node
    kind: Kind
    value: float = 0.0
    position: int | None = None

    def __call__(self, x: Tensor, mean: float) -> Tensor:
        """The site's activation [batch, pos, width] with this node changed."""
        changed = x.clone()
        at = slice(None) if self.position is None else slice(self.position, self.position + 1)
        here = changed[:, at, self.node.index]
        if self.kind == "ablate":
            here.fill_(mean)
        elif self.kind == "clamp":
            here.fill_(self.value)
        else:
            here.sub_(mean).mul_(self.value).add_(mean)
        return changed


@contextmanager
def changed(model: SparseGPT, circuit: Circuit, changes: Sequence[Change]) -> Generator[None]:
    """Run ``model`` with the changes; ``circuit`` says what each node's mean is."""

    def at_site(here: Sequence[Change], means: Tensor) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            for one in here:
                x = one(x, float(means[one.node.index]))
            return x

        return change

    by_site: dict[str, list[Change]] = {}
    for one in changes:
        by_site.setdefault(str(one.node.at), []).append(one)
    with intervene(model, {name: at_site(here, circuit.frozen[name]) for name, here in by_site.items()}):
        yield


def read_changes(value: object, circuit: Circuit, n_ctx: int) -> tuple[Change, ...]:
    """The changes that a request asks for.

    Args:
        value: a list of objects with ``node``, ``kind``, and as needed ``value`` and ``position``.
        circuit: whose sites the nodes are of.
        n_ctx: tokens that the model reads at most.

    Raises:
        ConfigError: anything else; the message names what.
    """
    if not isinstance(value, list) or len(value) > MOST_CHANGES:
        raise ConfigError(f"changes is a list of at most {MOST_CHANGES}")
    return tuple(_read(one, circuit, n_ctx) for one in value)


def _read(one: Any, circuit: Circuit, n_ctx: int) -> Change:
    if not isinstance(one, Mapping) or not {"node", "kind"} <= one.keys() <= _FIELDS:
        raise ConfigError("a change has a node and a kind, and may have a value and a position")
    node = node_of(one["node"], circuit)
    kind, number, position = one["kind"], one.get("value"), one.get("position")
    if kind not in KINDS:
        raise ConfigError(f"{node}: a change's kind is one of {', '.join(KINDS)}")
    if kind == "ablate":
        number = 0.0
    # Larger ones overflow to infinity on the way to the logits.
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= 1e6:
        raise ConfigError(f"{node}: {kind} needs a value, a number of size 1e6 at most")
    if position is not None and (type(position) is not int or not 0 <= position < n_ctx):
        raise ConfigError(f"{node}: a position is one of the model's tokens, 0 to {n_ctx - 1}")
    return Change(node, kind, float(number), position)


def node_of(name: object, circuit: Circuit) -> Node:
    """A node of the circuit's model.

    Raises:
        ConfigError: there is no such node.
    """
    if not isinstance(name, str) or len(name) > 100:
        raise ConfigError("a node is a name such as 0.mlp.post_act.863")
    node = Node.parse(name)
    means = circuit.frozen.get(str(node.at))
    if means is None or node.index >= len(means):
        raise ConfigError(f"{node}: the model has no such node")
    assert math.isfinite(float(means[node.index]))
    return node
