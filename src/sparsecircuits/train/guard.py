"""NaN and infinity: seen in the step in which they come up, named, and never saved.

Looked at are the loss, the gradients, the weights and Adam's moments, at no more cost than a pass over the
weights and one over the second moments a step:

- the loss is a number that is at hand;
- a gradient that is not finite makes the gradients' RMS so, which is at hand too, before any weight changes;
- after the step, the sums of all weights and second moments are an alarm: a first moment that is not finite
  makes its weight so in the same step, as does a second one of NaN; one of infinity would only hold its
  weight still;
- at an alarm, and before every save, each tensor is looked at, so that the message has its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sparsecircuits.errors import SparseCircuitsError

Bad = tuple[str, float]
"""A tensor that holds NaN or infinity, and which of them."""


def alone(found: Bad | None) -> Bad | None:
    """What one process agrees on with itself."""
    return found


class TrainingDiverged(SparseCircuitsError, RuntimeError):
    """Something is no longer finite: the loss, a gradient, a weight, or a tensor of the optimizer.

    Attributes:
        step: in which step, from 1, as in metrics.jsonl.
        tensor: what it is: ``loss``, the name of a weight, ``NAME.grad``, or ``NAME/exp_avg``.
        value: nan, inf or -inf.
    """

    def __init__(self, step: int, lr: float, tensor: str, value: float, note: str = "") -> None:
        self.step, self.tensor, self.value = step, tensor, value
        super().__init__(
            f"step {step}: {tensor} is {value}{note}; start anew with a lower learning rate "
            f"(train.lr, now {lr})"
        )


def require_finite_loss(
    value: float,
    step: int,
    lr: float,
    weights: Iterable[tuple[str, Tensor]],
    agreed: Callable[[Bad | None], Bad | None] = alone,
) -> None:
    """Raise :class:`TrainingDiverged` unless the loss is finite; it names a weight that is not, if one is.

    Here and below, ``agreed`` makes one of what each process found in its share of the weights.
    """
    if math.isfinite(value):
        return
    bad = agreed(first_bad(weights))
    if bad is None:
        raise TrainingDiverged(step, lr, "loss", value)
    raise TrainingDiverged(step, lr, *bad, f", and with it the loss {value}")


def require_finite_gradients(
    rms: float,
    step: int,
    lr: float,
    weights: Iterable[tuple[str, Tensor]],
    agreed: Callable[[Bad | None], Bad | None] = alone,
) -> None:
    """Raise :class:`TrainingDiverged` unless the gradients' RMS is finite, with a gradient that is not."""
    if math.isfinite(rms):
        return
    own = first_bad((f"{name}.grad", weight.grad) for name, weight in weights if weight.grad is not None)
    bad = agreed(own)
    if bad is None:
        raise TrainingDiverged(step, lr, "grad_rms", rms, ", though every gradient is finite")
    raise TrainingDiverged(step, lr, *bad)


def alarm(tensors: Sequence[Tensor]) -> bool:
    """Whether one of them may hold NaN or infinity: a sum over all is not finite."""
    return not math.isfinite(float(torch.stack([tensor.detach().sum() for tensor in tensors]).sum()))


def require_finite(
    tensors: Mapping[str, Tensor],
    step: int,
    lr: float,
    agreed: Callable[[Bad | None], Bad | None] = alone,
) -> None:
    """Raise :class:`TrainingDiverged` naming the first tensor that holds NaN or infinity."""
    if (bad := agreed(first_bad(tensors.items()))) is not None:
        raise TrainingDiverged(step, lr, *bad)


def first_bad(tensors: Iterable[tuple[str, Tensor]]) -> Bad | None:
    """Name of the first tensor that holds NaN or infinity, and the first such value; None: all are finite."""
    for name, tensor in tensors:
        finite = torch.isfinite(tensor.detach())
        if not finite.all():
            return name, float(tensor.detach()[~finite][0])
    return None
