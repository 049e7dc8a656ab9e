"""One optimizer step in the order of the authors' script (§A.2).

Gradients divided by their RMS, Adam, projection, decoupled decay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sparsecircuits.model import SparseGPT
from sparsecircuits.model.layers import Linear
from sparsecircuits.ops import gpu
from sparsecircuits.ops.choice import GPU_DENSITY
from sparsecircuits.train import rows
from sparsecircuits.train.adam import Adam
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.guard import Bad, alarm, require_finite, require_finite_gradients
from sparsecircuits.train.projection import project, sparse_matrices
from sparsecircuits.train.revive import Reviver
from sparsecircuits.train.schedules import Densities, densities_at, lr_at

#: Above this density no sparse kernel is faster, so that nobody looks for patterns.
PATTERNS_BELOW = 0.5
#: Added to the gradient's RMS before dividing by it (script).
RMS_EPS = 1e-5


class SparseOptimizer:
    """Adam on dense gradients and moments, then the projection: a zeroed weight can come back.

    Of a sharded model it works on the rows that are here, and keeps the same weights as of a whole one.

    Attributes:
        patterns: whether to look for the places of nonzero weights, for the sparse kernels.
    """

    patterns = True

    def __init__(self, model: SparseGPT, config: TrainConfig) -> None:
        self.config = config
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = list(model.parameters())
        self.matrices = sparse_matrices(model, config.floor, biases=config.biases == "sparse")
        self.locals = [rows.local(parameter) for parameter in self.parameters]
        self.decayed: list[torch.Tensor] = [
            local
            for name, parameter, local in zip(self.names, self.parameters, self.locals, strict=True)
            if parameter.ndim == 2 and name != "bigram_table"
        ]
        self.linears = [module for module in model.modules() if isinstance(module, Linear)]
        self.reviver = None if config.revive == "none" else Reviver(model, config)
        self.adam = Adam(self.locals, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)
        self.sharded = rows.is_sharded(self.parameters[0])
        self._sparse = False
        if self.sharded:  # whole weights are there during a forward pass alone
            for module in self.linears:
                module.register_forward_pre_hook(self._look)

    def step(self, step: int) -> float:
        """Apply the gradients of step ``step``; returns the gradients' RMS before it was normalised.

        Raises:
            TrainingDiverged: a gradient, and then nothing is changed, or a weight or moment is not finite.
        """
        lr = lr_at(step, self.config)
        for parameter, local in zip(self.parameters, self.locals, strict=True):
            local.grad = rows.local_gradient(parameter)
        rms = gradient_rms(self.parameters)
        weights = list(zip(self.names, self.locals, strict=True))
        require_finite_gradients(rms, step + 1, self.config.lr, weights, self.agreed)
        if self.reviver is not None:
            self.reviver.look(step, self.adam.state)
        self.adam.step(lr, gradient_divisor(rms, self.config.grad_rms))
        densities = densities_at(step, self.config)
        self.constrain(densities)
        self.forget_gradients()
        with torch.no_grad():
            torch._foreach_mul_(self.decayed, 1 - lr * self.config.weight_decay)
        self._find_patterns(step)
        seconds = [state["exp_avg_sq"] for state in self.adam.state.values()]
        loud = alarm([*self.locals, *seconds])
        if any(rows.everyones(loud, self.parameters[0])) if self.sharded else loud:
            require_finite({**self._moments(), **dict(weights)}, step + 1, self.config.lr, self.agreed)
        return rms

    def agreed(self, found: Bad | None) -> Bad | None:
        """Of what each process found in its rows, the first one's; all processes call it."""
        if not self.sharded:
            return found
        everyones = rows.everyones(found, self.parameters[0])
        return next((one for one in everyones if one is not None), None)

    def forget_gradients(self) -> None:
        """As before the first backward pass."""
        for tensor in (*self.parameters, *self.locals):
            tensor.grad = None

    def begin(self, step: int) -> None:
        """Called before the forward of each step; nothing to do for top-k."""

    def constrain(self, densities: Densities) -> None:
        """What follows Adam's step: the projection."""
        project(self.matrices, densities)

    def reviving(self) -> AbstractContextManager[None]:
        """To be around the training steps: what reviving dead neurons needs of a forward pass."""
        return nullcontext() if self.reviver is None else self.reviver.attached()

    def _find_patterns(self, step: int) -> None:
        """After step ``step``, where its density is low enough for sparse kernels."""
        densities = densities_at(step, self.config)
        on_gpu = gpu.takes(self.locals[0])
        low = densities.matrices <= (GPU_DENSITY if on_gpu else PATTERNS_BELOW)
        self._sparse = low and self.has_sparse_kernels
        if self._sparse and not self.sharded:
            # As many as the projection left at most, so that nothing waits for a GPU to count them.
            topk = self.config.sparsity == "topk"
            most = {id(one.weight): one.budget(densities) for one in self.matrices} if topk else {}
            for module in self.unknown():
                count = most.get(id(module.weight))
                if not on_gpu or count is None or count <= GPU_DENSITY * module.weight.numel():
                    module.find_pattern(count)

    @property
    def has_sparse_kernels(self) -> bool:
        """Whether there are any for such a training: on a CPU in float32, on a GPU of whole weights."""
        if gpu.takes(self.locals[0]):
            return self.patterns and not self.sharded
        cpu = self.locals[0].device.type == "cpu"
        return cpu and self.patterns and self.config.precision == "float32"

    def unknown(self) -> list[Linear]:
        """The linear maps whose patterns have to be looked for."""
        return self.linears

    def _look(self, module: nn.Module, _inputs: Any) -> None:
        """Find a pattern anew in each forward pass: of a gathered weight torch counts no changes."""
        if self._sparse:
            assert isinstance(module, Linear)
            module.find_pattern()

    def _moments(self) -> dict[str, Tensor]:
        """Adam's state of what is here, as named tensors."""
        return {
            f"{name}/{key}": value
            for name, local in zip(self.names, self.locals, strict=True)
            for key, value in self.adam.state[local].items()
        }

    def state(self) -> dict[str, Tensor]:
        """Adam's moments and step counts as named tensors; of a sharded model, on the first process alone."""
        tensors = {name: value.cpu() for name, value in self._moments().items()}
        if self.sharded:
            owners = dict(zip(self.names, self.parameters, strict=True))
            for name, value in self._moments().items():
                if value.ndim > 0:  # all but the count of steps
                    whole = rows.collect(value, owners[name.rpartition("/")[0]])
                    tensors[name] = value if whole is None else whole.cpu()
        if self.reviver is not None and tensors:
            tensors |= self.reviver.state()
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state`, with whole tensors on every process; after the weights."""
        for name, parameter, local in zip(self.names, self.parameters, self.locals, strict=True):
            state = {"step": tensors[f"{name}/step"].to(local.device)}
            for key in ("exp_avg", "exp_avg_sq"):
                state[key] = rows.cut(tensors[f"{name}/{key}"], parameter).to(local.device).contiguous()
            self.adam.state[local] = state
        if self.reviver is not None:
            self.reviver.load_state(tensors)
        self._find_patterns(int(tensors[f"{self.names[0]}/step"]) - 1)


def gradient_rms(parameters: Sequence[nn.Parameter]) -> float:
    """Root mean square of all gradients together, the same bits whole or sharded.

    Each row's norm is taken in float32, whichever process has the row; then the squares of all norms are
    added up in float64, in the order of the parameters, by numpy, which takes no threads.
    """
    found = [parameter for parameter in parameters if parameter.grad is not None]
    squares = torch.cat([_row_squares(rows.local(parameter.grad)) for parameter in found])
    if rows.is_sharded(found[0]):
        squares = rows.in_order(squares, found)
    total = float(squares.cpu().numpy().sum())
    return math.sqrt(total / sum(parameter.numel() for parameter in found))


def sum_of_squares(tensors: Sequence[Tensor]) -> float:
    """Of all entries, added up as :func:`gradient_rms` does it."""
    return float(torch.cat([_row_squares(one) for one in tensors]).cpu().numpy().sum()) if tensors else 0.0


def _row_squares(gradient: Tensor) -> Tensor:
    """[rows] float64: the sum of squares of each row of a matrix, of each entry of a vector."""
    norms = gradient if gradient.ndim < 2 else torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms.double().square_()


def gradient_divisor(rms: float, mode: str) -> float:
    """What all gradients are divided by.

    ``normalise``: RMS + 1e-5, always; ``clip``: the RMS where it exceeds 1; ``none``: 1.
    """
    if mode == "normalise":
        return rms + RMS_EPS
    return rms if mode == "clip" and rms > 1 else 1.0
