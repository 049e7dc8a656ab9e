"""Node masks: one learned parameter τ per node, kept iff τ >= 0 (§2.2, §A.5).

Forward: the Heaviside step decides whether a node is live or frozen to its mean. Backward: the
step's derivative is replaced by that of a sigmoid with a temperature.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparsecircuits.circuit.circuit import require_vector
from sparsecircuits.model import GPTConfig, Node, SiteName, SparseGPT, intervene


class Heaviside(torch.autograd.Function):
    """1 where τ >= 0, else 0; gradient ``sigmoid'(τ / temperature) / temperature``."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tau: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(tau)
        ctx.temperature = temperature  # type: ignore[attr-defined]
        return (tau >= 0).to(tau.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (tau,) = ctx.saved_tensors  # type: ignore[attr-defined]
        temperature: float = ctx.temperature  # type: ignore[attr-defined]
        gate = torch.sigmoid(tau / temperature)
        return grad * gate * (1 - gate) / temperature, None


class NodeMasks(nn.Module):
    """τ for every node of a model; a q and a k channel may share one, as they do nothing alone.

    Attributes:
        tau: [parameters]; one for each node, or fewer where q and k are tied.
        group: [nodes] which parameter is each node's, in the order of :meth:`nodes`.
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        bias: float,
        scale: float,
        temperature: float,
        generator: torch.Generator,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.sites = config.site_names()
        self.widths = [config.width(site.site) for site in self.sites]
        self.temperature = temperature
        self.group = _groups(self.sites, self.widths, tied)
        size = int(self.group.max()) + 1
        self.tau = nn.Parameter(bias + scale * torch.randn(size, generator=generator))

    def hard(self) -> Tensor:
        """[nodes] 0 or 1, with the surrogate gradient."""
        return Heaviside.apply(self.tau[self.group], self.temperature)  # type: ignore[no-any-return]

    def by_node(self) -> Tensor:
        """[nodes] τ of every node, detached."""
        return self.tau.detach()[self.group]

    def by_site(self, flat: Tensor) -> dict[str, Tensor]:
        """Split a vector over all nodes into site name -> [width]."""
        return dict(zip(map(str, self.sites), flat.split(self.widths), strict=True))

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
        """Run ``model`` under the masks; yields the differentiable number of kept nodes, tied ones once.

        Args:
            model: which.
            means: site name -> [width], what a deleted node is frozen to.
            restored: [nodes] between 0 and 1, how far each deleted node is live after all.
            hard: [nodes] 0 or 1 in place of the masks' own.

        Raises:
            CheckpointError: a site without a mean, or of another width.
        """
        hard = self.hard() if hard is None else hard
        live = hard if restored is None else hard + (1 - hard) * restored
        changes = {
            name: Mix(keep, require_vector(means, name, keep.numel(), "mean"))
            for name, keep in self.by_site(live).items()
        }
        with intervene(model, changes):
            yield (hard / torch.bincount(self.group)[self.group]).sum()

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep τ within [-1, 1], as after every step (§A.5)."""
        self.tau.clamp_(-1, 1)


class Mix:
    """``mean + keep * (x - mean)``: [batch, pos, width] to the same, differentiable in ``keep``."""

    def __init__(self, keep: Tensor, mean: Tensor) -> None:
        self.keep, self.mean = keep, mean

    def __call__(self, x: Tensor) -> Tensor:
        return torch.lerp(self.mean, x, self.keep)


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
