"""The steps between two dense ones: weights, gradients and moments at the places of a pattern alone.

What :mod:`.amortised` is built on. A :class:`Member` is a matrix with its pattern and the weights there as a
vector of their own, which has the gradients; :class:`Within` is all of them, and Adam for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparsecircuits.model.layers import Kept, Linear
from sparsecircuits.ops import Pattern
from sparsecircuits.train.adam import Adam
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.projection import SparseMatrix, project
from sparsecircuits.train.schedules import Densities

#: What a checkpoint calls the places of a pattern.
PREFIX = "kept/"
_MOMENTS = ("exp_avg", "exp_avg_sq")

AdamState = Mapping[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Member:
    """One matrix of which only some weights have gradients."""

    matrix: SparseMatrix
    linear: Linear
    pattern: Pattern
    places: Tensor
    """[count] flat indices of the pattern, rising."""
    values: Tensor
    """[count] the weights there; a leaf."""

    @classmethod
    def of(cls, matrix: SparseMatrix, linear: Linear, pattern: Pattern) -> Member:
        """With the weights that the matrix has now."""
        values = pattern.gather(matrix.weight).requires_grad_()
        return cls(matrix, linear, pattern, pattern.places(), values)

    @property
    def weight(self) -> Tensor:
        """The whole matrix."""
        return self.matrix.weight

    @torch.no_grad()
    def put(self, whole: Tensor, part: Tensor) -> None:
        """``part`` [count] into ``whole``, of the matrix's shape, at the pattern's places."""
        whole.view(-1)[self.places] = part

    def take(self, whole: Tensor) -> Tensor:
        """[count] the entries of ``whole`` at the pattern's places."""
        if whole.device.type == "cpu":
            return self.pattern.gather(whole)
        return whole.detach().view(-1)[self.places]  # the pattern would look for its places anew


class Within:
    """The matrices of which only some weights have gradients, until the next dense step.

    Args:
        members: the matrices.
        state: Adam's, of the whole matrices: its moments are the first of those kept here.
        done: steps so far.
        config: the recipe.
    """

    def __init__(self, members: Sequence[Member], state: AdamState, done: int, config: TrainConfig) -> None:
        self.members, self.config = list(members), config
        self.adam = Adam(self.values, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)
        for member in self.members:
            moments = {key: member.take(state[member.weight][key]) for key in _MOMENTS}
            count = torch.tensor(float(done), device=member.values.device)
            self.adam.state[member.values] = {"step": count, **moments}

    @property
    def values(self) -> list[Tensor]:
        """The weights in the patterns."""
        return [member.values for member in self.members]

    @property
    def names(self) -> set[str]:
        """The matrices'."""
        return {member.matrix.name for member in self.members}

    def attach(self, sparse: bool) -> None:
        """From now on these weights alone have gradients; with ``sparse``, by the sparse kernels too."""
        for member in self.members:
            member.linear.kept = Kept(member.pattern, member.values, sparse)

    def detach(self) -> None:
        """From now on all weights have gradients."""
        for member in self.members:
            member.linear.kept = None

    def forget_gradients(self) -> None:
        """As before the first backward pass."""
        for value in self.values:
            value.grad = None

    def gradients(self) -> list[Tensor]:
        """Of the weights in the patterns; where the dense product was the faster one, out of its gradient."""
        for member in self.members:
            gather_gradient(member.linear)
        return [value.grad for value in self.values if value.grad is not None]

    @torch.no_grad()
    def constrain(self, densities: Densities, decay: float) -> None:
        """What follows Adam's step: projection in the pattern, decay by a factor, and the whole weights."""
        full = [one for one in self.members if one.matrix.budget(densities) < len(one.values)]
        for member in full:
            member.put(member.weight, member.values)
        project([member.matrix for member in full], densities)
        for member in full:
            member.values.copy_(member.take(member.weight))
        torch._foreach_mul_(self.values, decay)
        for member in self.members:
            member.put(member.weight, member.values)

    def know(self) -> None:
        """For passes without gradients: the weights are 0 outside the patterns."""
        for member in self.members:
            member.linear.know(member.pattern)

    def fold(self, state: AdamState) -> None:
        """The moments into those of the whole matrices."""
        for member in self.members:
            own = self.adam.state[member.values]
            for key in _MOMENTS:
                member.put(state[member.weight][key], own[key])
            state[member.weight]["step"].copy_(own["step"])  # dense steps alone were counted there

    def moments(self) -> dict[str, Tensor]:
        """Adam's second moments by name, to see that they are finite."""
        return {f"{m.matrix.name}/exp_avg_sq": self.adam.state[m.values]["exp_avg_sq"] for m in self.members}

    def state(self) -> dict[str, Tensor]:
        """Where the patterns are, as named tensors; all else is in the weights and their moments."""
        return {f"{PREFIX}{member.matrix.name}": member.places.cpu() for member in self.members}


def gather_gradient(linear: Linear) -> None:
    """Of a map of which only some weights have gradients: out of the whole weight's, if that has one."""
    kept, weight = linear.kept, linear.weight
    if kept is None or weight.grad is None:
        return
    part = kept.pattern.gather(weight.grad)
    kept.values.grad = part if kept.values.grad is None else kept.values.grad + part
    weight.grad = None


def leaves(model: nn.Module) -> list[Tensor]:
    """All tensors of a model that have gradients now: parameters, and weights in patterns.

    They are the same on every process, whichever product was the faster one there.
    """
    linears = [module for module in model.modules() if isinstance(module, Linear)]
    for linear in linears:
        gather_gradient(linear)
    return [*model.parameters(), *(linear.kept.values for linear in linears if linear.kept is not None)]
