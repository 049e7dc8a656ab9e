"""One optimizer step in the order of the authors' script (§A.2).

Gradients divided by their RMS, Adam, projection, decoupled decay.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from sparsecircuits.model import SparseGPT
from sparsecircuits.model.layers import Linear
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.guard import alarm, require_finite, require_finite_gradients
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.revive import Reviver
from sparsecircuits.train.schedules import Densities, densities_at, lr_at

#: Above this density no sparse kernel is faster, so that nobody looks for patterns.
PATTERNS_BELOW = 0.5
#: Added to the gradient's RMS before dividing by it (script).
RMS_EPS = 1e-5


class SparseOptimizer:
    """Adam on dense gradients and moments, then the projection: a zeroed weight can come back."""

    def __init__(self, model: SparseGPT, config: TrainConfig) -> None:
        self.config = config
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = list(model.parameters())
        self.matrices = sparse_matrices(model, config.floor, biases=config.biases == "sparse")
        self.decayed: list[torch.Tensor] = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.ndim == 2 and name != "bigram_table"
        ]
        self.linears = [module for module in model.modules() if isinstance(module, Linear)]
        self.reviver = None if config.revive == "none" else Reviver(model, config)
        self.adam = torch.optim.Adam(
            self.parameters, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
        )

    def step(self, step: int) -> float:
        """Apply the gradients of step ``step``; returns the gradients' RMS before it was normalised.

        Raises:
            TrainingDiverged: a gradient, and then nothing is changed, or a weight or moment is not finite.
        """
        lr = lr_at(step, self.config)
        rms = gradient_rms(self.parameters)
        weights = list(zip(self.names, self.parameters, strict=True))
        require_finite_gradients(rms, step + 1, self.config.lr, weights)
        # The fused step divides by it on the way, which saves a pass over all gradients.
        divisor = torch.tensor(gradient_divisor(rms, self.config.grad_rms))
        vars(self.adam).update(grad_scale=divisor, found_inf=torch.zeros(()))
        for group in self.adam.param_groups:
            group["lr"] = lr
        if self.reviver is not None:
            self.reviver.look(step, self.adam.state)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        densities = densities_at(step, self.config)
        self.constrain(densities)
        with torch.no_grad():
            torch._foreach_mul_(self.decayed, 1 - lr * self.config.weight_decay)
        for module in self.linears:
            if densities.matrices <= PATTERNS_BELOW:
                module.find_pattern()
        seconds = [state["exp_avg_sq"] for state in self.adam.state.values()]
        if alarm([*self.parameters, *seconds]):
            require_finite({**self.state(), **dict(weights)}, step + 1, self.config.lr)
        return rms

    def forget_gradients(self) -> None:
        """As before the first backward pass."""
        self.adam.zero_grad(set_to_none=True)

    def begin(self, step: int) -> None:
        """Called before the forward of each step; nothing to do for top-k."""

    def constrain(self, densities: Densities) -> None:
        """What follows Adam's step: the projection."""
        project(self.matrices, densities)

    def reviving(self) -> AbstractContextManager[None]:
        """To be around the training steps: what reviving dead neurons needs of a forward pass."""
        return nullcontext() if self.reviver is None else self.reviver.attached()

    def state(self) -> dict[str, torch.Tensor]:
        """Adam's moments and step counts as named tensors."""
        tensors = {}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            for key, value in self.adam.state[parameter].items():
                tensors[f"{name}/{key}"] = value
        if self.reviver is not None and tensors:
            tensors |= self.reviver.state()
        return tensors

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """The inverse of :meth:`state`."""
        for name, parameter in zip(self.names, self.parameters, strict=True):
            keys = ("step", "exp_avg", "exp_avg_sq")
            self.adam.state[parameter] = {key: tensors[f"{name}/{key}"] for key in keys}
        if self.reviver is not None:
            self.reviver.load_state(tensors)


def gradient_rms(parameters: list[nn.Parameter]) -> float:
    """Root mean square of all gradients together."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads)) / math.sqrt(sum(grad.numel() for grad in grads))


def gradient_divisor(rms: float, mode: str) -> float:
    """What all gradients are divided by.

    ``normalise``: RMS + 1e-5, always; ``clip``: the RMS where it exceeds 1; ``none``: 1.
    """
    if mode == "normalise":
        return rms + RMS_EPS
    return rms if mode == "clip" and rms > 1 else 1.0
