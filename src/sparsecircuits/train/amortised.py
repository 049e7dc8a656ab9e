"""Gradients of all weights in every M-th step only: the paper's open problem (Gao et al. 2025, §B).

The paper's step takes the gradient of every weight, the zeroed ones too, so that any of them can come back;
in a model whose weights are nearly all zero that is most of the work. Here (``TrainConfig.dense_every`` = M)
it is done in every M-th step. How such a training differs from the paper's, exactly:

1. **A matrix joins** at the first *dense* step (one whose number, from 0, M divides) that leaves it at most
   half of its entries. Until then, and with M = 1, nothing differs. Embedding, biases, norms, sinks and
   bigram table never join; the unembedding does.
2. **A dense step** is the paper's, with one difference: the moments of weights that were not kept since the
   last dense step are as that left them, so they are running means over dense steps, not over all. Adam's
   correction for moments that begin at 0 counts all steps. So where a matrix joins early, as it does without
   annealing, the updates of such weights are too small at first: with M = 10 and a gradient that stays the
   same, by half at step 10 and by a quarter at step 40.
3. **The pattern**: after a dense step's projection, the places of the kept weights; with ``candidates`` = c,
   at most c times as many places beside them, those that came nearest to being kept. It stays until the next
   one.
4. **Between dense steps** only the pattern's weights have gradients, moments and updates, and the projection
   chooses among them; all other weights are 0. As density anneals down, those it drops can come back.
5. **The gradients' RMS**, by which they are divided, is then not known. It is taken to be what it would be if
   the squares of all gradients of these matrices stood to those in the pattern as in the last dense step.

The weights themselves are always whole and current, so that a model can be validated, saved or read at any
step; what is kept between steps beside the moments is the pattern and the ratio of rule 5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsecircuits.model import SparseGPT
from sparsecircuits.model.layers import Linear
from sparsecircuits.ops import Pattern, keep_largest_
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.guard import alarm, require_finite, require_finite_gradients
from sparsecircuits.train.optimizer import (
    PATTERNS_BELOW,
    SparseOptimizer,
    gradient_divisor,
    sum_of_squares,
)
from sparsecircuits.train.projection import SparseMatrix, project
from sparsecircuits.train.schedules import Densities, densities_at, lr_at
from sparsecircuits.train.within import PREFIX, Member, Within

#: What a checkpoint calls the ratio of rule 5.
RATIO = f"{PREFIX}ratio"


class AmortisedOptimizer(SparseOptimizer):
    """:class:`SparseOptimizer` with a dense step only every ``dense_every`` steps.

    Attributes:
        within: the matrices that have joined; None before there are any.
        ratio: of these, the squares of all gradients over those in the patterns, in the last dense step.
    """

    def __init__(self, model: SparseGPT, config: TrainConfig) -> None:
        super().__init__(model, config)
        modules = {f"{name}.weight": module for name, module in model.named_modules()}
        self.linear_of = {
            matrix.name: module
            for matrix in self.matrices
            if isinstance(module := modules.get(matrix.name), Linear)
        }
        self.within: Within | None = None
        self.ratio = 1.0
        self._opening = False
        self._opened: list[tuple[SparseMatrix, Pattern]] = []

    def is_dense(self, step: int) -> bool:
        """Whether all weights have gradients in step ``step``, from 0."""
        return step % self.config.dense_every == 0 or self.within is None

    def begin(self, step: int) -> None:
        """Say which weights are to have gradients in the forward pass of this step."""
        if self.within is None:
            return
        if self.is_dense(step):
            self.within.detach()
        else:
            self.within.attach(self.has_sparse_kernels)

    def forget_gradients(self) -> None:
        super().forget_gradients()
        if self.within is not None:
            self.within.forget_gradients()

    def step(self, step: int) -> float:
        if not self.is_dense(step):
            assert self.within is not None
            return self._step_within(step, self.within)
        if self.within is not None:
            self.within.fold(self.adam.state)
        self._opening = step % self.config.dense_every == 0
        return super().step(step)

    def constrain(self, densities: Densities) -> None:
        """The projection of a dense step, and the patterns of the steps that follow it."""
        low = [one for one in self.matrices if one.name in self.linear_of and self._is_low(one, densities)]
        wider = [self._wider(matrix, densities) for matrix in low] if self._opening else []
        super().constrain(densities)
        if self._opening:
            patterns = (
                Pattern.of(matrix.weight) if wide is None else wide
                for matrix, wide in zip(low, wider, strict=True)
            )
            self._opened = list(zip(low, patterns, strict=True))
            self.ratio = _ratio(self._opened)

    def _is_low(self, matrix: SparseMatrix, densities: Densities) -> bool:
        return matrix.budget(densities) <= PATTERNS_BELOW * matrix.weight.numel()

    def _wider(self, matrix: SparseMatrix, densities: Densities) -> Pattern | None:
        """Before the projection, the places to be kept or nearest to it; None: no candidates."""
        if self.config.candidates == 0:
            return None
        weight = matrix.weight.detach().clone()
        count = int(matrix.budget(densities) * (1 + self.config.candidates))
        return Pattern.of(keep_largest_(weight, count, floor=matrix.floor, axis=matrix.axis))

    def _find_patterns(self, step: int) -> None:
        """What follows a step's decay: the weights are now as the next step finds them."""
        if self._opening and self._opened:
            self._open(self._opened, step + 1)
        self._opening, self._opened = False, []
        super()._find_patterns(step)
        if self.within is not None and self._sparse:
            self.within.know()

    def _open(self, patterns: list[tuple[SparseMatrix, Pattern]], done: int) -> None:
        members = [Member.of(matrix, self.linear_of[matrix.name], pattern) for matrix, pattern in patterns]
        self.within = Within(members, self.adam.state, done, self.config)

    def unknown(self) -> list[Linear]:
        """Those that have joined are known."""
        known = set() if self.within is None else {member.linear for member in self.within.members}
        return [module for module in super().unknown() if module not in known]

    def _step_within(self, step: int, within: Within) -> float:
        """One step with gradients at the patterns' places alone; of the other parameters, all."""
        config, densities = self.config, densities_at(step, self.config)
        lr = lr_at(step, config)
        kept = within.gradients()
        names = within.names
        others = {
            name: local for name, local in zip(self.names, self.locals, strict=True) if name not in names
        }
        rms = self._estimated_rms(list(others.values()), kept, within)
        named = [*others.items(), *((member.matrix.name, member.values) for member in within.members)]
        require_finite_gradients(rms, step + 1, config.lr, named, self.agreed)
        divisor = gradient_divisor(rms, config.grad_rms)
        self.adam.step(lr, divisor)  # of the others: the whole matrices have no gradients now
        within.adam.step(lr, divisor)
        self.forget_gradients()
        project([matrix for matrix in self.matrices if matrix.name not in names], densities)
        decay = 1 - lr * config.weight_decay
        whole = {id(member.weight) for member in within.members}
        with torch.no_grad():
            torch._foreach_mul_([weight for weight in self.decayed if id(weight) not in whole], decay)
        within.constrain(densities, decay)
        self._find_patterns(step)
        seconds = {
            f"{name}/exp_avg_sq": self.adam.state[local]["exp_avg_sq"] for name, local in others.items()
        }
        if alarm([*others.values(), *within.values, *seconds.values(), *within.moments().values()]):
            require_finite({**seconds, **within.moments(), **dict(named)}, step + 1, config.lr, self.agreed)
        return rms

    def _estimated_rms(self, others: list[Tensor], kept: list[Tensor], within: Within) -> float:
        """Rule 5."""
        found = [other.grad for other in others if other.grad is not None]
        squares = sum_of_squares(found) + self.ratio * sum_of_squares(kept)
        count = sum(tensor.numel() for tensor in (*found, *(member.weight for member in within.members)))
        return math.sqrt(squares / count)

    def state(self) -> dict[str, Tensor]:
        if self.within is None:
            return super().state()
        self.within.fold(self.adam.state)
        ratio = torch.tensor(self.ratio, dtype=torch.float64)
        return {**super().state(), **self.within.state(), RATIO: ratio}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        super().load_state(tensors)
        if RATIO not in tensors:
            return
        self.ratio = float(tensors[RATIO])
        found = ((matrix, tensors.get(PREFIX + matrix.name)) for matrix in self.matrices)
        patterns = [(matrix, _pattern(matrix, places)) for matrix, places in found if places is not None]
        done = int(tensors[f"{self.names[0]}/step"])
        self._open(patterns, done)
        self._find_patterns(done - 1)


def _ratio(opened: list[tuple[SparseMatrix, Pattern]]) -> float:
    """Squares of all gradients over those in the patterns."""
    found = [(pattern, matrix.weight.grad) for matrix, pattern in opened if matrix.weight.grad is not None]
    kept = sum_of_squares([pattern.gather(grad) for pattern, grad in found])
    return sum_of_squares([grad for _, grad in found]) / kept if kept > 0 else 1.0


def _pattern(matrix: SparseMatrix, places: Tensor) -> Pattern:
    """The one with these flat indices, rising."""
    rows, columns = matrix.weight.shape
    return Pattern.at(rows, columns, places.to(matrix.weight.device))
