"""Node masks: one learned parameter τ per node, kept iff τ >= 0 (§2.2, §A.5).

Forward: the Heaviside step decides whether a node is live or frozen to its mean. Backward: the
step's derivative is replaced by that of a sigmoid with a temperature.

Several *sets* of masks over one model are learned at once: each set has prompts of its own, and the model
runs once for all of them (:class:`~sparsecircuits.model.Prompts`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsecircuits.circuit.freezing import require_vector
from sparsecircuits.model import GPTConfig, Node, SiteName, SparseGPT, intervene
from sparsecircuits.ops import mix


class Heaviside(torch.autograd.Function):
    """1 where τ >= 0, else 0; gradient ``sigmoid'(τ / temperature) / temperature``."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tau: Tensor, temperature: Tensor | float) -> Tensor:
        ctx.save_for_backward(tau)
        ctx.temperature = temperature  # type: ignore[attr-defined]
        return (tau >= 0).to(tau.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (tau,) = ctx.saved_tensors  # type: ignore[attr-defined]
        temperature: Tensor | float = ctx.temperature  # type: ignore[attr-defined]
        gate = torch.sigmoid(tau / temperature)
        return grad * gate * (1 - gate) / temperature, None


class Start(NamedTuple):
    """How a set of masks begins: at ``bias + scale * noise``; and the temperature of its sigmoid."""

    bias: float
    scale: float
    temperature: float
    generator: torch.Generator


class NodeMasks(nn.Module):
    """τ for every node of a model, in one or more sets.

    A q and a k channel may share one, as they do nothing alone.

    Attributes:
        tau: [sets, parameters]; a parameter for each node, or fewer where q and k are tied.
        group: [nodes] which parameter is each node's, in the order of :meth:`nodes`.
    """

    def __init__(
        self,
        config: GPTConfig,
        starts: Sequence[Start],
        *,
        tied: bool = False,
        allowed: Tensor | None = None,
    ) -> None:
        """Begin.

        Args:
            config: of the model.
            starts: one for each set.
            tied: whether a q and a k channel share a parameter.
            allowed: [sets, nodes] 0 where a node is frozen whatever its τ; None: none is.
        """
        super().__init__()
        self.sites = config.site_names()
        self.widths = [config.width(site.site) for site in self.sites]
        self.group = _groups(self.sites, self.widths, tied)
        self.share = 1 / torch.bincount(self.group)[self.group]
        self.allowed = allowed
        self.temperature = torch.tensor([[start.temperature] for start in starts])
        size = int(self.group.max()) + 1
        noise = [start.bias + start.scale * torch.randn(size, generator=start.generator) for start in starts]
        self.tau = nn.Parameter(torch.stack(noise))

    def hard(self) -> Tensor:
        """[sets, nodes] 0 or 1, with the surrogate gradient."""
        kept: Tensor = Heaviside.apply(self.tau, self.temperature)[:, self.group]  # type: ignore[index]
        return kept if self.allowed is None else kept * self.allowed

    @torch.no_grad()
    def by_node(self) -> Tensor:
        """[sets, nodes] τ of every node, detached; -1 where it is not allowed."""
        tau = self.tau.detach()[:, self.group]
        return tau if self.allowed is None else torch.where(self.allowed > 0, tau, -1.0)

    def by_site(self, flat: Tensor) -> dict[str, Tensor]:
        """Split [..., nodes] into site name -> [..., width]."""
        return dict(zip(map(str, self.sites), flat.split(self.widths, dim=-1), strict=True))

    def nodes(self) -> list[Node]:
        """Every node, in the order of τ."""
        return all_nodes(self.sites, self.widths)

    @contextmanager
    def installed(
        self,
        model: SparseGPT,
        means: Mapping[str, Tensor],
        restored: Tensor | None = None,
        *,
        hard: Tensor | None = None,
    ) -> Generator[Tensor]:
        """Run ``model`` under the masks; yields [sets] differentiable numbers of kept nodes, tied ones once.

        Args:
            model: which.
            means: site name -> [width] or [sets, width], what a deleted node is frozen to.
            restored: [sets, nodes] between 0 and 1, how far each deleted node is live after all.
            hard: [sets, nodes] 0 or 1 in place of the masks' own.

        Raises:
            CheckpointError: a site without a mean, or of another width.
        """
        hard = self.hard() if hard is None else hard
        if restored is not None and self.allowed is not None:
            restored = restored * self.allowed
        live = hard if restored is None else hard + (1 - hard) * restored
        changes = {}
        for name, keep in self.by_site(live).items():
            mean = means.get(name)
            if mean is None or mean.ndim == 1:
                mean = require_vector(means, name, keep.shape[-1], "mean")
            changes[name] = Mix(keep, mean)
        with intervene(model, changes):
            yield (hard * self.share).sum(-1)

    def keep_sets_(self, rows: Tensor) -> None:
        """Go on with some of the sets."""
        self.tau = nn.Parameter(self.tau.detach()[rows])
        self.temperature = self.temperature[rows]
        self.allowed = None if self.allowed is None else self.allowed[rows]

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep τ within [-1, 1], as after every step (§A.5)."""
        self.tau.clamp_(-1, 1)


class Mix:
    """``mean + keep * (x - mean)``: [rows, pos, width] to the same, differentiable in ``keep``.

    ``keep`` and ``mean`` are [width], or [sets, width] where the rows are sets.
    """

    def __init__(self, keep: Tensor, mean: Tensor) -> None:
        self.keep, self.mean = keep, mean

    def __call__(self, x: Tensor) -> Tensor:
        return mix(x, self.keep, self.mean)


def _groups(sites: list[SiteName], widths: list[int], tied: bool) -> Tensor:
    """[nodes] the parameter of each node: one each, or that of its q channel for a k channel."""
    start, starts, groups = 0, {}, []
    for at, width in zip(sites, widths, strict=True):
        first = starts[at.layer] if tied and at.site == "attn.k" else start
        if at.site == "attn.q":
            starts[at.layer] = start
        groups.append(torch.arange(first, first + width))
        start += 0 if tied and at.site == "attn.k" else width
    return torch.cat(groups)


def all_nodes(sites: list[SiteName], widths: list[int]) -> list[Node]:
    """Every node of ``sites``, site by site."""
    return [Node(site, index) for site, width in zip(sites, widths, strict=True) for index in range(width)]
