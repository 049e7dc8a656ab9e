"""Adam whose result for an entry does not depend on where in a tensor the entry lies.

torch's fused Adam goes through a tensor by vectors, and through the last entries, where no vector fits, one
by one; the two round differently on a CPU. So a matrix that is cut into rows for several processes would end
with other bits. Here those last entries are done over in a tensor of whole vectors of their own. On a GPU all
entries go the same way, in one launch for all tensors (``ops/gpu/adam.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparsecircuits.ops import gpu

#: The longest vectors, in float32: 512 bits.
LANES = 16
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Adam:
    """Fused Adam with the gradients divided on the way.

    Attributes:
        inner: torch's.
    """

    def __init__(
        self, tensors: Sequence[Tensor], *, lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        self.tensors = list(tensors)
        self._betas, self._eps = betas, eps
        self._chunks: dict[tuple[int, ...], Any] = {}
        self.inner = torch.optim.Adam(self.tensors, lr=lr, betas=betas, eps=eps, fused=True)
        self._odd = [tensor for tensor in self.tensors if tensor.numel() % LANES]
        device = self.tensors[0].device
        self._ends = torch.zeros(len(self._odd), LANES, device=device)
        self._inner_of_ends = torch.optim.Adam([self._ends], lr=lr, betas=betas, eps=eps, fused=True)

    @property
    def state(self) -> dict[Tensor, Any]:
        """Moments and step counts by tensor."""
        return self.inner.state

    @torch.no_grad()
    def step(self, lr: float, divisor: float) -> None:
        """One step with the gradients that the tensors have, divided by ``divisor``."""
        moving = [tensor for tensor in self.tensors if tensor.grad is not None]
        if gpu.takes(*moving, *(tensor.grad for tensor in moving)):
            self._step_on_gpu(moving, lr, divisor)
            return
        odd = [tensor for tensor in self._odd if tensor.grad is not None]
        self._take(odd)
        for adam in (self._inner_of_ends, self.inner):
            # The fused step divides on the way, which saves a pass over all gradients.
            scale = torch.tensor(divisor, device=self._ends.device)
            vars(adam).update(grad_scale=scale, found_inf=torch.zeros((), device=self._ends.device))
            for group in adam.param_groups:
                group["lr"] = lr
        self.inner.step()
        if odd:
            self._inner_of_ends.step()
            self._give(odd)

    def _step_on_gpu(self, moving: list[Tensor], lr: float, divisor: float) -> None:
        from sparsecircuits.ops.gpu import adam

        if not moving:
            return
        for tensor in moving:
            if not self.state.get(tensor):
                self.state[tensor] = {
                    "step": torch.zeros((), device=tensor.device),
                    **{
                        key: torch.zeros_like(tensor, memory_format=torch.contiguous_format)
                        for key in _MOMENTS
                    },
                }
        sizes = tuple(tensor.numel() for tensor in moving)
        if sizes not in self._chunks:
            self._chunks[sizes] = adam.Chunks(sizes, moving[0].device)
        states = [self.state[tensor] for tensor in moving]
        adam.step(
            self._chunks[sizes],
            [tensor.detach() for tensor in moving],
            [tensor.grad.contiguous() for tensor in moving if tensor.grad is not None],
            *([state[key] for state in states] for key in (*_MOMENTS, "step")),
            lr=lr,
            betas=self._betas,
            eps=self._eps,
            divisor=divisor,
        )
        for tensor in moving:
            torch.autograd.graph.increment_version(tensor)

    def _take(self, odd: list[Tensor]) -> None:
        """Copy the ends of tensors, gradients and moments as they are before the step."""
        states = [self.state.get(tensor, {}) for tensor in odd]
        ends = self._ends
        ends.grad = torch.zeros_like(ends)
        moments = {key: torch.zeros_like(ends) for key in _MOMENTS}
        for row, (tensor, state) in enumerate(zip(odd, states, strict=True)):
            _end(ends, row, tensor).copy_(_tail(tensor))
            assert tensor.grad is not None
            _end(ends.grad, row, tensor).copy_(_tail(tensor.grad))
            for key in _MOMENTS if state else ():
                _end(moments[key], row, tensor).copy_(_tail(state[key]))
        steps = [float(state["step"]) for state in states if state]
        self._inner_of_ends.state[ends] = {
            "step": torch.tensor(max(steps, default=0.0), device=ends.device),
            **moments,
        }

    def _give(self, odd: list[Tensor]) -> None:
        """Copy the ends of tensors and moments back after the step."""
        new = self._inner_of_ends.state[self._ends]
        for row, tensor in enumerate(odd):
            _tail(tensor).copy_(_end(self._ends, row, tensor))
            for key in _MOMENTS:
                _tail(self.state[tensor][key]).copy_(_end(new[key], row, tensor))


def _tail(tensor: Tensor) -> Tensor:
    """The last entries of a tensor, where no whole vector fits."""
    return tensor.detach().view(-1)[tensor.numel() // LANES * LANES :]


def _end(rows: Tensor, row: int, tensor: Tensor) -> Tensor:
    return rows[row, : tensor.numel() % LANES]
