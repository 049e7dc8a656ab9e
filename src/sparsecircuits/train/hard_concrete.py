"""HardConcrete gates in place of top-k (Louizos, Welling and Kingma 2018; Gao et al. 2025, §D, Fig 35).

Every entry of every matrix that top-k would project has a gate z in [0, 1] beside its weight w; the model
computes with w z. A gate is random while it learns, and has one parameter, log alpha:

    s = sigmoid((log u - log(1 - u) + log alpha) / beta), u uniform
    z = clamp(s (zeta - gamma) + gamma, 0, 1)

with beta = 2/3, gamma = -0.1, zeta = 1.1, so that it is 0 or 1 with some probability. A step:

1. draw the gates, a pure function of (seed, step); loss and gradients of the model with w z;
2. by the chain rule, gradients of w (times z) and of log alpha (times w dz / d log alpha);
3. w takes the usual step, decay included, without a projection; log alpha takes a step of Adam with the same
   constants on gradients divided by their RMS, at the rate ``gate_lr``;
4. the penalty lambda x (expected number of open gates), for each matrix: P(z > 0) is
   sigmoid(log alpha - beta log(-gamma / zeta)), and the penalty's step in the geometry of these probabilities
   (the nearest ones in KL divergence) takes lambda off every log alpha. Its coefficient lambda is adapted
   exactly: in every step it is the one that brings the expected density to where the annealing schedule of
   top-k has the density, so the two spend the same budget all along;
5. between steps the model holds w times the noiseless gates, z with s = sigmoid(log alpha), which is what
   validation sees.

After the share ``gate_stop`` of the steps gates are fixed: in each matrix exactly as many stay open as top-k
would keep, those of the largest log alpha, with the same floor for each neuron. They are multiplied into the
weights, and the weights go on learning to the end. So both ways end at the same L0, exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.ops import keep_largest_
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import SparseMatrix
from sparsecircuits.train.schedules import Densities, densities_at

#: Louizos et al. 2018: temperature, and the interval that s is stretched to.
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
#: log alpha at the start: every noiseless gate is 1, and 99% of the random ones are open.
START = 3.0
#: P(z > 0) = sigmoid(log alpha + OPENS).
OPENS = -BETA * math.log(-GAMMA / ZETA)
#: The shift of log alpha is found to so many nats.
_EXACT = 1e-6


def open_probability(log_alpha: Tensor) -> Tensor:
    """P(z > 0) of each gate."""
    return torch.sigmoid(log_alpha + OPENS)


def noiseless(log_alpha: Tensor) -> Tensor:
    """The gates of evaluation."""
    return (torch.sigmoid(log_alpha) * (ZETA - GAMMA) + GAMMA).clamp_(0, 1)


def penalty_shift(log_alpha: Tensor, budget: float) -> float:
    """The lambda for which the gates of ``log_alpha - lambda`` have ``budget`` open ones in the mean.

    Newton's steps within a bracket; ``budget`` is above 0 and below the number of gates.
    """
    low, high = -1.0, 1.0
    while float(open_probability(log_alpha - low).sum(dtype=torch.float64)) < budget:
        low *= 2
    while float(open_probability(log_alpha - high).sum(dtype=torch.float64)) > budget:
        high *= 2
    shift = 0.0
    while high - low > _EXACT:
        chance = open_probability(log_alpha - shift)
        excess = float(chance.sum(dtype=torch.float64)) - budget
        low, high = (shift, high) if excess > 0 else (low, shift)
        slope = float((chance * (1 - chance)).sum(dtype=torch.float64))
        step = excess / slope if slope > 0 else math.inf
        if abs(step) <= _EXACT:
            return shift + step
        shift = shift + step if low < shift + step < high else (low + high) / 2
    return shift


@dataclass
class Gate:
    """The gates of one matrix, and the weights that they multiply."""

    matrix: SparseMatrix
    log_alpha: torch.nn.Parameter
    weight: Tensor
    """The matrix without its gates; the model's own parameter holds the product."""
    _draw: Tensor | None = field(default=None, repr=False)

    @classmethod
    def of(cls, matrix: SparseMatrix) -> Gate:
        """Gates that are all open."""
        start = torch.full_like(matrix.weight, START)
        return cls(matrix, torch.nn.Parameter(start), matrix.weight.detach().clone())

    def sample(self, generator: torch.Generator) -> None:
        """Draw the gates, by a CPU generator, and multiply them into the model."""
        u = torch.empty(self.weight.shape).uniform_(1e-6, 1 - 1e-6, generator=generator).to(self.weight)
        with torch.no_grad():
            self._draw = torch.sigmoid((torch.logit(u) + self.log_alpha) / BETA)
            self.matrix.weight.copy_(self.weight * stretched(self._draw))

    def take_gradient(self) -> None:
        """From the product's gradient to those of weight and gate; the model holds the weight again."""
        draw, gradient = self._draw, self.matrix.weight.grad
        assert draw is not None, "sample() comes before"
        assert gradient is not None, "a backward pass comes before"
        stretch = draw * (ZETA - GAMMA) + GAMMA
        inside = (stretch > 0) & (stretch < 1)
        self.log_alpha.grad = torch.where(
            inside, gradient * self.weight * draw * (1 - draw) * ((ZETA - GAMMA) / BETA), 0.0
        )
        gradient.mul_(stretch.clamp_(0, 1))
        with torch.no_grad():
            self.matrix.weight.copy_(self.weight)
        self._draw = None

    def keep(self) -> None:
        """Remember the weight that the optimizer has changed, and show the model the noiseless product."""
        with torch.no_grad():
            self.weight.copy_(self.matrix.weight)
            self.matrix.weight.mul_(noiseless(self.log_alpha))

    def fix(self, densities: Densities) -> None:
        """Multiply the gates of the budget into the model's weight, for good, and close the others.

        A gate of the budget that is noiselessly closed counts as sigmoid(log alpha), which is below 1/12.
        """
        with torch.no_grad():
            order = self.log_alpha - self.log_alpha.min() + 1  # positive: its size is its rank
            budget = self.matrix.budget(densities)
            keep_largest_(order, budget, floor=self.matrix.floor, axis=self.matrix.axis)
            gate = noiseless(self.log_alpha)
            gate = torch.where(gate > 0, gate, torch.sigmoid(self.log_alpha))
            self.matrix.weight.copy_(torch.where(order != 0, self.weight * gate, 0.0))


