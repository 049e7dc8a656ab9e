"""Give dead neurons another chance: MLP neurons that AbsTopK has not chosen once for many steps.

A neuron whose few weights are small is never among the largest activations of a token, so that nothing
flows back into it: it stays as it is, and its share of the weights is lost. Gao et al. 2025 name many dead
neurons as a weakness and have no remedy. Two can be chosen here (``TrainConfig.revive``):

- ``resample``: every ``revive_every`` steps, a neuron that did not fire in any of them is drawn anew. It gets
  as many inputs as the living have on average, in a random direction of their mean length and with their
  mean bias, and outputs of :data:`WRITE` times their mean length; its Adam moments become 0. The
  projection of the step comes after that, so that the number of nonzero weights stays what it is to be; the
  floor keeps the largest of the new ones.
- ``leak``: for as long as it does not fire, gradients reach a neuron as if it had been chosen at every token.
  Outputs stay as they are, so that its inputs learn what its outputs would be good for.

A neuron that fired has a gradient on what it writes, from some token of the batch: that is how it is seen,
for the cost of a look at one matrix. Everything is a function of the seed, the step and
:meth:`Reviver.state`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.sites import Site, SiteName
from sparsecircuits.train.config import TrainConfig

NEURONS = "mlp.post_act"
#: Length of a new neuron's outputs, as a share of the living's: it is to find its use, not to disturb.
WRITE = 0.2
#: What a checkpoint calls these tensors.
PREFIX = "revive/"

AdamState = Mapping[Tensor, dict[str, Tensor]]


@dataclass
class Watched:
    """The MLP neurons of one layer."""

    layer: int
    site: Site
    reads: nn.Parameter
    """[neurons, channels]"""
    bias: nn.Parameter | None
    """[neurons]"""
    writes: nn.Parameter
    """[channels, neurons]"""
    fired: Tensor
    """[neurons] whether each fired since the last look."""
    dead: Tensor
    """[neurons] whether it had not fired between the last two looks."""


class Reviver:
    """Watches the MLP neurons of a model in training, and revives the dead.

    Attributes:
        revived: how often a neuron was found dead and helped, so far.
    """

    def __init__(self, model: SparseGPT, config: TrainConfig) -> None:
        self.config = config
        self.revived = 0
        self.layers = [_watch(model, layer) for layer in range(model.config.n_layer)]

    @contextmanager
    def attached(self) -> Generator[None]:
        """While it lasts, gradients leak to the dead, if that is the scheme."""
        with ExitStack() as stack:
            if self.config.revive == "leak":
                for watched in self.layers:
                    stack.callback(watched.site.register_forward_hook(_leak(watched)).remove)
            yield

    def look(self, step: int, adam: AdamState) -> None:
        """Note who fired in step ``step`` (from 0), and every so many steps revive who did not.

        To be called when the step's gradients are there, before the weights change.

        Args:
            step: of the training.
            adam: the optimizer's state of each parameter.
        """
        for watched in self.layers:
            if watched.writes.grad is not None:
                watched.fired |= (watched.writes.grad != 0).any(0)
        config, done = self.config, step + 1
        if done % config.revive_every:
            return
        over = done > config.revive_stop * config.steps
        for watched in self.layers:
            watched.dead = torch.zeros_like(watched.fired) if over else ~watched.fired
            watched.fired = torch.zeros_like(watched.fired)
            if config.revive == "resample":
                generator = _generator(config.seed, step, watched.layer)
                self.revived += resample(watched, config.floor, generator, adam)
            else:
                self.revived += int(watched.dead.sum())

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on, as named tensors."""
        tensors = {f"{PREFIX}revived": torch.tensor(self.revived)}
        for watched in self.layers:
            tensors[f"{PREFIX}{watched.layer}.fired"] = watched.fired
            tensors[f"{PREFIX}{watched.layer}.dead"] = watched.dead
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`state`."""
        self.revived = int(tensors[f"{PREFIX}revived"])
        for watched in self.layers:
            watched.fired = tensors[f"{PREFIX}{watched.layer}.fired"].to(watched.fired.device)
            watched.dead = tensors[f"{PREFIX}{watched.layer}.dead"].to(watched.dead.device)


@torch.no_grad()
def resample(watched: Watched, floor: int, generator: torch.Generator, adam: AdamState) -> int:
    """Draw the dead neurons of one layer anew, in place; nothing where none or all are dead.

    Returns:
        How many were drawn.
    """
    dead, living = watched.dead, ~watched.dead
    if not dead.any() or not living.any():
        return 0
    reads, writes = watched.reads, watched.writes
    for weight, rows, share in ((reads, reads, 1.0), (writes, writes.T, WRITE)):
        alive = rows[living]
        size = max(floor, round(float(alive.count_nonzero()) / len(alive)))
        length = share * float(alive.norm(dim=1).mean())
        drawn = _directions(int(dead.sum()), rows.shape[1], size, generator) * length
        rows[dead] = drawn.to(rows)
        for moment in _moments(adam, weight):
            (moment if rows is weight else moment.T)[dead] = 0
    if watched.bias is not None:
        watched.bias[dead] = watched.bias[living].mean()
        for moment in _moments(adam, watched.bias):
            moment[dead] = 0
    return int(dead.sum())


def _moments(adam: AdamState, weight: Tensor) -> list[Tensor]:
    """Adam's of a parameter; none before the first step."""
    return [value for key, value in adam.get(weight, {}).items() if key in ("exp_avg", "exp_avg_sq")]


def _directions(count: int, width: int, size: int, generator: torch.Generator) -> Tensor:
    """[count, width] rows of length 1 with ``size`` nonzero entries each, at random places."""
    places = torch.rand(count, width, generator=generator).topk(min(size, width), dim=1).indices
    values = torch.randn(places.shape, generator=generator)
    return torch.zeros(count, width).scatter_(1, places, F.normalize(values, dim=1))


def _leak(
    watched: Watched,
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    """A hook that hands the gradient of what dead neurons would have written on to their inputs."""

    def hook(site: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled() or not watched.dead.any():
            return None
        dead = watched.dead.nonzero().flatten()
        before = inputs[0][..., dead]
        value = F.relu(before) if watched.site.activation == "relu" else F.gelu(before)
        nothing = value - value.detach()  # 0, with a gradient
        return output.index_add(-1, dead, nothing)

    return hook


def _watch(model: SparseGPT, layer: int) -> Watched:
    mlp = f"transformer.h.{layer}.mlp"
    reads, writes = (model.get_parameter(f"{mlp}.{name}.weight") for name in ("c_fc", "c_proj"))
    if hasattr(reads, "full_tensor"):
        raise ConfigError("TrainConfig.revive needs whole weights; share the work by ddp, or revive none")
    bias = model.get_parameter(f"{mlp}.c_fc.bias") if model.config.bias else None
    neurons = torch.zeros(len(reads), dtype=torch.bool, device=reads.device)
    site = model.sites()[str(SiteName(layer, NEURONS))]
    return Watched(layer, site, reads, bias, writes, neurons, neurons.clone())


def _generator(seed: int, step: int, layer: int) -> torch.Generator:
    """Randomness that depends on nothing else."""
    digest = hashlib.sha256(f"revive {seed} {step} {layer}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
