"""Sites and nodes: the one place where a node's name is spelled.

A *site* is a place in a layer where nodes live, a *node* one element of the activation there
(Gao et al. 2025, §2.2). A node's full name is ``LAYER.SITE.INDEX``, as in the public release:
``0.mlp.post_act.863``. A site's full name is ``LAYER.SITE``; ``final_resid``, the residual stream
before the last norm, has no layer.

A site is also a module: it applies AbsTopK and hands the tensor on, and everything that records or
intervenes attaches to it with an ordinary forward hook.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.ops import abs_topk, gelu, gelu_abs_topk

#: The eight places of one layer, in the order in which the forward visits them.
SITES = (
    "attn.act_in",
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.resid_delta",
    "mlp.act_in",
    "mlp.post_act",
    "mlp.resid_delta",
)
FINAL_SITE = "final_resid"
#: Sites that read the residual stream, and those that write to it.
READS = ("attn.act_in", "mlp.act_in")
WRITES = ("attn.resid_delta", "mlp.resid_delta")
#: Places that can be recorded and changed but hold no nodes.
EXTRA_HOOKS = ("resid_in", "attn.y", "resid_mid")

_NAME = re.compile(r"(?:(\d+)\.)?([a-z_]+(?:\.[a-z_]+)?)(?:\.(\d+))?")


@functools.total_ordering
@dataclass(frozen=True)
class SiteName:
    """One site of one layer, such as ``SiteName(0, "mlp.post_act")``; prints as ``0.mlp.post_act``."""

    layer: int
    site: str

    @classmethod
    def parse(cls, text: str) -> SiteName:
        """Read ``"0.mlp.post_act"`` or ``"final_resid"``; anything else raises :class:`ConfigError`."""
        layer, site, index = _split(text)
        if index is not None:
            raise ConfigError(f"{text!r} is a node, not a site")
        return cls(layer, site)

    def __str__(self) -> str:
        return self.site if self.site == FINAL_SITE else f"{self.layer}.{self.site}"

    def __lt__(self, other: SiteName) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[int, int]:
        """Sorts sites as the forward visits them."""
        if self.site == FINAL_SITE:
            return (1 << 30, 0)
        return (self.layer, SITES.index(self.site))


@functools.total_ordering
@dataclass(frozen=True)
class Node:
    """One node, such as ``Node.parse("0.mlp.post_act.863")``.

    Raises:
        ConfigError: a site that does not exist, or a name that is not ``LAYER.SITE.INDEX``.
    """

    at: SiteName
    index: int

    @classmethod
    def parse(cls, text: str) -> Node:
        layer, site, index = _split(text)
        if index is None:
            raise ConfigError(f"{text!r} is a site, not a node; a node is LAYER.SITE.INDEX")
        return cls(SiteName(layer, site), index)

    def __str__(self) -> str:
        return f"{self.at}.{self.index}"

    def __lt__(self, other: Node) -> bool:
        return (self.at.order, self.index) < (other.at.order, other.index)

    @property
    def layer(self) -> int:
        return self.at.layer

    @property
    def site(self) -> str:
        return self.at.site


Activation = Literal["gelu", "relu"]


class Site(nn.Module):
    """A place where nodes live: AbsTopK (if ``k`` is given), then the tensor as it is.

    Attributes:
        name: what hooks see, such as ``0.attn.q``.
        k: how many entries of the last dimension stay, or None for all.
        activation: the nonlinearity before AbsTopK, where the site has one (``mlp.post_act``).
    """

    def __init__(self, name: str, k: int | None = None, activation: Activation | None = None) -> None:
        super().__init__()
        self.name = name
        self.k = k
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        if self.activation == "gelu":
            return gelu(x) if self.k is None else gelu_abs_topk(x, self.k)
        if self.activation == "relu":
            x = F.relu(x)
        return x if self.k is None else abs_topk(x, self.k)

    def extra_repr(self) -> str:
        return f"{self.name}, k={self.k}"


def _split(text: str) -> tuple[int, str, int | None]:
    match = _NAME.fullmatch(text)
    if match is None:
        raise ConfigError(f"{text!r} is not LAYER.SITE or LAYER.SITE.INDEX, such as 0.mlp.post_act.863")
    layer, site, index = match.groups()
    known = SITES if layer is not None else (FINAL_SITE,)
    if site == FINAL_SITE and layer is not None:
        raise ConfigError(f"{text!r}: {FINAL_SITE} has no layer")
    if site in SITES and layer is None:
        raise ConfigError(f"{text!r}: the layer is missing, as in 0.{text}")
    if site not in known:
        raise ConfigError(f"{text!r}: no site {site!r}; {near_misses(site, (*SITES, FINAL_SITE))}")
    return int(layer or 0), site, None if index is None else int(index)