def stretched(draw: Tensor) -> Tensor:
    """z of s."""
    return (draw * (ZETA - GAMMA) + GAMMA).clamp_(0, 1)


class GatedOptimizer(SparseOptimizer):
    """:class:`SparseOptimizer` with learned gates in place of the projection."""

    def __init__(self, model: SparseGPT, config: TrainConfig) -> None:
        super().__init__(model, config)
        self.gates = [Gate.of(matrix) for matrix in self.matrices]
        self.fixed = False
        self.stop = min(math.ceil(config.gate_stop * config.steps), config.steps - 1)
        self.learned = [gate.log_alpha for gate in self.gates]
        betas = (config.beta1, config.beta2)
        self.gate_adam = torch.optim.Adam(self.learned, config.gate_lr, betas, config.eps, fused=True)

    def begin(self, step: int) -> None:
        """Draw the gates of ``step``, or fix them if it is time."""
        if step >= self.stop:
            if not self.fixed:
                for gate in self.gates:
                    gate.fix(densities_at(self.config.steps - 1, self.config))
            self.fixed = True
            return
        bits = np.random.SeedSequence([self.config.seed, step]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(bits[0] >> np.uint64(1)))
        for gate in self.gates:
            gate.sample(generator)

    def step(self, step: int) -> float:
        """As :meth:`SparseOptimizer.step`, then the gates' own."""
        if self.fixed:
            self._masks = [matrix.weight != 0 for matrix in self.matrices]
            return super().step(step)
        for gate in self.gates:
            gate.take_gradient()
        rms = super().step(step)
        self._learn_gates(step)
        for gate in self.gates:
            gate.keep()
        return rms

    def constrain(self, densities: Densities) -> None:
        """Weights without a gate stay 0 once gates are fixed; before, nothing."""
        if self.fixed:
            with torch.no_grad():
                for matrix, mask in zip(self.matrices, self._masks, strict=True):
                    matrix.weight.mul_(mask)

    @torch.no_grad()
    def _learn_gates(self, step: int) -> None:
        grads = [gate.grad for gate in self.learned if gate.grad is not None]
        count = sum(grad.numel() for grad in grads)
        rms = float(torch.nn.utils.get_total_norm(grads)) / math.sqrt(count)
        if rms > 0:
            torch._foreach_div_(grads, rms)
        self.gate_adam.step()
        self.gate_adam.zero_grad(set_to_none=True)
        densities = densities_at(step, self.config)
        for gate in self.gates:
            budget = gate.matrix.budget(densities)
            if budget < gate.log_alpha.numel():
                gate.log_alpha.sub_(penalty_shift(gate.log_alpha, budget))

    def state(self) -> dict[str, Tensor]:
        """What :class:`SparseOptimizer` keeps, and the gates with their moments."""
        tensors = super().state()
        for gate in self.gates:
            name = f"{gate.matrix.name}/gate"
            tensors |= {
                f"{name}/weight": gate.weight.cpu(),
                f"{name}/log_alpha": gate.log_alpha.detach().cpu(),
            }
            for key, value in self.gate_adam.state[gate.log_alpha].items():
                tensors[f"{name}/{key}"] = value.cpu()
        return {**tensors, "gates/fixed": torch.tensor(float(self.fixed))}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        super().load_state(tensors)
        self.fixed = bool(tensors["gates/fixed"])
        with torch.no_grad():
            for gate in self.gates:
                name = f"{gate.matrix.name}/gate"
                gate.weight.copy_(tensors[f"{name}/weight"])
                gate.log_alpha.copy_(tensors[f"{name}/log_alpha"])
                self.gate_adam.state[gate.log_alpha] = {
                    key: tensors[f"{name}/{key}"].to(gate.log_alpha.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
