"""Norm sensitivity (T15): does a circuit live off the normalisation of a stream that has lost the rest?

RMSNorm divides a token's stream by its root mean square, to which every node adds. A circuit whose other
nodes stand still has another root mean square than the full model, and could do a part of its work by that.
Here the circuit runs twice: as it is, and with the root mean square of every norm taken from the full model
at the same token of the same prompt. If the loss changes much, the circuit uses normalisation. (Drori 2026
froze norms so in training, where pruning collapsed; as a diagnosis it costs two runs.)

Frozen are the norms of the stream, before each sublayer and before the unembedding. Positions that are normed
by themselves are the same in circuit and model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.gpt import Block
from sparsecircuits.model.layers import RMSNorm
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS


@torch.no_grad()
def norm_sensitivity(subject: Subject, *, draws: int = 5) -> Outcome:
    """T15: how far the circuit's loss moves when norms divide by what they divide by in the full model.

    Args:
        subject: measured on its ``heldout``.
        draws: random circuits of equal profile; the mean size of their change is the control. It is a scale
            to compare with and need not fail: a circuit that does nothing has little loss to change.

    Returns:
        ``estimate`` is the size of the change of the mean loss, in nats; the interval is that of the change,
        turned round where it is negative.
    """
    pairs, model = subject.heldout, subject.model
    scales = norm_scales(model, pairs)

    def losses(circuit: Circuit, *, frozen: bool) -> Tensor:
        with ExitStack() as stack:
            stack.enter_context(circuit.installed(model, sealed=True))
            if frozen:
                stack.enter_context(frozen_norms(model, scales))
            return subject.losses(model(pairs.tokens, pairs.last), pairs)

    live, frozen = (losses(subject.circuit, frozen=which) for which in (False, True))
    change = float((frozen - live).mean())
    controls = [
        abs(float((losses(other, frozen=True) - losses(other, frozen=False)).mean()))
        for other in subject.random_circuits(draws)
    ]
    return Outcome(
        test="T15",
        estimate=abs(change),
        interval=subject.interval((frozen - live) * (-1 if change < 0 else 1), pairs),
        control=sum(controls) / len(controls) if controls else None,
        passed=abs(change) <= THRESHOLDS.norm,
        figures={"loss": float(live.mean()), "loss_frozen": float(frozen.mean()), "change": change},
        settings=subject.settings(
            pairs,
            ablated="all nodes outside the circuit, by means",
            draws=draws,
            norms="live, and the full model's",
        ),
    )


@torch.no_grad()
def norm_scales(model: SparseGPT, pairs: TokenPairs) -> dict[str, Tensor]:
    """Norm -> [..., 1] what it divides by on ``pairs``, of the model with whatever is installed on it."""
    scales: dict[str, Tensor] = {}

    def keep(name: str, norm: RMSNorm, x: Tensor) -> None:
        scales[name] = root_mean_square(x, norm.eps)

    with _watching(model, keep):
        model(pairs.tokens, pairs.last)
    return scales


@contextmanager
def frozen_norms(model: SparseGPT, scales: Mapping[str, Tensor]) -> Generator[None]:
    """While it lasts, norms divide by ``scales`` (:func:`norm_scales`) instead of their inputs' own.

    For ``model(tokens, at)`` on the prompts that they are of.
    """

    def replace(name: str, norm: RMSNorm, x: Tensor) -> Tensor:
        return x / scales[name] * norm.weight

    with _watching(model, replace):
        yield


def root_mean_square(x: Tensor, eps: float | None) -> Tensor:
    """[..., 1] what RMSNorm divides ``x`` [..., width] by."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    return (x.square().mean(-1, keepdim=True) + eps).sqrt()


@contextmanager
def _watching(model: SparseGPT, watch: Callable[[str, RMSNorm, Tensor], Tensor | None]) -> Generator[None]:
    """Call ``watch`` with name, norm and input of each norm of the stream; what it returns is the output."""

    def adapt(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor | None:
            assert isinstance(module, RMSNorm)
            return watch(name, module, inputs[0])

        return hook

    with ExitStack() as stack:
        for name, norm in stream_norms(model).items():
            stack.callback(norm.register_forward_hook(adapt(name)).remove)
        yield


def stream_norms(model: SparseGPT) -> dict[str, RMSNorm]:
    """The norms of the residual stream by name, in forward order."""
    norms: dict[str, nn.Module] = {}
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        norms |= {f"h.{layer}.ln_1": block.ln_1, f"h.{layer}.ln_2": block.ln_2}
    norms["ln_f"] = model.transformer["ln_f"]
    return {name: norm for name, norm in norms.items() if isinstance(norm, RMSNorm)}
